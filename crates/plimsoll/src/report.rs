//! Once a period: what the meter says, published as one immutable snapshot.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use plimsoll_meter::{Clock, ConcurrencyReport, Reporter, Tick};
use plimsoll_proxy::{MonotonicClock, Running};
use plimsoll_wire::ReporterSample;
use tokio::time::MissedTickBehavior;

/// How often a snapshot is published.
pub(crate) const PERIOD: Duration = Duration::from_secs(1);

/// The newest report, for any number of readers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Published(Arc<ArcSwap<ReporterSample>>);

impl Published {
    /// The newest snapshot; all zero until the first period has passed.
    pub(crate) fn latest(&self) -> ReporterSample {
        **self.0.load()
    }
}

/// Takes a report every [`PERIOD`], for as long as it is polled.
///
/// A period is as long as it is, not as long as it should be: a late tick makes a longer period, never a
/// higher rate.
pub(crate) async fn publish(
    running_since: Tick,
    mut reporter: Reporter,
    clock: MonotonicClock,
    published: Published,
) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    // The first tick is now.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let now = clock.now();
        let uptime = now.saturating_duration_since(running_since);
        published
            .0
            .store(Arc::new(sample(&reporter.report(now), uptime)));
    }
}

/// A reporter that begins now.
pub(crate) fn reporter(running: &Running) -> (Tick, Reporter) {
    let now = running.clock().now();
    (now, running.meter().reporter(now))
}

fn sample(report: &ConcurrencyReport, uptime: Duration) -> ReporterSample {
    ReporterSample {
        requests_per_second: report.requests_per_second(),
        proxied_requests_per_second: report.proxied_requests_per_second(),
        average_concurrency: report.average_concurrency,
        average_proxied_concurrency: report.average_proxied_concurrency,
        uptime_seconds: uptime.as_secs_f64(),
    }
}
