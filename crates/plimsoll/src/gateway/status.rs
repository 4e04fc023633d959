//! What has become of the configuration: loaded when, refused why.

use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use plimsoll_wire::gateway::ConfigSample;

/// How loading the configuration goes.
#[derive(Debug)]
pub(crate) struct Status(Mutex<Loading>);

/// How loading the configuration has gone so far.
#[derive(Debug, Clone)]
pub(crate) struct Loading {
    /// When the one in use was loaded.
    pub(crate) loaded_at: SystemTime,
    /// Loadings after the first that were taken over, and that were not.
    pub(crate) successes: u64,
    pub(crate) failures: u64,
    /// Why the newest one is not in use; `None` if it is.
    pub(crate) refused: Option<Refused>,
    /// What the newest one says that only a restart can take over.
    pub(crate) waiting_for_restart: Vec<&'static str>,
}

/// A configuration that is not in use.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    pub(crate) at: SystemTime,
    /// One line for each problem.
    pub(crate) problems: Vec<String>,
}

impl Status {
    /// The first configuration has been loaded.
    pub(crate) fn begin() -> Self {
        Self(Mutex::new(Loading {
            loaded_at: SystemTime::now(),
            successes: 0,
            failures: 0,
            refused: None,
            waiting_for_restart: Vec::new(),
        }))
    }

    /// Another one is in use.
    pub(crate) fn loaded(&self, waiting_for_restart: Vec<&'static str>) {
        let mut loading = self.0.lock();
        loading.loaded_at = SystemTime::now();
        loading.successes += 1;
        loading.refused = None;
        loading.waiting_for_restart = waiting_for_restart;
    }

    /// Another one was refused.
    pub(crate) fn refused(&self, problems: Vec<String>) {
        let mut loading = self.0.lock();
        loading.failures += 1;
        loading.refused = Some(Refused {
            at: SystemTime::now(),
            problems,
        });
    }

    pub(crate) fn view(&self) -> Loading {
        self.0.lock().clone()
    }

    /// For the metrics.
    pub(crate) fn sample(&self) -> ConfigSample {
        let loading = self.0.lock();
        let since_epoch =
            |at: SystemTime| -> Option<Duration> { at.duration_since(SystemTime::UNIX_EPOCH).ok() };
        ConfigSample {
            reloads_successful: loading.successes,
            reloads_failed: loading.failures,
            last_failed: loading.refused.is_some(),
            loaded_at: since_epoch(loading.loaded_at),
        }
    }
}
