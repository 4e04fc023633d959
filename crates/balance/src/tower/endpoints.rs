//! The inner services by address, and how the set of them changes.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::balancer::Balancer;
use crate::endpoint::EndpointSpec;
use crate::registry::{Registry, SetChange};
use crate::tower::error::{BoxError, ChangeError};
use crate::tower::ongoing::SharedClock;

/// A change of the set, for [`BalancerService::follow`](super::BalancerService::follow).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An endpoint is there, or is to be described otherwise than before.
    Insert(EndpointSpec),
    /// The endpoint of this address is gone. One that is not there is no error.
    Remove(Arc<str>),
    /// These are all endpoints.
    Set(Vec<EndpointSpec>),
}

/// The inner services of all endpoints.
pub(super) struct Endpoints<S> {
    balancer: Balancer,
    clock: SharedClock,
    make: Box<Make<S>>,
    /// The set as it was given last. Its lock is held for a whole change.
    specs: Mutex<Vec<EndpointSpec>>,
    services: ArcSwap<Services<S>>,
}

type Make<S> = dyn Fn(&EndpointSpec) -> Result<S, BoxError> + Send + Sync;

/// The lock is there because a service need not be `Sync`; it is held for one clone.
type Services<S> = HashMap<Arc<str>, Arc<Mutex<S>>>;

impl<S> Endpoints<S> {
    pub(super) fn new(
        balancer: Balancer,
        clock: SharedClock,
        make: impl Fn(&EndpointSpec) -> Result<S, BoxError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            balancer,
            clock,
            make: Box::new(make),
            specs: Mutex::default(),
            services: ArcSwap::default(),
        }
    }

    pub(super) const fn balancer(&self) -> &Balancer {
        &self.balancer
    }

    pub(super) const fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// The service of that address, if there is one.
    pub(super) fn service(&self, address: &str) -> Option<S>
    where
        S: Clone,
    {
        let services = self.services.load();
        let service = services.get(address)?;
        Some(service.lock().clone())
    }

    /// Applies `change`.
    pub(super) fn change(&self, change: Change) -> Result<SetChange, ChangeError> {
        let mut specs = self.specs.lock();
        let next = match change {
            Change::Set(next) => next,
            Change::Insert(spec) => {
                let mut next = specs.clone();
                match next.iter_mut().find(|old| old.address == spec.address) {
                    Some(old) => *old = spec,
                    None => next.push(spec),
                }
                next
            }
            Change::Remove(address) => {
                let mut next = specs.clone();
                next.retain(|old| old.address != address);
                next
            }
        };
        let changed = self.replace(&next)?;
        *specs = next;
        Ok(changed)
    }

    /// Makes `specs` the set. The caller holds the lock of the present one.
    fn replace(&self, specs: &[EndpointSpec]) -> Result<SetChange, ChangeError> {
        // Before any service is made: a set that cannot be opens no connections.
        Registry::check(specs)?;
        let before = self.services.load_full();
        let mut after = Services::with_capacity(specs.len());
        for spec in specs {
            let service = match before.get(&spec.address) {
                Some(service) => Arc::clone(service),
                None => Arc::new(Mutex::new(self.make(spec)?)),
            };
            after.insert(Arc::clone(&spec.address), service);
        }
        // Whoever is picked during the change, of the old set or of the new one, has a service.
        let mut either = Services::clone(&before);
        either.extend(
            after
                .iter()
                .map(|(address, it)| (Arc::clone(address), Arc::clone(it))),
        );
        self.services.store(Arc::new(either));
        let changed = self.balancer.set_endpoints(self.clock.now(), specs);
        let in_force = if changed.is_ok() {
            Arc::new(after)
        } else {
            before
        };
        self.services.store(in_force);
        Ok(changed?)
    }

    fn make(&self, spec: &EndpointSpec) -> Result<S, ChangeError> {
        (self.make)(spec).map_err(|cause| ChangeError::Make {
            address: Arc::clone(&spec.address),
            cause,
        })
    }
}
