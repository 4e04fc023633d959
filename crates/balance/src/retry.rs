//! How many retries there may be.

use std::fmt;

use plimsoll_meter::Tick;

use crate::config::RetryBudgetConfig;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// A token bucket that first attempts fill and retries empty.
///
/// Each first attempt adds the configured ratio, or what the configured minimum
/// comes to in the time since the last, whichever is more; each retry takes 1.
/// So retries are a bounded share of the traffic however long an outage lasts,
/// and a service with little traffic may still retry. The bucket holds at most
/// [`Self::CAPACITY`] retries, which bounds a burst: one endpoint of two that
/// hangs at 200 requests a second has some 65 of them by the time it is left
/// alone. It begins with a second's minimum.
///
/// Without ratio and minimum there are no retries, from the moment that is
/// configured: what was saved up before is gone.
///
/// Lock-free; one atomic word.
pub struct RetryBudget {
    /// Thousandths of a retry in the lower half; in the upper half, the
    /// milliseconds at which the minimum was last added, wrapping.
    word: AtomicU64,
    /// Thousandths of a retry for each first attempt.
    ratio: AtomicU32,
    /// Thousandths of a retry each second.
    minimum: AtomicU32,
}

impl RetryBudget {
    /// The most retries that can be saved up.
    pub const CAPACITY: u32 = 75;

    const CAPACITY_MILLI: u64 = Self::CAPACITY as u64 * 1_000;

    pub(crate) fn new(config: RetryBudgetConfig) -> Self {
        let budget = Self {
            word: AtomicU64::new(0),
            ratio: AtomicU32::new(0),
            minimum: AtomicU32::new(0),
        };
        budget.configure(config);
        let minimum = u64::from(budget.minimum.load(Ordering::Relaxed));
        budget
            .word
            .store(minimum.min(Self::CAPACITY_MILLI), Ordering::Relaxed);
        budget
    }

    pub(crate) fn configure(&self, config: RetryBudgetConfig) {
        // Checked before: 0 to 1, and 0 to 1,000.
        self.ratio
            .store((config.ratio * 1e3).round() as u32, Ordering::Relaxed);
        self.minimum.store(
            (config.min_per_second * 1e3).round() as u32,
            Ordering::Relaxed,
        );
        if config.ratio == 0.0 && config.min_per_second == 0.0 {
            self.word.fetch_and(!u64::from(u32::MAX), Ordering::Relaxed);
        }
    }

    /// A first attempt is made.
    pub fn deposit(&self, now: Tick) {
        let ratio = u64::from(self.ratio.load(Ordering::Relaxed));
        let mut seen = self.word.load(Ordering::Relaxed);
        loop {
            let (old, refilled) = (seen & u64::from(u32::MAX), self.refilled(seen, now));
            // The ratio takes the place of what the time has earned, not the time itself.
            let (tokens, stamp) = if refilled.0 >= old + ratio {
                refilled
            } else {
                (old + ratio, later((seen >> 32) as u32, now))
            };
            match self.exchange(seen, tokens, stamp) {
                Ok(_) => return,
                Err(actual) => seen = actual,
            }
        }
    }

    /// Whether a retry may be made; if so it is paid for.
    #[must_use = "a retry that was paid for should be made"]
    pub fn try_withdraw(&self, now: Tick) -> bool {
        self.change(now, |tokens| tokens.checked_sub(1_000))
    }

    /// The retries that could be made now.
    #[must_use]
    pub fn available(&self, now: Tick) -> f64 {
        let word = self.word.load(Ordering::Relaxed);
        self.refilled(word, now).0 as f64 / 1e3
    }

    /// Adds what time has brought, then applies `f`. `false` if `f` refuses.
    fn change(&self, now: Tick, f: impl Fn(u64) -> Option<u64>) -> bool {
        let mut seen = self.word.load(Ordering::Relaxed);
        loop {
            let (tokens, stamp) = self.refilled(seen, now);
            let Some(tokens) = f(tokens) else {
                return false;
            };
            match self.exchange(seen, tokens, stamp) {
                Ok(_) => return true,
                Err(actual) => seen = actual,
            }
        }
    }

