//! Single requests to endpoints that cost too much to be picked.
//!
//! An endpoint that was slow, or hangs, gets no requests; so nothing would ever
//! tell that it has recovered. It gets one request after a time that doubles.
//! If the answer comes as fast as those of the others, what was learned before
//! is void, and the endpoint is as good as any.
//!
//! Rejected: to let its cost fade until it is picked. Then it is picked by
//! many requests at once, for cost is compared and not counted; and a slow
//! endpoint's cost must fade slowly, a recovered one's fast.

use std::time::Duration;

use plimsoll_meter::Tick;

/// How many times what is typical an endpoint must cost to be worth a trial:
/// with less it is picked anyway when the others are busy.
pub(crate) const SHUNNED_RATIO: f32 = 3.0;

/// A trial that took at most so many times what is typical was fast.
pub(crate) const FAST_RATIO: f64 = 2.5;

/// The time to the first trial. A trial may cost somebody as long as the
/// endpoint is slow, and may not come back at all.
const WAIT_MIN: Duration = Duration::from_millis(2_500);

/// The longest time between two trials.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The time to a trial of an endpoint that hangs. It would most likely cost a
/// request as a whole; and if the endpoint goes on by itself, the answers that
/// then come tell so without a trial.
const WAIT_HANGING: Duration = Duration::from_secs(8);

/// The trials of one endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trials {
    /// When the next one is due; `None` while it is not shunned.
    next: Option<Tick>,
    wait: Duration,
    /// Since when it has not been shunned.
    good_since: Tick,
    /// Requests that had gone there when it was last looked at.
    picks: u64,
}

/// How an endpoint looks beside its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Regard {
    /// Worth being picked.
    Fine,
    /// It answers, and costs too much to be picked.
    Shunned,
    /// It does not answer what it has.
    Hangs,
}

impl Default for Trials {
    fn default() -> Self {
        Self {
            next: None,
            wait: WAIT_MIN,
            good_since: Tick::ZERO,
            picks: 0,
        }
    }
}

impl Trials {
    /// Looks at an endpoint that has had `picks` requests in all. Whether it is
    /// time for a trial.
    pub(crate) fn is_due(&mut self, now: Tick, regard: Regard, picks: u64) -> bool {
        let was_picked = std::mem::replace(&mut self.picks, picks) != picks;
        if regard == Regard::Fine {
            if self.next.take().is_some() {
                self.good_since = now;
            } else if now.saturating_duration_since(self.good_since) > self.wait * 2 {
                self.wait = WAIT_MIN;
            }
            return false;
        }
        let soon = now.saturating_add(self.wait);
        let next = match (self.next, regard) {
            (None, Regard::Hangs) => now.saturating_add(WAIT_HANGING.max(self.wait)),
            (None, _) => soon,
            (Some(next), Regard::Hangs) => next,
            // It has answered meanwhile.
            (Some(next), _) => next.min(soon),
        };
        self.next = Some(next);
        if was_picked || now < next {
            return false;
        }
        self.wait = (self.wait * 2).min(WAIT_MAX);
        // If it answers, the next trial comes sooner than this.
        self.next = Some(now.saturating_add(WAIT_HANGING.max(self.wait)));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(trials: &mut Trials, tenths: std::ops::Range<u64>, regard: Regard) -> Vec<u64> {
        let at = |tenth: &u64| Tick::from_nanos(tenth * 100_000_000);
        tenths
            .filter(|tenth| trials.is_due(at(tenth), regard, 7))
            .collect()
    }

    #[test]
    fn trials_become_rarer_and_go_on() {
        let mut trials = Trials::default();
        let slow = due(&mut trials, 0..300, Regard::Shunned);
        assert_eq!(slow, [25, 76, 127, 178, 229, 280]);
        let mut trials = Trials::default();
        let hangs = due(&mut trials, 0..300, Regard::Hangs);
        assert_eq!(hangs, [80, 160, 240]);
    }

    #[test]
    fn an_answer_brings_the_next_trial_nearer() {
        let mut trials = Trials::default();
        assert_eq!(due(&mut trials, 0..10, Regard::Hangs), []);
        assert_eq!(due(&mut trials, 10..40, Regard::Shunned), [35]);
    }

    #[test]
    fn an_endpoint_that_is_picked_needs_no_trial() {
        let mut trials = Trials::default();
        for picks in 0..100 {
            let now = Tick::from_nanos(picks * 100_000_000);
            assert!(!trials.is_due(now, Regard::Shunned, picks + 1));
        }
    }

    #[test]
    fn good_behaviour_is_remembered_and_so_is_bad() {
        let mut trials = Trials::default();
        assert_eq!(due(&mut trials, 0..31, Regard::Shunned), [25]);
        assert_eq!(due(&mut trials, 31..40, Regard::Fine), []);
        let again = due(&mut trials, 40..91, Regard::Shunned);
        assert_eq!(again, [90], "the wait was doubled");
        assert_eq!(due(&mut trials, 91..300, Regard::Fine), []);
        let anew = due(&mut trials, 300..326, Regard::Shunned);
        assert_eq!(anew, [325], "it begins anew");
    }
}
