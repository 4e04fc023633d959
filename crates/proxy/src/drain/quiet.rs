//! The quiet period: a port is closed when no request has come for a while, for then everybody has heard of it.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use plimsoll_meter::{Clock, Tick};
use tokio::sync::watch;

use crate::clock::MonotonicClock;

/// How long a drain that somebody else has asked for lasts if this process is not told to end meanwhile. Who asks for
/// one without that is a container that restarts by itself, and its pod stays.
const ASKED_TIME_MAX: Duration = Duration::from_secs(1);

/// How long to wait for requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QuietPeriod {
    /// Begins anew with each request.
    pub(crate) quiet: Duration,
    /// The longest that requests can put it off; `None` is for ever.
    pub(crate) limit: Option<Duration>,
}

/// What is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    /// Somebody waits for a quiet period, but this process has not been told to end.
    Asked {
        since: Tick,
        waiting: usize,
    },
    /// It has.
    Ending,
    /// The quiet period is over.
    Quiet,
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Quiet {
    /// What the workers need to know of the phase: see [`Level`].
    level: AtomicU8,
    /// When the last request arrived, in nanoseconds; kept only while draining.
    last_arrival: AtomicU64,
    phase: watch::Sender<Phase>,
}

/// What the workers need to know of a drain.
struct Level;

impl Level {
    const SERVING: u8 = 0;
    /// Probes are told that no more should come.
    const ASKED: u8 = 1;
    /// Clients are told to go, too.
    const ENDING: u8 = 2;
}

/// One of those who wait because somebody has asked; the last to leave takes the drain back.
struct Asking<'a>(&'a Quiet);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.change(|phase| match phase {
            Phase::Asked { since, waiting } if waiting > 1 => Phase::Asked {
                since,
                waiting: waiting - 1,
            },
            Phase::Asked { .. } => Phase::Serving,
            other => other,
        });
    }
}

impl Default for Quiet {
    fn default() -> Self {
        Self {
            level: AtomicU8::new(Level::SERVING),
            last_arrival: AtomicU64::new(0),
            phase: watch::Sender::new(Phase::Serving),
        }
    }
}

impl Quiet {
    /// Whether a drain has begun: by a signal, or because somebody waits for one.
    pub(crate) fn is_draining(&self) -> bool {
        self.level.load(Ordering::Relaxed) != Level::SERVING
    }

    /// Whether clients are to be told to go.
    pub(crate) fn is_ending(&self) -> bool {
        self.level.load(Ordering::Relaxed) == Level::ENDING
    }

    /// A request has arrived: the quiet period begins anew, if there is one.
    pub(crate) fn request_arrived(&self, clock: MonotonicClock) {
        if self.is_draining() {
            self.last_arrival
                .store(clock.now().as_nanos(), Ordering::Relaxed);
        }
    }

    fn change(&self, change: impl FnOnce(Phase) -> Phase) {
        self.phase.send_if_modified(|phase| {
            let before = *phase;
            *phase = change(before);
            let level = match phase {
                Phase::Serving => Level::SERVING,
                Phase::Asked { .. } => Level::ASKED,
                Phase::Ending | Phase::Quiet => Level::ENDING,
            };
            self.level.store(level, Ordering::Relaxed);
            *phase != before
        });
    }

    fn ends_at(&self, since: Tick, period: QuietPeriod) -> Tick {
        let last = Tick::from_nanos(self.last_arrival.load(Ordering::Relaxed)).max(since);
        let latest = period.limit.map_or(Tick::MAX, |limit| {
            since.saturating_add(limit.max(period.quiet))
        });
        last.saturating_add(period.quiet).min(latest)
    }

    /// This process is to end. Joins a drain that somebody has asked for before; returns since when it lasts.
    pub(crate) fn begin_to_end(&self, clock: MonotonicClock) -> Tick {
        let mut since = clock.now();
        self.change(|phase| {
            if let Phase::Asked { since: asked, .. } = phase {
                since = asked;
            }
            Phase::Ending
        });
        since
    }

    /// Waits until it has been quiet after the drain that began at `since`.
    pub(crate) async fn end(&self, clock: MonotonicClock, since: Tick, period: QuietPeriod) {
        loop {
            let until = self.ends_at(since, period);
            if until <= clock.now() {
                break;
            }
            tokio::time::sleep_until(clock.instant(until)).await;
        }
        self.change(|_| Phase::Quiet);
    }

    /// Waits until it is quiet, or until it has become clear that this process is not to end.
    pub(crate) async fn ask(&self, clock: MonotonicClock, period: QuietPeriod) {
        let mut seen = self.phase.subscribe();
        let now = clock.now();
        self.change(|phase| match phase {
            Phase::Serving => Phase::Asked {
                since: now,
                waiting: 1,
            },
            Phase::Asked { since, waiting } => Phase::Asked {
                since,
                waiting: waiting + 1,
            },
            other => other,
        });
        let _asking = Asking(self);
        loop {
            let phase = *seen.borrow_and_update();
            match phase {
                Phase::Serving | Phase::Quiet => return,
                Phase::Ending => {
                    if seen.changed().await.is_err() {
                        return;
                    }
                }
                Phase::Asked { since, .. } => {
                    let until = self
                        .ends_at(since, period)
                        .min(since.saturating_add(ASKED_TIME_MAX));
                    if until <= clock.now() {
                        self.take_back(since);
                        return;
                    }
                    tokio::select! {
                        _changed = seen.changed() => {}
                        () = tokio::time::sleep_until(clock.instant(until)) => {}
                    }
                }
            }
        }
    }

