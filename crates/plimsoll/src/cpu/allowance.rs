//! How much processor time a group may use.

use std::path::Path;

use super::Files;
use super::group::{Group, Version};
use super::usage::Reading;

/// How many processors may be used: the least limit of the group and those above it, or all that the process
/// may run on if that is less. Without a group it is the machine's.
pub(super) fn allowed(files: &impl Files, group: Option<&Group>) -> f64 {
    let Some(group) = group else {
        let machine = Reading::take(files, None).and_then(|reading| reading.processors());
        return f64::from(machine.unwrap_or_else(|| files.processors()).max(1));
    };
    let limits = group.limits.iter();
    let limits = limits.filter_map(|directory| limit(files, group.version, directory));
    limits.fold(f64::from(processors(files, group).max(1)), f64::min)
}

/// How many processors a group may run on.
fn processors(files: &impl Files, group: &Group) -> u32 {
    let list = || {
        let files_of_v2 = group
            .limits
            .iter()
            .map(|dir| dir.join("cpuset.cpus.effective"));
        let mut lists = files_of_v2.filter_map(|file| cpu_list(&files.read(&file)?));
        lists.find(|count| *count > 0)
    };
    let other = || (!group.is_own).then(list).flatten();
    other().unwrap_or_else(|| files.processors())
}

/// The limit of one group, in processors.
fn limit(files: &impl Files, version: Version, directory: &Path) -> Option<f64> {
    let read = |name| files.read(&directory.join(name));
    match version {
        Version::V2 => cpu_max(&read("cpu.max")?),
        Version::V1 => {
            let (quota, period) = (read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?);
            ratio(quota.trim(), period.trim())
        }
    }
}

/// Version 2: `QUOTA PERIOD` in microseconds, or `max PERIOD` for no limit.
fn cpu_max(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    ratio(quota, period)
}

/// A quota over its period. Version 1 writes -1 for no limit.
fn ratio(quota: &str, period: &str) -> Option<f64> {
    let quota: u64 = quota.parse().ok()?;
    let period: u64 = period.parse().ok()?;
    (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
}

/// How many processors are in a list such as `0-2,4`. `None` if it is no list.
fn cpu_list(text: &str) -> Option<u32> {
    let text = text.trim();
    if text.is_empty() {
        return Some(0);
    }
    let mut ranges = Vec::new();
    for range in text.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first > last {
            return None;
        }
        ranges.push((first, last));
    }
    // The kernel writes them in order and apart; others may not.
    ranges.sort_unstable();
    let mut count: u32 = 0;
    let mut next = 0;
    for (first, last) in ranges {
        let after = last.saturating_add(1);
        count = count.saturating_add(after.saturating_sub(first.max(next)));
        next = next.max(after);
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_version_2() {
        for (text, expected) in [
            ("20000 100000\n", Some(0.2)),
            ("250000 100000", Some(2.5)),
            ("max 100000\n", None),
            ("max", None),
            ("20000", None),
            ("20000 0", None),
            ("0 100000", None),
            ("-1 100000", None),
            ("invalidformat", None),
            ("", None),
            ("99999999999999999999 1", None),
        ] {
            assert_eq!(cpu_max(text), expected, "{text:?}");
        }
    }

    #[test]
    fn limits_of_version_1() {
        for (quota, period, expected) in [
            ("100000", "100000", Some(1.0)),
            ("20000", "100000", Some(0.2)),
            ("-1", "100000", None),
            ("100000", "0", None),
            ("100000", "", None),
        ] {
            assert_eq!(ratio(quota, period), expected, "{quota} {period}");
        }
    }

    #[test]
    fn lists_of_processors() {
        for (text, expected) in [
            ("0-2,4\n", Some(4)),
            ("0-3", Some(4)),
            ("7", Some(1)),
            ("0,3-4,7,8-10", Some(7)),
            ("0-0,0,1-7", Some(8)),
            ("03,1-3", Some(3)),
            ("3,2,1", Some(3)),
            ("0-2,3,1", Some(4)),
            ("0-9,2-3", Some(10)),
            ("", Some(0)),
            ("3-1", None),
            ("a", None),
            ("0-4294967295", Some(u32::MAX)),
        ] {
            assert_eq!(cpu_list(text), expected, "{text:?}");
        }
    }
}
