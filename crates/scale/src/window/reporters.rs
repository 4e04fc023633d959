//! Many who report on one service, into one window.

use std::collections::HashMap;
use std::time::Duration;

use plimsoll_meter::Tick;

use super::linear::LinearWindow;

/// The most reporters that are told apart. Of more, those silent for a window
/// are forgotten, and if there are none the new ones only add.
pub const REPORTERS_MAX: usize = 4_096;

/// A [`LinearWindow`] into which many report, each once a second or so.
///
/// The load of a service is the sum over those who see a part of it, and in a
/// window values that fall into one second add up. So, as in Knative, would two
/// reports of one reporter that arrive in the same second, and jitter of the
/// network looks like double load. Here the later report takes the place of the
/// earlier one.
#[derive(Clone, Debug)]
pub struct Reporters {
    window: LinearWindow,
    last: HashMap<u64, (u64, f64)>,
}

/// How long a bucket is.
const SECOND: Duration = Duration::from_secs(1);

impl Reporters {
    /// An empty window of the given length.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        Self {
            window: LinearWindow::new(window, SECOND),
            last: HashMap::new(),
        }
    }

    /// Takes in what a reporter saw in the second that `at` is in.
    pub fn record(&mut self, reporter: u64, at: Tick, value: f64) {
        let second = at.as_nanos() / 1_000_000_000;
        match self.last.get_mut(&reporter) {
            Some((last, seen)) if *last == second => {
                self.window.record(at, value - *seen);
                *seen = value;
            }
            Some(entry) => {
                *entry = (second, value);
                self.window.record(at, value);
            }
            None => {
                self.make_room(second);
                if self.last.len() < REPORTERS_MAX {
                    self.last.insert(reporter, (second, value));
                }
                self.window.record(at, value);
            }
        }
    }

    /// The average of the sums; `None` if nobody has reported within the window.
    #[must_use]
    pub fn average(&self, now: Tick) -> Option<f64> {
        self.window.average(now)
    }

    fn make_room(&mut self, second: u64) {
        if self.last.len() >= REPORTERS_MAX {
            let window = self.window.window().as_secs();
            self.last.retain(|_, (last, _)| *last + window > second);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Tick {
        Tick::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn reporters_add_up_and_a_second_report_replaces_the_first() {
        let mut reporters = Reporters::new(Duration::from_secs(60));
        assert_eq!(reporters.average(at(0)), None);
        reporters.record(1, at(0), 10.0);
        reporters.record(2, at(100), 5.0);
        assert_eq!(reporters.average(at(200)), Some(15.0));
        reporters.record(1, at(900), 11.0);
        assert_eq!(reporters.average(at(950)), Some(16.0));
        reporters.record(1, at(1_000), 4.0);
        assert_eq!(reporters.average(at(1_000)), Some(10.0));
    }

    #[test]
    fn no_more_are_told_apart_than_may_be() {
        let mut reporters = Reporters::new(Duration::from_secs(6));
        for reporter in 0..REPORTERS_MAX as u64 + 10 {
            reporters.record(reporter, at(0), 1.0);
        }
        assert_eq!(reporters.last.len(), REPORTERS_MAX);
        assert_eq!(reporters.average(at(0)), Some(REPORTERS_MAX as f64 + 10.0));
        reporters.record(1 << 40, at(7_000), 1.0);
        assert_eq!(reporters.last.len(), 1);
    }
}
