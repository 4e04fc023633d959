//! `plimsoll run`: what is typed, and what it comes to.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use plimsoll_fleet::{CommandSpec, LinePattern, PORT_PLACEHOLDER, Readiness};
use plimsoll_proxy::{TimeLimits, UpgradedLimits};
use plimsoll_scale::{REPLICAS_MAX, ScaleConfig};

use super::GatewaySettings;
use crate::cli::values::{on, workers};
use crate::cli::{LogFormat, values};
use crate::gateway::config::{self, ProcessSettings};
use crate::gateway::plan::{ServicePlan, TIMEOUT_DEFAULT};
use crate::run::plan::{APP_COMMAND, QUEUE_AGE_DEFAULT, ScaledPlan};

/// The headings of the help.
const SCALE: &str = "How many";
const REPLICA: &str = "A replica";
const WAIT: &str = "Waiting and time limits (0 is off)";
const PROCESS: &str = "Process";

/// The name of the only service when there is no file.
const SERVICE_NAME: &str = "app";

/// The built-in application shows on a desk how it scales: few requests at once, and not for long.
const APP_CONCURRENCY: u32 = 2;
const APP_WINDOW: Duration = Duration::from_secs(15);

/// Start a command by its first request, scale it with load, and stop it when idle.
///
/// Plimsoll listens where clients connect. A request that finds no replica of
/// the command starts one, and waits for it. More load starts more replicas;
/// each works on no more requests at once than it should, and the others wait
/// in a queue. When nobody has come for a while, all are stopped again.
///
/// One service can be described with flags. Several, with routes by host and
/// path, need a file: --config. With no command at all a small application is
/// run that is built in.
#[derive(Debug, Args)]
#[command(
    next_help_heading = "Where",
    after_help = "{port} in the arguments becomes the port on which the replica is to listen, on\n\
        127.0.0.1; the variable PORT has it too.\n\n\
        Examples:\n  \
        plimsoll run\n  \
        plimsoll run -- ./my-server --port {port}\n  \
        plimsoll run --max 4 --concurrency 10 -- python3 app.py {port}\n  \
        plimsoll run --config run.toml --check\n  \
        curl -s http://127.0.0.1:9090/api/v1/services"
)]
pub(crate) struct RunArgs {
    /// Where clients connect [default: 127.0.0.1:8080]
    #[arg(long, env = "PLIMSOLL_LISTEN", value_name = "IP:PORT", value_parser = values::listener)]
    listen: Option<SocketAddr>,

    /// Where the dashboard, metrics and the API are [default: 127.0.0.1:9090]
    #[arg(long, env = "PLIMSOLL_ADMIN", value_name = "IP:PORT", value_parser = values::listener)]
    admin: Option<SocketAddr>,

    /// Several services, their commands, routes and all settings
    #[arg(
        long,
        env = "PLIMSOLL_CONFIG",
        value_name = "FILE.toml",
        conflicts_with = "command"
    )]
    config: Option<PathBuf>,

    #[command(flatten)]
    scale: ScaleArgs,

    #[command(flatten)]
    replica: ReplicaArgs,

    #[command(flatten)]
    wait: WaitArgs,

    /// Threads that carry requests [default: the CPUs this process may use]
    #[arg(long, env = "PLIMSOLL_WORKERS", value_name = "N", value_parser = workers, help_heading = PROCESS)]
    workers: Option<NonZeroUsize>,

    /// After SIGTERM, serve until no request has come for this long [default: 0s]
    #[arg(long, env = "PLIMSOLL_DRAIN_QUIET", value_name = "TIME", value_parser = values::duration, help_heading = PROCESS)]
    drain_quiet: Option<Duration>,

    /// How log lines are written to standard error [default: text]
    #[arg(
        long,
        env = "PLIMSOLL_LOG_FORMAT",
        value_name = "FORMAT",
        help_heading = PROCESS
    )]
    log_format: Option<LogFormat>,

    /// Show what the flags and the file come to, as a file, and end
    #[arg(long, help_heading = PROCESS)]
    check: bool,

    /// The command and its arguments, after --
    #[arg(last = true, value_name = "COMMAND", help_heading = "What")]
    command: Vec<String>,
}

/// How many replicas there are.
#[derive(Debug, Args)]
#[command(next_help_heading = SCALE)]
struct ScaleArgs {
    /// At least so many replicas [default: 0]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=i64::from(REPLICAS_MAX)), conflicts_with = "config")]
    min: Option<u32>,

    /// At most so many [default: 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(REPLICAS_MAX)), conflicts_with = "config")]
    max: Option<u32>,

    /// Requests one replica works on at once; 0 is no limit [default: 80]
    #[arg(long, value_name = "N", conflicts_with = "config")]
    concurrency: Option<u32>,

    /// How far back load counts, 6s to 1h; after it, idle replicas go [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = values::duration, conflicts_with = "config")]
    window: Option<Duration>,
}

/// What is to be known of a replica.
#[derive(Debug, Args)]
#[command(next_help_heading = REPLICA)]
struct ReplicaArgs {
    /// It is ready when it answers this path with 2xx or 3xx [default: when its
    /// port accepts a connection]
    #[arg(long, value_name = "PATH", value_parser = config::path_prefix, conflicts_with_all = ["config", "ready_line"])]
    ready_path: Option<String>,

    /// It is ready when it writes a line in which this is found
    #[arg(long, value_name = "REGEX", value_parser = pattern, conflicts_with = "config")]
    ready_line: Option<LinePattern>,

    /// How long it may take to be ready [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = values::duration, conflicts_with = "config")]
    start_timeout: Option<Duration>,

    /// How long it may take to end after SIGTERM, before it is killed [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = values::duration, conflicts_with = "config")]
    stop_grace: Option<Duration>,

