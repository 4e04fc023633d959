//! The `tower` service.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use plimsoll_meter::Clock;
use tower_service::Service;

use crate::balancer::Balancer;
use crate::config::{BalancerConfig, ConfigError};
use crate::endpoint::EndpointSpec;
use crate::registry::SetChange;
use crate::tower::classify::Classify;
use crate::tower::endpoints::{Change, Endpoints};
use crate::tower::error::{BoxError, ChangeError, FollowError, ServiceError};
use crate::tower::future::ResponseFuture;
use crate::view::BalancerView;

/// One service over many that come and go: each request goes to the endpoint
/// that will answer best.
///
/// `S` is the inner service, one for each address, `C` says what answers tell.
/// Clones share everything.
///
/// **When the endpoint is chosen.** In `call`, which also fixes the order in the
/// queue. Never in `poll_ready`, which is always ready. The inner service is
/// cloned once there is an endpoint, and made ready then: a request that waits
/// holds nothing of it, and the time until it is ready counts as the endpoint's.
///
/// **When a request ends.** When `C` says so: with [`ByResult`](super::ByResult)
/// when the inner future resolves, with [`Http`](super::Http) when the body has
/// ended. Dropped before, the request is counted as given up, which blames
/// nobody. So put time limits that are the endpoint's fault below, into the
/// service that the factory makes, where their errors are classified.
///
/// **What must be called.** [`advance`](Self::advance), ten times a second, by
/// whoever has a timer.
pub struct BalancerService<S, C> {
    shared: Arc<Shared<S, C>>,
}

pub(super) struct Shared<S, C> {
    pub(super) endpoints: Endpoints<S>,
    pub(super) classify: C,
}

impl<S, C> BalancerService<S, C> {
    /// A service without endpoints, which refuses every request.
    ///
    /// `make` gives the service of an address that is new. It is not called for
    /// one that stays, and must not change the set itself.
    ///
    /// # Errors
    ///
    /// A setting of `config` that is out of its range.
    pub fn new(
        config: BalancerConfig,
        clock: impl Clock + Send + Sync + 'static,
        classify: C,
        make: impl Fn(&EndpointSpec) -> Result<S, BoxError> + Send + Sync + 'static,
    ) -> Result<Self, ConfigError> {
        let balancer = Balancer::new(config)?;
        let shared = Shared {
            endpoints: Endpoints::new(balancer, Arc::new(clock), make),
            classify,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Makes `specs` the set. Services of addresses that stay are kept, and so is
    /// what was learned about an address; see
    /// [`Balancer::set_endpoints`]. Requests at an endpoint that leaves go on.
    /// O(endpoints), like every change.
    ///
    /// # Errors
    ///
    /// What is wrong with the set, or that a service could not be made; then
    /// the old set stays.
    pub fn set(&self, specs: &[EndpointSpec]) -> Result<SetChange, ChangeError> {
        self.shared.endpoints.change(Change::Set(specs.to_vec()))
    }

    /// Adds an endpoint, or describes one anew that is there: its service stays.
    ///
    /// # Errors
    ///
    /// What is wrong with it, or that no service could be made; then the set stays.
    pub fn insert(&self, spec: EndpointSpec) -> Result<SetChange, ChangeError> {
        self.shared.endpoints.change(Change::Insert(spec))
    }

    /// Removes the endpoint of that address. Whether it was there.
    pub fn remove(&self, address: &str) -> bool {
        let change = Change::Remove(address.into());
        // Less of a set that could be is a set that can be, and nothing is made for it.
        let changed = self.shared.endpoints.change(change);
        changed.is_ok_and(|changed| changed.removed > 0)
    }

    /// Applies changes as they come, until there are no more.
    ///
    /// # Errors
    ///
    /// That the stream has failed, or that a change was refused. The set is then
    /// as the changes before have left it. To go on with the next one, give
    /// `&mut stream`, and call this again.
    pub async fn follow<E>(
        &self,
        changes: impl Stream<Item = Result<Change, E>>,
    ) -> Result<(), FollowError<E>> {
        let mut changes = pin!(changes);
        while let Some(change) = poll_fn(|cx| changes.as_mut().poll_next(cx)).await {
            let change = change.map_err(FollowError::Source)?;
            let changed = self.shared.endpoints.change(change);
            changed.map_err(FollowError::Change)?;
        }
        Ok(())
    }

    /// Housekeeping, to be called every 100 ms or so; see [`Balancer::advance`].
    pub fn advance(&self) {
        let endpoints = &self.shared.endpoints;
        endpoints.balancer().advance(endpoints.clock().now());
    }

    /// Everything there is to see. O(endpoints).
    #[must_use]
    pub fn view(&self) -> BalancerView {
        let endpoints = &self.shared.endpoints;
        endpoints.balancer().view(endpoints.clock().now())
    }

    /// The balancer: for its settings, its retry budget, drain, health and weight.
    ///
    /// Its set is this service's own. Whoever changes it there makes endpoints
    /// without a service; requests that are led to one are refused as if there
    /// were no endpoints.
    #[must_use]
    pub fn balancer(&self) -> &Balancer {
        self.shared.endpoints.balancer()
    }
}

impl<S, C, Request> Service<Request> for BalancerService<S, C>
where
    S: Service<Request> + Clone,
    C: Classify<S::Response, S::Error>,
{
    type Response = C::Response;
    type Error = ServiceError<S::Error>;
    type Future = ResponseFuture<S, C, Request>;

    /// Always ready: requests wait in the queue, not before it.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        ResponseFuture::enter(Arc::clone(&self.shared), request)
    }
}

impl<S, C> Clone for BalancerService<S, C> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S, C> fmt::Debug for BalancerService<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BalancerService")
            .field("balancer", self.balancer())
            .finish_non_exhaustive()
    }
}
