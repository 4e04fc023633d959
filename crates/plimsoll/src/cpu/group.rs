//! Where a control group is in the file system.
//!
//! `/proc/self/cgroup` names the own group in each hierarchy, `/proc/self/mountinfo` says where hierarchies are
//! mounted and which part of them. The path of a group and the root of a mount are told in the same name space,
//! so one minus the other is the way from the mount to the group. With several hierarchies (version 1, or both
//! versions beside each other) a controller is in one of them, and `/proc/self/cgroup` says in which.

use std::path::{Path, PathBuf};

use super::Files;
use super::usage::Counter;

/// The most directories that are looked at on the way up.
const DEPTH_MAX: usize = 64;

/// A file that every control group of either version has.
const MARK: &str = "cgroup.procs";

/// The version of a hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// A control group: where its processor time is counted, and where it is limited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    /// The file with the processor time it has used.
    pub(super) counter: (Counter, PathBuf),
    /// The version of the hierarchy that limits it.
    pub(super) version: Version,
    /// The group and those above it, as far as they can be seen. The own one is first.
    pub(super) limits: Vec<PathBuf>,
    /// Whether the process is in it, so that it may run on the same processors.
    pub(super) is_own: bool,
}

/// A mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    version: Version,
    /// Controllers, of version 1.
    controllers: Vec<String>,
    /// The part of the hierarchy that is seen.
    root: PathBuf,
    /// Where it is seen.
    point: PathBuf,
}

impl Group {
    /// The group of this process. `None` if there is none that counts processor time.
    pub(super) fn own(files: &impl Files) -> Option<Self> {
        let membership = files.read(Path::new("/proc/self/cgroup"))?;
        let mounts = mounts(&files.read(Path::new("/proc/self/mountinfo"))?);
        let directory = |controller| directory(&membership, &mounts, controller);
        let of_v1 =
            |controller| directory(Some(controller)).filter(|(_, dir)| is_group(files, dir));
        let of_v2 = || directory(None);
        let counter = |version, dir: &Path| Counter::at(files, version, dir);
        let counter = of_v1("cpuacct")
            .and_then(|(_, dir)| counter(Version::V1, &dir))
            .or_else(|| of_v2().and_then(|(_, dir)| counter(Version::V2, &dir)))?;
        let (version, limits) = match (of_v1("cpu"), of_v2()) {
            (Some((point, dir)), _) => (Version::V1, up_to(&dir, &point)),
            (None, Some((point, dir))) => (Version::V2, up_to(&dir, &point)),
            (None, None) => (Version::V1, Vec::new()),
        };
        Some(Self {
            counter,
            version,
            limits,
            is_own: true,
        })
    }

    /// The group whose directory this is. `None` if it does not count processor time.
    pub(super) fn at(files: &impl Files, directory: &Path) -> Option<Self> {
        let (version, counter) = [Version::V2, Version::V1]
            .into_iter()
            .find_map(|version| Some((version, Counter::at(files, version, directory)?)))?;
        let up = directory.ancestors().take(DEPTH_MAX);
        Some(Self {
            counter,
            version,
            limits: up
                .take_while(|dir| is_group(files, dir))
                .map(Path::to_owned)
                .collect(),
            is_own: false,
        })
    }

    /// Where its processor time is counted.
    pub(super) fn directory(&self) -> &Path {
        let file = &self.counter.1;
        file.parent().unwrap_or(file)
    }
}

fn is_group(files: &impl Files, directory: &Path) -> bool {
    files.read(&directory.join(MARK)).is_some()
}

/// The group and those above it, up to the mount.
fn up_to(directory: &Path, point: &Path) -> Vec<PathBuf> {
    let up = directory.ancestors().take(DEPTH_MAX);
    up.take_while(|dir| dir.starts_with(point))
        .map(Path::to_owned)
        .collect()
}

