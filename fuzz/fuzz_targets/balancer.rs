//! Anything that can happen to a balancer with slots, in any order.
//!
//! Each byte is a step: a request comes, ends well or badly, or is given up; an endpoint drains, falls ill,
//! or is not in the set; time passes. After each step no endpoint has more requests than slots, the counts
//! agree, and nobody waits while an endpoint that may be used has a free slot.

#![no_main]

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use plimsoll_balance::{
    Balancer, BalancerConfig, EndpointSpec, EndpointState, Entry, Outcome, POLICY_NAMES, Pick,
    Waiting,
};
use plimsoll_meter::Tick;

const ADDRESSES: [&str; 3] = ["a", "b", "c"];

struct World {
    balancer: Balancer,
    slots: u32,
    now: Tick,
    running: Vec<Pick>,
    waiting: VecDeque<Waiting>,
}

fuzz_target!(|input: &[u8]| {
    let [policy, slots, steps @ ..] = input else {
        return;
    };
    let slots = 1 + u32::from(slots % 3);
    let policy = POLICY_NAMES[usize::from(*policy) % POLICY_NAMES.len()];
    let config = BalancerConfig {
        policy: policy.parse().expect("it is a policy's name"),
        endpoint_concurrency: NonZeroU32::new(slots),
        ..BalancerConfig::default()
    };
    let mut world = World {
        balancer: Balancer::new(config).expect("the settings are in range"),
        slots,
        now: Tick::ZERO,
        running: Vec::new(),
        waiting: VecDeque::new(),
    };
    world.set(3);
    for step in steps.iter().take(1_000) {
        world.step(step % 16, usize::from(step / 16));
        world.settle();
        world.check();
    }
});

impl World {
    fn step(&mut self, kind: u8, which: usize) {
        let address = ADDRESSES[which % 3];
        match kind {
            0..=4 => match self.balancer.enter(self.now, 1) {
                Ok(Entry::Running(pick)) => self.running.push(pick),
                Ok(Entry::Waiting(waiting)) => self.waiting.push_back(waiting),
                Err(_) => {}
            },
            5..=9 if !self.running.is_empty() => {
                let pick = self.running.swap_remove(which % self.running.len());
                match kind {
                    5 => drop(pick),
                    6 => pick.finish(self.now, Outcome::from_http_status(500, None)),
                    7 => {
                        let wait = Some(Duration::from_secs(5));
                        pick.finish(self.now, Outcome::from_http_status(503, wait));
                    }
                    _ => pick.finish(self.now, Outcome::Success),
                }
            }
            10 if !self.waiting.is_empty() => {
                drop(self.waiting.remove(which % self.waiting.len()));
            }
            11 => {
                self.balancer.set_health(self.now, address, which < 8);
            }
            12 => {
                self.balancer.set_draining(self.now, address, which < 8);
            }
            13 => self.set(which % 4),
            14 => self.pass(Duration::from_millis(100)),
            15 => self.pass(Duration::from_secs(which as u64)),
            _ => {}
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.saturating_add(time);
        self.balancer.advance(self.now);
    }

    fn set(&self, count: usize) {
        let specs = ADDRESSES[..count].iter().map(|it| EndpointSpec::new(*it));
        let specs: Vec<_> = specs.collect();
        let set = self.balancer.set_endpoints(self.now, &specs);
        set.expect("the set can be");
    }

    /// Collects what was granted: the oldest first, and never past one who waits.
    fn settle(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        while let Some(oldest) = self.waiting.front_mut() {
            match Pin::new(oldest).poll(&mut cx) {
                Poll::Ready(granted) => self.running.extend(granted),
                Poll::Pending => break,
            }
            self.waiting.pop_front();
        }
        for waiting in &mut self.waiting {
            assert!(Pin::new(waiting).poll(&mut cx).is_pending(), "overtaken");
        }
    }

    fn check(&self) {
        let view = self.balancer.view(self.now);
        assert_eq!(view.queue_depth, self.waiting.len());
        assert_eq!(view.queue_bytes, self.waiting.len() as u64);
        let grades = view.endpoints.iter().filter_map(|it| grade(it.state));
        let best = grades.min();
        for endpoint in &view.endpoints {
            let here = |pick: &&Pick| pick.endpoint().address() == &endpoint.address;
            let running = self.running.iter().filter(here).count();
            assert_eq!(endpoint.in_flight as usize, running, "{endpoint:?}");
            assert!(endpoint.in_flight <= self.slots, "{endpoint:?}");
            let may_be_used = best.is_some() && grade(endpoint.state) == best;
            let idles = may_be_used && endpoint.in_flight < self.slots;
            assert!(!idles || self.waiting.is_empty(), "{endpoint:?} idles");
        }
    }
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
