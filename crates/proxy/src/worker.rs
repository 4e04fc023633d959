//! Workers: threads that carry requests, each with its own runtime and its own upstream connections.

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::server::conn::{http1, http2};
use plimsoll_limit::Breaker;
use plimsoll_meter::{Clock, ConcurrencyMeter, Tick};
use slab::Slab;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::body::OpenAnswers;
use crate::clock::MonotonicClock;
use crate::config::{
    HEAD_BYTES_MAX, HEADER_LIST_BYTES_MAX, SEND_BUFFER_BYTES_MAX, STREAMS_PER_CONNECTION_MAX,
    SidecarOptions, TimeLimits, UPSTREAM_IDLE_COUNT_MAX,
};
use crate::connection::{self, ClientConnection, Farewell};
use crate::deadline::SpareTimers;
use crate::drain::Quiet;
use crate::gateway::{LocalGateway, Routes};
use crate::listen::{Accepted, Port, StopAccepting, accept_until};
use crate::load_report::LoadReports;
use crate::observe::Watch;
use crate::orphan::Orphanage;
use crate::outbox;
use crate::sidecar::Application;
use crate::stats::WorkerStats;
use crate::throttle::{LogThrottle, Throttle};
use crate::tls::{ClientTls, ServerTls};
use crate::upstream::{IdleCount, Pool};

/// How often unused connections are looked through, while there are any.
const SWEEP_PERIOD: Duration = Duration::from_millis(200);

/// How often a worker without connections looks whether it has some.
const SWEEP_PERIOD_WITHOUT_CONNECTIONS: Duration = Duration::from_secs(2);

/// What all workers share: atomics, and what never changes.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: MonotonicClock,
    pub(crate) meter: Arc<ConcurrencyMeter>,
    pub(crate) stats: Box<[WorkerStats]>,
    /// Whether a drain is under way.
    pub(crate) quiet: Quiet,
    pub(crate) role: Role,
    /// What answers say of the load.
    pub(crate) reports: LoadReports,
    /// Who is told of requests.
    pub(crate) watch: Watch,
}

/// What becomes of requests.
#[derive(Debug)]
pub(crate) enum Role {
    /// They go to one application.
    Sidecar {
        app: SocketAddr,
        tls: Option<Arc<ClientTls>>,
        breaker: Option<Breaker>,
        limits: TimeLimits,
        options: Arc<SidecarOptions>,
    },
    /// They go to the endpoints of services.
    Gateway { routes: Arc<ArcSwap<Routes>> },
}

/// A worker's own part of its role.
#[derive(Debug)]
pub(crate) enum Path {
    Sidecar(Rc<Application>),
    Gateway(Rc<LocalGateway>),
}

/// What everything on one worker shares.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) path: Path,
    pub(crate) spare_timers: Rc<SpareTimers>,
    pub(crate) throttle: LogThrottle,
    pub(crate) handshake_throttle: Throttle,
    pub(crate) open_answers: OpenAnswers,
    pub(crate) http1: http1::Builder,
    pub(crate) http2: http2::Builder<LocalExecutor>,
    connections: RefCell<Slab<Rc<ClientConnection>>>,
}

/// What a worker is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// Serve a connection that another thread has accepted and counted as open.
    Serve(HandedOver),
    /// Accept connections until the other end of the channel is used or dropped.
    Accept(Port, Arc<Semaphore>, StopAccepting),
    /// Tell every connection to end in this way.
    Bid(Farewell),
}

/// A connection that another thread has accepted: an [`Accepted`] that belongs to no runtime yet.
#[derive(Debug)]
pub(crate) struct HandedOver {
    pub(crate) stream: std::net::TcpStream,
    pub(crate) remote: SocketAddr,
    pub(crate) place: OwnedSemaphorePermit,
    pub(crate) tls: Option<Arc<ServerTls>>,
}

/// Puts the tasks of the HTTP library on the worker's own runtime.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        // In a box, because a task moves its future more than once, and those of HTTP/2 are large.
        tokio::task::spawn_local(Box::pin(future));
    }
}

