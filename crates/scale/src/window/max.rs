//! The most that was wanted in the last while.

use std::collections::VecDeque;
use std::time::Duration;

use plimsoll_meter::Tick;

/// The most buckets of a window: a year of ticks of two seconds is more, and is cut.
const BUCKETS_MAX: u64 = 1 << 20;

/// The maximum over the last buckets of time.
///
/// This is what holds a scale-down back: the most that was decided within the
/// delay is what counts. Two values in one bucket leave the larger one.
///
/// Writing takes constant time on average; at most as many values are kept as
/// there are buckets.
#[derive(Clone, Debug)]
pub struct MaxWindow {
    /// Bucket and value: the buckets rise, and the values fall.
    falling: VecDeque<(u64, u32)>,
    buckets: u64,
    granularity: u64,
}

impl MaxWindow {
    /// An empty window of the given length, in buckets of `granularity`.
    #[must_use]
    pub fn new(window: Duration, granularity: Duration) -> Self {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let granularity = nanos(granularity).max(1);
        Self {
            falling: VecDeque::new(),
            buckets: buckets(nanos(window), granularity),
            granularity,
        }
    }

    /// Takes in a value, and lets go of those that have left the window.
    pub fn record(&mut self, at: Tick, value: u32) {
        let mut bucket = at.as_nanos() / self.granularity;
        while let Some(&(last, smaller)) = self.falling.back() {
            // A clock that steps back writes to the last bucket.
            bucket = bucket.max(last);
            if smaller > value {
                break;
            }
            self.falling.pop_back();
        }
        // In one bucket the larger value stands, and is already there.
        if self.falling.back().is_none_or(|&(last, _)| last != bucket) {
            self.falling.push_back((bucket, value));
        }
        while let Some(&(first, _)) = self.falling.front() {
            if bucket - first < self.buckets {
                break;
            }
            self.falling.pop_front();
        }
    }

    /// The largest value in the window as it was at the last record; `None`
    /// before the first.
    #[must_use]
    pub fn current(&self) -> Option<u32> {
        self.falling.front().map(|&(_, value)| value)
    }

    /// Gives the window another length. What has left it goes at the next record.
    pub fn resize(&mut self, window: Duration) {
        let window = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        self.buckets = buckets(window, self.granularity);
    }
}

fn buckets(window: u64, granularity: u64) -> u64 {
    window.div_ceil(granularity).clamp(1, BUCKETS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window() -> MaxWindow {
        MaxWindow::new(Duration::from_secs(5), Duration::from_secs(1))
    }

    fn at(millis: u64) -> Tick {
        Tick::from_nanos(millis * 1_000_000)
    }

    /// Values at their positions, in seconds, and the maximum after each.
    fn check(values: &[(u64, u32)], wanted: &[u32]) {
        let mut window = window();
        let got: Vec<_> = values
            .iter()
            .map(|&(millis, value)| {
                window.record(at(millis), value);
                window.current().expect("there is a value")
            })
            .collect();
        assert_eq!(got, wanted, "{values:?}");
    }

    #[test]
    fn it_is_the_maximum_of_the_last_five() {
        let rows: &[(&[u32], &[u32])] = &[
            (&[1], &[1]),
            (&[1, 2], &[1, 2]),
            (&[2, 1], &[2, 2]),
            (&[1, 2, 1], &[1, 2, 2]),
            (&[5, 6, 5, 5, 5, 5, 5], &[5, 6, 6, 6, 6, 6, 5]),
            (&[5, 6, 5, 7, 5, 5, 1], &[5, 6, 6, 7, 7, 7, 7]),
            (
                &[5, 8, 5, 7, 5, 5, 1, 4, 4, 4, 4, 9, 3, 4, 2, 1, 0],
                &[5, 8, 8, 8, 8, 8, 7, 7, 5, 5, 4, 9, 9, 9, 9, 9, 4],
            ),
        ];
        for (values, wanted) in rows {
            let values: Vec<_> = (0..)
                .map(|n| n * 1_000)
                .zip(values.iter().copied())
                .collect();
            check(&values, wanted);
        }
    }

    #[test]
    fn times_may_be_left_out_and_may_come_twice() {
        check(&[(0, 6), (1_000, 5), (2_000, 2), (6_000, 1)], &[6, 6, 6, 2]);
        let rising: Vec<_> = (1..=7).map(|value| (1_000, value)).collect();
        check(&rising, &[1, 2, 3, 4, 5, 6, 7]);
        let falling: Vec<_> = (1..=7).rev().map(|value| (1_000, value)).collect();
        check(&falling, &[7; 7]);
        check(&[(0, 5)], &[5]);
        check(&[(0, 6), (500, 5)], &[6, 6]);
        check(&[(0, 5), (1_000, 8)], &[5, 8]);
        check(&[(0, 5), (6_000, 4)], &[5, 4]);
    }
}
