//! A loop for an instruction counter. It prints nothing of its own accord.
//!
//! ```text
//! cargo build --release -p plimsoll-meter --example count_instructions
//! perf stat -e instructions:u target/release/examples/count_instructions guard 10000000
//! valgrind --tool=callgrind target/release/examples/count_instructions guard 10000
//! ```
//!
//! The difference between two counts of rounds, divided by the difference of the
//! counts, is the cost of one round. `none` is the cost of the loop itself.

use std::env;
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_meter::{
    ConcurrencyMeter, Ewma, Histogram, PeakEwma, REQUEST_TIME_BOUNDS, RollingCounter, RollingGauge,
    RollingSummary, Source, Tick, WindowShape,
};

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let rounds = arguments.next().and_then(|count| count.parse().ok());
    match (what.as_str(), rounds) {
        ("none", Some(rounds)) => repeat(rounds, |_| ()),
        ("raw", Some(rounds)) => raw(rounds),
        ("guard", Some(rounds)) => guard(rounds),
        ("report", Some(rounds)) => report(rounds),
        ("histogram", Some(rounds)) => histogram(rounds),
        ("counter" | "counter-sum", Some(rounds)) => counter(rounds, what == "counter-sum"),
        ("gauge" | "gauge-sum", Some(rounds)) => gauge(rounds, what == "gauge-sum"),
        ("summary" | "snapshot", Some(rounds)) => summary(rounds, what == "snapshot"),
        ("ewma" | "ewma-read", Some(rounds)) => ewma(rounds, what == "ewma-read"),
        ("peak" | "peak-read", Some(rounds)) => peak(rounds, what == "peak-read"),
        // Usage: WHAT ROUNDS, where WHAT is one of the above.
        _ => return ExitCode::from(64),
    }
    ExitCode::SUCCESS
}

fn repeat(rounds: u64, mut work: impl FnMut(u64)) {
    for i in 0..rounds {
        work(black_box(i));
    }
}

fn meter() -> Arc<ConcurrencyMeter> {
    Arc::new(ConcurrencyMeter::new(NonZeroUsize::MIN))
}

fn raw(rounds: u64) {
    let meter = meter();
    repeat(rounds, |i| {
        meter.enter(0, Source::Direct, Tick::from_nanos(i));
        meter.leave(0, Source::Direct, Tick::from_nanos(i + 5));
    });
}

fn guard(rounds: u64) {
    let meter = meter();
    repeat(rounds, |i| {
        let clock = Tick::from_nanos(i + 5);
        drop(black_box(meter.begin(
            0,
            Source::Direct,
            Tick::from_nanos(i),
            clock,
        )));
    });
}

fn report(rounds: u64) {
    let meter = meter();
    let mut reporter = meter.reporter(Tick::ZERO);
    repeat(rounds, |i| {
        black_box(reporter.report(Tick::from_nanos(i)));
    });
}

fn histogram(rounds: u64) {
    let histogram = Histogram::new(&REQUEST_TIME_BOUNDS).expect("the constant is well formed");
    repeat(rounds, |i| {
        histogram.record(Duration::from_nanos(i << (i % 16)));
    });
}

/// Ten buckets of 100 ms; time goes on by 100 ns with each round.
fn shape() -> WindowShape {
    WindowShape::new(10, Duration::from_millis(100)).expect("the constants are accepted")
}

fn at(round: u64) -> Tick {
    Tick::from_nanos(round * 100)
}

/// The tick at which the `sample`th of 1,000 samples is taken for `*-sum`, of
/// which 100 go into each bucket.
fn at_sample(sample: u64) -> Tick {
    Tick::from_nanos(sample * 1_000_000)
}

fn counter(rounds: u64, sums: bool) {
    let counter = RollingCounter::new(shape(), Tick::ZERO);
    if sums {
        (0..1_000).for_each(|sample| counter.add(at_sample(sample), sample));
        repeat(rounds, |_| {
            black_box(counter.sum(at_sample(999)));
        });
    } else {
        repeat(rounds, |i| counter.add(at(i), i));
    }
}

fn gauge(rounds: u64, sums: bool) {
    let gauge = RollingGauge::new(shape(), 100, Tick::ZERO);
    if sums {
        (0..1_000).for_each(|sample| gauge.add(at_sample(sample), sample as i64));
        repeat(rounds, |_| {
            black_box(gauge.sum(at_sample(999)));
        });
    } else {
        repeat(rounds, |i| gauge.add(at(i), i as i64));
    }
}

fn summary(rounds: u64, snapshots: bool) {
    let summary = RollingSummary::new(shape(), Tick::ZERO);
    repeat(rounds, |i| {
        if snapshots {
            black_box(summary.snapshot(at(i)));
        } else {
            summary.record(at(i), Duration::from_nanos(i << (i % 32)));
        }
    });
}

fn ewma(rounds: u64, reads: bool) {
    let ewma = Ewma::new(Duration::from_secs(10)).expect("ten seconds are accepted");
    ewma.record(at(0), true);
    repeat(rounds, |i| {
        if reads {
            black_box(ewma.read(at(i)));
        } else {
            ewma.record(at(i), Duration::from_nanos(i));
        }
    });
}

fn peak(rounds: u64, reads: bool) {
    let peak = PeakEwma::new(Duration::from_secs(10)).expect("ten seconds are accepted");
    peak.record(at(0), true);
    repeat(rounds, |i| {
        if reads {
            black_box(peak.read(at(i)));
        } else {
            peak.record(at(i), Duration::from_nanos(i));
        }
    });
}
