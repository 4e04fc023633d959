//! Keeps a failing application from filling the log.

use std::cell::Cell;
use std::time::Duration;

use plimsoll_meter::Tick;
use plimsoll_wire::ProxyError;

/// At most one line per error word and worker in this time.
const PERIOD: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    last: Option<Tick>,
    suppressed: u64,
}

/// Decides which of many equal lines are written.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Cell<Entry>);

/// Decides which failures are worth a line.
#[derive(Debug)]
pub(crate) struct LogThrottle {
    entries: [Throttle; ProxyError::COUNT],
}

impl Throttle {
    /// `Some(n)` if a line is due; `n` equal ones have passed in silence since the last one.
    pub(crate) fn admit(&self, now: Tick) -> Option<u64> {
        let mut entry = self.0.get();
        let admitted = match entry.last {
            Some(last) if now.saturating_duration_since(last) < PERIOD => {
                entry.suppressed += 1;
                None
            }
            _ => {
                entry.last = Some(now);
                Some(std::mem::take(&mut entry.suppressed))
            }
        };
        self.0.set(entry);
        admitted
    }
}

impl LogThrottle {
    pub(crate) fn new() -> Self {
        Self {
            entries: std::array::from_fn(|_| Throttle::default()),
        }
    }

    /// [`Throttle::admit`] for lines about `error`.
    pub(crate) fn admit(&self, error: ProxyError, now: Tick) -> Option<u64> {
        self.entries[error.index()].admit(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_and_the_rest_is_counted() {
        let throttle = LogThrottle::new();
        let at = |ms: u64| Tick::from_nanos(ms * 1_000_000);
        let refused = ProxyError::ConnectionRefused;
        assert_eq!(throttle.admit(refused, at(0)), Some(0));
        assert_eq!(throttle.admit(refused, at(1)), None);
        assert_eq!(throttle.admit(refused, at(999)), None);
        assert_eq!(
            throttle.admit(ProxyError::HttpProtocolError, at(999)),
            Some(0),
            "each word has its own line"
        );
        assert_eq!(throttle.admit(refused, at(1000)), Some(2));
        assert_eq!(throttle.admit(refused, at(2000)), Some(0));
    }
}
