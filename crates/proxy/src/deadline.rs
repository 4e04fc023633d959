//! The time limits of one request.
//!
//! One timer serves all three limits, and serves one request after the other: moving a timer of the runtime
//! to a later moment costs next to nothing, making one costs a lock and a heap entry. So a timer is always
//! set to the earliest limit, and only looks at which limit it was when it fires.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use plimsoll_meter::{Clock, Tick};
use tokio::time::Sleep;

use crate::clock::MonotonicClock;
use crate::config::TimeLimits;

/// The most timers kept for reuse; one is kept for each request at the same time, up to here.
const SPARE_TIMERS_MAX: usize = 1_024;

/// Which limit has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    Total,
    ResponseStart,
    Idle,
}

impl Limit {
    /// As logs and `Proxy-Status` say it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Total => "total time limit",
            Self::ResponseStart => "response start time limit",
            Self::Idle => "idle time limit",
        }
    }
}

/// Timers that wait for their next request.
#[derive(Debug, Default)]
pub(crate) struct SpareTimers(RefCell<Vec<Pin<Box<Sleep>>>>);

impl SpareTimers {
    fn take(&self) -> Option<Pin<Box<Sleep>>> {
        self.0.borrow_mut().pop()
    }

    fn put_back(&self, mut timer: Pin<Box<Sleep>>) {
        let mut spare = self.0.borrow_mut();
        if spare.len() < SPARE_TIMERS_MAX {
            // The timer must not keep the task that last waited for it.
            let _forgotten = timer
                .as_mut()
                .poll(&mut Context::from_waker(std::task::Waker::noop()));
            spare.push(timer);
        }
    }
}

/// The limits of one request, ticking.
#[derive(Debug)]
pub(crate) struct Deadlines {
    limits: TimeLimits,
    clock: MonotonicClock,
    spare: Rc<SpareTimers>,
    timer: Option<Pin<Box<Sleep>>>,
    began: Tick,
    /// The response head has been sent on.
    started: bool,
    last_activity: Tick,
}

impl Deadlines {
    pub(crate) fn start(
        limits: TimeLimits,
        clock: MonotonicClock,
        spare: &Rc<SpareTimers>,
        began: Tick,
    ) -> Self {
        Self {
            limits,
            clock,
            spare: Rc::clone(spare),
            timer: None,
            began,
            started: false,
            last_activity: began,
        }
    }

    /// The request begins only now: what it has waited does not count.
    pub(crate) fn begin_anew(&mut self, now: Tick) {
        self.began = now;
        self.last_activity = now;
    }

    /// The answer has begun.
    pub(crate) fn response_started(&mut self) {
        self.started = true;
        self.touch();
    }

    /// The connection is an upgraded one from now on.
    pub(crate) fn upgraded(&mut self) {
        if let Some(limits) = self.limits.upgraded {
            self.limits.total = limits.total;
            self.limits.idle = limits.idle;
            // It may be set to a limit that does not hold any more.
            self.timer = None;
        }
        self.response_started();
    }

    /// Something has moved: the idle limit starts anew.
    pub(crate) fn touch(&mut self) {
        if self.limits.idle.is_some() {
            self.last_activity = self.clock.now();
        }
    }

    /// The limit that has passed at `now`, if one has. For when nobody polls.
    pub(crate) fn overdue(&self, now: Tick) -> Option<Limit> {
        let (limit, at) = self.earliest()?;
        (at <= now).then_some(limit)
    }

    /// Ready with the limit that has passed; the task is woken for the next one otherwise.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Limit> {
        if self.limits.is_off() {
            return Poll::Pending;
        }
        loop {
            if self.timer.is_none() {
                let Some((_, earliest)) = self.earliest() else {
                    return Poll::Pending;
                };
                self.arm(earliest);
            }
            let Some(timer) = &mut self.timer else {
                return Poll::Pending;
            };
            ready!(timer.as_mut().poll(cx));
            match self.earliest() {
                None => return Poll::Pending,
                Some((limit, at)) if at <= self.clock.now() => return Poll::Ready(limit),
                Some((_, at)) => self.arm(at),
            }
        }
    }

    fn arm(&mut self, at: Tick) {
        let at = self.clock.instant(at);
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(at),
            None => {
                let timer = match self.spare.take() {
                    Some(mut timer) => {
                        timer.as_mut().reset(at);
                        timer
                    }
                    None => Box::pin(tokio::time::sleep_until(at)),
                };
                self.timer = Some(timer);
            }
        }
    }

    fn earliest(&self) -> Option<(Limit, Tick)> {
        let after = |limit: Limit, from: Tick, time: Option<Duration>| {
            time.map(|time| (limit, from.saturating_add(time)))
        };
        let response_start = if self.started {
            None
        } else {
            self.limits.response_start
        };
        [
            after(Limit::Total, self.began, self.limits.total),
            after(Limit::ResponseStart, self.began, response_start),
            after(Limit::Idle, self.last_activity, self.limits.idle),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(_, at)| *at)
    }
}

