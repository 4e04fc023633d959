//! How many requests have come in the last while.

use std::collections::VecDeque;
use std::time::Duration;

use plimsoll_meter::Tick;

/// In how many parts the while is told apart.
const PARTS: u32 = 16;

/// The most moments that are kept.
const MOMENTS_MAX: usize = 64;

/// How many requests have come within a span of time, which may change from
/// question to question.
///
/// Requests that come within a sixteenth of the span are taken to have come
/// together, so a few moments are all there is to remember.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrivals {
    /// When, and how many had come by then.
    moments: VecDeque<(Tick, u64)>,
    /// How many had come before those.
    before: u64,
    /// How many have come.
    total: u64,
}

impl Arrivals {
    /// Takes in how many have ever come; the first time, those before `now` are
    /// taken to be old.
    pub(crate) fn observe(&mut self, now: Tick, total: u64, span: Duration) {
        if total < self.total {
            // Whoever counts has begun anew.
            *self = Self::default();
        }
        if total == self.total {
            return;
        }
        self.total = total;
        let near = span / PARTS;
        let full = self.moments.len() == MOMENTS_MAX;
        match self.moments.back_mut() {
            Some((at, count)) if full || now.saturating_duration_since(*at) < near => {
                *count = total;
            }
            _ => self.moments.push_back((now, total)),
        }
    }

    /// How many have come within the last `span`. Those before it are forgotten.
    pub(crate) fn within(&mut self, now: Tick, span: Duration) -> u64 {
        while let Some(&(at, count)) = self.moments.front() {
            if now.saturating_duration_since(at) < span {
                break;
            }
            self.before = count;
            self.moments.pop_front();
        }
        self.total - self.before
    }

    /// Everything that has come is taken to be old.
    pub(crate) fn start_at(total: u64) -> Self {
        Self {
            moments: VecDeque::new(),
            before: total,
            total,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> Tick {
        Tick::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn what_is_older_than_the_span_no_longer_counts() {
        let mut arrivals = Arrivals::start_at(100);
        assert_eq!(arrivals.within(at(0), SPAN), 0);
        arrivals.observe(at(0), 103, SPAN);
        arrivals.observe(at(500), 105, SPAN);
        assert_eq!(arrivals.within(at(500), SPAN), 5);
        assert_eq!(arrivals.within(at(999), SPAN), 5);
        assert_eq!(arrivals.within(at(1_000), SPAN), 2);
        assert_eq!(arrivals.within(at(1_500), SPAN), 0);
    }

    #[test]
    fn a_counter_that_begins_anew_is_no_flood() {
        let mut arrivals = Arrivals::start_at(100);
        arrivals.observe(at(0), 3, SPAN);
        assert_eq!(arrivals.within(at(0), SPAN), 3);
    }

    #[test]
    fn few_moments_are_kept_however_many_come() {
        let mut arrivals = Arrivals::start_at(0);
        for millis in 0..10_000 {
            arrivals.observe(at(millis), millis + 1, SPAN);
            let got = arrivals.within(at(millis), SPAN);
            let wanted = (millis + 1).min(1_000);
            assert!(got.abs_diff(wanted) <= 63, "{got} for {wanted} at {millis}");
            assert!(arrivals.moments.len() <= 17);
        }
    }
}
