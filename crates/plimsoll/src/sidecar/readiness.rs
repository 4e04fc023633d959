//! Whether the application is ready, asked as Knative wants it asked.
//!
//! Nothing is asked until somebody wants to know. Whoever wants to know while it is being asked waits for the same
//! answer, and an attempt goes on when whoever began it has gone: callers of Knative give up after 300 ms and come
//! again.
//!
//! A probe without a period is eager: it is tried for up to ten seconds, so that a port is noticed as soon as it opens.
//! In the first second after the application was last well it is tried every 25 ms, then ever more rarely: the pause
//! is a twentieth of the time that it has taken so far, so waiting makes no start longer by more than that. Rejected:
//! a flat 50 ms for as long as it takes, two hundred connections for each run against an application that is down.
//!
//! An attempt of an eager probe has a whole second. A limit of 100 ms, as queue-proxy has it, never lets an
//! application become ready that needs 101 ms to answer, and one that is less than the kernel's first
//! retransmission of a lost packet gives up just before it would have succeeded.

mod grpc;
mod http;
pub(crate) mod spec;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::grpc::GrpcProbe;
use self::http::HttpProbe;
use self::spec::{Action, Pace, Probe};
use crate::dice::Dice;

/// How long one run of an eager probe is tried.
const RUN_TIME_MAX: Duration = Duration::from_secs(10);

/// How long one attempt of an eager probe may take.
const ATTEMPT_TIME_MAX: Duration = Duration::from_secs(1);

/// The pause between attempts of an eager probe in the first second.
const PAUSE_FIRST: Duration = Duration::from_millis(25);

/// How long the pause is that short.
const PAUSE_FIRST_FOR: Duration = Duration::from_secs(1);

/// Then the pause is the time since the first failure divided by this.
const PAUSE_DIVISOR: u32 = 20;

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// How often the log says that the application is still not ready, for the same reason.
const TOLD_PERIOD: Duration = Duration::from_secs(10);

/// Asks whether the application is ready. Clones are the same prober.
#[derive(Debug, Clone)]
pub(crate) struct Prober(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    probes: Vec<Arc<Tried>>,
    runtime: Handle,
    /// The answer of the run that is on its way, once there is one.
    current: Mutex<Option<watch::Receiver<Option<bool>>>>,
    told: Mutex<Told>,
}

/// A probe, and how it has gone so far.
#[derive(Debug)]
struct Tried {
    asker: Asker,
    pace: Pace,
    run_time_max: Duration,
    streak: Mutex<Streak>,
    dice: Dice,
}

#[derive(Debug)]
enum Asker {
    Tcp { host: String, port: u16 },
    Http(HttpProbe),
    Grpc(GrpcProbe),
}

/// How it has gone since it last went otherwise.
#[derive(Debug, Default)]
struct Streak {
    /// Successes in a row.
    successes: u32,
    /// Since when it has failed.
    failing_since: Option<Instant>,
}

/// A probe that has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Failure {
    /// What was asked.
    probe: String,
    attempts: u32,
    /// What was wrong the last time.
    error: String,
}

/// What the log has said.
#[derive(Debug, Default)]
struct Told {
    /// The last failure that was told, and when.
    failure: Option<(String, Instant)>,
    /// How many were not told since.
    suppressed: u64,
    /// When it was first found not to be ready.
    not_ready_since: Option<Instant>,
}

impl Prober {
    /// Probes are asked on `runtime`.
    pub(crate) fn new(probes: Vec<Probe>, detect_http2: bool, runtime: Handle) -> Self {
        Self::with_run_time(probes, detect_http2, runtime, RUN_TIME_MAX)
    }

    fn with_run_time(
        probes: Vec<Probe>,
        detect_http2: bool,
        runtime: Handle,
        run_time_max: Duration,
    ) -> Self {
        let tried = |probe: Probe| {
            Arc::new(Tried {
                pace: probe.pace,
                asker: Asker::new(probe, detect_http2),
                run_time_max,
                streak: Mutex::default(),
                dice: Dice::new(RandomState::new().build_hasher().finish()),
            })
        };
        Self(Arc::new(Inner {
            probes: probes.into_iter().map(tried).collect(),
            runtime,
            current: Mutex::default(),
            told: Mutex::default(),
        }))
    }

    /// Whether every probe succeeds. Joins the run that is on its way, if there is one.
    pub(crate) async fn is_ready(&self) -> bool {
        if self.0.probes.is_empty() {
            return true;
        }
        let mut answer = self.join();
        // The run ends without an answer only if the process is ending.
        let found = answer.wait_for(Option::is_some).await;
        found.is_ok_and(|answer| *answer == Some(true))
    }

    fn join(&self) -> watch::Receiver<Option<bool>> {
        let mut current = self.0.current.lock();
        // One without a sender has ended without an answer, which only a defect can do.
        if let Some(answer) = &*current
            && answer.has_changed().is_ok()
        {
            return answer.clone();
        }
        let (sender, answer) = watch::channel(None);
        *current = Some(answer.clone());
        let prober = self.clone();
        self.0.runtime.spawn(async move {
            let outcome = prober.0.run().await;
            prober.0.tell(&outcome);
            // First: whoever comes from now on wants a new answer.
            prober.0.current.lock().take();
            sender.send_replace(Some(outcome.is_ok()));
        });
        answer
    }
}

