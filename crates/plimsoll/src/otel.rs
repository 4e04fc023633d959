//! Traces and metrics for collectors of OpenTelemetry, by OTLP over HTTP or gRPC.
//!
//! Workers put what they have seen into a bounded channel and go on. A task on the main thread makes spans of it and
//! sends them. A collector that is down or slow costs spans, never a request, and no more memory than the channel.
//! What is not asked for has no thread, no task and no memory.

mod client;
mod context;
mod endpoint;
mod export;
mod ids;
mod sampling;
mod tracer;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use plimsoll_meter::{Clock, Tick};
use plimsoll_proxy::MonotonicClock;
use plimsoll_wire::user::Revision;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

pub(crate) use self::endpoint::{Endpoint, Protocol, Signal};
pub(crate) use self::sampling::{SAMPLER, SAMPLER_ARG, Sampling};
pub(crate) use self::tracer::{Begun, Tracer};

use self::client::Client;
use self::tracer::Finished;
use crate::request_log::Lines;
use crate::user_metrics::UserReadings;

/// How many traced requests may wait to be sent; more are dropped.
const PENDING_MAX: usize = 1_024;

/// How long the last exports may take when the program ends.
const LAST_TIME_MAX: Duration = Duration::from_secs(10);

/// How often metrics are sent unless told otherwise: OpenTelemetry's default.
pub(crate) const INTERVAL_DEFAULT: Duration = Duration::from_secs(60);

/// Where the clock of measurements stands in the calendar.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Calendar {
    /// Nanoseconds since 1970 when that clock was at zero.
    origin: u64,
}

/// Where traces go.
#[derive(Debug)]
pub(crate) enum TraceSink {
    /// To a collector.
    Collector(Endpoint),
    /// To standard output, one JSON object a line.
    Stdout(Arc<Lines>),
}

/// Exports that run.
#[derive(Debug)]
pub(crate) struct Exports {
    last: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Calendar {
    /// By what both clocks say now.
    pub(crate) fn of(clock: MonotonicClock) -> Self {
        let tick = clock.now();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_nanos();
        Self {
            // 2^64 ns since 1970 end in 2554.
            origin: u64::try_from(now)
                .unwrap_or(u64::MAX)
                .saturating_sub(tick.as_nanos()),
        }
    }

    /// Nanoseconds since 1970.
    pub(crate) fn at(self, tick: Tick) -> u64 {
        self.origin.saturating_add(tick.as_nanos())
    }
}

impl Exports {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self {
            last: watch::Sender::new(false),
            tasks: Vec::new(),
        }
    }

    /// Begins to send traces. The tracer is what puts them in.
    pub(crate) fn traces(
        &mut self,
        sink: TraceSink,
        sampling: Sampling,
        has_queue: bool,
        calendar: Calendar,
        revision: &Revision,
    ) -> Arc<Tracer> {
        let (sender, receiver): (_, mpsc::Receiver<Finished>) = mpsc::channel(PENDING_MAX);
        let tracer = Arc::new(Tracer::new(sampling, has_queue, sender));
        let source = export::TraceSource {
            receiver,
            calendar,
            revision: revision.clone(),
            dropped: tracer.dropped(),
        };
        let last = self.last.subscribe();
        self.tasks.push(match sink {
            TraceSink::Collector(endpoint) => {
                tokio::spawn(export::traces(source, Client::new(endpoint), last))
            }
            TraceSink::Stdout(lines) => tokio::spawn(export::traces_to_stdout(source, lines, last)),
        });
        tracer
    }

    /// Begins to send metrics every `interval`.
    pub(crate) fn metrics(
        &mut self,
        endpoint: Endpoint,
        interval: Duration,
        readings: UserReadings,
        clock: MonotonicClock,
    ) {
        let client = Client::new(endpoint);
        let last = self.last.subscribe();
        let source = export::MetricSource {
            readings,
            clock,
            interval,
        };
        self.tasks
            .push(tokio::spawn(export::metrics(source, client, last)));
    }

    /// Sends what is left, but not for long.
    pub(crate) async fn finish(self) {
        // Nobody listens if every task has ended.
        let _nobody = self.last.send(true);
        let all = async {
            for task in self.tasks {
                // One that has panicked has ended too.
                drop(task.await);
            }
        };
        if tokio::time::timeout(LAST_TIME_MAX, all).await.is_err() {
            tracing::warn!(
                "the collector did not take the last metrics or traces within {LAST_TIME_MAX:?}"
            );
        }
    }
}
