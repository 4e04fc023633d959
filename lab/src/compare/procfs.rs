//! What the kernel says of a process: proc(5).

use std::fs;
use std::io;
use std::time::Duration;

/// Memory of a process, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident: every page it has mapped and that is in memory, shared ones counted in full (`VmRSS`).
    pub rss_kib: u64,
    /// Proportional: shared pages divided among those who share them (`Pss`). Sums over processes.
    pub pss_kib: u64,
    /// The greatest resident size so far (`VmHWM`).
    pub peak_kib: u64,
}

/// A process and all its descendants, as found at one moment.
///
/// The list is taken once, after the start: a proxy that starts processes later would be
/// undercounted. None of those compared does.
#[derive(Clone, Debug)]
pub struct Tree {
    pids: Vec<u32>,
}

/// The fields of `/proc/PID/stat` that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// Time in user and in system mode, in clock ticks. Threads that have ended are included.
    ticks: u64,
}

impl Tree {
    /// Lists `root` and its descendants. Linear in the processes of the machine.
    ///
    /// # Errors
    /// If `/proc` cannot be listed.
    pub fn of(root: u32) -> io::Result<Self> {
        let mut parents = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // A process may end between listing and reading.
            if let Ok(stat) = read_stat(pid) {
                parents.push((pid, stat.parent));
            }
        }
        Ok(Self {
            pids: descendants(root, &parents),
        })
    }

    /// A process without its descendants, which may come and go at any time.
    pub fn alone(pid: u32) -> Self {
        Self { pids: vec![pid] }
    }

    /// Processor time of all of them, user and system, to the clock tick (10 ms as a rule).
    ///
    /// # Errors
    /// If one of them has ended.
    pub fn cpu_time(&self) -> io::Result<Duration> {
        let mut ticks = 0;
        for &pid in &self.pids {
            ticks += read_stat(pid)?.ticks;
        }
        let per_second = rustix::param::clock_ticks_per_second();
        Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
    }

    /// Processor time of their threads from the scheduler's own account, to the nanosecond.
    /// Threads that have ended are not in it: good for an idle process, whose ticks are all 0.
    ///
    /// # Errors
    /// If one of them has ended, or the kernel keeps no such account.
    pub fn scheduled_time(&self) -> io::Result<Duration> {
        let nanos = self.sum_of_threads("schedstat", first_number)?;
        Ok(Duration::from_nanos(nanos))
    }

    /// How often their threads have gone to sleep, thus been woken.
    ///
    /// # Errors
    /// If one of them has ended.
    pub fn wakeups(&self) -> io::Result<u64> {
        self.sum_of_threads("status", |text| field(text, "voluntary_ctxt_switches:"))
    }

    /// Adds up what `number` finds in `file` of every thread.
    fn sum_of_threads(&self, file: &str, number: impl Fn(&str) -> Option<u64>) -> io::Result<u64> {
        let mut sum = 0;
        for &pid in &self.pids {
            for task in fs::read_dir(format!("/proc/{pid}/task"))? {
                match fs::read_to_string(task?.path().join(file)) {
                    Ok(text) => sum += number(&text).ok_or_else(|| malformed(file))?,
                    // It has ended between the listing and the reading. The error of reading is ESRCH
                    // where the file was opened in time.
                    Err(gone) if gone.kind() == io::ErrorKind::NotFound => {}
                    Err(gone)
                        if gone.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {}
                    Err(other) => return Err(other),
                }
            }
        }
        Ok(sum)
    }

    /// Their memory, summed.
    ///
    /// # Errors
    /// If one of them has ended.
    pub fn memory(&self) -> io::Result<Memory> {
        let mut sum = Memory::default();
        for &pid in &self.pids {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            let number = |text, name| field(text, name).ok_or_else(|| malformed(name));
            sum.rss_kib += number(&status, "VmRSS:")?;
            sum.peak_kib += number(&status, "VmHWM:")?;
            sum.pss_kib += number(&rollup, "Pss:")?;
        }
        Ok(sum)
    }
}

/// `root` and all that descend from it, given pairs of process and parent.
fn descendants(root: u32, parents: &[(u32, u32)]) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        next += 1;
        found.extend(
            parents
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(pid, _)| *pid),
        );
    }
    found
}

fn read_stat(pid: u32) -> io::Result<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_stat(&text).ok_or_else(|| malformed("stat"))
}

/// The command, in parentheses, may hold spaces and parentheses itself: fields count from the last one.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    // From here on: state (field 3), ppid (4), ..., utime (14), stime (15).
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        ticks: number(11)? + number(12)?,
    })
}

/// The number after `name` at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    first_number(text.lines().find_map(|line| line.strip_prefix(name))?)
}

fn first_number(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

fn malformed(what: &str) -> io::Error {
    io::Error::other(format!("/proc: {what} is not as expected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_past_any_command() {
        let rest = "S 41 1 1 0 -1 4194560 100 0 0 0 250 50 7 8 20 0 3 0 100 1000 10 0";
        for command in ["haproxy", "a b", "x) S 9 (", "((("] {
            let stat = parse_stat(&format!("42 ({command}) {rest}")).unwrap();
            assert_eq!(
                stat,
                Stat {
                    parent: 41,
                    ticks: 300
                },
                "{command}"
            );
        }
        for broken in [
            "",
            "42 (x",
            "42 (x) S",
            "42 (x) S 41 1 1 0 -1 0 1 0 0 0 a 5",
        ] {
            assert_eq!(parse_stat(broken), None, "{broken}");
        }
    }

    #[test]
    fn fields_are_found_at_the_start_of_a_line() {
        let text = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nnonvoluntary_ctxt_switches:\t9\nvoluntary_ctxt_switches:\t5\n";
        assert_eq!(field(text, "VmRSS:"), Some(1024));
        assert_eq!(field(text, "VmHWM:"), Some(2048));
        assert_eq!(field(text, "voluntary_ctxt_switches:"), Some(5));
        assert_eq!(field(text, "Pss:"), None);
    }

    #[test]
    fn descendants_of_descendants_belong_to_the_tree() {
        let parents = [(1, 0), (10, 1), (11, 10), (12, 11), (13, 10), (20, 1)];
        assert_eq!(descendants(10, &parents), [10, 11, 13, 12]);
        assert_eq!(descendants(20, &parents), [20]);
    }

    #[test]
    fn a_tree_has_its_root() {
        let this = std::process::id();
        assert_eq!(Tree::of(this).unwrap().pids[0], this);
    }

    #[test]
    fn this_process_can_be_read() {
        let tree = Tree::alone(std::process::id());
        assert!(tree.scheduled_time().unwrap() > Duration::ZERO);
        let memory = tree.memory().unwrap();
        assert!(memory.peak_kib >= memory.rss_kib, "{memory:?}");
        // The two come from different files, read one after the other: they may not be compared.
        assert!(memory.rss_kib > 0 && memory.pss_kib > 0, "{memory:?}");
        tree.cpu_time().unwrap();
        tree.wakeups().unwrap();
    }
}
