//! The right to run.

use std::fmt;
use std::sync::Arc;

use crate::breaker::Core;

/// The right to run, given back when it is dropped.
///
/// Keep it for as long as the work takes. For an HTTP request that is until
/// the response *body* has ended: move the slot into the body. One pointer
/// in size; it keeps the breaker's state alive.
///
/// It cannot be given back twice:
///
/// ```compile_fail,E0382
/// # let breaker = plimsoll_limit::Breaker::new(1, 1).unwrap();
/// let slot = breaker.try_reserve().unwrap();
/// drop(slot);
/// drop(slot); // moved
/// ```
#[must_use = "a slot that is dropped is given back"]
pub struct Slot {
    core: Arc<Core>,
}

impl Slot {
    /// The caller has taken the slot from `core`.
    #[inline]
    pub(crate) const fn new(core: Arc<Core>) -> Self {
        Self { core }
    }
}

impl Drop for Slot {
    #[inline]
    fn drop(&mut self) {
        self.core.release();
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").finish_non_exhaustive()
    }
}
