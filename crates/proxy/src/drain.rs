//! The running sidecar, and how it comes to rest.
//!
//! The order is fixed: keep serving until no request has come for a quiet period, close the data port, let
//! everything in flight finish, and only then let the caller close the rest.

mod quiet;

use std::sync::Arc;
use std::time::Duration;

use plimsoll_limit::Breaker;
use plimsoll_meter::{Clock, ConcurrencyMeter};
use plimsoll_wire::Answer;
use tokio::sync::{mpsc, oneshot};

use crate::clock::MonotonicClock;
use crate::connection::Farewell;
use crate::drain::quiet::QuietPeriod;
use crate::load_report::LoadReports;
use crate::stats::{StatsView, WorkerStats};
use crate::worker::{Command, Role, Shared};

pub(crate) use quiet::Quiet;

/// How often the drain looks whether everything has finished.
const POLL_PERIOD: Duration = Duration::from_millis(10);

/// How long connections have to end by themselves once they have been cut.
const CUT_TIME_MAX: Duration = Duration::from_secs(1);

/// The handle of a running sidecar. Dropping it ends the sidecar at once, without draining.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    commands: Vec<mpsc::UnboundedSender<Command>>,
    ends: Vec<oneshot::Receiver<()>>,
    /// One for each port.
    stop_accepting: Vec<oneshot::Sender<oneshot::Sender<()>>>,
}

/// Waits for the quiet period of a drain: what Knative's `/wait-for-drain` does.
#[derive(Debug, Clone)]
pub struct DrainHook {
    shared: Arc<Shared>,
    period: QuietPeriod,
}

/// How a drain went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainOutcome {
    /// Connections that had to be cut because they did not finish in time.
    pub cut: usize,
}

impl Running {
    pub(crate) fn new(
        shared: Arc<Shared>,
        commands: Vec<mpsc::UnboundedSender<Command>>,
        ends: Vec<oneshot::Receiver<()>>,
        stop_accepting: Vec<oneshot::Sender<oneshot::Sender<()>>>,
    ) -> Self {
        Self {
            shared,
            commands,
            ends,
            stop_accepting,
        }
    }

    /// The clock of all its measurements.
    #[must_use]
    pub fn clock(&self) -> MonotonicClock {
        self.shared.clock
    }

    /// Its concurrency meter.
    #[must_use]
    pub fn meter(&self) -> &Arc<ConcurrencyMeter> {
        &self.shared.meter
    }

    /// Its breaker, if it is a sidecar and concurrency is limited.
    #[must_use]
    pub fn breaker(&self) -> Option<&Breaker> {
        match &self.shared.role {
            Role::Sidecar { breaker, .. } => breaker.as_ref(),
            Role::Gateway { .. } => None,
        }
    }

    /// Where the load report for its answers is published.
    #[must_use]
    pub fn load_reports(&self) -> LoadReports {
        self.shared.reports.clone()
    }

    /// A view of its counters that can be read from anywhere, as long as wanted.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats(Arc::clone(&self.shared))
    }

    /// A handle by which others can wait for the quiet period of a drain with these settings; see
    /// [`Running::drain`], which has to be given the same.
    #[must_use]
    pub fn drain_hook(&self, quiet: Duration, limit: Option<Duration>) -> DrainHook {
        DrainHook {
            shared: Arc::clone(&self.shared),
            period: QuietPeriod { quiet, limit },
        }
    }

    /// Comes to rest: serves until no request has come for `quiet`, at most `limit` long; then closes the data
    /// port, lets what is in flight finish for at most `limit`, and cuts the rest. `None` is no limit.
    ///
    /// A drain that somebody waits for with [`DrainHook::wait`] goes on as this one. The order is fixed: the quiet
    /// period, the data ports, what is in flight, whatever protocol it speaks.
    ///
    /// Clients are told from the beginning: HTTP/1 by `Connection: close` on every answer, HTTP/2 by GOAWAY.
    pub async fn drain(mut self, quiet: Duration, limit: Option<Duration>) -> DrainOutcome {
        let clock = self.shared.clock;
        // Before they are told, so that whoever hears of it is right.
        let since = self.shared.quiet.begin_to_end(clock);
        self.tell(Farewell::Drain);
        let period = QuietPeriod { quiet, limit };
        self.shared.quiet.end(clock, since, period).await;
        for stop in std::mem::take(&mut self.stop_accepting) {
            let (ended, end) = oneshot::channel();
            // Accepting has ended by itself if nobody listens. Otherwise what is in the backlog is counted as
            // open before anyone looks how much is.
            let _ended_by_itself = stop.send(ended);
            let _ended = end.await;
        }
        self.finish_within(limit.unwrap_or(Duration::MAX)).await;
        let cut = self.open();
        if cut > 0 {
            self.tell(Farewell::Cut);
            self.finish_within(CUT_TIME_MAX).await;
        }
        self.commands.clear();
        for end in self.ends.drain(..) {
            // A worker that has panicked has ended too.
            let _ended = end.await;
        }
        DrainOutcome { cut }
    }

    async fn finish_within(&self, limit: Duration) {
        let until = self.shared.clock.now().saturating_add(limit);
        loop {
            // Again each time: connections from the backlog may have come after the last word.
            self.tell(Farewell::Close);
            if self.open() == 0 || self.shared.clock.now() >= until {
                return;
            }
            tokio::time::sleep(POLL_PERIOD).await;
        }
    }

    fn open(&self) -> usize {
        self.shared.stats.iter().map(WorkerStats::connections).sum()
    }

    fn tell(&self, farewell: Farewell) {
        for worker in &self.commands {
            // A worker that has ended has no connections.
            let _ended = worker.send(Command::Bid(farewell));
        }
    }
}

impl DrainHook {
    /// Begins a drain or joins one, and waits until no request has come for the quiet period. From now on probes are
    /// told that no more requests should come; those that come are served.
    ///
    /// If [`Running::drain`] is not called within a second, the drain is taken back: all who wait return, and probes
    /// are answered as before. So a container that restarts by itself, and asks as one does that is shut down, neither
    /// waits nor takes its pod out of service. It is taken back as well when the last future of this is dropped. Once
    /// the quiet period is over, this returns at once.
    pub async fn wait(&self) {
        self.shared.quiet.ask(self.shared.clock, self.period).await;
    }

    /// Whether probes are told that no more requests should come.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.shared.quiet.is_draining()
    }
}

/// A view of the counters of a sidecar.
#[derive(Debug, Clone)]
pub struct Stats(Arc<Shared>);

impl Stats {
    /// Finished requests alone, as [`StatsView::requests`]: a part of the sums that is cheaper to read.
    #[must_use]
    pub fn requests(&self) -> [u64; Answer::COUNT] {
        StatsView::requests_of(&self.0.stats)
    }

    /// The sums of this moment. Takes no lock and does not disturb the workers.
    #[must_use]
    pub fn view(&self) -> StatsView {
        StatsView::of(&self.0.stats)
    }

    /// How often a connection has given back the memory it occupied, because it closed or was not used for a
    /// while. Only ever rises.
    #[must_use]
    pub fn connections_released(&self) -> u64 {
        self.0.stats.iter().map(WorkerStats::released).sum()
    }
}
