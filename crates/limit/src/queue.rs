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

/// A caller's place in a [`WaitQueue`], valid until it is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(u32);

/// How a place stands.
#[derive(Debug)]
pub enum Standing<T, G> {
    /// In the queue, with what the waiter brought.
    ///
    /// Carries a waker that is of no more use, if there is one: dropping a
    /// waker can run foreign code, so it must happen outside the caller's lock.
    Waiting(Option<Waker>, T),
    /// Out of the queue, with what it was granted.
    Granted(G),
}

#[derive(Debug)]
struct Node<T, G> {
    previous: u32,
    /// The next waiter, or the next vacant node.
    next: u32,
    /// `None` in a vacant node.
    held: Option<Held<T, G>>,
    waker: Option<Waker>,
}

#[derive(Debug)]
enum Held<T, G> {
    Waiting(T),
    Granted(G),
}

/// A first-in, first-out queue of waiters, to be put behind the caller's lock.
///
/// A waiter brings a `T` (what it weighs, since when it waits) and is granted
/// a `G` (what it waited for). Joining, granting the oldest and leaving from
/// anywhere take constant time. Nothing is woken and no waker is dropped here:
/// wakers are returned, for the caller to use after it released its lock.
///
/// The vector behind it keeps the length it had at the busiest moment.
///
/// ```
/// use plimsoll_limit::{Standing, WaitQueue};
/// use std::task::Waker;
///
/// let mut queue = WaitQueue::<u64, &str>::new();
/// let place = queue.push_back(512);
/// assert_eq!(queue.front(), Some(&512));
/// assert!(queue.grant_front("endpoint a").is_ok());
/// assert!(matches!(queue.poll(place, Waker::noop()), Ok("endpoint a")));
/// ```
#[derive(Debug)]
pub struct WaitQueue<T, G> {
    nodes: Vec<Node<T, G>>,
    head: u32,
    tail: u32,
    vacant: u32,
    waiting: usize,
}

