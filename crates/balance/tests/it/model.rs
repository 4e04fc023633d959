//! Slots and the queue against a model that says the rules in a few lines.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use plimsoll_balance::{
    Balancer, BalancerConfig, EndpointSpec, Entry, Outcome, POLICY_NAMES, Pick, PickError,
    QueueConfig, Waiting, WhenEmpty,
};
use proptest::prelude::*;
use proptest::sample::select;

use super::{address, at};

const ENDPOINTS: usize = 3;
const DEPTH: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    Enter,
    /// Ends the running request at this position, by finishing or by dropping.
    End(prop::sample::Index, bool),
    /// Drops the waiter at this position, granted or not.
    Leave(prop::sample::Index),
    /// Gives an endpoint another number of slots.
    Slots(usize, u32),
    Drain(usize, bool),
    /// Makes the set empty, or full again.
    List(bool),
    Advance,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Enter),
        4 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(i, f)| Step::End(i, f)),
        1 => any::<prop::sample::Index>().prop_map(Step::Leave),
        1 => (0..ENDPOINTS, 1..4_u32).prop_map(|(i, n)| Step::Slots(i, n)),
        1 => (0..ENDPOINTS, any::<bool>()).prop_map(|(i, d)| Step::Drain(i, d)),
        1 => any::<bool>().prop_map(Step::List),
        1 => Just(Step::Advance),
    ]
}

/// The real thing, and beside it what the model needs.
struct World {
    balancer: Balancer,
    slots: [u32; ENDPOINTS],
    draining: [bool; ENDPOINTS],
    listed: bool,
    when_empty: WhenEmpty,
    running: Vec<Pick>,
    /// In the order in which they came.
    waiting: VecDeque<Waiting>,
}

impl World {
    fn new(policy: &str, when_empty: WhenEmpty) -> Self {
        let config = BalancerConfig {
            policy: policy.parse().expect("it is a policy's name"),
            queue: QueueConfig {
                depth: DEPTH,
                ..QueueConfig::default()
            },
            when_empty,
            ..BalancerConfig::default()
        };
        let world = Self {
            balancer: Balancer::new(config).expect("the settings are in range"),
            slots: [1; ENDPOINTS],
            draining: [false; ENDPOINTS],
            listed: true,
            when_empty,
            running: Vec::new(),
            waiting: VecDeque::new(),
        };
        world.publish();
        world
    }

    fn publish(&self) {
        let spec = |(index, &slots): (usize, &u32)| EndpointSpec {
            concurrency: NonZeroU32::new(slots),
            ..EndpointSpec::new(address(index))
        };
        let listed = self.slots.iter().enumerate().filter(|_| self.listed);
        let specs: Vec<_> = listed.map(spec).collect();
        let change = self.balancer.set_endpoints(at(0), &specs);
        change.expect("the set is sound");
    }

    fn in_flight(&self, index: usize) -> u32 {
        let here = |pick: &&Pick| **pick.endpoint().address() == *address(index);
        self.running.iter().filter(here).count() as u32
    }

    fn has_room(&self) -> bool {
        self.has_endpoint()
            && (0..ENDPOINTS)
                .any(|index| !self.draining[index] && self.in_flight(index) < self.slots[index])
    }

    fn has_endpoint(&self) -> bool {
        self.listed && !self.draining.iter().all(|it| *it)
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Enter => self.enter(),
            Step::End(index, finish) if !self.running.is_empty() => {
                let pick = self.running.swap_remove(index.index(self.running.len()));
                if finish {
                    pick.finish(at(0), Outcome::Success);
                }
            }
            Step::Leave(index) if !self.waiting.is_empty() => {
                drop(self.waiting.remove(index.index(self.waiting.len())));
            }
            Step::Slots(index, slots) => {
                self.slots[index] = slots;
                self.publish();
            }
            Step::Drain(index, draining) => {
                if self.balancer.set_draining(at(0), &address(index), draining) {
                    self.draining[index] = draining;
                }
            }
            Step::List(listed) => {
                self.listed = listed;
                self.publish();
            }
            Step::Advance => self.balancer.advance(at(0)),
            Step::End(..) | Step::Leave(_) => {}
        }
    }

    fn enter(&mut self) {
        let (room, queued) = (self.has_room(), self.waiting.len());
        match self.balancer.enter(at(0), 0) {
            Ok(Entry::Running(pick)) => {
                assert!(room && queued == 0, "it overtook, or there was no slot");
                self.running.push(pick);
            }
            Ok(Entry::Waiting(waiting)) => {
                assert!(
                    !room && queued < DEPTH,
                    "a slot was free, or the queue full"
                );
                self.waiting.push_back(waiting);
            }
            Err(PickError::NoEndpoints | PickError::AllDraining) => {
                assert_eq!(self.when_empty, WhenEmpty::Refuse);
                assert!(!self.has_endpoint(), "there is one");
            }
            Err(PickError::QueueFull) => assert!(!room && queued == DEPTH),
            Err(other) => panic!("{other}"),
        }
    }

    /// Collects what was granted: the oldest first, and never past one who waits.
    fn settle(&mut self) {
        while let Some(oldest) = self.waiting.front_mut() {
            let mut cx = Context::from_waker(Waker::noop());
            match Pin::new(oldest).poll(&mut cx) {
                Poll::Ready(granted) => self.running.push(granted.expect("nobody waits so long")),
                Poll::Pending => break,
            }
            self.waiting.pop_front();
        }
        for waiting in &mut self.waiting {
            let mut cx = Context::from_waker(Waker::noop());
            assert!(
                Pin::new(waiting).poll(&mut cx).is_pending(),
                "granted past an older one"
            );
        }
    }

    fn check(&self) {
        assert!(
            self.waiting.is_empty() || !self.has_room(),
            "a slot idles while somebody waits"
        );
        let view = self.balancer.view(at(0));
        assert_eq!(view.queue_depth, self.waiting.len());
        for (index, endpoint) in view.endpoints.iter().enumerate() {
            assert_eq!(endpoint.in_flight, self.in_flight(index));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn slots_and_queue_are_exact(
        policy in select(POLICY_NAMES.as_slice()),
        when_empty in select(vec![WhenEmpty::Refuse, WhenEmpty::Wait]),
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut world = World::new(policy, when_empty);
        for step in steps {
            let lowered = matches!(step, Step::Slots(..));
            let before: Vec<u32> = (0..ENDPOINTS).map(|index| world.in_flight(index)).collect();
            world.apply(&step);
            world.settle();
            world.check();
            for (index, &before) in before.iter().enumerate() {
                let now = world.in_flight(index);
                prop_assert!(now <= world.slots[index] || (lowered || now <= before), "too many at one");
            }
        }
        world.waiting.clear();
        world.running.clear();
        world.check();
    }
}
