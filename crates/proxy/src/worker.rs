//! Workers: threads that carry requests, each with its own runtime and its own upstream connections.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use plimsoll_limit::Breaker;
use plimsoll_meter::{Clock, ConcurrencyMeter};
use slab::Slab;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::body::OpenAnswers;
use crate::clock::MonotonicClock;
use crate::config::{
    ConfigError, HEAD_BYTES_MAX, HEADER_LIST_BYTES_MAX, SEND_BUFFER_BYTES_MAX,
    STREAMS_PER_CONNECTION_MAX, SidecarConfig, TimeLimits, UPSTREAM_IDLE_COUNT_MAX,
};
use crate::connection::{self, ClientConnection, Farewell};
use crate::deadline::SpareTimers;
use crate::drain::Running;
use crate::listen::{Accepted, BindError, StopAccepting, accept_until, bind};
use crate::outbox;
use crate::stats::WorkerStats;
use crate::throttle::LogThrottle;
use crate::upstream::Pool;

/// How often unused connections are looked through, while there are any.
const SWEEP_PERIOD: Duration = Duration::from_millis(200);

/// How often a worker without connections looks whether it has some.
const SWEEP_PERIOD_WITHOUT_CONNECTIONS: Duration = Duration::from_secs(2);

/// What all workers share: atomics, and what never changes.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: MonotonicClock,
    pub(crate) meter: Arc<ConcurrencyMeter>,
    pub(crate) breaker: Option<Breaker>,
    pub(crate) limits: TimeLimits,
    pub(crate) stats: Box<[WorkerStats]>,
    /// When the last request arrived, in nanoseconds; kept only while draining.
    pub(crate) last_arrival: AtomicU64,
    app: SocketAddr,
}

/// What everything on one worker shares.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: Rc<Pool>,
    pub(crate) spare_timers: Rc<SpareTimers>,
    pub(crate) throttle: LogThrottle,
    pub(crate) open_answers: OpenAnswers,
    pub(crate) http1: http1::Builder,
    pub(crate) http2: http2::Builder<LocalExecutor>,
    draining: Cell<bool>,
    connections: RefCell<Slab<Rc<ClientConnection>>>,
}

/// What a worker is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// Serve a connection that another thread has accepted and counted as open.
    Serve(std::net::TcpStream, SocketAddr, OwnedSemaphorePermit),
    /// Accept connections until the other end of the channel is used or dropped.
    Accept(TcpListener, Arc<Semaphore>, StopAccepting),
    /// Tell every connection to end in this way.
    Bid(Farewell),
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

/// A bound data port, not yet served.
#[derive(Debug)]
pub struct Sidecar {
    listener: TcpListener,
    shared: Arc<Shared>,
    connections_max: usize,
}

impl Sidecar {
    /// Binds the data port of `config`. Connections queue in the kernel until [`Sidecar::start`].
    ///
    /// # Errors
    /// A configuration out of range, or a port that cannot be opened.
    pub fn bind(config: &SidecarConfig) -> Result<Self, SidecarError> {
        let breaker = config.breaker()?;
        let listener = bind(config.listen)?;
        let shared = Arc::new(Shared {
            clock: MonotonicClock::start(),
            meter: Arc::new(ConcurrencyMeter::new(config.workers)),
            breaker,
            limits: config.limits,
            stats: (0..config.workers.get())
                .map(|_| WorkerStats::new())
                .collect(),
            last_arrival: AtomicU64::new(0),
            app: config.app,
        });
        Ok(Self {
            listener,
            shared,
            connections_max: config.connections_max,
        })
    }

    /// The address that clients connect to, with the real port if 0 was asked for.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Starts the workers.
    ///
    /// # Errors
    /// If a thread or its runtime cannot be made.
    pub fn start(self) -> io::Result<Running> {
        let workers = self.shared.stats.len();
        let mut commands = Vec::with_capacity(workers);
        let mut threads = Vec::with_capacity(workers);
        for index in 0..workers {
            let (sender, receiver) = mpsc::unbounded_channel();
            let shared = Arc::clone(&self.shared);
            let (ended, end) = oneshot::channel();
            std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || {
                    let served =
                        runtime().map(|runtime| runtime.block_on(run(index, shared, receiver)));
                    if let Err(cause) = served {
                        tracing::error!(%cause, worker = index, "a worker could not start");
                    }
                    // Nobody waits if the process is going down at once.
                    let _nobody = ended.send(());
                })?;
            commands.push(sender);
            threads.push(end);
        }
        let (stop, stopped) = oneshot::channel();
        let places = Arc::new(Semaphore::new(self.connections_max));
        if workers == 1 {
            // The only worker accepts for itself: no connection changes threads.
            let accept = Command::Accept(self.listener, places, stopped);
            commands[0]
                .send(accept)
                .map_err(|_| io::Error::other("the worker could not start"))?;
        } else {
            accept_for_all(
                self.listener,
                places,
                stopped,
                commands.clone(),
                Arc::clone(&self.shared),
            )?;
        }
        Ok(Running::new(self.shared, commands, threads, stop))
    }
}

/// The sidecar could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SidecarError {
    /// The configuration is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data port could not be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
}

fn runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build_local(LocalOptions::default())
}

