//! What happens next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use plimsoll_meter::Tick;

/// Events in the order of their times; those of one time in the order in which they were put in.
///
/// That second rule makes a run a function of its seed.
#[derive(Debug)]
pub(super) struct Events<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    put_in: u64,
}

#[derive(Debug)]
struct Entry<E> {
    at: Tick,
    number: u64,
    event: E,
}

impl<E> Events<E> {
    pub(super) const fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            put_in: 0,
        }
    }

    /// Has `event` happen at `at`.
    pub(super) fn put(&mut self, at: Tick, event: E) {
        let number = self.put_in;
        self.put_in += 1;
        self.heap.push(Reverse(Entry { at, number, event }));
    }

    /// The next event and its time.
    pub(super) fn next(&mut self) -> Option<(Tick, E)> {
        let Reverse(entry) = self.heap.pop()?;
        Some((entry.at, entry.event))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_the_order_of_their_times_and_then_of_their_putting() {
        let mut events = Events::new();
        for (at, name) in [(5, "c"), (1, "a"), (5, "d"), (2, "b")] {
            events.put(Tick::from_nanos(at), name);
        }
        let order: Vec<&str> = std::iter::from_fn(|| events.next().map(|(_, name)| name)).collect();
        assert_eq!(order, ["a", "b", "c", "d"]);
    }
}
