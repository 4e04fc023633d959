//! Counts and sums of the last moments.

use std::collections::VecDeque;
use std::time::Duration;

use plimsoll_meter::Tick;

use crate::sync::Mutex;

/// Counts and sums what was added within the last `size` buckets.
pub(crate) struct RollingCounter {
    /// Epoch, count and sum of each bucket, oldest first; at most `size`.
    buckets: Mutex<VecDeque<(u64, u64, u64)>>,
    size: usize,
    bucket_nanos: u64,
}

impl RollingCounter {
    /// A window of `size` buckets of `bucket_duration`, both more than zero.
    pub(crate) fn new(size: usize, bucket_duration: Duration) -> Self {
        Self {
            buckets: Mutex::new(VecDeque::new()),
            size,
            bucket_nanos: bucket_duration.as_nanos() as u64,
        }
    }

    /// Adds `value` to the bucket of `now`, or to the newest if that is later.
    pub(crate) fn add(&self, now: Tick, value: u64) {
        let epoch = now.as_nanos() / self.bucket_nanos;
        let mut buckets = self.buckets.lock();
        match buckets.back_mut() {
            Some((newest, count, sum)) if *newest >= epoch => {
                *count += 1;
                *sum = sum.saturating_add(value);
            }
            _ => buckets.push_back((epoch, 1, value)),
        }
        if buckets.len() > self.size {
            buckets.pop_front();
        }
    }

    /// How often something was added within the window, and the sum of it.
    pub(crate) fn tally(&self, now: Tick) -> (u64, u64) {
        let epoch = now.as_nanos() / self.bucket_nanos;
        let buckets = self.buckets.lock();
        let current = buckets
            .iter()
            .filter(|(of, ..)| of + self.size as u64 > epoch);
        current.fold((0, 0), |(count, sum), bucket| {
            (count + bucket.1, sum.saturating_add(bucket.2))
        })
    }
}
