//! Windows in virtual time.

mod against_lists;
mod defects;
mod kratos_rows;

use std::time::Duration;

use super::*;
use crate::Tick;

fn at_ms(millis: u64) -> Tick {
    Tick::from_nanos(millis * 1_000_000)
}

fn shape(size: usize, bucket_millis: u64) -> WindowShape {
    WindowShape::new(size, Duration::from_millis(bucket_millis))
        .expect("tests ask for shapes that can be")
}

fn counter(size: usize, bucket_millis: u64) -> RollingCounter {
    RollingCounter::new(shape(size, bucket_millis), Tick::ZERO)
}

fn gauge(size: usize, bucket_millis: u64) -> RollingGauge {
    RollingGauge::new(shape(size, bucket_millis), 100, Tick::ZERO)
}

/// The buckets of a counter as Kratos has them: no point, or the sum.
fn points_of_counter(counter: &RollingCounter, now: Tick) -> Option<Vec<Vec<u64>>> {
    counter.reduce(now, |buckets| {
        buckets
            .map(|bucket| (0..bucket.count.min(1)).map(|_| bucket.sum).collect())
            .collect()
    })
}

fn points_of_gauge(gauge: &RollingGauge, now: Tick) -> Option<Vec<Vec<i64>>> {
    gauge.reduce(now, |buckets| {
        buckets.map(|b| b.points().collect()).collect()
    })
}