/// Accepts on a thread of its own and gives each connection to the worker with the fewest.
///
/// The kernel's own spreading (`SO_REUSEPORT`) hashes addresses, and puts a few busy HTTP/2 connections on one
/// worker as often as not.
fn accept_for_all(
    listener: TcpListener,
    places: Arc<Semaphore>,
    stopped: StopAccepting,
    commands: Vec<mpsc::UnboundedSender<Command>>,
    shared: Arc<Shared>,
) -> io::Result<()> {
    std::thread::Builder::new()
        .name("accept".to_owned())
        .spawn(move || {
            let hand_over = |Accepted {
                                 stream,
                                 remote,
                                 place,
                             }| {
                let Ok(stream) = stream.into_std() else {
                    return;
                };
                let least =
                    (0..commands.len()).min_by_key(|index| shared.stats[*index].connections());
                let index = least.unwrap_or(0);
                shared.stats[index].connection_opened();
                // A worker that has ended has nobody to serve; the connection closes.
                if commands[index]
                    .send(Command::Serve(stream, remote, place))
                    .is_err()
                {
                    shared.stats[index].connection_closed();
                }
            };
            let served = runtime().and_then(|runtime| {
                runtime.block_on(accept_until(listener, places, stopped, hand_over))
            });
            if let Err(cause) = served {
                tracing::error!(%cause, "accepting has ended");
            }
        })?;
    Ok(())
}

async fn run(index: usize, shared: Arc<Shared>, mut commands: mpsc::UnboundedReceiver<Command>) {
    let worker = Rc::new(Worker::new(index, shared));
    tokio::task::spawn_local(outbox::send_each_turn());
    tokio::task::spawn_local(sweep(Rc::clone(&worker)));
    while let Some(command) = commands.recv().await {
        match command {
            Command::Serve(stream, remote, place) => worker.adopt(stream, remote, place),
            Command::Accept(listener, places, stop) => worker.accept(listener, places, stop),
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
        worker.pool.sweep(now);
        worker.open_answers.give_up_overdue(now);
        for (_, connection) in &*worker.connections.borrow() {
            connection.park_if_unused();
        }
    }
}

impl Worker {
    fn new(index: usize, shared: Arc<Shared>) -> Self {
        let idle_max = shared
            .breaker
            .as_ref()
            .map_or(UPSTREAM_IDLE_COUNT_MAX, |breaker| breaker.concurrency());
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
            pool: Rc::new(Pool::new(shared.app, idle_max)),
            shared,
            spare_timers: Rc::default(),
            throttle: LogThrottle::new(),
            open_answers: OpenAnswers::default(),
            http1,
            http2,
            draining: Cell::new(false),
            connections: RefCell::default(),
        }
    }

    pub(crate) fn stats(&self) -> &WorkerStats {
        &self.shared.stats[self.index]
    }

    /// Whether clients are being told to go.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Keeps the quiet period from ending.
    pub(crate) fn request_arrived(&self) {
        if self.draining.get() {
            self.shared
                .last_arrival
                .store(self.shared.clock.now().as_nanos(), Ordering::Relaxed);
        }
    }

    pub(crate) fn register(&self, connection: &Rc<ClientConnection>) -> usize {
        self.connections.borrow_mut().insert(Rc::clone(connection))
    }

    pub(crate) fn unregister(&self, key: usize) {
        self.connections.borrow_mut().remove(key);
        self.stats().connection_closed();
        self.stats().connection_released();
    }

    fn accept(self: &Rc<Self>, listener: TcpListener, places: Arc<Semaphore>, stop: StopAccepting) {
        let worker = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let take = |accepted| {
                worker.stats().connection_opened();
                worker.serve(accepted);
            };
            if let Err(cause) = accept_until(listener, places, stop, take).await {
                tracing::error!(%cause, "accepting has ended");
            }
        });
    }

    /// Takes a connection over from another thread.
    fn adopt(
        self: &Rc<Self>,
        stream: std::net::TcpStream,
        remote: SocketAddr,
        place: OwnedSemaphorePermit,
    ) {
        match TcpStream::from_std(stream) {
            Ok(stream) => self.serve(Accepted {
                stream,
                remote,
                place,
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
        self.draining.set(true);
        for (_, connection) in &*self.connections.borrow() {
            connection.bid(farewell);
        }
    }
}

/// How many workers a machine, or a container's share of it, deserves.
#[must_use]
pub fn default_workers() -> NonZeroUsize {
    // Knows about CPU affinity and about the quota of the control group, version 1 or 2.
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    /// As when it panics: its future is dropped before its end.
    #[test]
    fn a_connection_that_ends_midway_leaves_nothing_behind() {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let config = SidecarConfig {
            app: any_port,
            listen: any_port,
            concurrency: 0,
            queue_depth: None,
            limits: TimeLimits::default(),
            workers: NonZeroUsize::MIN,
            connections_max: 1,
        };
        let Sidecar {
            listener, shared, ..
        } = Sidecar::bind(&config).unwrap();
        runtime().unwrap().block_on(async {
            let worker = Rc::new(Worker::new(0, shared));
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap());
            let (accepted, _client) = tokio::join!(listener.accept(), client);
            let (stream, remote) = accepted.unwrap();
            let places = Arc::new(Semaphore::new(1));
            let place = Arc::clone(&places).try_acquire_owned().unwrap();
            worker.stats().connection_opened();
            let served = connection::serve(
                &worker,
                Accepted {
                    stream,
                    remote,
                    place,
                },
            );
            assert_eq!(worker.connections.borrow().len(), 1);
            drop(served);
            assert!(worker.connections.borrow().is_empty());
            assert_eq!(worker.stats().connections(), 0);
            assert_eq!(places.available_permits(), 1);
        });
    }
}
