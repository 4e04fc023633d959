//! A bound data port and the threads that serve it.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use arc_swap::ArcSwap;
use plimsoll_meter::ConcurrencyMeter;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::clock::MonotonicClock;
use crate::config::{ConfigError, GatewayConfig, SidecarConfig};
use crate::drain::{Quiet, Running};
use crate::gateway::Routes;
use crate::listen::{Accepted, BindError, Port, StopAccepting, accept_until};
use crate::load_report::LoadReports;
use crate::observe::{Observer, Watch};
use crate::stats::WorkerStats;
use crate::worker::{Command, HandedOver, Role, Shared, run};

/// The bound data port of a sidecar, not yet served.
#[derive(Debug)]
pub struct Sidecar(Server);

/// The bound data port of a gateway, not yet served.
#[derive(Debug)]
pub struct Gateway {
    server: Server,
    routes: RoutesHandle,
}

/// The routes of a gateway, to read them and to change them while it serves.
#[derive(Debug, Clone)]
pub struct RoutesHandle(Arc<ArcSwap<Routes>>);

/// A bound data port, whatever becomes of its requests.
#[derive(Debug)]
struct Server {
    /// One, or two: plain HTTP first.
    ports: Vec<Port>,
    shared: Arc<Shared>,
    connections_max: usize,
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

impl Sidecar {
    /// Binds the data port of `config`. Connections queue in the kernel until [`Sidecar::start`].
    ///
    /// # Errors
    /// A configuration out of range, or a port that cannot be opened.
    pub fn bind(config: &SidecarConfig) -> Result<Self, SidecarError> {
        let role = Role::Sidecar {
            app: config.app,
            tls: config.app_tls.clone(),
            breaker: config.breaker()?,
            limits: config.limits,
            options: Arc::new(config.options.clone()),
        };
        let mut ports = vec![Port::bind(config.listen, config.tls.clone())?];
        if let Some(port) = &config.tls_port {
            ports.push(Port::bind(port.listen, Some(Arc::clone(&port.tls)))?);
        }
        let clock = MonotonicClock::start();
        let server = Server::new(ports, config.workers, config.connections_max, clock, role);
        Ok(Self(server))
    }

    /// The address that clients connect to, with the real port if 0 was asked for.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.ports[0].listener.local_addr()
    }

    /// The address of the second data port, if there is one.
    ///
    /// # Errors
    /// What the system says.
    pub fn tls_addr(&self) -> io::Result<Option<SocketAddr>> {
        let port = self.0.ports.get(1);
        port.map(|port| port.listener.local_addr()).transpose()
    }

    /// The clock of all its measurements.
    #[must_use]
    pub fn clock(&self) -> MonotonicClock {
        self.0.shared.clock
    }

    /// Has `observer` told of every request, unless another is already.
    #[must_use]
    pub fn observed_by(self, observer: Arc<dyn Observer>) -> Self {
        self.0.shared.watch.begin(observer);
        self
    }

    /// Starts the workers.
    ///
    /// # Errors
    /// If a thread or its runtime cannot be made.
    pub fn start(self) -> io::Result<Running> {
        self.0.start()
    }
}

impl Gateway {
    /// Binds the data port of `config`. Connections queue in the kernel until [`Gateway::start`].
    ///
    /// # Errors
    /// A port that cannot be opened.
    pub fn bind(config: &GatewayConfig, routes: Routes) -> Result<Self, BindError> {
        let routes = RoutesHandle(Arc::new(ArcSwap::from_pointee(routes)));
        let role = Role::Gateway {
            routes: Arc::clone(&routes.0),
        };
        let ports = vec![Port::bind(config.listen, config.tls.clone())?];
        let server = Server::new(
            ports,
            config.workers,
            config.connections_max,
            config.clock,
            role,
        );
        Ok(Self { server, routes })
    }

    /// The address that clients connect to, with the real port if 0 was asked for.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.server.ports[0].listener.local_addr()
    }

    /// Its routes.
    #[must_use]
    pub fn routes(&self) -> RoutesHandle {
        self.routes.clone()
    }

    /// Starts the workers.
    ///
    /// Somebody has to call [`Balancer::advance`](plimsoll_balance::Balancer::advance) of each service from time to
    /// time.
    ///
    /// # Errors
    /// If a thread or its runtime cannot be made.
    pub fn start(self) -> io::Result<Running> {
        self.server.start()
    }
}

impl RoutesHandle {
    /// The routes in force.
    #[must_use]
    pub fn get(&self) -> Arc<Routes> {
        self.0.load_full()
    }

    /// Puts other routes in force, for every request whose head has not been read yet. Those under way finish with
    /// the service they have.
    pub fn set(&self, routes: Routes) {
        self.0.store(Arc::new(routes));
    }
}

impl Server {
    fn new(
        ports: Vec<Port>,
        workers: NonZeroUsize,
        connections_max: usize,
        clock: MonotonicClock,
        role: Role,
    ) -> Self {
        let shared = Arc::new(Shared {
            clock,
            meter: Arc::new(ConcurrencyMeter::new(workers)),
            stats: (0..workers.get()).map(|_| WorkerStats::new()).collect(),
            quiet: Quiet::default(),
            role,
            reports: LoadReports::default(),
            watch: Watch::default(),
        });
        Self {
            ports,
            shared,
            connections_max,
        }
    }

    fn start(self) -> io::Result<Running> {
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
        let places = Arc::new(Semaphore::new(self.connections_max));
        let (stops, ports): (Vec<_>, Vec<_>) = self
            .ports
            .into_iter()
            .map(|port| {
                let (stop, stopped) = oneshot::channel();
                (stop, (port, stopped))
            })
            .unzip();
        if workers == 1 {
            // The only worker accepts for itself: no connection changes threads.
            for (port, stopped) in ports {
                commands[0]
                    .send(Command::Accept(port, Arc::clone(&places), stopped))
                    .map_err(|_| io::Error::other("the worker could not start"))?;
            }
        } else {
            for (port, stopped) in ports {
                let places = Arc::clone(&places);
                let shared = Arc::clone(&self.shared);
                accept_for_all(port, places, stopped, commands.clone(), shared)?;
            }
        }
        Ok(Running::new(self.shared, commands, threads, stops))
    }
}

pub(crate) fn runtime() -> io::Result<LocalRuntime> {
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
    port: Port,
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
                                 tls,
                             }| {
                let Ok(stream) = stream.into_std() else {
                    return;
                };
                let least =
                    (0..commands.len()).min_by_key(|index| shared.stats[*index].connections());
                let index = least.unwrap_or(0);
                shared.stats[index].connection_opened();
                // A worker that has ended has nobody to serve; the connection closes.
                let connection = HandedOver {
                    stream,
                    remote,
                    place,
                    tls,
                };
                if commands[index].send(Command::Serve(connection)).is_err() {
                    shared.stats[index].connection_closed();
                }
            };
            let served = runtime().and_then(|runtime| {
                runtime.block_on(accept_until(port, places, stopped, hand_over))
            });
            if let Err(cause) = served {
                tracing::error!(%cause, "accepting has ended");
            }
        })?;
    Ok(())
}

/// How many workers a machine, or a container's share of it, deserves.
#[must_use]
pub fn default_workers() -> NonZeroUsize {
    // Knows about CPU affinity and about the quota of the control group, version 1 or 2.
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
