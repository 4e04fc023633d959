//! The cost of measuring a request, and of reading the measurements.
//!
//! `cargo bench -p plimsoll-meter` takes about half a minute. Figures are per
//! request (one enter and one leave) unless the name says otherwise. Two threads
//! each do the stated number of requests; the time is that of the slower one.

#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark has to read the clock; the crate does not"
)]

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use plimsoll_meter::{ConcurrencyMeter, Histogram, REQUEST_TIME_BOUNDS, Source, Tick};

fn meter(shards: usize) -> Arc<ConcurrencyMeter> {
    let shards = NonZeroUsize::new(shards).expect("every bench has at least one shard");
    Arc::new(ConcurrencyMeter::new(shards))
}

/// Runs `work(thread, n)` on two threads that start together.
fn on_two_threads(n: u64, work: impl Fn(usize, u64) + Sync) -> Duration {
    let start = Barrier::new(2);
    thread::scope(|scope| {
        let threads = [0, 1].map(|number| {
            let (start, work) = (&start, &work);
            scope.spawn(move || {
                start.wait();
                let began = Instant::now();
                work(number, n);
                began.elapsed()
            })
        });
        let times = threads.map(|t| t.join().expect("the work does not panic"));
        times[0].max(times[1])
    })
}

fn raw_request(meter: &ConcurrencyMeter, shard: usize, now: u64) {
    meter.enter(shard, Source::Direct, Tick::from_nanos(now));
    meter.leave(shard, Source::Direct, Tick::from_nanos(now + 5));
}

fn guarded_request(meter: &ConcurrencyMeter, shard: usize, now: u64) {
    let clock = Tick::from_nanos(now + 5);
    let began = Tick::from_nanos(now);
    drop(black_box(meter.begin(shard, Source::Direct, began, clock)));
}

fn writing(c: &mut Criterion) {
    type Request = fn(&ConcurrencyMeter, usize, u64);
    let kinds: [(&str, Request); 2] = [("enter+leave", raw_request), ("guard", guarded_request)];
    for (kind, request) in kinds {
        let mut group = c.benchmark_group(kind);
        let shared = meter(2);
        let spin = |shard: usize, n: u64| {
            for i in 0..n {
                request(&shared, shard, black_box(i));
            }
        };
        group.bench_function("1 thread", |b| {
            b.iter_custom(|n| {
                let began = Instant::now();
                spin(0, n);
                began.elapsed()
            });
        });
        group.bench_function("2 threads, own shards", |b| {
            b.iter_custom(|n| on_two_threads(n, spin));
        });
        group.bench_function("2 threads, one shard", |b| {
            b.iter_custom(|n| on_two_threads(n, |_, n| spin(0, n)));
        });
        group.finish();
    }
}

fn reading(c: &mut Criterion) {
    let mut group = c.benchmark_group("report");
    for shards in [2, 16] {
        let meter = meter(shards);
        let mut reporter = meter.reporter(Tick::ZERO);
        let mut now = 0;
        group.bench_function(format!("{shards} shards"), |b| {
            b.iter(|| {
                now += 1_000;
                reporter.report(Tick::from_nanos(black_box(now)))
            });
        });
    }
    group.finish();
}

fn histogram(c: &mut Criterion) {
    let mut group = c.benchmark_group("histogram");
    let histogram = Histogram::new(&REQUEST_TIME_BOUNDS).expect("the constant is well formed");
    // 2 µs to 8.6 s, hard to predict: one multiplication by an odd constant.
    let mut seed = 1_u64;
    group.bench_function("record", |b| {
        b.iter(|| {
            seed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1);
            let nanos = 2_000 << ((seed >> 32) % 23);
            histogram.record(Duration::from_nanos(black_box(nanos)));
        });
    });
    group.bench_function("record 3 ms", |b| {
        b.iter(|| histogram.record(black_box(Duration::from_millis(3))));
    });
    group.bench_function("snapshot", |b| b.iter(|| histogram.snapshot()));
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1))
        .without_plots();
    targets = writing, reading, histogram
}
criterion_main!(benches);
