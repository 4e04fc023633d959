//! Every interleaving of writers, readers and turns of the ring, tried by loom.

use std::sync::Arc;
use std::time::Duration;

use loom::thread;

use super::*;
use crate::{Ewma, PeakEwma, Sample, Tick};

fn at_ms(millis: u64) -> Tick {
    Tick::from_nanos(millis * 1_000_000)
}

fn shape(size: usize) -> WindowShape {
    WindowShape::new(size, Duration::from_millis(1)).expect("the shape is possible")
}

fn tallies(counter: &RollingCounter, millis: u64) -> Vec<(u64, u64)> {
    let pairs = |buckets: CounterBuckets<'_>| buckets.map(|b| (b.count, b.sum)).collect();
    counter.reduce(at_ms(millis), pairs).unwrap_or_default()
}

#[test]
fn sum_and_count_are_read_together() {
    loom::model(|| {
        let counter = Arc::new(RollingCounter::new(shape(1), at_ms(0)));
        let writers = [10, 100].map(|value| {
            let counter = Arc::clone(&counter);
            thread::spawn(move || counter.add(at_ms(0), value))
        });
        let seen = tallies(&counter, 0);
        assert!(
            [(0, 0), (1, 10), (1, 100), (2, 110)].contains(&seen[0]),
            "{seen:?}"
        );
        for writer in writers {
            writer.join().expect("the writer does not panic");
        }
        assert_eq!(tallies(&counter, 0), [(2, 110)]);
    });
}

#[test]
fn a_bucket_is_turned_once_by_two_writers() {
    loom::model(|| {
        let counter = Arc::new(RollingCounter::new(shape(2), at_ms(0)));
        counter.add(at_ms(0), 1);
        let writers = [10, 100].map(|value| {
            let counter = Arc::clone(&counter);
            thread::spawn(move || counter.add(at_ms(2), value))
        });
        for writer in writers {
            writer.join().expect("the writer does not panic");
        }
        assert_eq!(tallies(&counter, 2), [(0, 0), (2, 110)]);
    });
}

#[test]
fn a_late_writer_adds_to_its_own_time_or_to_the_newest() {
    loom::model(|| {
        let counter = Arc::new(RollingCounter::new(shape(2), at_ms(0)));
        let late = {
            let counter = Arc::clone(&counter);
            thread::spawn(move || counter.add(at_ms(0), 1))
        };
        counter.add(at_ms(1), 10);
        counter.add(at_ms(2), 100); // takes the bucket of 0
        let seen = tallies(&counter, 2);
        late.join().expect("the writer does not panic");
        let done = tallies(&counter, 2);
        for tally in [&seen, &done] {
            // Wherever it went, the others are whole, and it is counted once.
            assert!(
                [vec![(1, 10), (1, 100)], vec![(1, 10), (2, 101)]].contains(tally),
                "{tally:?}"
            );
        }
    });
}

#[test]
fn the_words_of_a_bucket_turn_with_its_head() {
    // With more it takes minutes, for an addition goes over four words.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let gauge = Arc::new(RollingGauge::new(shape(1), 1, at_ms(0)));
        gauge.add(at_ms(0), 5);
        let late = {
            let gauge = Arc::clone(&gauge);
            thread::spawn(move || gauge.add(at_ms(0), -7))
        };
        gauge.add(at_ms(1), 20);
        late.join().expect("the writer does not panic");
        let now = at_ms(1);
        let points = gauge.reduce(now, |b| b.flat_map(|b| b.points()).collect::<Vec<_>>());
        let seen = (
            gauge.count(now),
            gauge.sum(now),
            gauge.min(now),
            gauge.max(now),
            points,
        );
        let alone = (1, 20, Some(20), Some(20), Some(vec![20]));
        let both = (2, 13, Some(-7), Some(20), Some(vec![20]));
        let both_late_first = (2, 13, Some(-7), Some(20), Some(vec![-7]));
        assert!([alone, both, both_late_first].contains(&seen), "{seen:?}");
    });
}

#[test]
fn a_reading_has_no_value_of_another_turn() {
    loom::model(|| {
        let gauge = Arc::new(RollingGauge::new(shape(1), 1, at_ms(0)));
        let writer = {
            let gauge = Arc::clone(&gauge);
            thread::spawn(move || {
                gauge.add(at_ms(0), 5);
                gauge.add(at_ms(1), 20);
            })
        };
        for now in [at_ms(0), at_ms(1)] {
            gauge.reduce(now, |buckets| {
                for bucket in buckets {
                    let points: Vec<_> = bucket.points().collect();
                    let is_whole = match bucket.sum() {
                        0 => bucket.count() == 0 && points.is_empty(),
                        // A bucket that is turned meanwhile ends.
                        sum => bucket.count() == 1 && points.iter().all(|&p| p == sum),
                    };
                    assert!(is_whole, "{bucket:?} {points:?}");
                }
            });
        }
        writer.join().expect("the writer does not panic");
    });
}

#[test]
fn averages_lose_no_sample_of_two_writers() {
    loom::model(|| {
        let second = Duration::from_secs(1);
        let mean = Arc::new(Ewma::new(second).expect("a second is accepted"));
        let peak = Arc::new(PeakEwma::new(second).expect("a second is accepted"));
        let writers = [1_u32, 3].map(|sample| {
            let (mean, peak) = (Arc::clone(&mean), Arc::clone(&peak));
            thread::spawn(move || {
                mean.record(at_ms(1), sample);
                peak.record(at_ms(1), sample);
            })
        });
        let seen = mean
            .read(at_ms(1))
            .map(|average| (average.mean, average.weight));
        assert!([None, Some((1.0, 1.0)), Some((3.0, 1.0)), Some((2.0, 2.0))].contains(&seen));
        for writer in writers {
            writer.join().expect("the writer does not panic");
        }
        let average = mean.read(at_ms(1)).expect("there are samples");
        assert_eq!((average.mean, average.weight), (2.0, 2.0));
        assert_eq!(
            peak.read(at_ms(1)),
            Some(f64::from(Sample::from(3_u32).get()))
        );
    });
}
