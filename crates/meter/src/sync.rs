//! The atomics of this crate: the real ones, or loom's under `--cfg loom`.

#[cfg(not(loom))]
pub(crate) use portable_atomic::{AtomicU64, AtomicU128, Ordering};

#[cfg(loom)]
pub(crate) use self::model::AtomicU128;
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};

#[cfg(loom)]
mod model {
    use loom::sync::Mutex;
    use loom::sync::atomic::Ordering;

    /// A stand-in for the 128-bit atomic, which loom lacks. Every operation is
    /// a point at which loom may switch threads. A lock is stronger than a
    /// relaxed atomic between *different* cells, so no proof may rest on the
    /// order of two cells; none does.
    pub(crate) struct AtomicU128(Mutex<u128>);

    impl AtomicU128 {
        pub(crate) fn new(value: u128) -> Self {
            Self(Mutex::new(value))
        }

        pub(crate) fn load(&self, _: Ordering) -> u128 {
            *self.0.lock().expect("no holder of this lock can panic")
        }

        pub(crate) fn store(&self, value: u128, _: Ordering) {
            *self.0.lock().expect("no holder of this lock can panic") = value;
        }

        pub(crate) fn compare_exchange_weak(
            &self,
            current: u128,
            new: u128,
            _: Ordering,
            _: Ordering,
        ) -> Result<u128, u128> {
            let mut value = self.0.lock().expect("no holder of this lock can panic");
            if *value == current {
                *value = new;
                Ok(current)
            } else {
                Err(*value)
            }
        }
    }
}
