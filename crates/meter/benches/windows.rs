//! The cost of windows and of averages that decay.
//!
//! `cargo bench -p plimsoll-meter --bench windows`. Figures are per call. Two
//! threads each do the stated number of calls; the time is that of the slower
//! one. Time goes on by 100 ns with each call, so a window of 100 ms buckets
//! turns once in a million calls.

#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark has to read the clock; the crate does not"
)]

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use plimsoll_meter::{
    Ewma, PeakEwma, PointGauge, RollingCounter, RollingGauge, RollingSummary, Tick, WindowShape,
};

fn at(call: u64) -> Tick {
    Tick::from_nanos(call * 100)
}

fn shape(size: usize, bucket_millis: u64) -> WindowShape {
    WindowShape::new(size, Duration::from_millis(bucket_millis)).expect("every bench has a shape")
}

/// A duration that is hard to predict: one multiplication by an odd constant.
fn duration(call: u64) -> Duration {
    let hash = call.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    Duration::from_nanos(1_000_000 + hash % 9_000_000)
}

/// Runs `work(thread, call)` on two threads that start together.
fn on_two_threads(calls: u64, work: impl Fn(usize, u64) + Sync) -> Duration {
    let start = Barrier::new(2);
    thread::scope(|scope| {
        let threads = [0, 1].map(|number| {
            let (start, work) = (&start, &work);
            scope.spawn(move || {
                start.wait();
                let began = Instant::now();
                (0..calls).for_each(|call| work(number, black_box(call)));
                began.elapsed()
            })
        });
        let times = threads.map(|t| t.join().expect("the work does not panic"));
        times[0].max(times[1])
    })
}

fn on_one_thread(calls: u64, work: impl Fn(usize, u64)) -> Duration {
    let began = Instant::now();
    (0..calls).for_each(|call| work(0, black_box(call)));
    began.elapsed()
}

/// Benches `work` on a fresh `subject`, on one thread and on two.
fn bench<S: Sync>(
    c: &mut Criterion,
    name: &str,
    subject: impl Fn() -> S,
    work: impl Fn(&S, usize, u64) + Sync,
) {
    let mut group = c.benchmark_group(name);
    group.bench_function("1 thread", |b| {
        b.iter_custom(|calls| {
            let subject = subject();
            on_one_thread(calls, |thread, call| work(&subject, thread, call))
        });
    });
    group.bench_function("2 threads", |b| {
        b.iter_custom(|calls| {
            let subject = subject();
            on_two_threads(calls, |thread, call| work(&subject, thread, call))
        });
    });
    group.finish();
}

fn adding(c: &mut Criterion) {
    let counter = || RollingCounter::new(shape(10, 100), Tick::ZERO);
    bench(c, "counter add, one shard", counter, |counter, _, call| {
        counter.add(at(call), 1);
    });
    let two = NonZeroUsize::new(2).expect("two is not zero");
    let sharded = || RollingCounter::with_shards(shape(10, 100), Tick::ZERO, two);
    bench(
        c,
        "counter add, own shard",
        sharded,
        |counter, thread, call| {
            counter.add_to_shard(thread, at(call), 1);
        },
    );
    let gauge = || RollingGauge::new(shape(10, 100), 100, Tick::ZERO);
    bench(c, "gauge add", gauge, |gauge, _, call| {
        gauge.add(at(call), call as i64);
    });
    let summary = || RollingSummary::new(shape(2, 5_000), Tick::ZERO);
    bench(c, "summary record", summary, |summary, _, call| {
        summary.record(at(call), duration(call));
    });
    let points = || PointGauge::new(NonZeroUsize::new(100).expect("a hundred is not zero"));
    bench(c, "point gauge add", points, |gauge, _, call| {
        gauge.add(call as i64);
    });
}

fn reading(c: &mut Criterion) {
    let mut group = c.benchmark_group("read 10 x 100 points");
    let counter = RollingCounter::new(shape(10, 100), Tick::ZERO);
    let gauge = RollingGauge::new(shape(10, 100), 100, Tick::ZERO);
    for sample in 0..1_000 {
        let now = Tick::from_nanos(sample * 1_000_000);
        counter.add(now, sample);
        gauge.add(now, sample as i64);
    }
    let now = Tick::from_nanos(999_000_000);
    group.bench_function("counter sum", |b| {
        b.iter(|| counter.sum(black_box(now)));
    });
    group.bench_function("counter reduce", |b| {
        b.iter(|| counter.reduce(black_box(now), |buckets| buckets.map(|b| b.sum).max()));
    });
    group.bench_function("gauge sum", |b| b.iter(|| gauge.sum(black_box(now))));
    group.bench_function("gauge mean", |b| b.iter(|| gauge.mean(black_box(now))));
    group.bench_function("gauge max", |b| b.iter(|| gauge.max(black_box(now))));
    group.bench_function("gauge reduce, every point", |b| {
        b.iter(|| {
            gauge.reduce(black_box(now), |buckets| {
                buckets.flat_map(|bucket| bucket.points()).sum::<i64>()
            })
        });
    });
    group.finish();

    let summary = RollingSummary::new(shape(2, 5_000), Tick::ZERO);
    (0..10_000).for_each(|call| summary.record(at(call), duration(call)));
    let now = at(10_000);
    let mut group = c.benchmark_group("summary");
    group.bench_function("snapshot", |b| b.iter(|| summary.snapshot(black_box(now))));
    group.bench_function("quantile", |b| {
        b.iter(|| summary.quantile(black_box(now), 0.99));
    });
    group.finish();
}

fn averages(c: &mut Criterion) {
    let tau = Duration::from_secs(10);
    let ewma = || Ewma::new(tau).expect("ten seconds are accepted");
    bench(c, "ewma record", ewma, |ewma, _, call| {
        ewma.record(at(call), duration(call));
    });
    let peak = || PeakEwma::new(tau).expect("ten seconds are accepted");
    bench(c, "peak ewma record", peak, |peak, _, call| {
        peak.record(at(call), duration(call));
    });

    let mut group = c.benchmark_group("read 16 averages");
    let ewmas: Vec<_> = (0..16).map(|_| ewma()).collect();
    let peaks: Vec<_> = (0..16).map(|_| peak()).collect();
    for (call, (ewma, peak)) in ewmas.iter().zip(&peaks).enumerate() {
        ewma.record(at(call as u64), duration(call as u64));
        peak.record(at(call as u64), duration(call as u64));
    }
    let mut call = 100;
    group.bench_function("ewma mean", |b| {
        b.iter(|| ewmas.iter().filter_map(Ewma::mean).fold(0.0, f64::max));
    });
    group.bench_function("ewma mean and weight", |b| {
        b.iter(|| {
            call += 1;
            let read = ewmas.iter().filter_map(|ewma| ewma.read(at(call)));
            read.map(|average| average.toward(0.001, 1.0))
                .fold(0.0, f64::max)
        });
    });
    group.bench_function("peak ewma", |b| {
        b.iter(|| {
            call += 1;
            let read = peaks.iter().filter_map(|peak| peak.read(at(call)));
            read.fold(0.0, f64::max)
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .without_plots();
    targets = adding, reading, averages
}
criterion_main!(benches);
