//! What the system says of this process, by the names that every program of Go's has for it.

use std::fs;

use plimsoll_wire::user::ProcessSample;
use rustix::process::{Resource, getrlimit};

/// What the system says now; `None` if it says nothing, as where `/proc` is not mounted.
pub(super) fn sample() -> Option<ProcessSample> {
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let page = rustix::param::page_size() as u64;
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let stat = Stat::parse(&stat)?;
    let booted = fs::read_to_string("/proc/stat").ok()?;
    // Without the descriptor that reads this folder.
    let open = fs::read_dir("/proc/self/fd")
        .ok()?
        .count()
        .saturating_sub(1);
    Some(ProcessSample {
        cpu_seconds: stat.cpu_ticks as f64 / ticks,
        resident_bytes: stat.resident_pages.saturating_mul(page),
        virtual_bytes: stat.virtual_bytes,
        open_descriptors: open as u64,
        descriptors_max: getrlimit(Resource::Nofile).current,
        started_at_seconds: boot_time(&booted)? as f64 + stat.started_ticks as f64 / ticks,
    })
}

/// Fields of `/proc/self/stat` (proc(5)).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    /// Since the machine was started.
    started_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name is in parentheses and may hold others. The state behind it is the third field.
        let (_, after) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = after.split(' ').collect();
        let field = |number: usize| fields.get(number - 3)?.trim().parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            started_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// Seconds since 1970 when the machine was started.
fn boot_time(text: &str) -> Option<u64> {
    let mut times = text.lines().filter_map(|line| line.strip_prefix("btime "));
    times.next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn fields_are_found_whatever_the_name() {
        let text = "7 (a) b) S 1 7 7 0 -1 4194304 90 0 0 0 12 34 0 0 20 0 1 0 99 5000 60 18446744073709551615 0\n";
        let expected = Stat {
            cpu_ticks: 46,
            started_ticks: 99,
            virtual_bytes: 5_000,
            resident_pages: 60,
        };
        assert_eq!(Stat::parse(text), Some(expected));
        for broken in ["", "7 (a", "7 (a) S 1 2", "a) S"] {
            assert_eq!(Stat::parse(broken), None, "{broken}");
        }
        assert_eq!(
            boot_time("cpu 1 2\nbtime 1700000000\nx 1\n"),
            Some(1_700_000_000)
        );
        assert_eq!(boot_time("cpu 1 2\n"), None);
    }

    #[test]
    fn this_process_is_small_young_and_has_descriptors() {
        let sample = sample().unwrap();
        assert!(sample.resident_bytes > 100_000 && sample.virtual_bytes >= sample.resident_bytes);
        assert!(sample.open_descriptors >= 3);
        assert!(
            sample
                .descriptors_max
                .is_none_or(|most| most >= sample.open_descriptors)
        );
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
        let age = now - sample.started_at_seconds;
        // Whole seconds of the boot time, and ticks, leave room for two seconds.
        assert!((-2.0..86_400.0).contains(&age), "{age}");
    }
}
