//! Control groups of version 2: limits of memory that the kernel keeps.
//!
//! A replica with a limit gets a group of its own below the one that this process
//! is in, if it may make one there: as root, in a unit of systemd with
//! `Delegate=memory`, or in a container that may write to its groups. Then what
//! needs more is ended at once, with all that belongs to it, and cannot take the
//! memory of others first. Where it is not permitted memory is measured
//! ([`crate::memory`]), which is done anyway: what a process has taken before it
//! was put into its group counts for the group that it came from.
//!
//! A group that has groups with a controller below it may have no processes of
//! its own, unless it is the root. So this process moves into a group beside
//! those of the replicas, if nobody else is in its own.
//!
//! Rejected: version 1, which has a hierarchy for each controller. It is going
//! away, and who may write there is root anyway.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Pid;
use tokio::time::sleep;

use crate::event::ReplicaId;
use crate::mark::Mark;
use crate::proc_fs;

/// The controller that is needed.
const MEMORY: &str = "memory";

/// What the names of groups of replicas begin with; the mark of the host and the replica follow.
const PREFIX: &str = "plimsoll-replica-";

/// The group into which this process moves.
const OWN: &str = "plimsoll-itself";

/// Processes that are moved, at most: this one, and what it has started.
const MOVED_MAX: usize = 64;

/// How often and how many times it is tried to remove a group. The last process leaves it a moment after its end.
const REMOVE_PERIOD: Duration = Duration::from_millis(10);
const REMOVE_TIMES: usize = 100;

/// The groups of the replicas of one host.
#[derive(Debug)]
pub(crate) struct Groups {
    parent: PathBuf,
    mark: Mark,
}

/// The group of one replica. It goes when it is dropped, if nothing is in it.
#[derive(Debug)]
pub(crate) struct Group {
    path: PathBuf,
}

/// A file of a group that could not be read or written.
struct Fault<'a>(&'a Path, io::Error);

impl fmt::Display for Fault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.display(), self.1)
    }
}

impl Groups {
    /// Groups below that of this process.
    ///
    /// # Errors
    ///
    /// Why there can be none, for a person.
    pub(crate) fn of_this_process(mark: &Mark) -> Result<Self, String> {
        let read =
            |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
        let parent = own_group(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?)?;
        Self::below(parent, mark)
    }

    fn below(parent: PathBuf, mark: &Mark) -> Result<Self, String> {
        let groups = Self {
            parent,
            mark: mark.clone(),
        };
        let place = groups.parent.display();
        if !groups.lists("cgroup.controllers", MEMORY)? {
            return Err(format!("control group {place} has no controller of memory"));
        }
        if !groups.lists("cgroup.subtree_control", MEMORY)? {
            groups.hand_down()?;
        }
        groups.remove_stale();
        let trial = groups.make("trial");
        let trial = trial.map_err(|error| format!("no control group in {place}: {error}"))?;
        drop(trial);
        Ok(groups)
    }

    /// Whether a file of the own group has this word.
    fn lists(&self, file: &str, word: &str) -> Result<bool, String> {
        let path = self.parent.join(file);
        let text = fs::read_to_string(&path);
        let text = text.map_err(|error| Fault(&path, error).to_string())?;
        Ok(text.split_ascii_whitespace().any(|found| found == word))
    }

