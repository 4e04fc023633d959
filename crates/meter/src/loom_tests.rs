//! Every interleaving of a few writers and a reader, tried by loom.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p plimsoll-meter --release --lib loom`

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use loom::thread;

use crate::cell::Cell;
use crate::{ConcurrencyMeter, Histogram, Source, Tick};

fn at(nanos: u64) -> Tick {
    Tick::from_nanos(nanos)
}

fn meter(shards: usize) -> Arc<ConcurrencyMeter> {
    let shards = NonZeroUsize::new(shards).expect("tests ask for at least one");
    Arc::new(ConcurrencyMeter::new(shards))
}

#[test]
fn a_reader_sees_each_event_wholly_or_not_at_all() {
    loom::model(|| {
        let cell = Arc::new(Cell::new());
        let writers = [(10, 30), (11, 41)].map(|(begin, end)| {
            let cell = Arc::clone(&cell);
            thread::spawn(move || {
                cell.enter(at(begin));
                cell.leave(at(end));
            })
        });
        let state = cell.state();
        // What each writer may have added, seen at 100, by events delivered.
        let first = [0, 100 - 10, 30 - 10];
        let second = [0, 100 - 11, 41 - 11];
        let possible = (0..3).flat_map(|i| (0..3).map(move |j| (i, j)));
        let matches = possible.filter(|&(i, j)| {
            let entries = u32::from(i > 0) + u32::from(j > 0);
            let exits = u32::from(i > 1) + u32::from(j > 1);
            let integral = first[i] + second[j];
            (state.entries, state.exits) == (entries, exits)
                && state.integral_at(at(100)) == integral
        });
        assert_eq!(matches.count(), 1, "{state:?} is no cut of the events");
        assert!(state.in_flight() >= 0);
        for writer in writers {
            writer.join().expect("the writer does not panic");
        }
        assert_eq!(cell.state().integral_at(at(100)), 50);
    });
}

#[test]
fn reports_conserve_time_and_count() {
    loom::model(|| {
        let meter = meter(2);
        let mut reporter = meter.reporter(at(0));
        let writers = [(0, Source::Direct, 10, 30), (1, Source::Proxied, 55, 60)].map(
            |(shard, source, begin, end)| {
                let meter = Arc::clone(&meter);
                thread::spawn(move || {
                    let guard = meter.begin(shard, source, at(begin), at(end));
                    drop(guard);
                })
            },
        );
        // In the midst of it, with ticks before the report's and after it.
        let first = reporter.report(at(50));
        assert!(first.in_flight.proxied <= first.in_flight.total);
        assert!(first.in_flight.total <= 2 && first.requests <= 2);
        assert!(first.average_proxied_concurrency <= first.average_concurrency);
        for writer in writers {
            writer.join().expect("the writer does not panic");
        }
        // A long request repays what the first report may have said too much.
        meter
            .begin(0, Source::Direct, at(60), at(160))
            .finish(at(160));
        let last = reporter.report(at(200));
        let both = first.request_time + last.request_time;
        assert_eq!(both, Duration::from_nanos(20 + 5 + 100));
        assert_eq!(first.requests + last.requests, 3);
        assert_eq!(first.proxied_requests + last.proxied_requests, 1);
        assert_eq!(last.in_flight.total, 0);
    });
}

#[test]
fn a_guard_may_end_on_another_thread() {
    loom::model(|| {
        let meter = meter(2);
        let guard = meter.begin(1, Source::Direct, at(5), at(9));
        let other = thread::spawn(move || drop(guard));
        assert!(meter.in_flight().total <= 1);
        other.join().expect("the other thread does not panic");
        assert_eq!(meter.in_flight().total, 0);
    });
}

#[test]
fn a_histogram_never_has_time_without_a_count() {
    loom::model(|| {
        let bounds = [Duration::from_nanos(4)];
        let histogram = Histogram::new(&bounds).expect("one bound, greater than zero");
        let histogram = Arc::new(histogram);
        let writers = [3_u64, 5].map(|nanos| {
            let histogram = Arc::clone(&histogram);
            thread::spawn(move || histogram.record(Duration::from_nanos(nanos)))
        });
        let seen = histogram.snapshot();
        let low = seen.cumulative()[0];
        let high = seen.count() - low;
        assert!(low <= 1 && high <= 1);
        let counted = Duration::from_nanos(low * 3 + high * 5);
        assert!(seen.sum() <= counted, "{seen:?}");
        for writer in writers {
            writer.join().expect("the writer does not panic");
        }
        let done = histogram.snapshot();
        assert_eq!(done.cumulative(), [1, 2]);
        assert_eq!(done.sum(), Duration::from_nanos(8));
    });
}