/// The mount point of a hierarchy and the directory of the own group under it. A controller is one of version
/// 1; `None` is the hierarchy of version 2.
fn directory(
    membership: &str,
    mounts: &[Mount],
    controller: Option<&str>,
) -> Option<(PathBuf, PathBuf)> {
    let own = own_path(membership, controller)?;
    let of_hierarchy = |mount: &&Mount| match controller {
        None => mount.version == Version::V2,
        Some(name) => mount.version == Version::V1 && mount.controllers.iter().any(|c| c == name),
    };
    let mut candidates: Vec<_> = mounts.iter().filter(of_hierarchy).collect();
    // The mount that shows most of the groups above the own one.
    candidates.sort_by_key(|mount| mount.root.components().count());
    let seen = candidates.iter().find_map(|mount| {
        let below = own.strip_prefix(&mount.root).ok()?;
        Some((mount.point.clone(), mount.point.join(below)))
    });
    // A container runtime that shows another part shows the container's own group at the mount itself.
    let fallback = || candidates.first().map(|mount| mount.point.clone());
    seen.or_else(|| fallback().map(|point| (point.clone(), point)))
        .map(|(point, dir)| (point, dir.components().collect()))
}

/// The path of the own group in a hierarchy: a line is `ID:CONTROLLERS:PATH`, and version 2 has no controllers.
fn own_path(membership: &str, controller: Option<&str>) -> Option<PathBuf> {
    membership.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let is_it = match controller {
            None => id == "0" && controllers.is_empty(),
            Some(name) => controllers.split(',').any(|one| one == name),
        };
        // A group that was removed under its processes.
        let path = path.strip_suffix(" (deleted)").unwrap_or(path);
        is_it.then(|| PathBuf::from(path))
    })
}

/// The hierarchies among all mounts.
fn mounts(mountinfo: &str) -> Vec<Mount> {
    mountinfo.lines().filter_map(mount).collect()
}

/// A line is `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [FIELDS...] - TYPE SOURCE SUPER_OPTIONS`.
fn mount(line: &str) -> Option<Mount> {
    let (place, kind) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(3);
    let (root, point) = (place.next()?, place.next()?);
    let mut kind = kind.split(' ');
    let version = match kind.next()? {
        "cgroup2" => Version::V2,
        "cgroup" => Version::V1,
        _ => return None,
    };
    let options = kind.nth(1).unwrap_or_default();
    Some(Mount {
        version,
        controllers: options.split(',').map(str::to_owned).collect(),
        root: PathBuf::from(unescape(root)),
        point: PathBuf::from(unescape(point)),
    })
}

/// White space and backslashes in a path are written as `\` and three octal digits.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| byte == b'\\');
        let escaped = octal
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(escaped.unwrap_or(byte));
        rest = escaped.map_or(after, |_| &after[3..]);
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_mount_points_are_undone() {
        for (text, expected) in [
            ("/a\\040b", "/a b"),
            ("/a\\134040", "/a\\040"),
            ("\\011\\012", "\t\n"),
            ("/a\\0", "/a\\0"),
            ("/a\\099", "/a\\099"),
            ("/a\\777", "/a\\777"),
            ("", ""),
        ] {
            assert_eq!(unescape(text), expected, "{text:?}");
        }
    }

    #[test]
    fn mounts_that_are_no_hierarchies_are_left_out() {
        for line in [
            "",
            "nonsense",
            "1 2 3",
            "31 23 0:28 / /sys rw - sysfs sysfs rw",
            "31 23 0:28 / /sys rw - ",
            "31 23 - cgroup2 cgroup2 rw",
        ] {
            assert_eq!(mount(line), None, "{line:?}");
        }
        let line = "35 25 0:30 /a\\040b /sys/fs/cgroup/cpu,cpuacct rw shared:15 master:1 - cgroup cgroup rw,cpu,cpuacct";
        let mount = mount(line).expect("a hierarchy of version 1");
        assert_eq!(mount.root, Path::new("/a b"));
        assert_eq!(mount.point, Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert!(mount.controllers.contains(&"cpuacct".to_owned()));
    }

    #[test]
    fn the_own_path_is_that_of_the_hierarchy() {
        let membership = "12:cpu,cpuacct:/a:b\n1:name=systemd:/s\n0::/u\nnonsense\n";
        for (controller, expected) in [
            (Some("cpu"), Some("/a:b")),
            (Some("cpuacct"), Some("/a:b")),
            (Some("memory"), None),
            (None, Some("/u")),
        ] {
            let path = own_path(membership, controller);
            assert_eq!(path.as_deref(), expected.map(Path::new), "{controller:?}");
        }
        let path = own_path("0::/gone (deleted)\n", None);
        assert_eq!(path.as_deref(), Some(Path::new("/gone")));
    }
}
