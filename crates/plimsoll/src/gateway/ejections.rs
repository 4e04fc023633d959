//! Log lines about endpoints that are left out for failing, and let in again.

use std::time::Duration;

use plimsoll_balance::{EjectionChange, EjectionEvent, EjectionEvents};
use plimsoll_meter::Tick;

/// Lines in each [`PERIOD`]; of more, the number is told. When a whole rack goes, the first names say enough, and
/// the API has all of them.
const LINES_MAX: u32 = 10;

/// The time for which lines are counted.
const PERIOD: Duration = Duration::from_secs(1);

/// Writes the lines, and not too many.
#[derive(Debug, Default)]
pub(crate) struct EjectionLog {
    /// When the present period began.
    since: Option<Tick>,
    lines: u32,
    suppressed: u64,
}

impl EjectionLog {
    /// Tells what has happened to the endpoints of `service`.
    pub(crate) fn tell(&mut self, now: Tick, service: &str, taken: EjectionEvents) {
        self.suppressed += taken.forgotten;
        for event in taken.events {
            if self.admit(now) {
                line(service, &event);
            }
        }
    }

    /// Tells of what was not told, if it is time. To be called from time to time.
    pub(crate) fn sum_up(&mut self, now: Tick) {
        if let Some(endpoints) = self.untold(now) {
            tracing::warn!(
                endpoints,
                "more were left out or let in again; see /api/v1/endpoints"
            );
        }
    }

    /// Whether there may be another line.
    fn admit(&mut self, now: Tick) -> bool {
        if !self.is_within_period(now) {
            self.since = Some(now);
            self.lines = 0;
        }
        let admitted = self.lines < LINES_MAX;
        if admitted {
            self.lines += 1;
        } else {
            self.suppressed += 1;
        }
        admitted
    }

    /// How many were not told, once the period is over in which they were too many.
    fn untold(&mut self, now: Tick) -> Option<u64> {
        if self.is_within_period(now) || self.suppressed == 0 {
            return None;
        }
        Some(std::mem::take(&mut self.suppressed))
    }

    fn is_within_period(&self, now: Tick) -> bool {
        self.since
            .is_some_and(|since| now.saturating_duration_since(since) < PERIOD)
    }
}

fn line(service: &str, event: &EjectionEvent) {
    let endpoint = &*event.address;
    match event.change {
        EjectionChange::Ejected { reason, wait } => tracing::warn!(
            service,
            endpoint,
            reason = reason.name(),
            seconds = wait.as_secs_f64(),
            "ejected: it gets nothing for {wait:?}, then one request that tries it"
        ),
        EjectionChange::Readmitted { after } => tracing::info!(
            service,
            endpoint,
            seconds = after.as_secs_f64(),
            "let in again, slowly: it has answered"
        ),
        EjectionChange::Forgiven { after } => tracing::info!(
            service,
            endpoint,
            seconds = after.as_secs_f64(),
            "let in again: the others fail as well"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_a_second_and_then_the_number_of_the_others() {
        let mut log = EjectionLog::default();
        let at = |millis: u64| Tick::from_nanos(millis * 1_000_000);
        let admitted = (0..25).filter(|_| log.admit(at(0))).count();
        assert_eq!(admitted, 10);
        assert_eq!(log.untold(at(999)), None);
        assert_eq!(log.untold(at(1_000)), Some(15));
        assert_eq!(log.untold(at(1_000)), None);
        assert!(log.admit(at(1_000)));
        assert_eq!(log.untold(at(2_000)), None);
    }
}
