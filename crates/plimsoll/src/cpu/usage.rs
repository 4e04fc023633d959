//! How much processor time has been used.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Files;
use super::group::{Group, Version};

/// The kind of file that counts a group's processor time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counter {
    /// `cpu.stat` of version 2: microseconds in the line `usage_usec`.
    CpuStat,
    /// `cpuacct.usage` of version 1: nanoseconds.
    CpuacctUsage,
}

/// A reading of a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Of a group.
    Group {
        /// Processor time since the group was made.
        used: Duration,
    },
    /// Of the machine, in ticks since it was started. How long a tick is does not matter, for both are.
    Machine {
        /// Ticks that some work took, or another guest of the host.
        busy: u64,
        /// All ticks of all processors.
        total: u64,
        /// Processors.
        processors: u32,
    },
}

impl Counter {
    /// The counter in a group's directory, if there is one that can be read.
    pub(super) fn at(
        files: &impl Files,
        version: Version,
        directory: &Path,
    ) -> Option<(Self, PathBuf)> {
        let (counter, name) = match version {
            Version::V2 => (Self::CpuStat, "cpu.stat"),
            Version::V1 => (Self::CpuacctUsage, "cpuacct.usage"),
        };
        let file = directory.join(name);
        counter.used(&files.read(&file)?)?;
        Some((counter, file))
    }

    /// The processor time that the text of the file says.
    fn used(self, text: &str) -> Option<Duration> {
        match self {
            Self::CpuStat => text
                .lines()
                .find_map(|line| line.strip_prefix("usage_usec "))
                .and_then(|number| number.trim().parse().ok())
                .map(Duration::from_micros),
            Self::CpuacctUsage => text.trim().parse().ok().map(Duration::from_nanos),
        }
    }
}

impl Reading {
    /// Reads the counter of a group, or of the machine.
    pub(super) fn take(files: &impl Files, group: Option<&Group>) -> Option<Self> {
        match group {
            Some(group) => {
                let (counter, file) = &group.counter;
                let used = counter.used(&files.read(file)?)?;
                Some(Self::Group { used })
            }
            None => machine(&files.read(Path::new("/proc/stat"))?),
        }
    }

    /// How many processors were busy on average since an earlier reading. `None` if that cannot be said: no
    /// time has passed, or a counter has gone back.
    pub(super) fn processors_since(&self, earlier: &Self, elapsed: Duration) -> Option<f64> {
        match (self, earlier) {
            (Self::Group { used }, Self::Group { used: before }) => {
                let used = used.checked_sub(*before)?;
                let is_sound = !elapsed.is_zero();
                is_sound.then(|| used.as_secs_f64() / elapsed.as_secs_f64())
            }
            (
                Self::Machine {
                    busy,
                    total,
                    processors,
                },
                Self::Machine {
                    busy: busy_before,
                    total: total_before,
                    ..
                },
            ) => {
                let busy = busy.checked_sub(*busy_before)?;
                let total = total.checked_sub(*total_before)?;
                let is_sound = total > 0;
                is_sound.then(|| busy as f64 / total as f64 * f64::from(*processors))
            }
            _ => None,
        }
    }

    /// The processors of the machine, if it is a reading of that.
    pub(super) fn processors(&self) -> Option<u32> {
        match self {
            Self::Group { .. } => None,
            Self::Machine { processors, .. } => Some(*processors),
        }
    }
}

/// The first line of `/proc/stat`, `cpu USER NICE SYSTEM IDLE IOWAIT IRQ SOFTIRQ STEAL ...`, and how many lines
/// `cpuN` follow. Time of guests is in `USER` already. Stolen time is busy: we cannot have it.
fn machine(text: &str) -> Option<Reading> {
    let mut lines = text.lines();
    let numbers = lines.next()?.strip_prefix("cpu ")?;
    let numbers: Vec<u64> = numbers
        .split_whitespace()
        .take(8)
        .map(|number| number.parse().ok())
        .collect::<Option<_>>()?;
    let [user, nice, system, idle, rest @ ..] = numbers.as_slice() else {
        return None;
    };
    let iowait = rest.first().copied().unwrap_or(0);
    let others: u64 = rest
        .iter()
        .skip(1)
        .fold(0, |sum, ticks| sum.saturating_add(*ticks));
    let busy = [*user, *nice, *system, others].into_iter();
    let busy = busy.fold(0, u64::saturating_add);
    let is_processor = |line: &&str| line.starts_with("cpu");
    Some(Reading::Machine {
        busy,
        total: busy.saturating_add(*idle).saturating_add(iowait),
        processors: lines.take_while(is_processor).count() as u32,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_groups() {
        let micros = Duration::from_micros;
        let cpu_stat = "usage_usec 12345\nuser_usec 12000\nsystem_usec 345\nnr_periods 0\n";
        for (counter, text, expected) in [
            (Counter::CpuStat, cpu_stat, Some(micros(12_345))),
            (
                Counter::CpuStat,
                "user_usec 1\nusage_usec 7",
                Some(micros(7)),
            ),
            (Counter::CpuStat, "user_usec 12000\n", None),
            (Counter::CpuStat, "usage_usec\n", None),
            (Counter::CpuStat, "usage_usec -1\n", None),
            // Version 1 has a file of the same name, without this line.
            (
                Counter::CpuStat,
                "nr_periods 0\nnr_throttled 0\nthrottled_time 0\n",
                None,
            ),
            (
                Counter::CpuacctUsage,
                "123456789\n",
                Some(Duration::from_nanos(123_456_789)),
            ),
            (Counter::CpuacctUsage, "", None),
            (Counter::CpuacctUsage, "1 2", None),
            (Counter::CpuacctUsage, "99999999999999999999", None),
        ] {
            assert_eq!(counter.used(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_counter_of_the_machine() {
        let reading = |busy, total, processors| {
            Some(Reading::Machine {
                busy,
                total,
                processors,
            })
        };
        for (text, expected) in [
            (
                "cpu  1 2 4 8 16 32 64 128 1 2\ncpu0 1\ncpu1 1\nintr 5\n",
                reading(231, 255, 2),
            ),
            // Old kernels have fewer columns.
            ("cpu 1 2 4 8\ncpu0 1 2 4 8\n", reading(7, 15, 1)),
            ("cpu 1 2 4\n", None),
            ("cpu 1 2 x 8\n", None),
            ("cpu 1 2 -4 8\n", None),
            ("intr 5\n", None),
            ("", None),
        ] {
            assert_eq!(machine(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_was_used_between_two_readings() {
        let group = |millis| Reading::Group {
            used: Duration::from_millis(millis),
        };
        let machine = |busy, total| Reading::Machine {
            busy,
            total,
            processors: 4,
        };
        let quarter = Duration::from_millis(250);
        for (earlier, later, elapsed, expected) in [
            (group(1_000), group(1_500), quarter, Some(2.0)),
            (group(1_000), group(1_000), quarter, Some(0.0)),
            (group(1_000), group(999), quarter, None),
            (group(1_000), group(1_500), Duration::ZERO, None),
            (machine(10, 100), machine(60, 200), quarter, Some(2.0)),
            (machine(10, 100), machine(10, 100), quarter, None),
            (machine(10, 100), machine(9, 200), quarter, None),
            (group(1_000), machine(60, 200), quarter, None),
        ] {
            assert_eq!(later.processors_since(&earlier, elapsed), expected);
        }
    }
}
