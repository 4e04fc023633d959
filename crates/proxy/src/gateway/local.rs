//! What one worker keeps of the gateway: the routes as it last saw them, and its connections to endpoints.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::Request;
use plimsoll_balance::{Balancer, Endpoint, EndpointId};
use plimsoll_meter::Tick;
use plimsoll_wire::ProxyError;

use crate::config::{UPSTREAM_IDLE_COUNT_MAX, UPSTREAM_IDLE_PER_ENDPOINT_MAX};
use crate::gateway::routes::Routes;
use crate::gateway::service::{Service, ServiceSettings};
use crate::refusal::Refusal;
use crate::tls::ClientTls;
use crate::upstream::{IdleCount, Pool};

/// A worker's part of the gateway.
#[derive(Debug)]
pub(crate) struct LocalGateway {
    routes: Arc<ArcSwap<Routes>>,
    seen: RefCell<Seen>,
    /// Unused connections of this worker, to all endpoints.
    idle: Rc<IdleCount>,
}

/// The table as the worker last saw it.
#[derive(Debug)]
struct Seen {
    routes: Arc<Routes>,
    /// In the order of the table's.
    services: Vec<Rc<LocalService>>,
}

/// A service and the worker's connections to its endpoints.
///
/// Counted by the worker alone: the count of the service itself would be fought for by all workers with every
/// request.
#[derive(Debug)]
pub(crate) struct LocalService {
    service: Arc<Service>,
    pools: Rc<Pools>,
}

/// A worker's connections to the endpoints of one service.
#[derive(Debug)]
struct Pools {
    by_endpoint: RefCell<HashMap<EndpointId, Known, BuildHasherDefault<IdHasher>>>,
    idle: Rc<IdleCount>,
}

#[derive(Debug)]
struct Known {
    endpoint: Arc<Endpoint>,
    pool: Rc<Pool>,
}

/// Hashes an [`EndpointId`] by a multiplication.
///
/// Ids are numbered by this process, so nobody can choose them to collide, which
/// is what the standard library's hash costs its time for.
#[derive(Debug, Default)]
struct IdHasher(u64);

// === impl LocalGateway ===

impl LocalGateway {
    pub(crate) fn new(routes: Arc<ArcSwap<Routes>>) -> Self {
        let idle = Rc::new(IdleCount::new(UPSTREAM_IDLE_COUNT_MAX));
        let seen = RefCell::new(Seen {
            routes: Arc::default(),
            services: Vec::new(),
        });
        Self { routes, seen, idle }
    }

    /// The service that `request` is for, by the newest table.
    pub(crate) fn route<B>(&self, request: &Request<B>) -> Option<Rc<LocalService>> {
        self.look();
        let seen = self.seen.borrow();
        let found = seen.routes.position(host(request), request.uri().path());
        found.map(|index| Rc::clone(&seen.services[index]))
    }

    /// Closes upstream connections that are of no more use.
    pub(crate) fn sweep(&self, now: Tick) {
        self.look();
        for service in &self.seen.borrow().services {
            service.pools.sweep(now);
        }
    }

    /// Takes over the newest table, if it is another. Connections of services that stay are kept; those of a
    /// service that has gone close when its last request has ended.
    fn look(&self) {
        let newest = self.routes.load();
        let mut seen = self.seen.borrow_mut();
        if Arc::ptr_eq(&newest, &seen.routes) {
            return;
        }
        let local = |service: &Arc<Service>| {
            let same = seen
                .services
                .iter()
                .find(|known| known.service.shares_connections_with(service));
            Rc::new(LocalService {
                service: Arc::clone(service),
                pools: same.map_or_else(|| Pools::new(&self.idle), |known| Rc::clone(&known.pools)),
            })
        };
        let services = newest.services().iter().map(local).collect();
        *seen = Seen {
            routes: Arc::clone(&newest),
            services,
        };
    }
}

/// The host that a prepared request names; empty if it names none.
fn host<B>(request: &Request<B>) -> &str {
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let field = || request.headers().get(http::header::HOST)?.to_str().ok();
    authority.or_else(field).unwrap_or("")
}

// === impl LocalService ===

impl LocalService {
    pub(crate) fn service(&self) -> &Service {
        &self.service
    }

    pub(crate) fn balancer(&self) -> &Balancer {
        self.service.balancer()
    }

    pub(crate) fn settings(&self) -> &ServiceSettings {
        self.service.settings()
    }

    /// The connections to `endpoint`.
    pub(crate) fn pool(&self, endpoint: &Arc<Endpoint>) -> Result<Rc<Pool>, Refusal> {
        self.pools.to(endpoint, self.settings().tls.as_ref())
    }
}

// === impl IdHasher ===

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        // Not for ids, which are one word.
        for &byte in bytes {
            self.write_u64(self.0 ^ u64::from(byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        // 2⁶⁴ divided by the golden ratio. The table looks at both ends of the word, and the upper half is the
        // better mixed one.
        let product = id.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = product ^ (product >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

// === impl Pools ===

impl Pools {
    fn new(idle: &Rc<IdleCount>) -> Rc<Self> {
        Rc::new(Self {
            by_endpoint: RefCell::default(),
            idle: Rc::clone(idle),
        })
    }

    fn to(
        &self,
        endpoint: &Arc<Endpoint>,
        tls: Option<&Arc<ClientTls>>,
    ) -> Result<Rc<Pool>, Refusal> {
        let mut pools = self.by_endpoint.borrow_mut();
        if let Some(known) = pools.get(&endpoint.id()) {
            return Ok(Rc::clone(&known.pool));
        }
        let address = endpoint.address().parse().map_err(|_| {
            let cause = format!("`{}` is no address and port", endpoint.address());
            Refusal::upstream(ProxyError::DestinationUnavailable, cause)
        })?;
        let idle_max = UPSTREAM_IDLE_PER_ENDPOINT_MAX;
        let pool = Rc::new(Pool::new(
            address,
            tls.cloned(),
            idle_max,
            Rc::clone(&self.idle),
        ));
        let known = Known {
            endpoint: Arc::clone(endpoint),
            pool: Rc::clone(&pool),
        };
        pools.insert(endpoint.id(), known);
        Ok(pool)
    }

    /// Closes what is of no more use: connections to endpoints that have left the set above all. Forgets pools that
    /// hold nothing.
    fn sweep(&self, now: Tick) {
        self.by_endpoint.borrow_mut().retain(|_, known| {
            if known.endpoint.is_listed() {
                known.pool.sweep(now);
            } else {
                known.pool.close_idle();
            }
            Rc::strong_count(&known.pool) > 1 || known.pool.has_connections()
        });
    }
}
