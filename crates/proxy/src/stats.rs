//! What a worker counts, and the sums that others read.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use plimsoll_meter::{Histogram, HistogramSnapshot, REQUEST_TIME_BOUNDS};
use plimsoll_wire::{Answer, ProxyError};

/// Counters and histograms of one worker. Only its worker writes; anyone reads, without disturbing it.
#[derive(Debug)]
pub struct WorkerStats {
    requests: [AtomicU64; Answer::COUNT],
    errors: [AtomicU64; ProxyError::COUNT],
    request_time: Histogram,
    queue_wait: Histogram,
    upstream_time: Histogram,
    connections: AtomicUsize,
    /// TLS handshakes with clients that failed, ever.
    handshake_failures: AtomicU64,
    /// Connections closed or parked, ever.
    released: AtomicU64,
}

/// The sums over all workers at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct StatsView {
    /// Finished requests by how they were answered, in the order of [`Answer::index`].
    pub requests: [u64; Answer::COUNT],
    /// Answers that Plimsoll made itself, and answers it had to break off, by cause, in the order of
    /// [`ProxyError::index`].
    pub errors: [u64; ProxyError::COUNT],
    /// From arrival to the end of the answer.
    pub request_time: HistogramSnapshot,
    /// Time in the queue, of requests that got a slot; 0 for those that found one free.
    pub queue_wait: HistogramSnapshot,
    /// From leaving the queue to the end of the answer.
    pub upstream_time: HistogramSnapshot,
    /// Client connections open now.
    pub connections: usize,
    /// TLS handshakes with clients that failed. A client that went away without a byte is not among them.
    pub handshake_failures: u64,
}

impl WorkerStats {
    pub(crate) fn new() -> Self {
        let histogram =
            || Histogram::new(&REQUEST_TIME_BOUNDS).expect("the bounds of the crate rise strictly");
        Self {
            requests: Default::default(),
            errors: Default::default(),
            request_time: histogram(),
            queue_wait: histogram(),
            upstream_time: histogram(),
            connections: AtomicUsize::new(0),
            handshake_failures: AtomicU64::new(0),
            released: AtomicU64::new(0),
        }
    }

    pub(crate) fn count_request(&self, answer: Answer) {
        self.requests[answer.index()].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_error(&self, error: ProxyError) {
        self.errors[error.index()].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn record_request_time(&self, time: Duration) {
        self.request_time.record(time);
    }

    pub(crate) fn record_queue_wait(&self, time: Duration) {
        self.queue_wait.record(time);
    }

    pub(crate) fn record_upstream_time(&self, time: Duration) {
        self.upstream_time.record(time);
    }

    pub(crate) fn count_handshake_failure(&self) {
        self.handshake_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connection_opened(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connection_closed(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn connection_released(&self) {
        self.released.fetch_add(1, Ordering::Relaxed);
    }

    /// How often a connection has given back the memory it occupied.
    pub(crate) fn released(&self) -> u64 {
        self.released.load(Ordering::Relaxed)
    }

    /// Client connections open on this worker now.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl StatsView {
    /// Sums what all workers have counted. Linear in workers and series; takes no lock.
    #[must_use]
    pub fn of(workers: &[WorkerStats]) -> Self {
        let mut view = Self {
            requests: Self::requests_of(workers),
            ..Self::empty()
        };
        for worker in workers {
            for (sum, count) in view.errors.iter_mut().zip(&worker.errors) {
                *sum += count.load(Ordering::Relaxed);
            }
            add(&mut view.request_time, &worker.request_time);
            add(&mut view.queue_wait, &worker.queue_wait);
            add(&mut view.upstream_time, &worker.upstream_time);
            view.connections += worker.connections();
            view.handshake_failures += worker.handshake_failures.load(Ordering::Relaxed);
        }
        view
    }

    /// Sums the finished requests of all workers.
    pub(crate) fn requests_of(workers: &[WorkerStats]) -> [u64; Answer::COUNT] {
        let of_all = |index: usize| {
            let counts = workers.iter().map(|worker| &worker.requests[index]);
            counts.map(|count| count.load(Ordering::Relaxed)).sum()
        };
        std::array::from_fn(of_all)
    }

    fn empty() -> Self {
        let fresh = WorkerStats::new();
        Self {
            requests: Default::default(),
            errors: Default::default(),
            request_time: fresh.request_time.snapshot(),
            queue_wait: fresh.queue_wait.snapshot(),
            upstream_time: fresh.upstream_time.snapshot(),
            connections: 0,
            handshake_failures: 0,
        }
    }

    /// Finished requests that were answered so.
    #[must_use]
    pub fn requests(&self, answer: Answer) -> u64 {
        self.requests[answer.index()]
    }

    /// Failures for this cause.
    #[must_use]
    pub fn errors(&self, error: ProxyError) -> u64 {
        self.errors[error.index()]
    }

    /// Finished requests, however they ended.
    #[must_use]
    pub fn requests_total(&self) -> u64 {
        self.requests.iter().sum()
    }
}

fn add(sum: &mut HistogramSnapshot, histogram: &Histogram) {
    sum.merge(&histogram.snapshot())
        .expect("all histograms here have the same bounds");
}