    fn exchange(&self, seen: u64, tokens: u64, stamp: u32) -> Result<u64, u64> {
        let next = (u64::from(stamp) << 32) | tokens.min(Self::CAPACITY_MILLI);
        // Relaxed is enough: the word is all there is.
        self.word
            .compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed)
    }

    /// Tokens and stamp of `word` with the minimum of the time since then.
    fn refilled(&self, word: u64, now: Tick) -> (u64, u32) {
        let (stamp, tokens) = ((word >> 32) as u32, word & u64::from(u32::MAX));
        let passed = later(stamp, now).wrapping_sub(stamp);
        let minimum = u64::from(self.minimum.load(Ordering::Relaxed));
        let earned = u64::from(passed) * minimum / 1_000;
        if earned == 0 {
            // Keep the stamp: the fraction is not lost.
            return (tokens, stamp);
        }
        let tokens = (tokens + earned).min(Self::CAPACITY_MILLI);
        // Of the time, what the whole tokens are worth; the rest stays to be earned.
        let spent = (earned * 1_000).div_ceil(minimum) as u32;
        (tokens, stamp.wrapping_add(spent.min(passed)))
    }
}

/// The milliseconds of `now`, or `stamp` if that is later.
fn later(stamp: u32, now: Tick) -> u32 {
    let millis = (now.as_nanos() / 1_000_000) as u32;
    // A step back looks like almost a whole turn, 49 days, forward.
    if millis.wrapping_sub(stamp) > u32::MAX / 2 {
        stamp
    } else {
        millis
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens = self.word.load(Ordering::Relaxed) & u64::from(u32::MAX);
        f.debug_struct("RetryBudget")
            .field("tokens", &(tokens as f64 / 1e3))
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn at(millis: u64) -> Tick {
        Tick::from_nanos(millis * 1_000_000)
    }

    fn budget(ratio: f64, min_per_second: f64) -> RetryBudget {
        RetryBudget::new(RetryBudgetConfig {
            ratio,
            min_per_second,
        })
    }

    #[test]
    fn retries_are_a_share_of_first_attempts() {
        let budget = budget(0.1, 0.0);
        assert!(!budget.try_withdraw(at(0)), "nothing was saved up");
        let mut retries = 0;
        for _ in 0..1_000 {
            budget.deposit(at(0));
            retries += u32::from(budget.try_withdraw(at(0)));
        }
        assert_eq!(retries, 100);
    }

    #[test]
    fn a_service_without_traffic_may_retry_a_little() {
        let budget = budget(0.1, 3.0);
        let mut retries = 0;
        for millis in 0..10_000 {
            retries += u32::from(budget.try_withdraw(at(millis)));
        }
        // Three to begin with, and three in each of ten seconds less the last millisecond.
        assert_eq!(retries, 32);
    }

    #[test]
    fn the_minimum_is_no_addition_to_the_share() {
        let budget = budget(0.1, 3.0);
        let mut retries = 0;
        for millis in 0..10_000 {
            budget.deposit(at(millis));
            retries += u32::from(budget.try_withdraw(at(millis)));
        }
        // A tenth of the requests, and the three to begin with.
        assert!((1_000..=1_004).contains(&retries), "{retries}");
    }

    #[test]
    fn no_more_is_saved_up_than_the_capacity() {
        let budget = budget(1.0, 1_000.0);
        for _ in 0..10_000 {
            budget.deposit(at(0));
        }
        assert_eq!(
            budget.available(at(1 << 40)),
            f64::from(RetryBudget::CAPACITY)
        );
        assert!((0..RetryBudget::CAPACITY).all(|_| budget.try_withdraw(at(0))));
        assert!(!budget.try_withdraw(at(0)));
    }

    #[test]
    fn without_ratio_and_minimum_nothing_is_left_to_spend() {
        let budget = budget(1.0, 10.0);
        (0..10).for_each(|_| budget.deposit(at(0)));
        assert!(budget.try_withdraw(at(0)));
        budget.configure(RetryBudgetConfig {
            ratio: 0.0,
            min_per_second: 0.0,
        });
        assert!(!budget.try_withdraw(at(0)));
        budget.deposit(at(60_000));
        assert!(!budget.try_withdraw(at(60_000)));
    }

    #[test]
    fn a_clock_that_steps_back_earns_nothing_and_loses_nothing() {
        let budget = budget(0.0, 10.0);
        let before = budget.available(at(5_000));
        budget.deposit(at(5_000));
        budget.deposit(at(1_000));
        assert_eq!(budget.available(at(5_000)), before);
    }
}
