//! Whether the application can take requests, as the program finds out.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// The answer to come: whether the application can take requests.
pub type ReadinessFuture = Pin<Box<dyn Future<Output = bool> + Send>>;

/// A way to find out whether the application can take requests.
///
/// It is asked once for each probe, from any worker, and never by itself. What it returns is polled on the worker that
/// asks, beside requests, so it must not block; and it is dropped when whoever asks goes away. So a check that takes
/// time runs elsewhere, and what is returned here only waits for its result.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use plimsoll_proxy::Readiness;
///
/// let is_up = Arc::new(AtomicBool::new(false));
/// let readiness = Readiness::new(move || {
///     let is_up = Arc::clone(&is_up);
///     async move { is_up.load(Ordering::Relaxed) }
/// });
/// # let _ = readiness;
/// ```
#[derive(Clone)]
pub struct Readiness(Arc<dyn Fn() -> ReadinessFuture + Send + Sync>);

impl Readiness {
    /// Asks by calling `check`.
    pub fn new<F>(check: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        Self(Arc::new(move || Box::pin(check())))
    }

    /// Asks.
    #[must_use]
    pub fn check(&self) -> ReadinessFuture {
        (self.0)()
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Readiness")
    }
}
