//! Real threads. The interleavings that matter are enumerated in
//! `tests/loom.rs`; here is volume.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

use plimsoll_limit::Breaker;
use tokio::task::{JoinSet, yield_now};

use crate::breaker;

const TASKS: usize = 64;
const TURNS: usize = 200;

/// Counts those who run at once, and remembers the most there were.
#[derive(Default)]
struct Watch {
    now: AtomicUsize,
    most: AtomicUsize,
    served: AtomicUsize,
}

impl Watch {
    async fn work(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        yield_now().await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        self.served.fetch_add(1, Ordering::SeqCst);
    }
}

/// Takes turns; every third turn starts with a caller that gives up at once.
async fn take_turns(breaker: Breaker, watch: Arc<Watch>) {
    for turn in 0..TURNS {
        if turn % 3 == 0 {
            let mut fickle = pin!(breaker.acquire());
            let mut cx = Context::from_waker(Waker::noop());
            drop(fickle.as_mut().poll(&mut cx));
        }
        let slot = breaker.acquire().await.expect("a place for each");
        watch.work().await;
        drop(slot);
    }
}

fn start(breaker: &Breaker, watch: &Arc<Watch>) -> JoinSet<()> {
    (0..TASKS)
        .map(|_| take_turns(breaker.clone(), Arc::clone(watch)))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn never_more_than_the_limit_and_everybody_is_served() {
    let limit = breaker(3, 2 * TASKS);
    let watch = Arc::new(Watch::default());
    start(&limit, &watch).join_all().await;
    assert_eq!(watch.served.load(Ordering::SeqCst), TASKS * TURNS);
    assert_eq!(watch.most.load(Ordering::SeqCst), 3);
    assert_eq!(limit.in_system(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_changing_limit_holds_and_loses_nobody() {
    let limit = breaker(4, 2 * TASKS);
    let watch = Arc::new(Watch::default());
    let mut tasks = start(&limit, &watch);
    let mut turn = 0;
    while !tasks.is_empty() {
        limit.set_concurrency(turn % 5).unwrap();
        turn += 1;
        yield_now().await;
        while let Some(done) = tasks.try_join_next() {
            done.unwrap();
        }
    }
    assert_eq!(watch.served.load(Ordering::SeqCst), TASKS * TURNS);
    assert!(watch.most.load(Ordering::SeqCst) <= 4);
    assert_eq!(limit.in_system(), 0);
}
