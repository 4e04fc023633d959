//! A backend: slots, a queue before them, and what is wrong with it. In virtual time and over the wire it is the same.

use std::collections::VecDeque;
use std::time::Duration;

use plimsoll_balance::{FailureKind, LoadReport, Outcome};
use plimsoll_meter::Tick;

use crate::random::SplitMix64;
use crate::scenario::{Condition, RateLimit};

/// The time over which a backend averages what it reports of itself.
const REPORT_SECONDS: f64 = 1.0;

/// The least tokens that a rate limit can hold.
const BURST_LEAST: f64 = 1.0;

/// The time whose tokens a rate limit can hold, seconds.
const BURST_SECONDS: f64 = 0.1;

/// One backend.
#[derive(Debug)]
pub(crate) struct Backend {
    slots: usize,
    busy: usize,
    /// Attempts that wait for a slot, oldest first.
    queue: VecDeque<usize>,
    /// Attempts that are here and not over, whatever they wait for.
    open: Vec<usize>,
    tokens: f64,
    refilled: f64,
    load: Load,
}

/// What a backend knows of its own load: averages that decay.
#[derive(Debug, Default)]
struct Load {
    utilization: f64,
    answers: f64,
    errors: f64,
    seen: f64,
}

/// What a backend does with an attempt that has just come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Reception {
    /// Begins at once.
    Begins,
    /// Waits for a slot.
    Waits,
    /// Answers with a failure after this time, without a slot.
    Fails(Duration, Failure),
    /// Keeps it for ever.
    Silent,
}

/// A failure as the gateway sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Failure {
    /// What the balancer learns.
    pub(crate) outcome: Outcome,
    /// Whether another backend may do better, so that the gateway sends the request again.
    pub(crate) speaks_of_endpoint: bool,
    /// The answer, if there is one.
    pub(crate) answer: Option<ErrorAnswer>,
}

/// An error answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ErrorAnswer {
    /// HTTP status.
    pub(crate) code: u16,
    /// What its `Retry-After` says.
    pub(crate) retry_after: Option<Duration>,
}

impl Failure {
    /// No answer at all.
    pub(crate) const fn of_endpoint(kind: FailureKind) -> Self {
        Self {
            outcome: Outcome::Failure(kind),
            speaks_of_endpoint: true,
            answer: None,
        }
    }

    /// An error answer. The gateway passes on what an application says of itself, and 429.
    fn status(code: u16, retry_after: Option<Duration>) -> Self {
        Self {
            outcome: Outcome::from_http_status(code, retry_after),
            speaks_of_endpoint: matches!(code, 502..=504),
            answer: Some(ErrorAnswer { code, retry_after }),
        }
    }
}

impl Backend {
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            slots,
            busy: 0,
            queue: VecDeque::new(),
            open: Vec::new(),
            tokens: 0.0,
            refilled: -1.0,
            load: Load::default(),
        }
    }

    /// How many attempts are here.
    pub(crate) const fn open(&self) -> usize {
        self.open.len()
    }

    /// An attempt comes.
    pub(crate) fn receive(
        &mut self,
        second: f64,
        attempt: usize,
        condition: &Condition<'_>,
        fate: u64,
    ) -> Reception {
        let reception = self.reception(second, condition, fate);
        if matches!(reception, Reception::Fails(..)) {
            self.load.answer(second, self.utilization(), true);
            return reception;
        }
        self.open.push(attempt);
        match reception {
            Reception::Begins => self.busy += 1,
            Reception::Waits => self.queue.push_back(attempt),
            Reception::Silent | Reception::Fails(..) => {}
        }
        reception
    }

    fn reception(&mut self, second: f64, condition: &Condition<'_>, fate: u64) -> Reception {
        if condition.gone || condition.absent {
            return Reception::Fails(Duration::ZERO, Failure::of_endpoint(FailureKind::Connect));
        }
        if condition.stalled {
            return Reception::Silent;
        }
        if let Some(fault) = condition.status
            && SplitMix64::new(fate).next_unit() < fault.share
        {
            return fails(fault.after_ms, fault.code, fault.retry_after);
        }
        if let Some(limit) = condition.rate_limit
            && !self.passes(second, limit)
        {
            return fails(limit.after_ms, limit.code, limit.retry_after);
        }
        if self.busy < self.slots {
            Reception::Begins
        } else {
            Reception::Waits
        }
    }

    fn passes(&mut self, second: f64, limit: &RateLimit) -> bool {
        let capacity = (limit.per_second * BURST_SECONDS).max(BURST_LEAST);
        if self.refilled < 0.0 {
            self.tokens = capacity;
        } else {
            let new = (second - self.refilled) * limit.per_second;
            self.tokens = (self.tokens + new).min(capacity);
        }
        self.refilled = second;
        let passes = self.tokens >= 1.0;
        self.tokens -= f64::from(u8::from(passes));
        passes
    }

    /// An attempt that had a slot is over; the next one that begins, if there is one.
    pub(crate) fn finish(&mut self, second: f64, attempt: usize) -> Option<usize> {
        self.open.retain(|open| *open != attempt);
        let utilization = self.utilization();
        self.busy -= 1;
        self.load.answer(second, utilization, false);
        let next = self.queue.pop_front();
        self.busy += usize::from(next.is_some());
        next
    }

    /// Nobody waits for this attempt any more. One that has a slot keeps it: a server does not notice.
    pub(crate) fn abandon(&mut self, attempt: usize) {
        if let Some(place) = self.queue.iter().position(|queued| *queued == attempt) {
            self.queue.remove(place);
            self.open.retain(|open| *open != attempt);
        }
    }

    /// Everything that is here is lost.
    pub(crate) fn reset(&mut self) -> Vec<usize> {
        self.busy = 0;
        self.queue.clear();
        std::mem::take(&mut self.open)
    }

    /// What it says of its own load.
    pub(crate) fn report(&self) -> LoadReport {
        LoadReport {
            application_utilization: Some(self.load.utilization),
            rps: Some(self.load.answers / REPORT_SECONDS),
            eps: Some(self.load.errors / REPORT_SECONDS),
            ..LoadReport::default()
        }
    }

    fn utilization(&self) -> f64 {
        self.busy as f64 / self.slots as f64
    }
}

