//! Time per operation of the breaker, beside tokio's semaphore for scale.
//!
//! Run: `cargo bench -p plimsoll-limit`

use std::hint::black_box;
use std::pin::Pin;
use std::sync::Barrier;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use plimsoll_limit::{Breaker, Entry};
use tokio::sync::Semaphore;

fn breaker(concurrency: usize, queue_depth: usize) -> Breaker {
    Breaker::new(concurrency, queue_depth).expect("both are in range")
}

fn uncontended(c: &mut Criterion) {
    let mut group = c.benchmark_group("uncontended");
    let limit = breaker(100, 1000);
    group.bench_function("enter and release", |b| {
        b.iter(|| black_box(limit.enter()).is_ok());
    });
    group.bench_function("acquire and release", |b| {
        let mut cx = Context::from_waker(Waker::noop());
        b.iter(|| {
            let mut acquire = std::pin::pin!(limit.acquire());
            black_box(acquire.as_mut().poll(&mut cx)).is_ready()
        });
    });
    group.bench_function("try_reserve and release", |b| {
        b.iter(|| black_box(limit.try_reserve()).is_some());
    });
    let semaphore = std::sync::Arc::new(Semaphore::new(100));
    group.bench_function("tokio semaphore, no queue bound", |b| {
        b.iter(|| black_box(std::sync::Arc::clone(&semaphore).try_acquire_owned()).is_ok());
    });
    group.finish();
}

/// Full slots and a full queue.
fn refusal(c: &mut Criterion) {
    let limit = breaker(1, 1);
    let _running = limit.enter();
    let _waiting = limit.enter();
    c.bench_function("refusal", |b| b.iter(|| black_box(limit.enter()).is_err()));
}

/// One caller runs and one waits; each turn a newcomer joins the queue, the
/// slot comes back, and the oldest waiter is polled to get it.
fn hand_off(c: &mut Criterion) {
    let limit = breaker(1, 10);
    let mut cx = Context::from_waker(Waker::noop());
    let mut running = limit.try_reserve();
    c.bench_function("hand-off through the queue", |b| {
        b.iter(|| {
            let Ok(Entry::Waiting(mut waiting)) = limit.enter() else {
                panic!("the slot is taken");
            };
            assert!(Pin::new(&mut waiting).poll(&mut cx).is_pending());
            running = None;
            let Poll::Ready(slot) = Pin::new(&mut waiting).poll(&mut cx) else {
                panic!("the slot was given back");
            };
            running = Some(slot);
        });
    });
}

/// Two threads, with a slot for each, in wall time per pair of operations of
/// one thread.
fn two_threads(c: &mut Criterion) {
    let limit = breaker(100, 1000);
    c.bench_function("two threads, enter and release", |b| {
        b.iter_custom(|turns| on_two_threads(&limit, turns));
    });
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn on_two_threads(limit: &Breaker, turns: u64) -> Duration {
    let start = Barrier::new(2);
    let work = || {
        start.wait();
        let began = Instant::now();
        for _ in 0..turns {
            black_box(limit.enter().is_ok());
        }
        began.elapsed()
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(work);
        let mine = work();
        mine.max(other.join().expect("the other thread does not panic"))
    })
}

fn short() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
}

criterion_group! {
    name = benches;
    config = short();
    targets = uncontended, refusal, hand_off, two_threads
}
criterion_main!(benches);
