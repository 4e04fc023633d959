//! Numbers without a window.

use crate::sync::{AtomicU64, Ordering};

/// A number that only rises (Kratos: `Counter`). A negative step cannot be
/// expressed. It wraps at 2⁶⁴.
#[derive(Debug)]
pub struct Counter(AtomicU64);

/// A whole number that rises and falls (Kratos: `Gauge`). It wraps at the ends
/// of its type.
#[derive(Debug)]
pub struct Gauge(AtomicU64);

// === impl Counter ===

impl Counter {
    /// A counter at zero.
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds `value`.
    #[inline]
    pub fn add(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }

    /// The sum so far.
    #[must_use]
    #[inline]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Default for Counter {
    fn default() -> Self {
        Self::new()
    }
}

// === impl Gauge ===

impl Gauge {
    /// A gauge at zero.
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds `value`, which may be negative.
    #[inline]
    pub fn add(&self, value: i64) {
        self.0.fetch_add(value.cast_unsigned(), Ordering::Relaxed);
    }

    /// Sets the gauge. The value is there afterwards, whatever other threads did
    /// meanwhile.
    #[inline]
    pub fn set(&self, value: i64) {
        self.0.store(value.cast_unsigned(), Ordering::Relaxed);
    }

    /// The number now.
    #[must_use]
    #[inline]
    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed).cast_signed()
    }
}

impl Default for Gauge {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_the_number_of_its_steps() {
        let counter = Counter::default();
        (0..17).for_each(|_| counter.add(1));
        assert_eq!(counter.value(), 17);
    }

    #[test]
    fn a_gauge_rises_falls_and_is_set() {
        let gauge = Gauge::default();
        gauge.add(100);
        gauge.add(-50);
        assert_eq!(gauge.value(), 50);
        gauge.add(-51);
        assert_eq!(gauge.value(), -1);
        gauge.add(101);
        gauge.set(50);
        assert_eq!(gauge.value(), 50);
        gauge.set(i64::MIN);
        assert_eq!(gauge.value(), i64::MIN);
    }
}
