//! `lab compare`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use plimsoll_lab::compare::{self, Kind, Report, Role, Setup, latency, memory, start, throughput};

use super::programs::{Programs, kind};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Args)]
struct Common {
    /// Take part, in this order: direct, plimsoll, haproxy, nginx, envoy.
    #[arg(long, global = true, value_delimiter = ',', value_name = "NAMES", value_parser = kind)]
    only: Vec<Kind>,
    #[command(flatten)]
    programs: Programs,
    /// How often everything is measured (throughput, latency).
    #[arg(long, global = true, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Write the tables to a file as well.
    #[arg(long, global = true, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Processor time per request, rate and memory under full load.
    Throughput(ThroughputArgs),
    /// The same in front of several applications, of which the least loaded is chosen.
    Gateway(GatewayArgs),
    /// Latency added at a constant rate.
    Latency(LatencyArgs),
    /// Memory with connections idle, busy and closed, after bursts and a long run.
    Memory(MemoryArgs),
    /// Time to listening and answering; processor time when idle.
    Start(StartArgs),
}

#[derive(Debug, clap::Args)]
struct ThroughputArgs {
    /// h1, h2c, or both.
    #[arg(long, value_delimiter = ',', default_value = "h1,h2c", value_name = "NAMES", value_parser = ["h1", "h2c"])]
    protocols: Vec<String>,
    /// Keep-alive connections.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "32,256",
        value_name = "NUMBERS"
    )]
    connections: Vec<usize>,
    /// Requests at the same time on each h2c connection.
    #[arg(long, default_value_t = 1, value_name = "N")]
    streams: usize,
    /// Bytes of a response body.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "64,10240",
        value_name = "NUMBERS"
    )]
    bodies: Vec<u64>,
    /// Load before each window.
    #[arg(long, default_value = "500ms", value_name = "TIME", value_parser = humantime::parse_duration)]
    warm_up: Duration,
    /// Each measured window.
    #[arg(long, default_value = "3s", value_name = "TIME", value_parser = humantime::parse_duration)]
    window: Duration,
}

#[derive(Debug, clap::Args)]
struct GatewayArgs {
    /// Applications behind each gateway: ports of one backend.
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    applications: u16,
    #[command(flatten)]
    load: ThroughputArgs,
}

#[derive(Debug, clap::Args)]
struct LatencyArgs {
    /// Arrivals per second.
    #[arg(long, default_value_t = 2000.0, value_name = "PER_SECOND")]
    rate: f64,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 32, value_name = "N")]
    connections: usize,
    /// Bytes of a response body.
    #[arg(long, default_value_t = 64, value_name = "BYTES")]
    body: u64,
    /// Load before each window.
    #[arg(long, default_value = "500ms", value_name = "TIME", value_parser = humantime::parse_duration)]
    warm_up: Duration,
    /// Each measured window.
    #[arg(long, default_value = "3s", value_name = "TIME", value_parser = humantime::parse_duration)]
    window: Duration,
}

#[derive(Debug, clap::Args)]
struct MemoryArgs {
    /// Connections held open.
    #[arg(long, default_value_t = 1000, value_name = "N")]
    connections: usize,
    /// Time between their closing and the reading after it.
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = humantime::parse_duration)]
    settle: Duration,
    /// How often they are opened and closed again.
    #[arg(long, default_value_t = 10, value_name = "N")]
    bursts: u32,
    /// Requests of the long run.
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    requests: u64,
}

#[derive(Debug, clap::Args)]
struct StartArgs {
    /// Starts of each proxy.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Time without a request.
    #[arg(long, default_value = "20s", value_name = "TIME", value_parser = humantime::parse_duration)]
    idle: Duration,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<String> {
        let setup = self.common.setup();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let report = runtime.block_on(async {
            tokio::select! {
                report = self.what.run(&setup) => report,
                // Returning, rather than dying, stops the proxy that is running.
                _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
            }
        });
        // A load that is still running ends with the process.
        runtime.shutdown_background();
        let report = report?;
        if let Some(file) = &self.common.markdown {
            compare::write_markdown(&report, file)?;
        }
        Ok(report.to_string())
    }
}

impl Common {
    fn setup(&self) -> Setup {
        Setup {
            rounds: self.rounds,
            ..self.programs.find(&self.only, &Kind::ALL)
        }
    }
}

impl ThroughputArgs {
    fn options(self, role: Role, apps: usize) -> throughput::Options {
        throughput::Options {
            role,
            apps,
            h2c: self.protocols.iter().map(|name| name == "h2c").collect(),
            connections: self.connections,
            streams: self.streams,
            bodies: self.bodies,
            warm_up: self.warm_up,
            window: self.window,
        }
    }
}

impl What {
    async fn run(self, setup: &Setup) -> anyhow::Result<Report> {
        match self {
            Self::Throughput(args) => {
                let options = args.options(Role::Sidecar, 1);
                throughput::run(setup, &options, &mut tell).await
            }
            Self::Gateway(args) => {
                let options = args.load.options(Role::Gateway, args.applications.into());
                throughput::run(setup, &options, &mut tell).await
            }
            Self::Latency(args) => {
                let options = latency::Options {
                    rate: args.rate,
                    connections: args.connections,
                    body: args.body,
                    warm_up: args.warm_up,
                    window: args.window,
                };
                latency::run(setup, &options, &mut tell).await
            }
            Self::Memory(args) => {
                let options = memory::Options {
                    connections: args.connections,
                    settle: args.settle,
                    bursts: args.bursts,
                    requests: args.requests,
                };
                memory::run(setup, &options, &mut tell).await
            }
            Self::Start(args) => {
                let options = start::Options {
                    runs: args.runs,
                    idle: args.idle,
                };
                start::run(setup, &options, &mut tell).await
            }
        }
    }
}

#[allow(
    clippy::print_stderr,
    reason = "a run of minutes shows that it goes on; the report goes to stdout"
)]
pub(super) fn tell(line: &str) {
    eprintln!("{line}");
}
