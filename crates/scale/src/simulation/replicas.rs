//! The replicas of a simulated service.

use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroU32;

use plimsoll_meter::Tick;

use crate::observation::Replicas;

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Starting,
    Ready,
    Draining,
    Gone,
}

#[derive(Clone, Copy, Debug)]
struct Replica {
    state: State,
    started: Tick,
    ready: Tick,
    running: u32,
}

/// The replicas of a simulated service, by number. A number is used again when
/// its replica is gone, so there are never more than were there at once.
#[derive(Debug)]
pub(super) struct Fleet {
    slots: u32,
    replicas: Vec<Replica>,
    unused: Vec<u32>,
    /// In the order in which they become ready; those that were given up are gone.
    starting: VecDeque<u32>,
    /// Those that get requests and have a free slot: how many they have, and which.
    free: BTreeSet<(u32, u32)>,
    /// Those that get requests, all slots taken.
    full: BTreeSet<u32>,
    draining: u32,
    starts: u64,
    most: u32,
    lived: f64,
}

impl Fleet {
    pub(super) fn new(slots: Option<NonZeroU32>) -> Self {
        Self {
            slots: slots.map_or(u32::MAX, NonZeroU32::get),
            replicas: Vec::new(),
            unused: Vec::new(),
            starting: VecDeque::new(),
            free: BTreeSet::new(),
            full: BTreeSet::new(),
            draining: 0,
            starts: 0,
            most: 0,
            lived: 0.0,
        }
    }

    fn ready(&self) -> usize {
        self.free.len() + self.full.len()
    }

    pub(super) fn view(&self, _now: Tick) -> Replicas {
        let oldest = self.starting.front();
        Replicas {
            ready: self.ready() as u32,
            starting: self.starting.len() as u32,
            oldest_start: oldest.map(|&oldest| self.replicas[oldest as usize].started),
            draining: self.draining,
        }
    }

    pub(super) fn next_ready(&self) -> Option<Tick> {
        let first = self.starting.front()?;
        Some(self.replicas[*first as usize].ready)
    }

    /// Lets those become ready whose time has come, and gives how many.
    pub(super) fn become_ready(&mut self, now: Tick) -> u32 {
        let mut count = 0;
        while let Some(&id) = self.starting.front() {
            let replica = &mut self.replicas[id as usize];
            if replica.ready > now {
                break;
            }
            replica.state = State::Ready;
            self.starting.pop_front();
            self.free.insert((0, id));
            count += 1;
        }
        count
    }

    /// A slot of the replica that has the fewest requests, and since when that
    /// has been ready.
    pub(super) fn take_slot(&mut self) -> Option<(u32, Tick)> {
        let (_, id) = self.free.pop_first()?;
        let replica = &mut self.replicas[id as usize];
        replica.running += 1;
        if replica.running < self.slots {
            self.free.insert((replica.running, id));
        } else {
            self.full.insert(id);
        }
        Some((id, replica.ready))
    }

    /// A request at the replica has ended.
    pub(super) fn end(&mut self, now: Tick, id: u32) {
        let replica = &mut self.replicas[id as usize];
        replica.running -= 1;
        if replica.state == State::Draining {
            if replica.running == 0 {
                self.draining -= 1;
                self.gone(now, id);
            }
            return;
        }
        let running = replica.running;
        if !self.full.remove(&id) {
            self.free.remove(&(running + 1, id));
        }
        self.free.insert((running, id));
    }

    /// Starts replicas, or lets the idlest go, until there are so many.
    pub(super) fn scale_to(&mut self, now: Tick, desired: u32, ready: Tick) {
        let desired = desired as usize;
        while self.ready() + self.starting.len() < desired {
            self.start(now, ready);
        }
        while self.ready() + self.starting.len() > desired {
            if let Some(id) = self.starting.pop_back() {
                self.gone(now, id);
            } else {
                self.drain(now);
            }
        }
    }

    fn start(&mut self, now: Tick, ready: Tick) {
        let replica = Replica {
            state: State::Starting,
            started: now,
            ready,
            running: 0,
        };
        let id = match self.unused.pop() {
            Some(id) => {
                self.replicas[id as usize] = replica;
                id
            }
            None => {
                self.replicas.push(replica);
                self.replicas.len() as u32 - 1
            }
        };
        self.starting.push_back(id);
        self.starts += 1;
        let there = self.replicas.len() - self.unused.len();
        self.most = self.most.max(there as u32);
    }

    fn drain(&mut self, now: Tick) {
        let idlest = self.free.pop_first().map(|(_, id)| id);
        let Some(id) = idlest.or_else(|| self.full.pop_last()) else {
            return;
        };
        if self.replicas[id as usize].running == 0 {
            self.gone(now, id);
        } else {
            self.replicas[id as usize].state = State::Draining;
            self.draining += 1;
        }
    }

    fn gone(&mut self, now: Tick, id: u32) {
        let replica = &mut self.replicas[id as usize];
        replica.state = State::Gone;
        self.lived += now.saturating_duration_since(replica.started).as_secs_f64();
        self.unused.push(id);
    }

    /// How many were started, how many there were at most, and how many seconds
    /// they lived until now.
    pub(super) fn totals(&self, now: Tick) -> (u64, u32, f64) {
        let living = self.replicas.iter().filter(|one| one.state != State::Gone);
        let alive: f64 = living
            .map(|one| now.saturating_duration_since(one.started).as_secs_f64())
            .sum();
        (self.starts, self.most, self.lived + alive)
    }
}
