//! The `tower` layer.

use tower_layer::Layer;

use crate::breaker::Breaker;
use crate::service::BreakerService;

/// Puts a [`Breaker`] in front of a service.
///
/// Every service made by one layer, and by its clones, shares that breaker.
///
/// ```
/// use plimsoll_limit::{Breaker, BreakerLayer};
/// use tower::{ServiceExt, service_fn};
/// use tower_layer::Layer;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let breaker = Breaker::with_default_queue(2)?;
/// let echo = service_fn(|n: u32| async move { Ok::<_, std::io::Error>(n) });
/// let service = BreakerLayer::new(breaker.clone()).layer(echo);
/// assert_eq!(service.oneshot(7).await?, 7);
/// assert_eq!(breaker.running(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct BreakerLayer {
    breaker: Breaker,
}

impl BreakerLayer {
    /// A layer whose services take their slots from `breaker`.
    #[must_use]
    pub const fn new(breaker: Breaker) -> Self {
        Self { breaker }
    }
}

impl<S> Layer<S> for BreakerLayer {
    type Service = BreakerService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        BreakerService::new(inner, self.breaker.clone())
    }
}