/// The life of a worker.
pub(crate) async fn run(
    index: usize,
    shared: Arc<Shared>,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    let worker = Rc::new(Worker::new(index, shared));
    tokio::task::spawn_local(outbox::send_each_turn());
    tokio::task::spawn_local(sweep(Rc::clone(&worker)));
    while let Some(command) = commands.recv().await {
        match command {
            Command::Serve(connection) => worker.adopt(connection),
            Command::Accept(port, places, stop) => worker.accept(port, places, stop),
            Command::Bid(farewell) => worker.bid(farewell),
        }
    }
    // The handle is gone: whatever is still open ends with the runtime.
}

async fn sweep(worker: Rc<Worker>) {
    loop {
        let has_connections = !worker.connections.borrow().is_empty();
        tokio::time::sleep(if has_connections {
            SWEEP_PERIOD
        } else {
            SWEEP_PERIOD_WITHOUT_CONNECTIONS
        })
        .await;
        let now = worker.shared.clock.now();
        worker.path.sweep(now);
        worker.open_answers.give_up_overdue(now);
        for (_, connection) in &*worker.connections.borrow() {
            connection.park_if_unused();
        }
    }
}

impl Path {
    fn new(role: &Role) -> Self {
        match role {
            Role::Sidecar {
                app,
                tls,
                breaker,
                limits,
                options,
            } => {
                let idle_max = breaker
                    .as_ref()
                    .map_or(UPSTREAM_IDLE_COUNT_MAX, Breaker::concurrency);
                let idle_all = Rc::new(IdleCount::new(idle_max));
                Self::Sidecar(Rc::new(Application {
                    breaker: breaker.clone(),
                    limits: *limits,
                    orphanage: (options.hold_cancelled && breaker.is_some()).then(Orphanage::open),
                    options: Arc::clone(options),
                    pool: Rc::new(Pool::new(*app, tls.clone(), idle_max, idle_all)),
                }))
            }
            Role::Gateway { routes } => {
                Self::Gateway(Rc::new(LocalGateway::new(Arc::clone(routes))))
            }
        }
    }

    /// Closes upstream connections that are of no more use.
    fn sweep(&self, now: Tick) {
        match self {
            Self::Sidecar(app) => app.pool.sweep(now),
            Self::Gateway(gateway) => gateway.sweep(now),
        }
    }
}

impl Worker {
    pub(crate) fn new(index: usize, shared: Arc<Shared>) -> Self {
        let mut http1 = http1::Builder::new();
        http1.max_buf_size(HEAD_BYTES_MAX).auto_date_header(false);
        let mut http2 = http2::Builder::new(LocalExecutor);
        http2
            .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
            .max_header_list_size(HEADER_LIST_BYTES_MAX)
            .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
            .auto_date_header(false);
        Self {
            index,
            path: Path::new(&shared.role),
            shared,
            spare_timers: Rc::default(),
            throttle: LogThrottle::new(),
            handshake_throttle: Throttle::default(),
            open_answers: OpenAnswers::default(),
            http1,
            http2,
            connections: RefCell::default(),
        }
    }

    pub(crate) fn stats(&self) -> &WorkerStats {
        &self.shared.stats[self.index]
    }

    /// Whether probes are told that no more requests should come.
    pub(crate) fn is_draining(&self) -> bool {
        self.shared.quiet.is_draining()
    }

    /// Whether clients are being told to go.
    pub(crate) fn is_ending(&self) -> bool {
        self.shared.quiet.is_ending()
    }

    /// Keeps the quiet period from ending.
    pub(crate) fn request_arrived(&self) {
        self.shared.quiet.request_arrived(self.shared.clock);
    }

    pub(crate) fn register(&self, connection: &Rc<ClientConnection>) -> usize {
        self.connections.borrow_mut().insert(Rc::clone(connection))
    }

    pub(crate) fn unregister(&self, key: usize) {
        self.connections.borrow_mut().remove(key);
        self.stats().connection_closed();
        self.stats().connection_released();
    }

