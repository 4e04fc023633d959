//! What `/proc` says of processes.
//!
//! Whatever cannot be read is left out: processes end while one looks at them, and those of others may be hidden.

use std::collections::{HashMap, HashSet};
use std::fs;

use rustix::process::Pid;

/// Generations of processes that are followed.
const GENERATIONS_MAX: usize = 64;

/// What is used of `/proc/PID/stat`; see proc(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) pid: i32,
    /// `Z` is a zombie, `X` is dead.
    pub(crate) state: u8,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    /// In clock ticks after boot. With the number it names a process for ever.
    pub(crate) started: u64,
    /// Resident pages.
    pub(crate) pages: u64,
}

impl Stat {
    pub(crate) fn runs(&self) -> bool {
        !matches!(self.state, b'Z' | b'X')
    }

    fn read(pid: i32) -> Option<Self> {
        Self::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name, in brackets, may have spaces and brackets itself: what follows the last bracket is looked at.
    fn parse(text: &[u8]) -> Option<Self> {
        let name_begins = text.iter().position(|byte| *byte == b'(')?;
        let name_ends = text.iter().rposition(|byte| *byte == b')')?;
        let pid = std::str::from_utf8(&text[..name_begins]).ok()?;
        let rest = std::str::from_utf8(text.get(name_ends + 1..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        Some(Self {
            pid: pid.trim().parse().ok()?,
            state: *fields.first()?.as_bytes().first()?,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
            pages: fields.get(21)?.parse().ok()?,
        })
    }
}

/// A process, if it can be seen.
pub(crate) fn process(pid: i32) -> Option<Stat> {
    Stat::read(pid)
}

/// All processes that can be seen.
pub(crate) fn processes() -> impl Iterator<Item = Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter_map(Stat::read)
}

/// Which processes belong to each of the groups: members, and descendants that have left it.
pub(crate) fn owned_by<'a>(
    groups: &HashSet<i32>,
    processes: &'a [Stat],
) -> HashMap<i32, Vec<&'a Stat>> {
    let by_pid: HashMap<i32, &Stat> = processes.iter().map(|stat| (stat.pid, stat)).collect();
    let mut owned: HashMap<i32, Vec<&Stat>> = HashMap::new();
    for stat in processes {
        let parent = |stat: &&Stat| by_pid.get(&stat.parent).copied();
        let ancestors = std::iter::successors(Some(stat), parent);
        let mut line = ancestors.take(GENERATIONS_MAX).map(|stat| stat.group);
        if let Some(owner) = line.find(|group| groups.contains(group)) {
            owned.entry(owner).or_default().push(stat);
        }
    }
    owned
}

/// The proportional share of memory of a process, in bytes: a page that three have in common counts a third.
pub(crate) fn proportional(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1_024)
}

/// Whether a process of the group runs.
pub(crate) fn group_runs(group: Pid) -> bool {
    let group = group.as_raw_nonzero().get();
    processes().any(|stat| stat.group == group && stat.runs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_name_is() {
        let line = b"12 (a) R (b) S 3 4 5 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 777 0 42 0\n";
        let expected = Stat {
            pid: 12,
            state: b'S',
            parent: 3,
            group: 4,
            started: 777,
            pages: 42,
        };
        assert_eq!(Stat::parse(line), Some(expected));
        for bad in ["", "12", "12 (a", "12 (a)", "12 (a) S 3", "x (a) S 3 4"] {
            assert_eq!(Stat::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn this_process_is_seen() {
        let own = i32::try_from(std::process::id()).unwrap();
        let seen = processes().find(|stat| stat.pid == own);
        let seen = seen.expect("it runs");
        assert!(seen.runs() && seen.pages > 0 && seen.parent > 0);
        assert!(proportional(own).unwrap() > 0);
        assert!(group_runs(Pid::from_raw(seen.group).unwrap()));
    }

    #[test]
    fn members_and_descendants_belong_to_a_group() {
        let process = |pid, parent, group| Stat {
            pid,
            state: b'S',
            parent,
            group,
            started: 0,
            pages: 1,
        };
        let processes = [
            process(1, 0, 1),
            process(10, 1, 10),
            process(11, 10, 10),
            // A child with a session of its own, and its child.
            process(12, 11, 12),
            process(13, 12, 13),
            process(20, 1, 20),
            // An orphan that stayed in the group.
            process(21, 1, 20),
            process(30, 1, 30),
        ];
        let owned = owned_by(&HashSet::from([10, 20, 99]), &processes);
        let mut owned: Vec<(i32, Vec<i32>)> = owned
            .into_iter()
            .map(|(group, stats)| (group, stats.iter().map(|stat| stat.pid).collect()))
            .collect();
        owned.sort_unstable();
        assert_eq!(owned, [(10, vec![10, 11, 12, 13]), (20, vec![20, 21])]);
    }
}
