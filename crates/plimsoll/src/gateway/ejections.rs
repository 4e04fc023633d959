//! Log lines about endpoints that are left out for failing, and let in again; and the last of them, for who asks.

use std::collections::VecDeque;
use std::time::Duration;

use plimsoll_balance::{EjectionChange, EjectionEvent, EjectionEvents};
use plimsoll_meter::Tick;

/// Lines in each [`PERIOD`]; of more, the number is told. When a whole rack goes, the first names say enough, and
/// the API has all of them.
const LINES_MAX: u32 = 10;

/// Events that are kept for the API and the dashboard, of all services together. Of more, the oldest are forgotten.
pub(crate) const RECENT_MAX: usize = 256;

/// The time for which lines are counted.
const PERIOD: Duration = Duration::from_secs(1);

/// Writes the lines, and not too many.
#[derive(Debug, Default)]
pub(crate) struct EjectionLog {
    /// When the present period began.
    since: Option<Tick>,
    lines: u32,
    suppressed: u64,
    /// The last events, each with the name of its service, the oldest first.
    recent: VecDeque<(String, EjectionEvent)>,
}

impl EjectionLog {
    /// Tells what has happened to the endpoints of `service`.
    pub(crate) fn tell(&mut self, now: Tick, service: &str, taken: EjectionEvents) {
        self.suppressed += taken.forgotten;
        for event in taken.events {
            if self.admit(now) {
                line(service, &event);
            }
            if self.recent.len() == RECENT_MAX {
                self.recent.pop_front();
            }
            self.recent.push_back((service.to_owned(), event));
        }
    }

    /// The last events of `service`, or of all services, the newest first.
    pub(crate) fn recent(&self, service: Option<&str>) -> Vec<(String, EjectionEvent)> {
        let wanted = |(name, _): &&(String, EjectionEvent)| service.is_none_or(|it| it == name);
        self.recent.iter().rev().filter(wanted).cloned().collect()
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

    /// Whether nothing is left to be summed up.
    pub(crate) fn all_told(&self) -> bool {
        self.suppressed == 0
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
    fn the_last_events_are_kept_the_newest_first() {
        let mut log = EjectionLog::default();
        for number in 0..RECENT_MAX as u64 + 10 {
            let event = EjectionEvent {
                address: number.to_string().into(),
                at: Tick::from_nanos(number),
                change: EjectionChange::Readmitted {
                    after: Duration::ZERO,
                },
            };
            let taken = EjectionEvents {
                events: vec![event],
                forgotten: 0,
            };
            let service = if number % 2 == 0 { "even" } else { "odd" };
            log.tell(Tick::from_nanos(number), service, taken);
        }
        let all = log.recent(None);
        assert_eq!(all.len(), RECENT_MAX);
        assert_eq!(&*all[0].1.address, "265");
        assert_eq!(log.recent(Some("even")).len(), RECENT_MAX / 2);
        assert!(log.recent(Some("none")).is_empty());
    }

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