    /// Serves on, whoever still waits.
    fn take_back(&self, asked_since: Tick) {
        self.change(|phase| match phase {
            Phase::Asked { since, .. } if since == asked_since => Phase::Serving,
            other => other,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::sync::Arc;
    use tokio::task::JoinHandle;

    const PERIOD: QuietPeriod = QuietPeriod {
        quiet: Duration::from_millis(100),
        limit: None,
    };

    struct Drained {
        quiet: Arc<Quiet>,
        clock: MonotonicClock,
    }

    impl Drained {
        fn new() -> Self {
            Self {
                quiet: Arc::default(),
                clock: MonotonicClock::start(),
            }
        }

        fn begin<F>(&self, drain: impl FnOnce(Arc<Quiet>, MonotonicClock) -> F) -> JoinHandle<Tick>
        where
            F: Future<Output = ()> + Send + 'static,
        {
            let clock = self.clock;
            let drain = drain(Arc::clone(&self.quiet), clock);
            tokio::spawn(async move {
                drain.await;
                clock.now()
            })
        }

        fn end(&self, period: QuietPeriod) -> JoinHandle<Tick> {
            let since = self.quiet.begin_to_end(self.clock);
            self.begin(move |quiet, clock| async move { quiet.end(clock, since, period).await })
        }

        fn ask(&self, period: QuietPeriod) -> JoinHandle<Tick> {
            self.begin(move |quiet, clock| async move { quiet.ask(clock, period).await })
        }
    }

    /// Lets everybody act, then lets time pass.
    async fn pass(milliseconds: u64) {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    async fn milliseconds(ended: JoinHandle<Tick>) -> u64 {
        ended.await.unwrap().as_nanos() / 1_000_000
    }

    #[tokio::test(start_paused = true)]
    async fn each_request_puts_the_end_off_and_all_who_drain_end_together() {
        let drained = Drained::new();
        drained.quiet.request_arrived(drained.clock);
        assert!(!drained.quiet.is_draining());
        let first = drained.end(PERIOD);
        for _ in 0..4 {
            pass(98).await;
            assert!(drained.quiet.is_draining() && !first.is_finished());
            drained.quiet.request_arrived(drained.clock);
        }
        let others = [0; 3].map(|_| drained.ask(PERIOD));
        pass(98).await;
        assert!(others.iter().all(|other| !other.is_finished()));
        let end = milliseconds(first).await;
        assert!((492..500).contains(&end), "{end}");
        for other in others {
            assert_eq!(milliseconds(other).await, end);
        }
        // Whoever asks later need not wait.
        assert!(milliseconds(drained.ask(PERIOD)).await <= end + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_can_put_the_end_off_only_until_the_limit() {
        let drained = Drained::new();
        let limited = QuietPeriod {
            limit: Some(Duration::from_millis(250)),
            ..PERIOD
        };
        let end = drained.end(limited);
        for _ in 0..10 {
            pass(50).await;
            drained.quiet.request_arrived(drained.clock);
        }
        let end = milliseconds(end).await;
        assert!((250..300).contains(&end), "{end}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_that_was_only_asked_for_is_taken_back_after_a_second() {
        let drained = Drained::new();
        let long = QuietPeriod {
            quiet: Duration::from_secs(30),
            limit: None,
        };
        for round in 0..2 {
            let first = drained.ask(long);
            pass(500).await;
            let second = drained.ask(long);
            pass(1).await;
            assert!(drained.quiet.is_draining() && !drained.quiet.is_ending());
            let (first, second) = (milliseconds(first).await, milliseconds(second).await);
            assert!((1_000..1_010).contains(&(first - round * 1_000)), "{first}");
            assert_eq!(first, second);
            assert!(!drained.quiet.is_draining());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_asked_before_the_end_waits_for_the_whole_period_from_then_on() {
        let drained = Drained::new();
        let long = QuietPeriod {
            quiet: Duration::from_secs(30),
            limit: None,
        };
        let asked = drained.ask(long);
        pass(900).await;
        let ended = drained.end(long);
        pass(10_000).await;
        assert!(drained.quiet.is_ending() && !asked.is_finished());
        let (asked, ended) = (milliseconds(asked).await, milliseconds(ended).await);
        assert!((30_000..30_010).contains(&asked), "{asked}");
        assert_eq!(asked, ended);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_with_the_last_who_asked_for_it() {
        let drained = Drained::new();
        let asked = [0; 2].map(|_| drained.ask(PERIOD));
        pass(1).await;
        let [first, second] = asked;
        first.abort();
        pass(1).await;
        assert!(drained.quiet.is_draining());
        second.abort();
        pass(1).await;
        assert!(!drained.quiet.is_draining());
    }
}
