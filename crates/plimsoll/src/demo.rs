//! `plimsoll demo`: the sidecar at work, with nothing to set up.
//!
//! A small app answers after 20 to 80 ms, and clients send it requests in waves. Between them is the same sidecar that
//! `plimsoll sidecar` runs, with the same reports and the same metrics port; the live view reads what they read. The
//! app and the clients have a thread of their own, so that they are not disturbed.
//!
//! The view is a function from a state to text, and a screen that puts text on the terminal by a handful of control
//! sequences. A library for terminal interfaces was rejected: the demonstration reads no keys and has one page, and
//! every sidecar would carry the library for it.

pub(crate) mod app;
mod backstage;
pub(crate) mod chart;
pub(crate) mod line;
mod load;
pub(crate) mod numbers;
mod ports;
pub(crate) mod quantile;
pub(crate) mod screen;
mod state;
mod text;
mod view;
mod watch;
mod wave;

use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context;
use plimsoll_proxy::{SidecarConfig, SidecarOptions, TimeLimits};
use plimsoll_wire::Identity;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

use crate::cli::{DemoSettings, Fault};
use crate::demo::backstage::Backstage;
use crate::demo::load::Load;
use crate::demo::ports::Ports;
use crate::demo::screen::Screen;
use crate::demo::text::Summary;
use crate::demo::watch::Watch;
use crate::sidecar;
use crate::signals::Signals;

/// How often the view is painted.
const FRAME_PERIOD: Duration = Duration::from_millis(125);

/// Far more than a full queue takes, so that no request of the demonstration's own is ever late.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// How long what is in flight may take at the end. A full queue takes about half a second.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// Runs for as long as it was asked to, or until a signal ends it.
pub(crate) fn run(settings: &DemoSettings) -> Result<(), Fault> {
    sidecar::raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    runtime.block_on(demonstrate(settings)).map_err(Fault::from)
}

async fn demonstrate(settings: &DemoSettings) -> anyhow::Result<()> {
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let app = app::bind().context("cannot listen on loopback")?;
    let config = config(settings, app.local_addr()?);
    let Ports {
        sidecar,
        metrics,
        addresses,
    } = Ports::bind(&config, settings.listen, settings.metrics_listen).await?;
    let identity = Identity::new("default", "demo", "demo", "demo")?;
    let serving = sidecar::start(sidecar, metrics, identity)?;
    let breaker = serving.running.breaker().cloned();
    let breaker = breaker.expect("the concurrency of a demonstration is never 0");
    let load = Load::new(
        addresses.data.socket,
        app::capacity(breaker.concurrency()),
        breaker.concurrency() + breaker.queue_depth(),
    );
    let mut watch = Watch::new(&serving, breaker, addresses);
    let mut backstage = Backstage::start(app, load).context("cannot start the app")?;

    let end = async {
        tokio::select! {
            _ = signals.next() => {}
            () = passed(settings.duration) => {}
        }
    };
    let shown = if settings.plain || !fit_for_view() {
        tell(&mut watch, end).await
    } else {
        paint(&mut watch, end).await
    };

    let time = watch.state().uptime;
    backstage.ebb();
    serving.readings.not_ready();
    let stats = serving.running.stats();
    serving
        .running
        .drain(Duration::ZERO, Some(DRAIN_LIMIT))
        .await;
    let summary = Summary::new(
        time,
        settings.concurrency,
        backstage.most_at_once(),
        &stats.view(),
    );
    unless_reader_gone(shown.and_then(|()| say(&summary.text()))).context("cannot write")
}

fn config(settings: &DemoSettings, app: SocketAddr) -> SidecarConfig {
    SidecarConfig {
        app,
        // The ports are chosen when they are bound.
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        concurrency: settings.concurrency,
        queue_depth: None,
        limits: TimeLimits {
            total: Some(TIME_LIMIT),
            ..TimeLimits::default()
        },
        workers: plimsoll_proxy::default_workers(),
        connections_max: sidecar::connections_max(),
        tls: None,
        tls_port: None,
        app_tls: None,
        options: SidecarOptions::default(),
    }
}

/// Waits for `duration`; for ever without one.
async fn passed(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}

/// Paints the live view until `end`.
async fn paint(watch: &mut Watch, end: impl Future<Output = ()>) -> io::Result<()> {
    // See https://no-color.org: set, and not empty.
    let color = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut suspend = signal(SignalKind::from_raw(rustix::process::Signal::TSTP.as_raw()))?;
    let mut screen = Screen::open()?;
    let mut frames = frames();
    let mut end = pin!(end);
    loop {
        tokio::select! {
            () = &mut end => return Ok(()),
            _ = suspend.recv() => screen.suspend()?,
            _ = frames.tick() => {
                watch.look();
                screen.show(&view::render(watch.state(), color))?;
            }
        }
    }
}

/// Writes a line for every report until `end`.
async fn tell(watch: &mut Watch, end: impl Future<Output = ()>) -> io::Result<()> {
    say(&text::heading(watch.state()))?;
    let mut frames = frames();
    let mut end = pin!(end);
    loop {
        tokio::select! {
            () = &mut end => return Ok(()),
            _ = frames.tick() => {
                if watch.look() {
                    say(&text::line(watch.state()))?;
                }
            }
        }
    }
}

fn frames() -> tokio::time::Interval {
    let mut frames = tokio::time::interval(FRAME_PERIOD);
    frames.set_missed_tick_behavior(MissedTickBehavior::Skip);
    frames
}

/// Whether standard output is a terminal that can be painted on.
fn fit_for_view() -> bool {
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stdout().is_terminal() && !dumb
}

fn say(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}

/// A reader that has gone has seen enough: no failure.
fn unless_reader_gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
