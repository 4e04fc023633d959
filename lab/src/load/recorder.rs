//! Where the lanes put their results.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::Notify;

use super::client::Failure;
use super::summary::{Latency, Summary};

const WARM_UP: u8 = 0;
const MEASURE: u8 = 1;
const STOP: u8 = 2;

/// The histogram's upper bound, one hour: longer latencies are recorded as that.
const LONGEST_NANOS: u64 = 3_600_000_000_000;

/// Shared by the tasks of one run, all on one thread: nothing here is ever contended.
pub(super) struct Recorder {
    phase: AtomicU8,
    counts: Mutex<Counts>,
    limit: u64,
    /// Woken once when `limit` measured requests have ended.
    pub(super) enough: Notify,
}

struct Counts {
    /// Latencies in nanoseconds. One for all lanes: at 200 KiB each, one per lane would wash the
    /// processor's caches.
    histogram: Histogram<u64>,
    by_status: BTreeMap<u16, u64>,
    errors: BTreeMap<Failure, u64>,
    ended: u64,
    begun: u64,
}

impl Recorder {
    pub(super) fn new(limit: Option<u64>) -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_NANOS, 3).expect(
            "1 is at least 1, half the upper bound or less, and 3 digits are within 0 to 5",
        );
        Self {
            phase: AtomicU8::new(WARM_UP),
            counts: Mutex::new(Counts {
                histogram,
                by_status: BTreeMap::new(),
                errors: BTreeMap::new(),
                ended: 0,
                begun: 0,
            }),
            limit: limit.unwrap_or(u64::MAX),
            enough: Notify::new(),
        }
    }

    pub(super) fn measure(&self) {
        self.phase.store(MEASURE, Ordering::Relaxed);
    }

    pub(super) fn stop(&self) {
        self.phase.store(STOP, Ordering::Relaxed);
    }

    pub(super) fn is_measuring(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == MEASURE
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == STOP
    }

    /// Counts a measured arrival of an open loop.
    pub(super) fn begin(&self) {
        self.lock().begun += 1;
    }

    /// Measured arrivals of an open loop that have not ended.
    pub(super) fn pending(&self) -> u64 {
        let counts = self.lock();
        counts.begun.saturating_sub(counts.ended)
    }

    /// Counts the end of a measured request that was sent, or due, at `start`.
    pub(super) fn end(&self, start: Instant, result: Result<u16, Failure>) {
        let latency = start.elapsed();
        let mut counts = self.lock();
        match result {
            Ok(status) => {
                let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
                counts.histogram.saturating_record(nanos.max(1));
                *counts.by_status.entry(status).or_default() += 1;
            }
            Err(failure) => *counts.errors.entry(failure).or_default() += 1,
        }
        counts.ended += 1;
        if counts.ended == self.limit {
            self.enough.notify_one();
        }
    }

    pub(super) fn summary(&self, elapsed: Duration, unfinished: u64) -> Summary {
        let counts = self.lock();
        let ok = counts.by_status.range(200..300).map(|(_, n)| n).sum();
        Summary {
            requests: counts.by_status.values().sum(),
            ok,
            by_status: counts.by_status.clone(),
            errors: counts.errors.clone(),
            unfinished,
            elapsed,
            latency: Latency::of(&counts.histogram),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // A panic elsewhere leaves whole numbers behind: they are still the best there is.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ends_are_counted_by_what_they_were() {
        let recorder = Recorder::new(Some(4));
        let start = Instant::now();
        for result in [Ok(200), Ok(204), Ok(503), Err(Failure::Closed)] {
            recorder.begin();
            recorder.end(start, result);
        }
        recorder.enough.notified().await;
        let summary = recorder.summary(Duration::from_secs(2), 1);
        assert_eq!((summary.requests, summary.ok, summary.failed()), (3, 2, 2));
        assert_eq!(summary.status(503), 1);
        assert_eq!(summary.per_second(), 1.5);
        assert_eq!(recorder.pending(), 0);
    }

    #[test]
    fn latencies_of_a_minute_are_kept() {
        let recorder = Recorder::new(None);
        let Some(start) = Instant::now().checked_sub(Duration::from_secs(60)) else {
            return; // A machine that has run for less than a minute cannot say.
        };
        recorder.end(start, Ok(200));
        let seen = recorder
            .summary(Duration::from_secs(1), 0)
            .latency
            .p50
            .as_secs_f64();
        assert!((59.9..60.5).contains(&seen), "{seen}");
    }
}
