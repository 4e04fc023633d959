//! What the windows have in common: one number for each bucket of time.

use std::time::Duration;

use plimsoll_meter::Tick;

/// The most buckets of a window: an hour of seconds, with room to spare.
const BUCKETS_MAX: u64 = 1 << 16;

/// The sums of the last buckets of time. What falls into one bucket adds up.
#[derive(Clone, Debug)]
pub(super) struct Ring {
    slots: Vec<f64>,
    /// Nanoseconds of a bucket, at least 1.
    granularity: u64,
    /// Nanoseconds of the window, at least those of a bucket.
    window: u64,
    /// Number of the bucket, counted from the origin of time, that was first
    /// written to, and of the last one.
    first: Option<u64>,
    last: Option<u64>,
    total: f64,
}

impl Ring {
    pub(super) fn new(window: Duration, granularity: Duration) -> Self {
        let granularity = nanos(granularity).max(1);
        let window = nanos(window).clamp(granularity, granularity.saturating_mul(BUCKETS_MAX));
        Self {
            slots: vec![0.0; slots(window, granularity)],
            granularity,
            window,
            first: None,
            last: None,
            total: 0.0,
        }
    }

    pub(super) fn window(&self) -> Duration {
        Duration::from_nanos(self.window)
    }

    pub(super) const fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) const fn total(&self) -> f64 {
        self.total
    }

    /// The number of the bucket that `at` is in.
    pub(super) const fn bucket(&self, at: Tick) -> u64 {
        at.as_nanos() / self.granularity
    }

    /// The last bucket that was written to.
    pub(super) const fn last(&self) -> Option<u64> {
        self.last
    }

    /// How many buckets there are from the first that was written to until the last.
    pub(super) const fn seen(&self) -> u64 {
        match (self.first, self.last) {
            (Some(first), Some(last)) => last - first + 1,
            _ => 0,
        }
    }

    /// What is in the bucket, which is one of the last [`len`](Self::len).
    pub(super) fn slot(&self, bucket: u64) -> f64 {
        self.slots[self.index(bucket)]
    }

    const fn index(&self, bucket: u64) -> usize {
        (bucket % self.slots.len() as u64) as usize
    }

    /// Whether so many buckets are as long as the window, or longer.
    pub(super) const fn is_past(&self, buckets: u64) -> bool {
        buckets.saturating_mul(self.granularity) >= self.window
    }

    /// Whether there is nothing that a reader at `now` would look at.
    pub(super) fn is_empty(&self, now: Tick) -> bool {
        self.last
            .is_none_or(|last| self.is_past(self.bucket(now).saturating_sub(last)))
    }

    /// Adds to the bucket that `at` is in. What is older than the window is
    /// ignored, and buckets nobody wrote to are zero.
    pub(super) fn record(&mut self, at: Tick, value: f64) {
        let bucket = self.bucket(at);
        match self.last {
            Some(last) if bucket <= last => {
                if self.is_past(last - bucket) {
                    return;
                }
                self.first = self.first.map(|first| first.min(bucket));
            }
            Some(last) if !self.is_past(bucket - last) => {
                for passed in last + 1..=bucket {
                    let index = self.index(passed);
                    self.total -= self.slots[index];
                    self.slots[index] = 0.0;
                }
                self.last = Some(bucket);
            }
            _ => {
                self.clear();
                self.first = Some(bucket);
                self.last = Some(bucket);
            }
        }
        let index = self.index(bucket);
        self.slots[index] += value;
        self.total += value;
    }

    fn clear(&mut self) {
        self.slots.fill(0.0);
        self.total = 0.0;
    }

    /// Gives the window another length and keeps what fits into both.
    ///
    /// How long the window had been filled stays known. Knative takes a window
    /// that was partly filled for a full one here, so that its average drops.
    pub(super) fn resize(&mut self, now: Tick, window: Duration) {
        let most = self.granularity.saturating_mul(BUCKETS_MAX);
        let window = nanos(window).clamp(self.granularity, most);
        if window == self.window {
            return;
        }
        let empty = self.is_empty(now);
        let old = self.clone();
        self.window = window;
        self.slots = vec![0.0; slots(window, self.granularity)];
        self.total = 0.0;
        let Some(last) = old.last else { return };
        if empty {
            self.first = None;
            self.last = None;
            return;
        }
        let oldest = last.saturating_sub(old.len() as u64 - 1);
        self.first = old.first.map(|first| first.max(oldest));
        for age in 0..old.len().min(self.len()) as u64 {
            let Some(bucket) = last.checked_sub(age) else {
                break;
            };
            let value = old.slot(bucket);
            let index = self.index(bucket);
            self.slots[index] = value;
            self.total += value;
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

const fn slots(window: u64, granularity: u64) -> usize {
    window.div_ceil(granularity) as usize
}