    /// Lets groups below have the controller, if need be by leaving the own group.
    fn hand_down(&self) -> Result<(), String> {
        let path = self.parent.join("cgroup.subtree_control");
        let enable = || fs::write(&path, format!("+{MEMORY}"));
        let busy = match enable() {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::BUSY) => error,
            done => return done.map_err(|error| Fault(&path, error).to_string()),
        };
        self.step_aside()
            .map_err(|why| format!("{}: {why}", Fault(&path, busy)))?;
        enable().map_err(|error| Fault(&path, error).to_string())
    }

    /// Moves this process and its children into a group of their own, unless others are there too.
    fn step_aside(&self) -> Result<(), String> {
        let told = |path: &Path, error| Fault(path, error).to_string();
        let members = self.parent.join("cgroup.procs");
        let text = fs::read_to_string(&members).map_err(|error| told(&members, error))?;
        let pids: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
        let own = i32::try_from(std::process::id()).unwrap_or_default();
        let is_ours =
            |pid: &i32| *pid == own || proc_fs::process(*pid).is_none_or(|stat| stat.parent == own);
        if pids.len() > MOVED_MAX || !pids.iter().all(is_ours) {
            return Err("other processes are in it".to_owned());
        }
        let aside = self.parent.join(OWN);
        match fs::create_dir(&aside) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(told(&aside, error));
            }
            _ => {}
        }
        let members = aside.join("cgroup.procs");
        for pid in pids {
            fs::write(&members, pid.to_string()).map_err(|error| told(&members, error))?;
        }
        Ok(())
    }

    /// Removes the groups of hosts that have gone.
    fn remove_stale(&self) {
        let entries = fs::read_dir(&self.parent).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name();
            let host = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
            let pid = host.and_then(|host| host.split('.').next()?.parse().ok());
            if pid.is_some_and(|pid: i32| proc_fs::process(pid).is_none()) {
                // It fails if something is in it, and then it is not for us to remove.
                let _removed = fs::remove_dir(entry.path());
            }
        }
    }

    fn make(&self, name: impl fmt::Display) -> io::Result<Group> {
        let path = self.parent.join(format!("{PREFIX}{}.{name}", self.mark));
        fs::create_dir(&path)?;
        Ok(Group { path })
    }

    /// Puts a process, and all that it will start, into a group that may have `max` bytes of memory.
    pub(crate) fn limit(&self, id: ReplicaId, pid: Pid, max: u64) -> io::Result<Group> {
        let group = self.make(id)?;
        group.write("memory.max", max)?;
        // It is to end, and not to become slow. There is no such file without swap.
        let _no_swap = group.write("memory.swap.max", 0);
        // All of it: what is left without one of its processes is no replica.
        group.write("memory.oom.group", 1)?;
        group.write("cgroup.procs", pid.as_raw_nonzero())?;
        Ok(group)
    }
}

impl fmt::Display for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parent.display().fmt(f)
    }
}

impl Group {
    fn write(&self, file: &str, value: impl fmt::Display) -> io::Result<()> {
        fs::write(self.path.join(file), value.to_string())
    }

    /// Whether the kernel has ended processes of it because they needed more memory.
    pub(crate) fn was_too_small(&self) -> bool {
        let events = fs::read_to_string(self.path.join("memory.events"));
        events.is_ok_and(|events| killed(&events) > 0)
    }