impl Inner {
    /// Asks all at once. The first failure ends it.
    async fn run(&self) -> Result<(), Failure> {
        if let [only] = &self.probes[..] {
            return Arc::clone(only).run().await;
        }
        let mut runs = JoinSet::new();
        for probe in &self.probes {
            runs.spawn(Arc::clone(probe).run());
        }
        while let Some(ended) = runs.join_next().await {
            ended.unwrap_or_else(|error| {
                Err(Failure {
                    probe: "probe".to_owned(),
                    attempts: 0,
                    error: error.to_string(),
                })
            })?;
        }
        Ok(())
    }

    fn tell(&self, outcome: &Result<(), Failure>) {
        let mut told = self.told.lock();
        let now = Instant::now();
        match outcome {
            Ok(()) => {
                if let Some(since) = told.not_ready_since {
                    let after = now.duration_since(since);
                    tracing::info!(?after, "the application is ready");
                }
                *told = Told::default();
            }
            Err(failure) => {
                told.not_ready_since.get_or_insert(now);
                let is_news = told.failure.as_ref().is_none_or(|(error, at)| {
                    *error != failure.error || now.duration_since(*at) >= TOLD_PERIOD
                });
                if is_news {
                    let Failure {
                        probe,
                        attempts,
                        error,
                    } = failure;
                    let suppressed = told.suppressed;
                    tracing::warn!(
                        probe,
                        attempts,
                        error,
                        suppressed,
                        "the application is not ready"
                    );
                    told.failure = Some((error.clone(), now));
                    told.suppressed = 0;
                } else {
                    told.suppressed += 1;
                }
            }
        }
    }
}

impl Tried {
    async fn run(self: Arc<Self>) -> Result<(), Failure> {
        match self.pace {
            Pace::Once { timeout } => {
                let asked = tokio::time::timeout(timeout, self.asker.ask()).await;
                let error = match asked {
                    Ok(Ok(())) => return Ok(()),
                    Ok(Err(error)) => error,
                    Err(_) => format!("no answer within {timeout:?}"),
                };
                Err(self.failure(1, error))
            }
            Pace::Eager { successes } => self.eagerly(successes).await,
        }
    }

    async fn eagerly(&self, successes: u32) -> Result<(), Failure> {
        let end = Instant::now() + self.run_time_max;
        let mut attempts = 0;
        loop {
            let began = Instant::now();
            let until = end.min(began + ATTEMPT_TIME_MAX);
            let asked = tokio::time::timeout_at(until, self.asker.ask()).await;
            attempts += 1;
            let (pause, error) = match asked {
                Ok(Ok(())) => {
                    if self.succeeded() >= successes {
                        return Ok(());
                    }
                    (PAUSE_FIRST, "not yet often enough in a row".to_owned())
                }
                Ok(Err(error)) => (self.failed(began), error),
                Err(_) => {
                    let error = format!("no answer within {:?}", until - began);
                    (self.failed(began), error)
                }
            };
            let next = began + pause;
            if next >= end {
                return Err(self.failure(attempts, error));
            }
            tokio::time::sleep_until(next).await;
        }
    }

    /// Successes in a row, this one included.
    fn succeeded(&self) -> u32 {
        let mut streak = self.streak.lock();
        streak.failing_since = None;
        streak.successes = streak.successes.saturating_add(1);
        streak.successes
    }

    /// The pause after a failure of the attempt that began at `began`.
    fn failed(&self, began: Instant) -> Duration {
        let mut streak = self.streak.lock();
        streak.successes = 0;
        let since = *streak.failing_since.get_or_insert(began);
        pause(Instant::now().duration_since(since), self.dice.unit())
    }

    fn failure(&self, attempts: u32, error: String) -> Failure {
        Failure {
            probe: self.asker.to_string(),
            attempts,
            error,
        }
    }
}

/// The pause after having failed for so long. `chance` from 0 to 1 makes it up to a fifth shorter, so that many pods
/// that started together do not ask together.
fn pause(failing_for: Duration, chance: f64) -> Duration {
    if failing_for < PAUSE_FIRST_FOR {
        return PAUSE_FIRST;
    }
    let pause = (failing_for / PAUSE_DIVISOR).min(PAUSE_MAX);
    pause.mul_f64(1.0 - chance / 5.0)
}

impl Asker {
    fn new(probe: Probe, detect_http2: bool) -> Self {
        let Probe { host, port, .. } = probe;
        match probe.action {
            Action::Tcp => Self::Tcp { host, port },
            Action::Http {
                tls,
                target,
                headers,
            } => Self::Http(HttpProbe::new(
                tls,
                host,
                port,
                target,
                headers,
                detect_http2,
            )),
            Action::Grpc { service } => Self::Grpc(GrpcProbe {
                host,
                port,
                service,
            }),
        }
    }

    async fn ask(&self) -> Result<(), String> {
        match self {
            Self::Tcp { host, port } => connect(host, *port).await.map(drop),
            Self::Http(probe) => probe.ask().await,
            Self::Grpc(probe) => probe.ask().await,
        }
    }
}

impl std::fmt::Display for Asker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "tcp {}", authority(host, *port)),
            Self::Http(probe) => write!(f, "{probe}"),
            Self::Grpc(probe) => write!(f, "grpc {}", authority(&probe.host, probe.port)),
        }
    }
}

/// `host:port`, with brackets around an IPv6 address.
pub(super) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let failed = |error| format!("connect {}: {error}", authority(host, port));
    match host.parse() {
        // Without the resolver, which has threads.
        Ok(address) => TcpStream::connect(SocketAddr::new(address, port)).await,
        Err(_) => TcpStream::connect((host, port)).await,
    }
    .map_err(failed)
}
