//! Noticing that a file has changed.
//!
//! Twice a second each file is looked at: which file it is, how long, when it was changed. What has changed is
//! reported once it has been the same for two looks, so that a file is not read while it is being written. Looking
//! follows links, so it sees how Kubernetes swaps the files of a ConfigMap, and it works on every file system.
//! (Rejected: the kernel's notifications. They have to watch the directories of every link on the way, say
//! nothing on network file systems, and fail where a node has used up its watches. A look is one system call.)

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often files are looked at.
pub(crate) const LOOK_PERIOD: Duration = Duration::from_millis(500);

/// What tells one content of a file from another without reading it. `None` where there is no file.
pub(crate) type Stamp = Option<FileStamp>;

/// Which file it is, how long, and when it was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileStamp {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds. The time of the last change of anything, which no program can set back.
    changed: (i64, i64),
}

/// The files that are looked at.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    files: BTreeMap<PathBuf, Watched>,
}

#[derive(Debug, Clone, Copy)]
struct Watched {
    /// When it was last reported, or first seen.
    known: Stamp,
    /// At the last look.
    last: Stamp,
}

/// Looks at a file. Follows links.
pub(crate) fn stamp(path: &Path) -> Stamp {
    let found = std::fs::metadata(path).ok()?;
    Some(FileStamp {
        device: found.dev(),
        inode: found.ino(),
        bytes: found.len(),
        changed: (found.ctime(), found.ctime_nsec()),
    })
}

impl Watch {
    /// Looks at these files from now on, and at no others. `known` are the stamps taken before they were read.
    pub(crate) fn set(&mut self, known: impl IntoIterator<Item = (PathBuf, Stamp)>) {
        let before = std::mem::take(&mut self.files);
        for (path, stamp) in known {
            let watched = before.get(&path).copied().unwrap_or(Watched {
                known: stamp,
                last: stamp,
            });
            self.files.insert(path, watched);
        }
    }

    /// The files to look at.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.files.keys().cloned().collect()
    }

    /// Takes in what a look has found, and gives the files that have changed and are no longer changing.
    pub(crate) fn looked(&mut self, found: &[(PathBuf, Stamp)]) -> Vec<PathBuf> {
        let mut changed = Vec::new();
        for (path, stamp) in found {
            let Some(watched) = self.files.get_mut(path) else {
                continue;
            };
            if *stamp != watched.known && *stamp == watched.last {
                watched.known = *stamp;
                changed.push(path.clone());
            }
            watched.last = *stamp;
        }
        changed
    }
}

/// Looks at files, apart from the thread that answers scrapes: a file system may keep one waiting.
pub(crate) async fn look(paths: Vec<PathBuf>) -> Vec<(PathBuf, Stamp)> {
    let looks = tokio::task::spawn_blocking(move || {
        let look = |path: PathBuf| {
            let found = stamp(&path);
            (path, found)
        };
        paths.into_iter().map(look).collect()
    });
    // Nothing is found if the runtime is ending.
    looks.await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: u64) -> Stamp {
        Some(FileStamp {
            device: 1,
            inode: number,
            bytes: 1,
            changed: (1, 1),
        })
    }

    fn watch(known: Stamp) -> Watch {
        let mut watch = Watch::default();
        watch.set([(PathBuf::from("a"), known)]);
        watch
    }

    /// The numbers of the looks that report a change.
    fn reported(watch: &mut Watch, looks: &[Stamp]) -> Vec<usize> {
        let path = PathBuf::from("a");
        let look = |(index, stamp): (usize, &Stamp)| {
            (!watch.looked(&[(path.clone(), *stamp)]).is_empty()).then_some(index)
        };
        looks.iter().enumerate().filter_map(look).collect()
    }

    #[test]
    fn a_change_is_reported_once_it_has_settled() {
        for (looks, expected) in [
            (&[at(1), at(1), at(1)][..], &[][..]),
            (&[at(2), at(2), at(2)], &[1]),
            (&[at(2), at(3), at(4), at(4), at(4)], &[3]),
            // Written and put back between two looks: nothing to read.
            (&[at(2), at(1), at(1)], &[]),
            (&[None, None, at(1), at(1)], &[1, 3]),
            (&[at(2), at(2), at(3), at(3)], &[1, 3]),
        ] {
            assert_eq!(reported(&mut watch(at(1)), looks), expected, "{looks:?}");
        }
    }

    #[test]
    fn a_file_that_comes_into_being_is_a_change() {
        assert_eq!(reported(&mut watch(None), &[None, at(1), at(1)]), [2]);
    }

    #[test]
    fn a_change_between_reading_and_watching_is_not_lost() {
        // Stamped, read, changed, and only then watched.
        let mut watch = watch(at(1));
        watch.set([(PathBuf::from("a"), at(9))]);
        assert_eq!(reported(&mut watch, &[at(2), at(2)]), [1]);
    }

    #[test]
    fn stamps_see_new_content_new_files_and_swapped_links() {
        let folder = std::env::temp_dir().join(format!("plimsoll-watch-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (one, two) = (folder.join("one"), folder.join("two"));
        let (link, next) = (folder.join("link"), folder.join("next"));
        std::fs::write(&one, "1").unwrap();
        std::fs::write(&two, "2").unwrap();
        std::os::unix::fs::symlink(&one, &link).unwrap();
        let first = stamp(&link);
        assert!(first.is_some());
        assert_eq!(first, stamp(&one));
        std::os::unix::fs::symlink(&two, &next).unwrap();
        std::fs::rename(&next, &link).unwrap();
        assert_ne!(first, stamp(&link));
        std::fs::write(&two, "22").unwrap();
        assert_ne!(first, stamp(&link));
        assert_eq!(stamp(&folder.join("none")), None);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