    fn accept(self: &Rc<Self>, port: Port, places: Arc<Semaphore>, stop: StopAccepting) {
        let worker = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let take = |accepted| {
                worker.stats().connection_opened();
                worker.serve(accepted);
            };
            if let Err(cause) = accept_until(port, places, stop, take).await {
                tracing::error!(%cause, "accepting has ended");
            }
        });
    }

    /// Takes a connection over from another thread.
    fn adopt(self: &Rc<Self>, connection: HandedOver) {
        let HandedOver {
            stream,
            remote,
            place,
            tls,
        } = connection;
        match TcpStream::from_std(stream) {
            Ok(stream) => self.serve(Accepted {
                stream,
                remote,
                place,
                tls,
            }),
            Err(cause) => {
                self.stats().connection_closed();
                tracing::error!(%cause, client = %remote, "cannot serve a connection");
            }
        }
    }

    /// Serves a connection that has been counted as open.
    fn serve(self: &Rc<Self>, accepted: Accepted) {
        tokio::task::spawn_local(connection::serve(self, accepted));
    }

    fn bid(&self, farewell: Farewell) {
        for (_, connection) in &*self.connections.borrow() {
            connection.bid(farewell);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::bind;
    use crate::server::runtime;
    use crate::stats::StatsView;
    use crate::tls::Identity;
    use std::net::Ipv4Addr;
    use std::num::NonZeroUsize;

    /// A connection that is about to be served, and the client's end of it.
    struct Begun<F> {
        worker: Rc<Worker>,
        served: F,
        client: TcpStream,
        places: Arc<Semaphore>,
    }

    async fn begin(tls: Option<Arc<ServerTls>>) -> Begun<impl Future<Output = ()>> {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let shared = Arc::new(Shared {
            clock: MonotonicClock::start(),
            meter: Arc::new(ConcurrencyMeter::new(NonZeroUsize::MIN)),
            stats: Box::new([WorkerStats::new()]),
            quiet: Quiet::default(),
            role: Role::Sidecar {
                app: any_port,
                tls: None,
                breaker: None,
                limits: TimeLimits::default(),
                options: Arc::default(),
            },
            reports: LoadReports::default(),
            watch: Watch::default(),
        });
        let worker = Rc::new(Worker::new(0, shared));
        let listener = tokio::net::TcpListener::from_std(bind(any_port).unwrap()).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (accepted, client) = tokio::join!(listener.accept(), client);
        let (stream, remote) = accepted.unwrap();
        let places = Arc::new(Semaphore::new(1));
        let accepted = Accepted {
            stream,
            remote,
            place: Arc::clone(&places).try_acquire_owned().unwrap(),
            tls,
        };
        worker.stats().connection_opened();
        Begun {
            served: connection::serve(&worker, accepted),
            worker,
            client: client.unwrap(),
            places,
        }
    }

    /// As when it panics: its future is dropped before its end.
    #[test]
    fn a_connection_that_ends_midway_leaves_nothing_behind() {
        runtime().unwrap().block_on(async {
            let begun = begin(None).await;
            assert_eq!(begun.worker.connections.borrow().len(), 1);
            drop(begun.served);
            assert!(begun.worker.connections.borrow().is_empty());
            assert_eq!(begun.worker.stats().connections(), 0);
            assert_eq!(begun.places.available_permits(), 1);
        });
    }

    #[test]
    fn a_client_that_does_not_get_on_with_its_handshake_is_given_up() {
        let tls = Arc::new(ServerTls::new(&Identity::self_signed()).unwrap());
        for (sent, seconds, failures) in [(&b""[..], 60, 0), (b"\x16", 10, 1)] {
            runtime().unwrap().block_on(async {
                let begun = begin(Some(Arc::clone(&tls))).await;
                assert_eq!(begun.client.try_write(sent).unwrap(), sent.len());
                tokio::time::pause();
                let before = begun.worker.shared.clock.now();
                begun.served.await;
                let after = begun.worker.shared.clock.now();
                let waited = after.saturating_duration_since(before);
                assert_eq!(waited.as_secs(), seconds, "{sent:?}");
                assert_eq!(begun.places.available_permits(), 1);
                let view = StatsView::of(&begun.worker.shared.stats);
                assert_eq!(view.handshake_failures, failures, "{sent:?}");
            });
        }
    }
}
