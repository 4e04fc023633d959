//! `plimsoll gateway`: the parts, put together.
//!
//! What is asked for is a [`plan::Plan`]: from flags, or from a file ([`config`]). Those of the plan that
//! are at work are [`services`]. Their endpoints are put together in [`endpoints`] from what the plan, files ([`watch`],
//! [`reload`]), the resolver ([`dns`], [`resolvers`]) and the API ([`api`]) say, and [`health`] finds out which are
//! well. Everything here is on the main thread; the workers of the data path see the outcome only.

pub(crate) mod admin;
pub(crate) mod api;
mod checks;
pub(crate) mod config;
mod dns;
mod ejections;
pub(crate) mod endpoints;
pub(crate) mod files;
mod health;
mod inputs;
pub(crate) mod plan;
mod probe;
mod reload;
mod resolvers;
mod sample;
mod scene;
pub(crate) mod services;
pub(crate) mod show;
mod status;
pub(crate) mod tasks;
pub(crate) mod upstream;
pub(crate) mod watch;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use plimsoll_proxy::{Gateway, GatewayConfig, MonotonicClock, Running, ServerTls};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use self::admin::Desk;
pub(crate) use self::api::openapi;
use self::inputs::Inputs;
pub(crate) use self::inputs::Origin;
use self::plan::{Plan, ProcessPlan};
use self::reload::Reloader;
use self::services::Services;
use self::status::Status;
use self::watch::Watch;
use crate::admin::Ready;
use crate::cli::{Fault, GatewaySettings};
use crate::run::Machine;
use crate::signals::Signals;
use crate::{cli, logs, memory, sidecar};

/// Threads that wait for the resolver and for files; more questions wait for a thread.
const BLOCKING_THREADS_MAX: usize = 16;

/// How long such a thread stays when there is nothing to do: for ever. If none is there and none can be made, because the
/// process table is full, the runtime panics; one that is there does the work of all.
const BLOCKING_THREAD_STAYS: Duration = Duration::from_secs(u32::MAX as u64);

/// Runs until a signal ends it; with `--check`, shows the plan.
pub(crate) fn run(settings: GatewaySettings) -> Result<(), Fault> {
    let GatewaySettings {
        plan,
        origin,
        check,
    } = settings;
    // A certificate that cannot be used is a mistake like any other, and told before a port is opened.
    let stamps = origin.stamps();
    let inputs =
        Inputs::of(plan, stamps).map_err(|unusable| Fault::Usage(unusable.problems.join("\n")))?;
    if check {
        return cli::print(&inputs.plan.to_toml());
    }
    sidecar::raise_descriptor_limit();
    let _logs = logs::begin(inputs.plan.process.log_format);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_keep_alive(BLOCKING_THREAD_STAYS)
        .build()
        .context("cannot start")?;
    let served = runtime.block_on(serve(inputs, origin));
    // The resolver may be waiting for an answer that nobody wants any more.
    runtime.shutdown_background();
    served.map_err(Fault::from)
}

async fn serve(mut inputs: Inputs, origin: Origin) -> anyhow::Result<()> {
    let process = inputs.plan.process.clone();
    let admin = bind_admin(process.admin).await?;
    let clock = MonotonicClock::start();
    let machine = (origin.takes_commands(&inputs.plan)).then(|| Machine::new(process.room));
    let machine = machine.transpose()?;
    let services = Services::new(clock, process.workers, random_seed());
    let services = Arc::new(services.with_machine(machine.clone()));
    let tls = inputs.identity.as_ref().map(ServerTls::new).transpose()?;
    let tls = tls.map(Arc::new);
    let routes = services.take_over(&mut inputs)?;
    let config = GatewayConfig {
        listen: process.listen,
        workers: process.workers,
        connections_max: sidecar::connections_max(),
        clock,
        tls: tls.clone(),
    };
    let gateway = Gateway::bind(&config, routes).context("--listen")?;
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let hangups = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let (data_address, admin_address) = (gateway.local_addr()?, admin.local_addr()?);
    services.first_answers().await;
    let handle = gateway.routes();
    let running = gateway.start().context("cannot start the workers")?;

    let status = Arc::new(Status::begin());
    let desk = Desk {
        services: Arc::clone(&services),
        status: Arc::clone(&status),
        stats: running.stats(),
        has_tls: tls.is_some(),
        ready: Ready::yes(),
        config_file: origin.file().map(Arc::new),
    };
    let plan = announce(inputs.plan, &origin, data_address, admin_address);
    let mut watch = Watch::default();
    watch.set(inputs.stamps);
    let reloader = Reloader {
        origin,
        plan,
        services: Arc::clone(&services),
        routes: handle,
        tls,
        status,
        watch,
    };
    tokio::spawn(services.keep_advancing());
    tokio::spawn(reloader.keep_reloading(hangups));
    tokio::spawn(admin::serve(admin, desk.clone()));
    tokio::spawn(memory::give_back(running.stats()));

    let signal = signals.next().await;
    desk.ready.no_longer();
    tokio::spawn(signals.exit_at_next());
    drain(running, &desk, &process, signal).await;
    if let Some(machine) = machine {
        machine.shutdown().await;
    }
    Ok(())
}

async fn bind_admin(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot listen on {address} (--admin)"))
}

/// Says that it serves, and what somebody may not have meant.
fn announce(plan: Plan, origin: &Origin, data: SocketAddr, admin: SocketAddr) -> Plan {
    if !admin.ip().is_loopback() {
        tracing::warn!(
            %admin,
            "the admin port is not on a loopback address: whoever reaches it can take endpoints out of service"
        );
    }
    for service in &plan.services {
        let routes: Vec<_> = service.routes.iter().map(plan::RoutePlan::told).collect();
        tracing::info!(
            service = service.name,
            policy = %service.balancer.policy,
            routes = routes.join(" "),
            upstreams = service.upstreams.len(),
            "service"
        );
    }
    tracing::info!(
        listen = %data,
        admin = %format_args!("http://{admin}"),
        services = plan.services.len(),
        workers = plan.process.workers,
        config = origin.file().map(|path| path.display().to_string()),
        "serving"
    );
    plan
}

async fn drain(running: Running, desk: &Desk, process: &ProcessPlan, signal: &str) {
    let quiet = process.drain_quiet;
    let in_flight = running.meter().in_flight().total;
    tracing::info!(
        in_flight,
        ?quiet,
        "{signal}: draining; another signal ends at once"
    );
    let limit = desk.drain_limit();
    let outcome = running.drain(quiet, Some(limit)).await;
    if outcome.cut > 0 {
        tracing::warn!(
            connections = outcome.cut,
            "cut what had not finished within {limit:?}"
        );
    }
    tracing::info!("drained; goodbye");
}

/// A number that differs from process to process, so that gateways do not choose in step.
fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}
