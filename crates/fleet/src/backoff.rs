//! How long to wait after a failure, before the next start.
//!
//! Exponential and bounded: twice as long after each failure in a row, up to a
//! maximum. A replica that was ready for [`healthy_after`](BackOffConfig::healthy_after)
//! has proved the command, so its end begins a new count, and the first
//! replacement is started at once. Kubernetes does the same for containers (10 s
//! to 5 min, forgotten after 10 min); here somebody waits for the answer, so the
//! times are shorter.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::command::SpecError;

/// How long to wait after failures in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackOffConfig {
    /// The wait after the first failure; it doubles with each further one. Default: 500 ms.
    pub first: Duration,
    /// The longest wait. Default: 30 s.
    pub max: Duration,
    /// A replica that was ready for so long does not count as another failure in a row. Default: 30 s.
    pub healthy_after: Duration,
}

/// Failures in a row, and until when no replica is started.
#[derive(Debug, Default)]
pub(crate) struct BackOff {
    failures: u32,
    until: Option<Instant>,
    last: Option<Arc<str>>,
}

/// That a service waits after failures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackOffView {
    /// Failures in a row, 1 or more.
    pub failures: u32,
    /// How long until the next start is allowed; zero if it is.
    pub remaining: Duration,
    /// What the last failure was, in words, with the last line of output.
    pub last_failure: Arc<str>,
}

impl Default for BackOffConfig {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            max: Duration::from_secs(30),
            healthy_after: Duration::from_secs(30),
        }
    }
}

impl BackOffConfig {
    pub(crate) fn validate(&self) -> Result<(), SpecError> {
        SpecError::check_duration("back_off.first", self.first, Duration::ZERO)?;
        SpecError::check_duration("back_off.max", self.max, self.first)?;
        SpecError::check_duration("back_off.healthy_after", self.healthy_after, Duration::ZERO)
    }
}

impl BackOff {
    /// A replica failed that had been ready for `ready_for`, or never was. Returns how long to wait.
    pub(crate) fn failed(
        &mut self,
        now: Instant,
        config: &BackOffConfig,
        ready_for: Option<Duration>,
        failure: Arc<str>,
    ) -> Duration {
        let healthy = ready_for.is_some_and(|time| time >= config.healthy_after);
        self.failures = if healthy {
            0
        } else {
            self.failures.saturating_add(1)
        };
        let wait = wait_after(self.failures, config);
        self.until = Some(now + wait);
        self.last = Some(failure);
        wait
    }

    /// A replica has been ready for long enough: what failed before is over.
    pub(crate) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// What there is to wait for, if there was a failure since the last success.
    pub(crate) fn view(&self, now: Instant) -> Option<BackOffView> {
        let last_failure = self.last.clone()?;
        let remaining = self
            .until
            .map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        Some(BackOffView {
            failures: self.failures.max(1),
            remaining,
            last_failure,
        })
    }
}

fn wait_after(failures: u32, config: &BackOffConfig) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else {
        return Duration::ZERO;
    };
    let factor = 2_u32.saturating_pow(doublings);
    config.first.saturating_mul(factor).min(config.max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure() -> Arc<str> {
        Arc::from("exited with status 1")
    }

    #[test]
    fn the_wait_doubles_up_to_the_maximum() {
        let (config, now) = (BackOffConfig::default(), Instant::now());
        let mut back_off = BackOff::default();
        let waits: Vec<u128> = (0..9)
            .map(|_| back_off.failed(now, &config, None, failure()).as_millis())
            .collect();
        let expected = [
            500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000,
        ];
        assert_eq!(waits, expected);
        for _ in 0..100 {
            back_off.failed(now, &config, None, failure());
        }
        let view = back_off.view(now).expect("it failed");
        assert_eq!((view.failures, view.remaining), (109, config.max));
    }

    #[test]
    fn one_that_was_healthy_is_replaced_at_once_and_one_that_was_not_waits() {
        let (config, now) = (BackOffConfig::default(), Instant::now());
        let mut back_off = BackOff::default();
        for _ in 0..5 {
            back_off.failed(now, &config, None, failure());
        }
        let healthy = Some(config.healthy_after);
        assert_eq!(
            back_off.failed(now, &config, healthy, failure()),
            Duration::ZERO
        );
        let short = Some(config.healthy_after - Duration::from_nanos(1));
        assert_eq!(
            back_off.failed(now, &config, short, failure()),
            config.first
        );
    }

    #[test]
    fn the_wait_runs_out_and_success_forgets_the_failures() {
        let (config, now) = (BackOffConfig::default(), Instant::now());
        let mut back_off = BackOff::default();
        assert_eq!(back_off.view(now), None);
        back_off.failed(now, &config, None, failure());
        let at = |millis| now + Duration::from_millis(millis);
        let remaining = |back_off: &BackOff, at| back_off.view(at).expect("it failed").remaining;
        assert_eq!(remaining(&back_off, at(200)), Duration::from_millis(300));
        assert_eq!(remaining(&back_off, at(501)), Duration::ZERO);
        back_off.succeeded();
        assert_eq!(back_off.view(now), None);
    }
}
