//! The queue: who waits, in which order, and how to wake them.
//!
//! A doubly linked list threaded through a vector, so that joining, granting
//! the oldest and leaving from anywhere all take constant time. A place stays
//! reserved from [`push_back`](WaitQueue::push_back) until its owner removes
//! it, granted or not, so an index never means two callers at once.
//!
//! A ring of tickets with gaps for those who left would be shorter, but its
//! length is not bounded by the number of waiters: while the oldest stays,
//! gaps behind it pile up.

use std::task::Waker;

/// The end of a list.
const NIL: u32 = u32::MAX;

/// A caller's place in the queue, valid until it is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place(u32);

/// How a place stands.
#[derive(Debug)]
pub(crate) enum Standing {
    /// In the queue. Carries a waker that is of no more use, if there is one:
    /// dropping a waker can run foreign code, so it must happen outside the lock.
    Waiting(Option<Waker>),
    /// Out of the queue, with the right to run.
    Granted,
}

#[derive(Debug)]
struct Node {
    previous: u32,
    /// The next waiter, or the next vacant node.
    next: u32,
    granted: bool,
    waker: Option<Waker>,
}

/// A first-in, first-out queue of waiters.
///
/// Its vector keeps the length it had at the busiest moment.
#[derive(Debug)]
pub(crate) struct WaitQueue {
    nodes: Vec<Node>,
    head: u32,
    tail: u32,
    vacant: u32,
    waiting: usize,
}

impl WaitQueue {
    /// An empty queue. Allocates nothing.
    pub(crate) const fn new() -> Self {
        Self {
            nodes: Vec::new(),
            head: NIL,
            tail: NIL,
            vacant: NIL,
            waiting: 0,
        }
    }

    /// How many wait and are not yet granted.
    pub(crate) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Joins the end of the queue. O(1), amortized.
    ///
    /// The caller bounds the number of places below `u32::MAX`.
    pub(crate) fn push_back(&mut self) -> Place {
        let node = Node {
            previous: self.tail,
            next: NIL,
            granted: false,
            waker: None,
        };
        let place = self.occupy(node);
        match self.tail {
            NIL => self.head = place.0,
            tail => self.node(Place(tail)).next = place.0,
        }
        self.tail = place.0;
        self.waiting += 1;
        place
    }

    /// Grants the oldest waiter and takes it out of the order. O(1).
    ///
    /// `None` when nobody waits. The inner option is `None` when the waiter
    /// has not been polled yet: it will find the grant when it is.
    pub(crate) fn grant_front(&mut self) -> Option<Option<Waker>> {
        if self.head == NIL {
            return None;
        }
        let place = Place(self.head);
        self.unlink(place);
        let node = self.node(place);
        node.granted = true;
        Some(node.waker.take())
    }

    /// If the place is granted, removes it. Otherwise remembers `waker`. O(1).
    pub(crate) fn poll(&mut self, place: Place, waker: &Waker) -> Standing {
        let node = self.node(place);
        if node.granted {
            self.vacate(place);
            return Standing::Granted;
        }
        if node.waker.as_ref().is_some_and(|w| w.will_wake(waker)) {
            return Standing::Waiting(None);
        }
        Standing::Waiting(node.waker.replace(waker.clone()))
    }

    /// Gives up a place, granted or not, and tells which it was. O(1).
    pub(crate) fn remove(&mut self, place: Place) -> Standing {
        if self.node(place).granted {
            self.vacate(place);
            return Standing::Granted;
        }
        self.unlink(place);
        let waker = self.node(place).waker.take();
        self.vacate(place);
        Standing::Waiting(waker)
    }

    fn node(&mut self, Place(index): Place) -> &mut Node {
        &mut self.nodes[index as usize]
    }

    /// Puts `node` into a vacant place, or a new one.
    fn occupy(&mut self, node: Node) -> Place {
        if self.vacant == NIL {
            let place = Place(self.nodes.len() as u32);
            debug_assert_ne!(place.0, NIL, "the breaker bounds the places");
            self.nodes.push(node);
            return place;
        }
        let place = Place(self.vacant);
        let slot = self.node(place);
        let next = slot.next;
        *slot = node;
        self.vacant = next;
        place
    }

