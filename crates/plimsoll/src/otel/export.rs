//! The tasks that send.

mod spans;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use plimsoll_meter::Clock;
use plimsoll_proxy::MonotonicClock;
use plimsoll_wire::otlp::{metrics_request, trace_request};
use plimsoll_wire::user::Revision;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, sleep, timeout};

use super::Calendar;
use super::client::{Client, Failure};
use super::tracer::Finished;
use crate::request_log::Lines;
use crate::user_metrics::UserReadings;

/// The most requests whose spans are sent at once.
const BATCH_MAX: usize = 256;

/// How long the first of a batch waits for more: OpenTelemetry's default.
const BATCH_TIME_MAX: Duration = Duration::from_secs(5);

/// How often a batch is sent before it is dropped.
const ATTEMPTS_MAX: u32 = 4;

/// How long the first pause after a failure is; each further one is twice as long.
const PAUSE: Duration = Duration::from_secs(1);

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where spans come from.
#[derive(Debug)]
pub(super) struct TraceSource {
    pub(super) receiver: mpsc::Receiver<Finished>,
    pub(super) calendar: Calendar,
    pub(super) revision: Revision,
    pub(super) dropped: Arc<AtomicU64>,
}

/// Where metrics come from.
#[derive(Debug)]
pub(super) struct MetricSource {
    pub(super) readings: UserReadings,
    pub(super) clock: MonotonicClock,
    pub(super) interval: Duration,
}

/// Says once that a collector fails, and once that it no longer does.
#[derive(Debug)]
struct Health {
    what: &'static str,
    is_failing: bool,
}

impl Health {
    fn failed(&mut self, client: &Client, failure: &Failure) {
        if !std::mem::replace(&mut self.is_failing, true) {
            let (what, cause) = (self.what, &failure.message);
            tracing::warn!(collector = %client.endpoint(), %cause, "the collector does not take {what}");
        }
    }

    fn succeeded(&mut self, client: &Client) {
        if std::mem::replace(&mut self.is_failing, false) {
            let what = self.what;
            tracing::info!(collector = %client.endpoint(), "the collector takes {what} again");
        }
    }
}

/// Sends spans in batches, until there can be no more, or `last` says that what there is, is the last.
pub(super) async fn traces(
    mut source: TraceSource,
    mut client: Client,
    mut last: watch::Receiver<bool>,
) {
    let resource = source.revision.resource(VERSION);
    let mut health = Health {
        what: "traces",
        is_failing: false,
    };
    loop {
        let (batch, is_last) = source.batch(&mut last).await;
        if !batch.is_empty() {
            let calendar = source.calendar;
            let spans = batch
                .iter()
                .flat_map(|finished| spans::of(finished, calendar));
            let message = trace_request(&resource, VERSION, spans);
            drop(batch);
            send(&mut client, &message, &mut health, &mut last).await;
            source.tell_dropped();
        } else if is_last {
            return;
        }
    }
}

/// As [`traces`], to standard output.
pub(super) async fn traces_to_stdout(
    mut source: TraceSource,
    lines: Arc<Lines>,
    mut last: watch::Receiver<bool>,
) {
    loop {
        let (batch, is_last) = source.batch(&mut last).await;
        for finished in &batch {
            for span in spans::of(finished, source.calendar) {
                lines.send(spans::line(&span));
            }
        }
        source.tell_dropped();
        if batch.is_empty() && is_last {
            return;
        }
    }
}

impl TraceSource {
    /// The next requests, and whether there may be no more after them.
    async fn batch(&mut self, last: &mut watch::Receiver<bool>) -> (Vec<Finished>, bool) {
        let mut batch = Vec::new();
        tokio::select! {
            biased;
            // Also when nobody is left who could say so.
            _ = last.wait_for(|is_last| *is_last) => {
                self.take(&mut batch);
                return (batch, true);
            }
            first = self.receiver.recv() => match first {
                Some(first) => batch.push(first),
                None => return (batch, true),
            },
        }
        let more = async {
            while batch.len() < BATCH_MAX {
                match self.receiver.recv().await {
                    Some(next) => batch.push(next),
                    None => return,
                }
            }
        };
        tokio::select! {
            _ = timeout(BATCH_TIME_MAX, more) => {}
            _ = last.wait_for(|is_last| *is_last) => {}
        }
        (batch, false)
    }

    /// What is there already.
    fn take(&mut self, batch: &mut Vec<Finished>) {
        while batch.len() < BATCH_MAX
            && let Ok(next) = self.receiver.try_recv()
        {
            batch.push(next);
        }
    }

    fn tell_dropped(&self) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            tracing::warn!(
                dropped,
                "requests were not traced: too many waited to be sent"
            );
        }
    }
}

/// Sends metrics every interval, and once more at the end.
pub(super) async fn metrics(
    source: MetricSource,
    mut client: Client,
    mut last: watch::Receiver<bool>,
) {
    let MetricSource {
        readings,
        clock,
        interval,
    } = source;
    let calendar = Calendar::of(clock);
    let since = calendar.at(clock.now());
    let mut health = Health {
        what: "metrics",
        is_failing: false,
    };
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is now.
    ticks.tick().await;
    loop {
        let is_last = tokio::select! {
            _ = ticks.tick() => false,
            _ = last.wait_for(|is_last| *is_last) => true,
        };
        let now = calendar.at(clock.now());
        let message = readings.with_sample(None, |sample| metrics_request(sample, since, now));
        // Once: the counts grow on, so the next request has all that is in this one.
        match client.send(&message).await {
            Ok(partial) => accepted(&client, &mut health, partial),
            Err(failure) => health.failed(&client, &failure),
        }
        if is_last {
            return;
        }
    }
}

/// Sends, and again after a failure that may pass.
async fn send(
    client: &mut Client,
    message: &[u8],
    health: &mut Health,
    last: &mut watch::Receiver<bool>,
) {
    let mut pause = PAUSE;
    for attempt in 1..=ATTEMPTS_MAX {
        let failure = match client.send(message).await {
            Ok(partial) => return accepted(client, health, partial),
            Err(failure) => failure,
        };
        health.failed(client, &failure);
        if !failure.is_passing || attempt == ATTEMPTS_MAX || *last.borrow() {
            return;
        }
        tokio::select! {
            () = sleep(pause) => pause *= 2,
            _ = last.wait_for(|is_last| *is_last) => {}
        }
    }
}

fn accepted(
    client: &Client,
    health: &mut Health,
    partial: Option<plimsoll_wire::otlp::PartialSuccess>,
) {
    health.succeeded(client);
    if let Some(partial) = partial {
        let (rejected, cause) = (partial.rejected, partial.message);
        tracing::warn!(rejected, cause, "the collector did not take everything");
    }
}