    /// Ends what is still in it, and removes it.
    pub(crate) async fn remove(self) {
        for _ in 0..REMOVE_TIMES {
            // There is no such file before Linux 5.14; then what is in it has a mark, and is found by that.
            let _killed = self.write("cgroup.kill", 1);
            match fs::remove_dir(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => sleep(REMOVE_PERIOD).await,
                _ => return,
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // It fails if something is in it. Whoever makes groups here next removes it then.
        let _removed = fs::remove_dir(&self.path);
    }
}

/// How many processes the kernel has ended, from `memory.events`.
fn killed(events: &str) -> u64 {
    let count = |line: &str| line.strip_prefix("oom_kill ")?.trim().parse().ok();
    events.lines().find_map(count).unwrap_or(0)
}

/// The directory of the own group, from `/proc/self/cgroup` and `/proc/self/mountinfo`; see cgroups(7).
fn own_group(membership: &str, mounts: &str) -> Result<PathBuf, String> {
    let own = membership.lines().find_map(|line| line.strip_prefix("0::"));
    let own = own.ok_or("there are no control groups of version 2")?;
    let mount = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        after.starts_with("cgroup2 ").then_some(())?;
        let below = Path::new(own).strip_prefix(root).ok()?;
        // Without a slash at its end, which the own group would have if it is that of the mount.
        Some(Path::new(point).join(below).components().collect())
    };
    let found = mounts.lines().find_map(mount);
    found.ok_or_else(|| format!("control group {own} is not mounted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that looks like a control group, as far as files go. It goes when it is dropped.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str, controllers: &str, handed_down: &str) -> Self {
            let name = format!("plimsoll-cgroup-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("cgroup.controllers"), controllers).unwrap();
            fs::write(path.join("cgroup.subtree_control"), handed_down).unwrap();
            Self(path)
        }

        fn read(&self, path: &str) -> String {
            fs::read_to_string(self.0.join(path)).unwrap()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn the_own_group_is_found_where_it_is_mounted() {
        let mounts = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
            32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:7 - cgroup2 cgroup2 rw\n";
        let nested = "41 31 0:38 /pods/7 /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        for (own, mounts, expected) in [
            ("4:memory:/a\n0::/\n", mounts, Ok("/sys/fs/cgroup/unified")),
            (
                "0::/user.slice/a b\n",
                mounts,
                Ok("/sys/fs/cgroup/unified/user.slice/a b"),
            ),
            ("0::/pods/7\n", nested, Ok("/sys/fs/cgroup")),
            ("0::/pods/7/main\n", nested, Ok("/sys/fs/cgroup/main")),
            (
                "0::/../8\n",
                nested,
                Err("control group /../8 is not mounted"),
            ),
            (
                "4:memory:/a\n",
                mounts,
                Err("there are no control groups of version 2"),
            ),
            ("0::/a\n", "", Err("control group /a is not mounted")),
            (
                "0::/a\n",
                "1 2 3 - cgroup2",
                Err("control group /a is not mounted"),
            ),
        ] {
            let found = own_group(own, mounts);
            let expected = expected.map(PathBuf::from).map_err(str::to_owned);
            assert_eq!(found, expected, "{own}");
        }
    }

    #[test]
    fn a_group_is_made_with_its_limit_and_a_stale_one_is_removed() {
        let folder = Folder::new("made", "cpu memory pids", "memory");
        let stale = folder.0.join("plimsoll-replica-0.1.0.3");
        let own = std::process::id();
        let other = folder.0.join(format!("plimsoll-replica-{own}.1.0.3"));
        fs::create_dir(&stale).unwrap();
        fs::create_dir(&other).unwrap();
        let groups = Groups::below(folder.0.clone(), &Mark::given("12.34.0")).unwrap();
        assert!(
            !stale.exists() && other.exists(),
            "whose host is there stays"
        );
        let pid = Pid::from_raw(7).unwrap();
        let group = groups.limit(ReplicaId(5), pid, 1 << 20).unwrap();
        let read = |file: &str| folder.read(&format!("plimsoll-replica-12.34.0.5/{file}"));
        assert_eq!(read("memory.max"), "1048576");
        assert_eq!(read("memory.oom.group"), "1");
        assert_eq!(read("cgroup.procs"), "7");
        assert!(!group.was_too_small());
        group
            .write(
                "memory.events",
                "low 0\nmax 9\noom 1\noom_kill 3\noom_group_kill 1",
            )
            .unwrap();
        assert!(group.was_too_small());
    }

    #[test]
    fn what_is_not_permitted_is_said() {
        let folder = Folder::new("none", "cpu pids", "");
        let why = Groups::below(folder.0.clone(), &Mark::given("1.1.1")).unwrap_err();
        assert!(why.ends_with("has no controller of memory"), "{why}");
        let why = Groups::below(folder.0.join("missing"), &Mark::given("1.1.1")).unwrap_err();
        assert!(
            why.contains("missing/cgroup.controllers: No such file"),
            "{why}"
        );
    }

    #[test]
    fn the_own_group_is_left_only_if_nobody_else_is_in_it() {
        let folder = Folder::new("left", "memory", "");
        let groups = Groups {
            parent: folder.0.clone(),
            mark: Mark::given("1.1.1"),
        };
        let own = std::process::id();
        fs::write(folder.0.join("cgroup.procs"), format!("1\n{own}\n")).unwrap();
        assert_eq!(
            groups.step_aside(),
            Err("other processes are in it".to_owned())
        );
        fs::write(folder.0.join("cgroup.procs"), format!("{own}\n")).unwrap();
        assert_eq!(groups.step_aside(), Ok(()));
        assert_eq!(folder.read("plimsoll-itself/cgroup.procs"), own.to_string());
        assert_eq!(groups.hand_down(), Ok(()));
        assert_eq!(folder.read("cgroup.subtree_control"), "+memory");
    }
}