    /// Puts a place that is in no list and has no waker on the vacant list.
    fn vacate(&mut self, place: Place) {
        let vacant = self.vacant;
        self.node(place).next = vacant;
        self.vacant = place.0;
    }

    /// Takes a waiting place out of the order.
    fn unlink(&mut self, place: Place) {
        let (previous, next) = {
            let node = self.node(place);
            (node.previous, node.next)
        };
        match previous {
            NIL => self.head = next,
            previous => self.node(Place(previous)).next = next,
        }
        match next {
            NIL => self.tail = previous,
            next => self.node(Place(next)).previous = previous,
        }
        self.waiting -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(queue: &mut WaitQueue, expected: Place) {
        assert_eq!(queue.head, expected.0);
        assert!(queue.grant_front().is_some());
        assert!(matches!(queue.remove(expected), Standing::Granted));
    }

    #[test]
    fn grants_in_order_of_joining() {
        let mut queue = WaitQueue::new();
        let places = [(); 3].map(|()| queue.push_back());
        for place in places {
            grant(&mut queue, place);
        }
        assert!(queue.grant_front().is_none());
    }

    #[test]
    fn leaving_from_any_position_keeps_the_order_of_the_others() {
        for leaver in 0..3 {
            let mut queue = WaitQueue::new();
            let places = [(); 3].map(|()| queue.push_back());
            assert!(matches!(
                queue.remove(places[leaver]),
                Standing::Waiting(None)
            ));
            assert_eq!(queue.waiting(), 2);
            for (i, place) in places.into_iter().enumerate() {
                if i != leaver {
                    grant(&mut queue, place);
                }
            }
            assert_eq!(queue.waiting(), 0);
            assert!(queue.grant_front().is_none());
        }
    }

    #[test]
    fn a_granted_place_stays_reserved_until_removed() {
        let mut queue = WaitQueue::new();
        let first = queue.push_back();
        assert!(queue.grant_front().is_some());
        let second = queue.push_back();
        assert_ne!(first, second);
        assert!(matches!(queue.remove(first), Standing::Granted));
        assert_eq!(queue.push_back(), first, "a vacant place is used again");
    }

    #[test]
    fn a_place_whose_grant_was_polled_is_vacant() {
        let mut queue = WaitQueue::new();
        let place = queue.push_back();
        assert!(queue.grant_front().is_some());
        let standing = queue.poll(place, Waker::noop());
        assert!(matches!(standing, Standing::Granted));
        assert_eq!(queue.push_back(), place);
    }

    #[test]
    fn churn_behind_a_waiter_that_stays_takes_no_more_memory() {
        let mut queue = WaitQueue::new();
        let _stays = queue.push_back();
        let mut last = queue.push_back();
        for _ in 0..1000 {
            let newcomer = queue.push_back();
            queue.remove(last);
            last = newcomer;
        }
        assert_eq!(queue.nodes.len(), 3);
    }

    #[test]
    fn keeps_the_newest_waker_and_hands_out_the_one_it_replaces() {
        let mut queue = WaitQueue::new();
        let place = queue.push_back();
        let first = distinct_waker();
        let second = distinct_waker();
        assert!(matches!(queue.poll(place, &first), Standing::Waiting(None)));
        assert!(matches!(queue.poll(place, &first), Standing::Waiting(None)));
        let Standing::Waiting(Some(replaced)) = queue.poll(place, &second) else {
            panic!("the first waker should be handed out");
        };
        assert!(replaced.will_wake(&first));
        let granted = queue.grant_front().flatten();
        assert!(granted.is_some_and(|waker| waker.will_wake(&second)));
    }

    /// A waker that wakes nobody and equals no other.
    fn distinct_waker() -> Waker {
        struct Nobody;
        impl std::task::Wake for Nobody {
            fn wake(self: std::sync::Arc<Self>) {}
        }
        Waker::from(std::sync::Arc::new(Nobody))
    }
}
