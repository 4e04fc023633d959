//! Sleeping to the microsecond.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::load::timer::PreciseTimer;

/// Any number of sleepers on one precise timer.
///
/// The runtime's own timer is a millisecond coarse and rounds up: on a service time of 1 ms that is half of it.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    sleepers: Mutex<Sleepers>,
    /// Somebody wants to be woken before all others.
    sooner: Notify,
}

#[derive(Debug, Default)]
struct Sleepers {
    heap: BinaryHeap<Reverse<Sleeper>>,
    count: u64,
}

#[derive(Debug)]
struct Sleeper {
    at: Instant,
    number: u64,
    wake: oneshot::Sender<()>,
}

impl Alarms {
    /// Starts them on the current runtime. They end with it.
    pub(super) fn start() -> io::Result<Arc<Self>> {
        let timer = PreciseTimer::new()?;
        let alarms = Arc::new(Self::default());
        tokio::spawn(ring(Arc::clone(&alarms), timer));
        Ok(alarms)
    }

    /// Returns at `deadline`, or at once if it has passed.
    pub(super) async fn sleep_until(&self, deadline: Instant) {
        let (wake, woken) = oneshot::channel();
        let is_first = self.sleepers.lock().add(deadline, wake);
        if is_first {
            self.sooner.notify_one();
        }
        // Nobody else can wake: the sender is dropped with the runtime only.
        woken.await.ok();
    }

    /// Wakes whose time has come; the next one's.
    fn wake_due(&self) -> Option<Instant> {
        let mut sleepers = self.sleepers.lock();
        let now = Instant::now();
        while let Some(Reverse(first)) = sleepers.heap.peek() {
            if first.at > now {
                return Some(first.at);
            }
            if let Some(Reverse(first)) = sleepers.heap.pop() {
                // It may have gone: then nobody has to be woken.
                first.wake.send(()).ok();
            }
        }
        None
    }
}

impl Sleepers {
    /// Whether this one is to be woken before all others.
    fn add(&mut self, at: Instant, wake: oneshot::Sender<()>) -> bool {
        let number = self.count;
        self.count += 1;
        let is_first = self.heap.peek().is_none_or(|Reverse(first)| at < first.at);
        self.heap.push(Reverse(Sleeper { at, number, wake }));
        is_first
    }
}

async fn ring(alarms: Arc<Alarms>, timer: PreciseTimer) {
    loop {
        match alarms.wake_due() {
            None => alarms.sooner.notified().await,
            Some(at) => tokio::select! {
                slept = timer.sleep_until(at) => {
                    // There is no error once a timer is made; a loop without pause would hide it.
                    if slept.is_err() {
                        return;
                    }
                }
                () = alarms.sooner.notified() => {}
            },
        }
    }
}

impl PartialEq for Sleeper {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Sleeper {}

impl PartialOrd for Sleeper {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Sleeper {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn sleepers_wake_in_the_order_of_their_times_and_never_early() {
        let alarms = Alarms::start().unwrap();
        let begin = Instant::now();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = tokio::task::JoinSet::new();
        for micros in [9_000, 300, 4_000, 0, 4_001] {
            let (alarms, order) = (Arc::clone(&alarms), Arc::clone(&order));
            tasks.spawn(async move {
                let deadline = begin + Duration::from_micros(micros);
                alarms.sleep_until(deadline).await;
                assert!(Instant::now() >= deadline);
                order.lock().push(micros);
            });
        }
        tasks.join_all().await;
        assert_eq!(*order.lock(), [0, 300, 4_000, 4_001, 9_000]);
    }
}
