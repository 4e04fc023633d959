//! How much of its processor time the own control group uses.
//!
//! A container may use so much processor time and no more, however many processors the machine has. So the
//! load that matters is *used / allowed* of the control group, and it can be above 1 where a limit is soft.
//!
//! | part | file |
//! | --- | --- |
//! | which directories of the file system are the own group and those above it | `group` |
//! | what the group may use: the least limit among them, else the processors | `allowance` |
//! | what it has used | `usage` |
//!
//! These are functions from text to values. The files of Linux come to them by [`Files`], which a test can
//! replace. Nothing here fails: what cannot be read is not known, and a load that is not known is `None`.
//!
//! # Which group
//!
//! The process's own, unless another is named. In Kubernetes that is the container's, and a sidecar's
//! container is not the application's: to report on the application, or on the whole pod, name its group.
//! Where there are no control groups, it is the whole machine.

mod allowance;
mod group;
mod usage;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plimsoll_meter::{Ewma, Sample, Tick};

use self::group::Group;
use self::usage::Reading;

/// How often a sample should be taken.
pub(crate) const SAMPLE_PERIOD: Duration = Duration::from_millis(250);

/// The time constant of the average over samples.
///
/// Kratos's comes to 5 s, and it hears of an overload after 8 s. One second follows a change in about the time
/// in which balancers look.
pub(crate) const TIME_CONSTANT: Duration = Duration::from_secs(1);

/// How often limits are read again, for they can change while a container runs.
const LIMITS_PERIOD: Duration = Duration::from_secs(5);

/// How much of a file is read. A table of mounts can be long.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Whose processor time is looked at, and what it may use.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct CpuOptions {
    /// The directory of a control group; `None` is the own one.
    pub(crate) group: Option<PathBuf>,
    /// How many processors it may use; `None` is as the system says.
    pub(crate) quota: Option<f64>,
}

/// The files of the system.
pub(crate) trait Files {
    /// What is in a file, if it can be read.
    fn read(&self, path: &Path) -> Option<String>;

    /// How many processors the process may run on.
    fn processors(&self) -> u32;
}

/// The files of the machine that this runs on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct System;

/// Takes samples of the load.
#[derive(Debug)]
pub(crate) struct CpuMeter<F = System> {
    files: F,
    options: CpuOptions,
    /// Where the numbers are; `None` is the whole machine.
    group: Option<Group>,
    /// How many processors may be used.
    allowed: f64,
    /// When the two were looked up.
    resolved_at: Tick,
    last: Option<(Tick, Reading)>,
    average: Ewma,
}

// === impl System ===

impl Files for System {
    fn read(&self, path: &Path) -> Option<String> {
        let mut text = String::new();
        let file = File::open(path).ok()?;
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
        Some(text)
    }

    fn processors(&self) -> u32 {
        // The standard library's number has limits in it already, rounded to whole processors. It is right
        // where the mask is too long for the call.
        let all =
            || std::thread::available_parallelism().map_or(1, |processors| processors.get() as u32);
        rustix::thread::sched_getaffinity(None).map_or_else(|_| all(), |set| set.count())
    }
}

// === impl CpuMeter ===

impl<F: Files> CpuMeter<F> {
    /// Looks up where the numbers are. The first sample comes with the second call of
    /// [`sample`](Self::sample).
    pub(crate) fn new(files: F, options: CpuOptions, now: Tick) -> Self {
        let mut meter = Self {
            files,
            options,
            group: None,
            allowed: 1.0,
            resolved_at: now,
            last: None,
            average: Ewma::new(TIME_CONSTANT).expect("a second is a time constant"),
        };
        meter.resolve(now);
        meter
    }

    /// Whether a directory is a control group whose processor time is known.
    pub(crate) fn check_group(files: &F, directory: &Path) -> bool {
        Group::at(files, directory).is_some()
    }

    /// Takes a sample. Gives the average load of about the last second as a part of what is allowed, or `None`
    /// if it is not known.
    pub(crate) fn sample(&mut self, now: Tick) -> Option<f64> {
        if now.saturating_duration_since(self.resolved_at) >= LIMITS_PERIOD {
            self.resolve(now);
        }
        let reading = Reading::take(&self.files, self.group.as_ref());
        let Some(reading) = reading else {
            self.forget();
            return None;
        };
        let (then, earlier) = self.last.replace((now, reading))?;
        let used = reading.processors_since(&earlier, now.saturating_duration_since(then));
        if let Some(load) = used.and_then(|used| Sample::new(used / self.allowed)) {
            self.average.record(now, load);
        }
        self.average.mean()
    }

    /// Where the numbers are, for people.
    pub(crate) fn source(&self) -> String {
        match &self.group {
            Some(group) => group.directory().display().to_string(),
            None => "the whole machine".to_owned(),
        }
    }

    /// How many processors may be used.
    pub(crate) fn allowed(&self) -> f64 {
        self.allowed
    }

    fn resolve(&mut self, now: Tick) {
        let group = match &self.options.group {
            Some(directory) => Group::at(&self.files, directory),
            None => Group::own(&self.files),
        };
        if group != self.group {
            self.forget();
        }
        self.allowed = self
            .options
            .quota
            .unwrap_or_else(|| allowance::allowed(&self.files, group.as_ref()));
        self.group = group;
        self.resolved_at = now;
    }

    fn forget(&mut self) {
        self.last = None;
        self.average.clear();
    }
}

#[cfg(test)]
mod tests;
