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

use plimsoll_meter::{ConcurrencyMeter, Histogram, REQUEST_TIME_BOUNDS, Source, Tick};

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
        _ => return ExitCode::from(64), // usage: none|raw|guard|report|histogram ROUNDS
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
