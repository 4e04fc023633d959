//! Random operations against a model that is obviously right: a deque of
//! waiters and a set of those who run. Everything a caller can see must agree
//! after each step.

use std::collections::{BTreeMap, VecDeque};

use plimsoll_limit::{Breaker, Entry, Slot, Waiting};
use proptest::prelude::*;
use tokio_test::task::Spawn;

#[derive(Debug, Clone)]
enum Step {
    Enter,
    /// Enters, and is not polled until another step does.
    EnterUnpolled,
    TryReserve,
    /// One that runs finishes.
    Finish(prop::sample::Index),
    /// One in the queue, or granted and not polled since, goes away.
    Leave(prop::sample::Index),
    Poll(prop::sample::Index),
    SetConcurrency(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Enter),
        1 => Just(Step::EnterUnpolled),
        1 => Just(Step::TryReserve),
        3 => any::<prop::sample::Index>().prop_map(Step::Finish),
        1 => any::<prop::sample::Index>().prop_map(Step::Leave),
        2 => any::<prop::sample::Index>().prop_map(Step::Poll),
        1 => (0_usize..6).prop_map(Step::SetConcurrency),
    ]
}

/// What should be.
#[derive(Debug)]
struct Model {
    concurrency: usize,
    nominal: usize,
    queue_depth: usize,
    running: usize,
    queue: VecDeque<u32>,
    granted: Vec<u32>,
}

impl Model {
    fn taken(&self) -> usize {
        self.running + self.granted.len()
    }

    fn places(&self) -> usize {
        self.concurrency.max(self.nominal) + self.queue_depth
    }

    fn grant(&mut self) {
        while self.taken() < self.concurrency
            && let Some(id) = self.queue.pop_front()
        {
            self.granted.push(id);
        }
    }
}

struct Waiter {
    future: Spawn<Waiting>,
    /// Whether it was polled while in the queue, so that a grant wakes it.
    registered: bool,
}

/// The breaker under test beside the model.
struct Pair {
    breaker: Breaker,
    model: Model,
    slots: Vec<Slot>,
    waiters: BTreeMap<u32, Waiter>,
    next_id: u32,
}

impl Pair {
    fn new(concurrency: usize, queue_depth: usize) -> Self {
        Self {
            breaker: Breaker::new(concurrency, queue_depth).expect("both are in range"),
            model: Model {
                concurrency,
                nominal: concurrency,
                queue_depth,
                running: 0,
                queue: VecDeque::new(),
                granted: Vec::new(),
            },
            slots: Vec::new(),
            waiters: BTreeMap::new(),
            next_id: 0,
        }
    }

    fn apply(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Enter => self.enter(true)?,
            Step::EnterUnpolled => self.enter(false)?,
            Step::TryReserve => self.try_reserve()?,
            Step::Finish(index) if !self.slots.is_empty() => {
                drop(self.slots.remove(index.index(self.slots.len())));
                self.model.running -= 1;
                self.model.grant();
            }
            Step::Leave(index) => self.leave(*index),
            Step::Poll(index) => self.poll(*index)?,
            Step::SetConcurrency(n) => {
                self.breaker.set_concurrency(*n).expect("in range");
                self.model.concurrency = *n;
                self.model.grant();
            }
            Step::Finish(_) => {}
        }
        self.check()
    }

    fn enter(&mut self, polled: bool) -> Result<(), TestCaseError> {
        let free = self.model.taken() < self.model.concurrency;
        let full = self.model.taken() + self.model.queue.len() >= self.model.places();
        match self.breaker.enter() {
            Ok(Entry::Running(slot)) => {
                prop_assert!(free);
                self.slots.push(slot);
                self.model.running += 1;
            }
            Ok(Entry::Waiting(waiting)) => {
                prop_assert!(!free && !full);
                let mut future = tokio_test::task::spawn(waiting);
                prop_assert!(!polled || future.poll().is_pending());
                let waiter = Waiter {
                    future,
                    registered: polled,
                };
                self.waiters.insert(self.next_id, waiter);
                self.model.queue.push_back(self.next_id);
                self.next_id += 1;
            }
            Err(_) => prop_assert!(!free && full),
        }
        Ok(())
    }

    fn try_reserve(&mut self) -> Result<(), TestCaseError> {
        let slot = self.breaker.try_reserve();
        prop_assert_eq!(slot.is_some(), self.model.taken() < self.model.concurrency);
        self.model.running += usize::from(slot.is_some());
        self.slots.extend(slot);
        Ok(())
    }

    fn pick(&self, index: prop::sample::Index) -> Option<u32> {
        let ids: Vec<u32> = self.waiters.keys().copied().collect();
        (!ids.is_empty()).then(|| *index.get(&ids))
    }

    fn leave(&mut self, index: prop::sample::Index) {
        let Some(id) = self.pick(index) else { return };
        self.waiters.remove(&id);
        self.model.queue.retain(|waiter| *waiter != id);
        self.model.granted.retain(|waiter| *waiter != id);
        self.model.grant();
    }

    fn poll(&mut self, index: prop::sample::Index) -> Result<(), TestCaseError> {
        let Some(id) = self.pick(index) else {
            return Ok(());
        };
        let waiter = self.waiters.get_mut(&id).expect("picked from the map");
        let granted = self.model.granted.contains(&id);
        match waiter.future.poll() {
            std::task::Poll::Ready(slot) => {
                prop_assert!(granted);
                self.slots.push(slot);
                self.waiters.remove(&id);
                self.model.granted.retain(|waiter| *waiter != id);
                self.model.running += 1;
            }
            std::task::Poll::Pending => {
                prop_assert!(!granted);
                waiter.registered = true;
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let occupancy = self.breaker.occupancy();
        prop_assert_eq!(occupancy.concurrency, self.model.concurrency);
        prop_assert_eq!(occupancy.running, self.model.taken());
        prop_assert_eq!(occupancy.waiting, self.model.queue.len());
        prop_assert_eq!(self.breaker.queue_depth(), self.model.queue_depth);
        for (id, waiter) in &self.waiters {
            let expected = waiter.registered && self.model.granted.contains(id);
            prop_assert_eq!(waiter.future.is_woken(), expected, "waiter {}", id);
        }
        Ok(())
    }

    /// With one slot, everybody left is served, oldest first.
    fn drain(mut self) -> Result<(), TestCaseError> {
        self.apply(&Step::SetConcurrency(1))?;
        self.slots.clear();
        self.model.running = 0;
        self.model.grant();
        self.check()?;
        // Those granted come first; within them the order no longer matters.
        let mut order = std::mem::take(&mut self.model.granted);
        order.extend(self.model.queue.drain(..));
        for id in order {
            let mut waiter = self.waiters.remove(&id).expect("known to the model");
            prop_assert!(waiter.future.poll().is_ready(), "waiter {}", id);
        }
        prop_assert_eq!(self.breaker.in_system(), 0);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn agrees_with_the_model(
        concurrency in 0_usize..4,
        queue_depth in 1_usize..8,
        steps in prop::collection::vec(step(), 1..100),
    ) {
        let mut pair = Pair::new(concurrency, queue_depth);
        for step in &steps {
            pair.apply(step)?;
        }
        pair.drain()?;
    }
}
