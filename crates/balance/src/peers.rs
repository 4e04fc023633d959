//! What is typical of the endpoints together, to compare each with.

use plimsoll_meter::Average;

use crate::learned::AtomicF32;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// What is typical of the usable endpoints together.
///
/// Renewed by every `advance`. In between, the failure rates follow each
/// answer, so that an outage of all is not taken for the fault of each.
pub(crate) struct Peers {
    /// Seconds; [`UNKNOWN`] before any endpoint has answered.
    latency: AtomicF32,
    /// The sum of failure rates in units of 2⁻³², modulo 2⁶⁴.
    failing: AtomicU64,
    count: AtomicU32,
}

/// Sums over the usable endpoints.
#[derive(Debug, Default)]
pub(crate) struct Typical {
    latencies: Vec<f64>,
    failing: f32,
    count: u32,
}

/// The least weight, in samples, of a mean that says what is typical.
const WEIGHT_MIN: f64 = 1.0;

const UNKNOWN: f32 = -1.0;

/// One, in the unit of [`Peers::failing`].
const ONE: f32 = 4_294_967_296.0;

impl Peers {
    pub(crate) fn new() -> Self {
        Self {
            latency: AtomicF32::new(UNKNOWN),
            failing: AtomicU64::new(0),
            count: AtomicU32::new(0),
        }
    }

    /// The typical latency in seconds.
    #[inline]
    pub(crate) fn latency(&self) -> Option<f64> {
        let latency = self.latency.load();
        (latency >= 0.0).then_some(f64::from(latency))
    }

    /// The first answer of all says what is typical, until the next `advance`
    /// asks everybody. A slow endpoint would else be as good as any until then.
    pub(crate) fn first_answer(&self, seconds: f64) {
        if self.latency().is_none() {
            self.latency.store(seconds as f32);
        }
    }

    /// The mean failure rate of the others, for one whose own rate is `own`.
    pub(crate) fn failing_beside(&self, own: f32) -> f32 {
        let others = self.count.load(Ordering::Relaxed).saturating_sub(1);
        if others == 0 {
            return 0.0;
        }
        let sum = self.failing.load(Ordering::Relaxed).cast_signed() as f32 / ONE;
        ((sum - own) / others as f32).clamp(0.0, 1.0)
    }

    /// The failure rate of a usable endpoint has changed by `change`.
    pub(crate) fn add_failing(&self, change: f32) {
        let change = (change * ONE) as i64;
        self.failing
            .fetch_add(change.cast_unsigned(), Ordering::Relaxed);
    }

    /// Takes over means and failure rates of all usable endpoints.
    pub(crate) fn renew(&self, typical: Typical) {
        let Typical {
            mut latencies,
            failing,
            count,
        } = typical;
        let middle = latencies.len().saturating_sub(1) / 2;
        if !latencies.is_empty() {
            // The lower of two middles: of two slow and two fast endpoints, the
            // fast ones are what can be had.
            let (_, median, _) = latencies.select_nth_unstable_by(middle, f64::total_cmp);
            self.latency.store(*median as f32);
        }
        let failing = (failing * ONE) as i64;
        self.failing
            .store(failing.cast_unsigned(), Ordering::Relaxed);
        self.count.store(count, Ordering::Relaxed);
    }
}

// === impl Typical ===

impl Typical {
    /// Adds a usable endpoint: its mean latency and its failure rate.
    pub(crate) fn add(&mut self, latency: Option<Average>, failing: f32) {
        let telling = latency.filter(|average| average.weight >= WEIGHT_MIN);
        self.latencies.extend(telling.map(|average| average.mean));
        self.failing += failing;
        self.count += 1;
    }

    /// The mean failure rate.
    pub(crate) fn failure_rate(&self) -> f32 {
        self.failing / self.count.max(1) as f32
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn typical(latencies: Vec<f64>, failing: f32, count: u32) -> Typical {
        Typical {
            latencies,
            failing,
            count,
        }
    }

    #[test]
    fn the_lower_median_is_typical() {
        let peers = Peers::new();
        assert_eq!(peers.latency(), None);
        for (latencies, expected) in [
            (vec![0.5], 0.5),
            (vec![4.0, 0.5], 0.5),
            (vec![4.0, 0.25, 8.0], 4.0),
            (vec![8.0, 0.5, 4.0, 0.25], 0.5),
        ] {
            peers.renew(typical(latencies, 0.0, 4));
            assert_eq!(peers.latency(), Some(expected));
        }
        peers.renew(typical(Vec::new(), 0.0, 0));
        assert_eq!(
            peers.latency(),
            Some(0.5),
            "nothing new is no reason to forget"
        );
    }

    #[test]
    fn the_first_answer_is_typical_until_all_are_asked() {
        let peers = Peers::new();
        peers.first_answer(0.25);
        peers.first_answer(4.0);
        assert_eq!(peers.latency(), Some(0.25));
        peers.renew(typical(vec![0.5], 0.0, 1));
        assert_eq!(peers.latency(), Some(0.5));
    }

    #[test]
    fn an_endpoint_is_compared_with_the_others_only() {
        let peers = Peers::new();
        peers.renew(typical(Vec::new(), 0.75, 4));
        assert_eq!(peers.failing_beside(0.75), 0.0);
        assert_eq!(peers.failing_beside(0.0), 0.25);
        peers.add_failing(-0.75);
        assert_eq!(peers.failing_beside(0.0), 0.0);
        peers.renew(typical(Vec::new(), 1.0, 1));
        assert_eq!(peers.failing_beside(1.0), 0.0, "there are no others");
    }
}
