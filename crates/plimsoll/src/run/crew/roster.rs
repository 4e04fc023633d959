//! Which replicas of a service there are, and how each stands. No time passes here and nothing is started.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use plimsoll_meter::Tick;
use plimsoll_scale::Replicas;

/// How a replica stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Its process runs, and it takes no requests yet.
    Starting,
    /// It takes requests.
    Ready(SocketAddr),
    /// It gets no more requests, and finishes those it has.
    Draining(SocketAddr, Tick),
    /// It has been asked to end.
    Stopping,
}

/// A replica.
#[derive(Debug, Clone, Copy)]
struct Replica {
    started: Tick,
    standing: Standing,
    /// It makes room for another service, and is not to be taken back.
    gives_way: bool,
}

/// The replicas of a service.
///
/// `I` is the replica's name; a newer one is greater.
#[derive(Debug)]
pub(crate) struct Roster<I>(BTreeMap<I, Replica>);

impl Standing {
    /// As the API names it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready(_) => "ready",
            Self::Draining(..) => "draining",
            Self::Stopping => "stopping",
        }
    }

    /// Where requests are at it.
    pub(crate) const fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Ready(address) | Self::Draining(address, _) => Some(address),
            Self::Starting | Self::Stopping => None,
        }
    }
}

impl<I: Copy + Ord> Roster<I> {
    pub(crate) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// How many there are of each.
    pub(crate) fn counts(&self) -> Replicas {
        let mut counts = Replicas::default();
        for replica in self.0.values() {
            match replica.standing {
                Standing::Starting => {
                    counts.starting += 1;
                    let oldest = counts.oldest_start.unwrap_or(replica.started);
                    counts.oldest_start = Some(oldest.min(replica.started));
                }
                Standing::Ready(_) => counts.ready += 1,
                Standing::Draining(..) => counts.draining += 1,
                Standing::Stopping => {}
            }
        }
        counts
    }

    pub(crate) fn standing(&self, id: I) -> Option<Standing> {
        self.0.get(&id).map(|replica| replica.standing)
    }

    /// The addresses of the replicas that have requests, or may get some.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let standings = self.0.values().map(|replica| replica.standing);
        standings.filter_map(Standing::address).collect()
    }

    pub(crate) fn started(&mut self, now: Tick, id: I) {
        let replica = Replica {
            started: now,
            standing: Standing::Starting,
            gives_way: false,
        };
        self.0.entry(id).or_insert(replica);
    }

    /// Changes how a replica stands. `false` if there is no such replica, or it has been asked to end.
    pub(crate) fn set(&mut self, id: I, standing: Standing) -> bool {
        match self.0.get_mut(&id) {
            Some(replica) if replica.standing != Standing::Stopping => {
                replica.standing = standing;
                true
            }
            _ => false,
        }
    }

    /// It makes room for another service.
    pub(crate) fn give_way(&mut self, id: I) {
        if let Some(replica) = self.0.get_mut(&id) {
            replica.gives_way = true;
        }
    }

    /// Those that may be taken back although they were to go, the newest first.
    pub(crate) fn reclaimable(&self) -> Vec<(I, SocketAddr)> {
        let mut draining = self.draining();
        draining.retain(|(id, ..)| !self.0.get(id).is_some_and(|replica| replica.gives_way));
        draining
            .into_iter()
            .map(|(id, address, _)| (id, address))
            .collect()
    }

    /// It can take no more requests. Gives how it stood.
    pub(crate) fn ended(&mut self, id: I) -> Option<Standing> {
        self.0.remove(&id).map(|replica| replica.standing)
    }

    /// Those that finish what they have, the newest first.
    pub(crate) fn draining(&self) -> Vec<(I, SocketAddr, Tick)> {
        let draining = |(id, replica): (&I, &Replica)| match replica.standing {
            Standing::Draining(address, since) => Some((*id, address, since)),
            _ => None,
        };
        self.0.iter().rev().filter_map(draining).collect()
    }

    /// Those of which `surplus` may go: first those that have not begun, then those with the least to do, and of equals
    /// the newest, for the oldest are the warmest. `in_flight` is how many requests are at an address.
    pub(crate) fn dispensable(
        &self,
        surplus: usize,
        in_flight: impl Fn(SocketAddr) -> u32,
    ) -> Vec<I> {
        let load = |(id, replica): (&I, &Replica)| match replica.standing {
            Standing::Starting => Some((None, *id)),
            Standing::Ready(address) => Some((Some(in_flight(address)), *id)),
            Standing::Draining(..) | Standing::Stopping => None,
        };
        let mut present: Vec<_> = self.0.iter().filter_map(load).collect();
        present.sort_by_key(|(load, id)| (*load, std::cmp::Reverse(*id)));
        let surplus = present.into_iter().take(surplus);
        surplus.map(|(_, id)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn at(nanos: u64) -> Tick {
        Tick::from_nanos(nanos)
    }

    /// Two that start, three that are ready, one that drains, and one that was asked to end.
    fn roster() -> Roster<u16> {
        let mut roster = Roster::new();
        for id in 1..=7 {
            roster.started(at(u64::from(id)), id);
        }
        for id in 2..=4 {
            assert!(roster.set(id, Standing::Ready(address(id))));
        }
        assert!(roster.set(5, Standing::Draining(address(5), at(9))));
        assert!(roster.set(7, Standing::Stopping));
        roster
    }

    #[test]
    fn replicas_are_counted_by_how_they_stand() {
        let roster = roster();
        let expected = Replicas {
            ready: 3,
            starting: 2,
            oldest_start: Some(at(1)),
            draining: 1,
        };
        assert_eq!(roster.counts(), expected);
        assert_eq!(roster.addresses(), [2, 3, 4, 5].map(address));
        assert_eq!(roster.draining(), [(5, address(5), at(9))]);
    }

    #[test]
    fn who_makes_room_is_not_taken_back() {
        let mut roster = roster();
        assert!(roster.set(4, Standing::Draining(address(4), at(10))));
        assert_eq!(roster.reclaimable(), [(5, address(5)), (4, address(4))]);
        roster.give_way(5);
        roster.give_way(99);
        assert_eq!(roster.reclaimable(), [(4, address(4))]);
        assert_eq!(roster.draining().len(), 2);
    }

    #[test]
    fn who_has_been_asked_to_end_stays_so() {
        let mut roster = roster();
        assert!(!roster.set(7, Standing::Ready(address(7))));
        assert!(!roster.set(8, Standing::Starting));
        assert_eq!(roster.ended(7), Some(Standing::Stopping));
        assert_eq!(roster.ended(7), None);
    }

    #[test]
    fn those_go_first_that_do_the_least_and_of_equals_the_newest() {
        let roster = roster();
        let in_flight = |at: SocketAddr| u32::from(at.port() == 3);
        assert_eq!(roster.dispensable(9, in_flight), [6, 1, 4, 2, 3]);
        assert_eq!(roster.dispensable(1, in_flight), [6]);
        assert!(roster.dispensable(0, in_flight).is_empty());
    }
}