impl Load {
    fn answer(&mut self, second: f64, utilization: f64, error: bool) {
        let kept = (-(second - self.seen) / REPORT_SECONDS).exp();
        self.seen = second;
        self.utilization = utilization + (self.utilization - utilization) * kept;
        self.answers = self.answers * kept + 1.0;
        self.errors = self.errors * kept + f64::from(u8::from(error));
    }
}

fn fails(after_ms: f64, code: u16, retry_after: Option<f64>) -> Reception {
    let retry_after = retry_after.map(Duration::from_secs_f64);
    Reception::Fails(
        Duration::from_secs_f64(after_ms / 1000.0),
        Failure::status(code, retry_after),
    )
}

/// A moment of the simulation as seconds from its start.
pub(crate) fn seconds(at: Tick) -> f64 {
    at.saturating_duration_since(Tick::ZERO).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Scenario, example};

    fn scenario(what: &str) -> Scenario {
        example(
            "{ count = 1, slots = 2, service = { fixed_ms = 10 } }",
            &format!("{{ first = 0, count = 1, from = 5, to = 6, what = {what} }}"),
        )
    }

    #[test]
    fn slots_are_taken_then_the_queue_and_the_oldest_comes_next() {
        let scenario = scenario(r#""stall""#);
        let healthy = scenario.condition(0, 0.0);
        let mut backend = Backend::new(2);
        let receptions: Vec<_> = (0..4)
            .map(|attempt| backend.receive(0.0, attempt, &healthy, 0))
            .collect();
        use Reception::{Begins, Waits};
        assert_eq!(receptions, [Begins, Begins, Waits, Waits]);
        backend.abandon(2);
        backend.abandon(0);
        assert_eq!(backend.open(), 3);
        assert_eq!(backend.finish(0.1, 0), Some(3));
        assert_eq!(backend.finish(0.2, 1), None);
        assert_eq!(backend.reset(), [3]);
        assert_eq!(backend.open(), 0);
    }

    #[test]
    fn troubles_do_what_they_say() {
        let receive = |what: &str, second: f64| {
            let scenario = scenario(what);
            Backend::new(2).receive(second, 0, &scenario.condition(0, second), 0)
        };
        assert_eq!(receive(r#""stall""#, 4.9), Reception::Begins);
        assert_eq!(receive(r#""stall""#, 5.0), Reception::Silent);
        assert_eq!(receive(r#""stall""#, 6.0), Reception::Begins);
        let refused = Failure::of_endpoint(FailureKind::Connect);
        assert_eq!(
            receive(r#""gone""#, 5.5),
            Reception::Fails(Duration::ZERO, refused)
        );
        let error = Failure::status(500, None);
        assert!(!error.speaks_of_endpoint && error.outcome.is_failure());
        assert_eq!(
            receive("{ status = { code = 500, after_ms = 1 } }", 5.5),
            Reception::Fails(Duration::from_millis(1), error)
        );
    }

    #[test]
    fn a_rate_limit_lets_its_rate_pass() {
        let scenario = scenario("{ rate_limit = { per_second = 20, code = 429, after_ms = 1 } }");
        let mut backend = Backend::new(1_000);
        let passed = (0..1000).filter(|number| {
            let second = 5.0 + f64::from(*number) / 1000.0;
            let condition = scenario.condition(0, second);
            backend.receive(second, 0, &condition, 0) == Reception::Begins
        });
        // The two tokens it begins with, and those of one second.
        assert!((21..=22).contains(&passed.count()));
    }
}
