//! How long requests waited, for quantiles.

use std::time::Duration;

/// How many lengths are told apart between a power of two and the next.
const PARTS: u64 = 32;

/// Lengths below this, in microseconds, are told apart exactly.
const EXACT: u64 = 2 * PARTS;

/// Times, counted by length, so that quantiles are right to 1/32 of themselves.
///
/// The lengths are whole microseconds; there are a few thousand counts, however
/// many times are recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    counts: Vec<u64>,
    total: u64,
    sum: u128,
    max: u64,
}

impl Waits {
    /// Takes in a time.
    pub fn record(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let index = index(micros);
        if index >= self.counts.len() {
            self.counts.resize(index + 1, 0);
        }
        self.counts[index] += 1;
        self.total += 1;
        self.sum += u128::from(micros);
        self.max = self.max.max(micros);
    }

    /// How many times there are.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.total
    }

    /// The mean; `None` of none.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        let mean = self.sum.checked_div(u128::from(self.total))?;
        Some(Duration::from_micros(
            u64::try_from(mean).unwrap_or(u64::MAX),
        ))
    }

    /// The longest; `None` of none.
    #[must_use]
    pub fn max(&self) -> Option<Duration> {
        (self.total > 0).then(|| Duration::from_micros(self.max))
    }

    /// A time that the share `q` of all is not above; `None` of none. `q` is
    /// taken to be within 0 and 1.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let rank = (q.clamp(0.0, 1.0) * self.total as f64).ceil().max(1.0);
        let mut seen = 0;
        let index = self.counts.iter().position(|count| {
            seen += count;
            seen as f64 >= rank
        })?;
        Some(Duration::from_micros(longest(index).min(self.max)))
    }
}

fn index(micros: u64) -> usize {
    if micros < EXACT {
        return micros as usize;
    }
    // The highest six bits: one that is always set, and which of 32 parts.
    let shift = u64::from(micros.ilog2()) - u64::from(PARTS.ilog2());
    (shift * PARTS + (micros >> shift)) as usize
}

/// The longest time that is counted there, in microseconds.
fn longest(index: usize) -> u64 {
    let index = index as u64;
    if index < EXACT {
        return index;
    }
    let shift = index / PARTS - 1;
    let part = index - shift * PARTS;
    // Beyond the last one is the end of all times.
    u64::try_from(((u128::from(part) + 1) << shift) - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_counted_where_it_belongs() {
        let mut before = 0;
        for micros in (0..10_000).chain([1 << 20, u64::MAX / 3, u64::MAX]) {
            let index = index(micros);
            assert!(index >= before && longest(index) >= micros, "{micros}");
            assert!(longest(index) - micros <= micros / PARTS, "{micros}");
            before = index;
        }
    }

    #[test]
    fn quantiles_of_a_thousand() {
        let mut waits = Waits::default();
        assert_eq!(
            (waits.mean(), waits.max(), waits.quantile(0.5)),
            (None, None, None)
        );
        for millis in 1..=1_000 {
            waits.record(Duration::from_millis(millis));
        }
        assert_eq!(waits.mean(), Some(Duration::from_micros(500_500)));
        assert_eq!(waits.max(), Some(Duration::from_secs(1)));
        assert_eq!(waits.quantile(1.0), Some(Duration::from_secs(1)));
        for (q, millis) in [(0.0, 1.0), (0.5, 500.0), (0.99, 990.0)] {
            let got = waits.quantile(q).expect("there are times").as_secs_f64() * 1e3;
            assert!(
                got >= millis && got <= millis * (1.0 + 1.0 / PARTS as f64),
                "{q}: {got}"
            );
        }
    }
}