    /// Memory it may have; one that needs more is stopped [default: no limit]
    #[arg(long, value_name = "BYTES", value_parser = values::bytes, conflicts_with = "config")]
    memory: Option<u64>,
}

/// Requests that wait, and time limits.
#[derive(Debug, Args)]
#[command(next_help_heading = WAIT)]
struct WaitArgs {
    /// Show browsers a page while a replica starts; others wait
    #[arg(long, conflicts_with = "config")]
    waiting_page: bool,

    /// Requests that may wait for a replica [default: 1000]
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u64).range(0..=config::QUEUE_DEPTH_MAX),
        conflicts_with = "config"
    )]
    queue: Option<u64>,

    /// How long a request may wait for a replica [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = values::duration, conflicts_with = "config")]
    queue_age: Option<Duration>,

    /// From arrival to the end of the answer, waiting included [default: 300s]
    #[arg(long, value_name = "TIME", value_parser = values::duration, conflicts_with = "config")]
    timeout: Option<Duration>,

    /// The longest silence of a WebSocket; it keeps its replica until then [default: 0]
    #[arg(long, value_name = "TIME", value_parser = values::duration, conflicts_with = "config")]
    websocket_idle_timeout: Option<Duration>,
}

/// `plimsoll demo-app`, which is for `plimsoll run` alone.
#[derive(Debug, Args)]
pub(crate) struct AppArgs {
    /// Where it listens, on loopback.
    pub(crate) port: u16,
}

fn pattern(text: &str) -> Result<LinePattern, String> {
    LinePattern::new(text).map_err(|error| error.problem)
}

impl RunArgs {
    /// Checks what was typed as a whole, and reads the file if there is one.
    pub(crate) fn resolve(self) -> Result<GatewaySettings, String> {
        let check = self.check;
        let process = ProcessSettings {
            listen: self.listen,
            admin: self.admin,
            workers: self.workers,
            drain_quiet: self.drain_quiet,
            log_format: self.log_format,
            tls: None,
            replicas_memory: None,
            replicas_residence: None,
            commands: true,
        };
        GatewaySettings::of(self.config.clone(), process, check, || self.service())
    }

    /// The one service that flags describe.
    fn service(self) -> Result<ServicePlan, String> {
        let is_app = self.command.is_empty();
        let command = self.replica.command(self.command)?;
        let scale = self.scale.config(is_app)?;
        let mut plan = ServicePlan::new(SERVICE_NAME.to_owned());
        config::for_replicas(&mut plan);
        plan.balancer.endpoint_concurrency = scale.concurrency;
        let queue = &mut plan.balancer.queue;
        queue.age_max = self.wait.queue_age.unwrap_or(QUEUE_AGE_DEFAULT);
        if let Some(depth) = self
            .wait
            .queue
            .and_then(|depth| usize::try_from(depth).ok())
        {
            queue.depth = depth;
        }
        let websockets = UpgradedLimits {
            total: None,
            idle: self.wait.websocket_idle_timeout.and_then(on),
        };
        plan.limits = TimeLimits {
            total: self.wait.timeout.map_or(Some(TIMEOUT_DEFAULT), on),
            upgraded: Some(websockets),
            ..TimeLimits::default()
        };
        plan.scaled = Some(ScaledPlan {
            command,
            scale,
            waiting_page: self.wait.waiting_page,
            websockets,
        });
        Ok(plan)
    }
}

impl ScaleArgs {
    fn config(&self, is_app: bool) -> Result<ScaleConfig, String> {
        let mut scale = config::scale_default();
        if is_app {
            scale.concurrency = NonZeroU32::new(APP_CONCURRENCY);
            scale.window = APP_WINDOW;
            scale.keep_alive.min = APP_WINDOW;
            scale.keep_alive.max = APP_WINDOW;
        }
        if let Some(concurrency) = self.concurrency {
            scale.concurrency = NonZeroU32::new(concurrency);
        }
        scale.min = self.min.unwrap_or(scale.min);
        scale.max = self.max.and_then(NonZeroU32::new).or(scale.max);
        if let Some(window) = self.window {
            scale.window = window;
            // Whoever wants replicas to go sooner than they are kept by default means it.
            scale.keep_alive.min = scale.keep_alive.min.min(window);
        }
        if scale.min > scale.max_replicas() {
            return Err(format!(
                "--min {} is more than --max {}",
                scale.min,
                scale.max_replicas()
            ));
        }
        scale.check().map_err(|error| {
            format!(
                "--{} is {}; accepted: {}",
                error.setting, error.got, error.accepted
            )
        })?;
        Ok(scale)
    }
}

impl ReplicaArgs {
    fn command(self, mut words: Vec<String>) -> Result<CommandSpec, String> {
        let mut command = if words.is_empty() {
            CommandSpec::new(own_program()?, [APP_COMMAND, PORT_PLACEHOLDER])
        } else {
            CommandSpec::new(words.remove(0), words)
        };
        if let Some(path) = self.ready_path {
            command.readiness = Readiness::Http(path);
        }
        if let Some(pattern) = self.ready_line {
            command.readiness = Readiness::LogLine(pattern);
        }
        command.start_timeout = self.start_timeout.unwrap_or(command.start_timeout);
        command.stop_grace = self.stop_grace.unwrap_or(command.stop_grace);
        command.memory_max = self.memory;
        command.validate().map_err(|error| error.to_string())?;
        Ok(command)
    }
}

/// This very program, for the application that is built in.
fn own_program() -> Result<String, String> {
    let path =
        std::env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
    let path = path.into_os_string().into_string();
    path.map_err(|path| format!("the path of this program is no text: {}", path.display()))
}