impl Drop for Deadlines {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            self.spare.put_back(timer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::UpgradedLimits;

    fn limits(total: u64, start: u64, idle: u64) -> TimeLimits {
        let ms = |ms: u64| (ms > 0).then(|| Duration::from_millis(ms));
        TimeLimits {
            total: ms(total),
            response_start: ms(start),
            idle: ms(idle),
            upgraded: None,
        }
    }

    async fn fires(deadlines: &mut Deadlines) -> (Limit, u64) {
        let limit = std::future::poll_fn(|cx| deadlines.poll(cx)).await;
        (limit, deadlines.clock.now().as_nanos() / 1_000_000)
    }

    fn start(limits: TimeLimits) -> Deadlines {
        let clock = MonotonicClock::start();
        Deadlines::start(limits, clock, &Rc::default(), clock.now())
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_limit_fires() {
        for (set, expected, at) in [
            (limits(1000, 0, 0), Limit::Total, 1000),
            (limits(1000, 300, 0), Limit::ResponseStart, 300),
            (limits(1000, 300, 200), Limit::Idle, 200),
            (limits(100, 300, 200), Limit::Total, 100),
        ] {
            let (limit, fired) = fires(&mut start(set)).await;
            assert_eq!(limit, expected);
            assert!((at..=at + 1).contains(&fired), "{fired} ms instead of {at}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_that_has_started_disarms_response_start_and_activity_moves_idle() {
        let mut deadlines = start(limits(1000, 300, 200));
        for _ in 0..4 {
            tokio::time::advance(Duration::from_millis(150)).await;
            deadlines.response_started();
        }
        let (limit, fired) = fires(&mut deadlines).await;
        assert_eq!(limit, Limit::Idle);
        assert!((800..=801).contains(&fired), "{fired}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_upgraded_connection_may_have_limits_of_its_own() {
        for (set, expected) in [
            (limits(0, 0, 700), Some((Limit::Idle, 700))),
            (limits(900, 0, 0), Some((Limit::Total, 900))),
            (limits(0, 0, 0), None),
        ] {
            let mut deadlines = start(TimeLimits {
                upgraded: Some(UpgradedLimits {
                    total: set.total,
                    idle: set.idle,
                }),
                ..limits(300, 200, 100)
            });
            // Its timer is set already.
            let cx = &mut Context::from_waker(std::task::Waker::noop());
            assert!(deadlines.poll(cx).is_pending());
            deadlines.upgraded();
            let wait = tokio::time::timeout(Duration::from_secs(60), fires(&mut deadlines)).await;
            let limit = wait
                .ok()
                .map(|(limit, at)| (limit, at.next_multiple_of(2) / 100 * 100));
            assert_eq!(limit, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_limit_never_fires() {
        let mut deadlines = start(TimeLimits::default());
        let waited = tokio::time::timeout(Duration::from_secs(86_400), fires(&mut deadlines)).await;
        assert!(waited.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_serves_the_next_request_with_its_own_deadline() {
        let clock = MonotonicClock::start();
        let spare = Rc::new(SpareTimers::default());
        for round in 1..=3_u64 {
            let began = clock.now();
            let mut deadlines = Deadlines::start(limits(100, 0, 0), clock, &spare, began);
            let (limit, fired) = fires(&mut deadlines).await;
            assert_eq!(limit, Limit::Total);
            assert!(
                (round * 100..=round * 100 + round).contains(&fired),
                "{fired}"
            );
        }
        assert_eq!(spare.0.borrow().len(), 1);
    }
}