impl<T, G> WaitQueue<T, G> {
    /// An empty queue. Allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            nodes: Vec::new(),
            head: NIL,
            tail: NIL,
            vacant: NIL,
            waiting: 0,
        }
    }

    /// How many wait and are not yet granted.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// What the oldest waiter brought, or `None` when nobody waits. O(1).
    #[must_use]
    pub fn front(&self) -> Option<&T> {
        let node = self.nodes.get(self.head as usize)?;
        match &node.held {
            Some(Held::Waiting(brought)) => Some(brought),
            _ => None,
        }
    }

    /// Joins the end of the queue. O(1), amortized.
    ///
    /// The caller bounds the number of places below `u32::MAX`.
    pub fn push_back(&mut self, brought: T) -> Place {
        let node = Node {
            previous: self.tail,
            next: NIL,
            held: Some(Held::Waiting(brought)),
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
    /// Gives what it had brought, and its waker: `None` when the waiter has not
    /// been polled yet, for then it will find the grant when it is.
    ///
    /// # Errors
    ///
    /// The grant comes back when nobody waits.
    pub fn grant_front(&mut self, grant: G) -> Result<(T, Option<Waker>), G> {
        if self.head == NIL {
            return Err(grant);
        }
        let place = Place(self.head);
        self.unlink(place);
        let node = self.node(place);
        let waker = node.waker.take();
        match node.held.replace(Held::Granted(grant)) {
            Some(Held::Waiting(brought)) => Ok((brought, waker)),
            _ => unreachable!("only waiting nodes are in the list"),
        }
    }

    /// If the place is granted, removes it and gives the grant. Otherwise
    /// remembers `waker`. O(1).
    ///
    /// # Errors
    ///
    /// The place still waits; with the waker that the new one replaced.
    pub fn poll(&mut self, place: Place, waker: &Waker) -> Result<G, Option<Waker>> {
        let node = self.node(place);
        if !matches!(node.held, Some(Held::Granted(_))) {
            if node.waker.as_ref().is_some_and(|w| w.will_wake(waker)) {
                return Err(None);
            }
            return Err(node.waker.replace(waker.clone()));
        }
        match self.vacate(place) {
            Some(Held::Granted(grant)) => Ok(grant),
            _ => unreachable!("it was looked at above"),
        }
    }

    /// Gives up a place, granted or not, and tells which it was. O(1).
    ///
    /// # Panics
    ///
    /// If the place had been removed before.
    pub fn remove(&mut self, place: Place) -> Standing<T, G> {
        if matches!(self.node(place).held, Some(Held::Waiting(_))) {
            self.unlink(place);
        }
        let waker = self.node(place).waker.take();
        match self.vacate(place) {
            Some(Held::Waiting(brought)) => Standing::Waiting(waker, brought),
            Some(Held::Granted(grant)) => Standing::Granted(grant),
            None => unreachable!("a place is removed once"),
        }
    }

    fn node(&mut self, Place(index): Place) -> &mut Node<T, G> {
        &mut self.nodes[index as usize]
    }

    /// Puts `node` into a vacant place, or a new one.
    fn occupy(&mut self, node: Node<T, G>) -> Place {
        if self.vacant == NIL {
            let place = Place(self.nodes.len() as u32);
            debug_assert_ne!(place.0, NIL, "the caller bounds the places");
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
    fn vacate(&mut self, place: Place) -> Option<Held<T, G>> {
        let vacant = self.vacant;
        let node = self.node(place);
        node.next = vacant;
        let held = node.held.take();
        self.vacant = place.0;
        held
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

impl<T, G> Default for WaitQueue<T, G> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(queue: &mut WaitQueue<(), ()>, expected: Place) {
        assert_eq!(queue.head, expected.0);
        assert!(queue.grant_front(()).is_ok());
        assert!(matches!(queue.remove(expected), Standing::Granted(())));
    }

    #[test]
    fn grants_in_order_of_joining() {
        let mut queue = WaitQueue::<(), ()>::new();
        let places = [(); 3].map(|()| queue.push_back(()));
        for place in places {
            grant(&mut queue, place);
        }
        assert!(queue.grant_front(()).is_err());
    }

    #[test]
    fn leaving_from_any_position_keeps_the_order_of_the_others() {
        for leaver in 0..3 {
            let mut queue = WaitQueue::<(), ()>::new();
            let places = [(); 3].map(|()| queue.push_back(()));
            assert!(matches!(
                queue.remove(places[leaver]),
                Standing::Waiting(None, ())
            ));
            assert_eq!(queue.waiting(), 2);
            for (i, place) in places.into_iter().enumerate() {
                if i != leaver {
                    grant(&mut queue, place);
                }
            }
            assert_eq!(queue.waiting(), 0);
            assert!(queue.grant_front(()).is_err());
        }
    }

    #[test]
    fn a_granted_place_stays_reserved_until_removed() {
        let mut queue = WaitQueue::<(), ()>::new();
        let first = queue.push_back(());
        assert!(queue.grant_front(()).is_ok());
        let second = queue.push_back(());
        assert_ne!(first, second);
        assert!(matches!(queue.remove(first), Standing::Granted(())));
        assert_eq!(queue.push_back(()), first, "a vacant place is used again");
    }

    #[test]
    fn a_place_whose_grant_was_polled_is_vacant() {
        let mut queue = WaitQueue::<(), ()>::new();
        let place = queue.push_back(());
        assert!(queue.grant_front(()).is_ok());
        let standing = queue.poll(place, Waker::noop());
        assert_eq!(standing.ok(), Some(()));
        assert_eq!(queue.push_back(()), place);
    }

    #[test]
    fn churn_behind_a_waiter_that_stays_takes_no_more_memory() {
        let mut queue = WaitQueue::<(), ()>::new();
        let _stays = queue.push_back(());
        let mut last = queue.push_back(());
        for _ in 0..1000 {
            let newcomer = queue.push_back(());
            queue.remove(last);
            last = newcomer;
        }
        assert_eq!(queue.nodes.len(), 3);
    }

    #[test]
    fn keeps_the_newest_waker_and_hands_out_the_one_it_replaces() {
        let mut queue = WaitQueue::<(), ()>::new();
        let place = queue.push_back(());
        let first = distinct_waker();
        let second = distinct_waker();
        assert!(matches!(queue.poll(place, &first), Err(None)));
        assert!(matches!(queue.poll(place, &first), Err(None)));
        let Err(Some(replaced)) = queue.poll(place, &second) else {
            panic!("the first waker should be handed out");
        };
        assert!(replaced.will_wake(&first));
        let granted = queue.grant_front(()).ok().and_then(|((), waker)| waker);
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
