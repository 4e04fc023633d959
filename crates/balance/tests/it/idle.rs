//! Nobody waits while an endpoint that may be used has a free slot, whatever
//! endpoints do: fail, ask to be left alone, fall ill, leave and come back.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use plimsoll_balance::{
    Balancer, BalancerConfig, BalancerView, EndpointSpec, EndpointState, Entry, Outcome,
    POLICY_NAMES, Pick, Waiting,
};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::{address, at};

const ENDPOINTS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Enter,
    /// Ends the running request at this position.
    End(Index, End),
    Leave(Index),
    Health(usize, bool),
    Drain(usize, bool),
    /// Makes so many of the endpoints the set.
    Set(usize),
    /// Time passes, in milliseconds, and the housekeeping is done.
    Later(u64),
}

#[derive(Clone, Copy, Debug)]
enum End {
    Well,
    Failed,
    RetryAfter,
    Dropped,
}

fn step() -> impl Strategy<Value = Step> {
    let end = select(vec![
        End::Well,
        End::Failed,
        End::Failed,
        End::RetryAfter,
        End::Dropped,
    ]);
    prop_oneof![
        8 => Just(Step::Enter),
        6 => (any::<Index>(), end).prop_map(|(i, end)| Step::End(i, end)),
        1 => any::<Index>().prop_map(Step::Leave),
        1 => (0..ENDPOINTS, any::<bool>()).prop_map(|(i, h)| Step::Health(i, h)),
        1 => (0..ENDPOINTS, any::<bool>()).prop_map(|(i, d)| Step::Drain(i, d)),
        1 => (1..=ENDPOINTS).prop_map(Step::Set),
        1 => select(vec![1, 100, 12_000]).prop_map(Step::Later),
    ]
}

struct World {
    balancer: Balancer,
    now: u64,
    running: Vec<Pick>,
    waiting: VecDeque<Waiting>,
}

/// How good an endpoint is that is in this state; the best may be used.
fn grade(state: EndpointState) -> Option<u8> {
    match state {
        EndpointState::Healthy | EndpointState::SlowStart => Some(0),
        EndpointState::Ejected | EndpointState::Probing => Some(1),
        EndpointState::Unhealthy => Some(2),
        EndpointState::Draining => None,
    }
}

/// The endpoint that idles: it may be used, and has a free slot.
fn idle(view: &BalancerView) -> Option<&str> {
    let graded = view.endpoints.iter().map(|it| grade(it.state));
    let best = graded.flatten().min()?;
    let free = view.endpoints.iter().find(|it| {
        grade(it.state) == Some(best) && it.slots.is_some_and(|slots| it.in_flight < slots.get())
    });
    free.map(|it| &*it.address)
}

impl World {
    fn apply(&mut self, step: &Step) {
        let now = at(self.now);
        match *step {
            Step::Enter => match self.balancer.enter(now, 0) {
                Ok(Entry::Running(pick)) => self.running.push(pick),
                Ok(Entry::Waiting(waiting)) => self.waiting.push_back(waiting),
                Err(_) => {}
            },
            Step::End(index, end) if !self.running.is_empty() => {
                let pick = self.running.swap_remove(index.index(self.running.len()));
                let wait = Some(Duration::from_secs(5));
                match end {
                    End::Well => pick.finish(now, Outcome::Success),
                    End::Failed => pick.finish(now, Outcome::from_http_status(500, None)),
                    End::RetryAfter => pick.finish(now, Outcome::from_http_status(503, wait)),
                    End::Dropped => drop(pick),
                }
            }
            Step::Leave(index) if !self.waiting.is_empty() => {
                drop(self.waiting.remove(index.index(self.waiting.len())));
            }
            Step::End(..) | Step::Leave(_) => {}
            Step::Health(index, healthy) => {
                self.balancer.set_health(now, &address(index), healthy);
            }
            Step::Drain(index, draining) => {
                self.balancer.set_draining(now, &address(index), draining);
            }
            Step::Set(count) => self.set(count),
            Step::Later(millis) => {
                self.now += millis;
                self.balancer.advance(at(self.now));
            }
        }
    }

    fn set(&self, count: usize) {
        let specs: Vec<_> = (0..count)
            .map(|index| EndpointSpec::new(address(index)))
            .collect();
        let set = self.balancer.set_endpoints(at(self.now), &specs);
        set.expect("the set can be");
    }

    /// Collects what was granted.
    fn settle(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        while let Some(oldest) = self.waiting.front_mut() {
            let Poll::Ready(granted) = Pin::new(oldest).poll(&mut cx) else {
                break;
            };
            self.running.extend(granted);
            self.waiting.pop_front();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_waits_for_what_is_free(
        policy in select(POLICY_NAMES.as_slice()),
        slots in 1..3_u32,
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let config = BalancerConfig {
            policy: policy.parse().expect("it is a policy's name"),
            endpoint_concurrency: NonZeroU32::new(slots),
            ..BalancerConfig::default()
        };
        let mut world = World {
            balancer: Balancer::new(config).expect("the settings are in range"),
            now: 0,
            running: Vec::new(),
            waiting: VecDeque::new(),
        };
        world.set(ENDPOINTS);
        for step in steps {
            world.apply(&step);
            world.settle();
            let view = world.balancer.view(at(world.now));
            let idle = idle(&view).filter(|_| view.queue_depth > 0);
            prop_assert!(idle.is_none(), "{idle:?} idles after {step:?}: {view:#?}");
        }
    }
}
