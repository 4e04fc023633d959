//! A clock that steps as it likes under rolling windows.
//!
//! The input is a number of buckets, and then steps of time, forward or back, with a value each. A counter
//! and a summary must say what a list of all that was added says: time that stands still or steps back
//! loses nothing, and what is older than the window is gone.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use plimsoll_meter::{RollingCounter, RollingSummary, Tick, WindowShape};

/// The length of a bucket.
const BUCKET: Duration = Duration::from_millis(1);

/// The rule in its shortest form: a list of the bucket and value of each addition.
struct List {
    added: Vec<(u64, u64)>,
    newest: u64,
    size: u64,
}

impl List {
    /// What is older than the window when it comes counts as of the newest bucket.
    fn add(&mut self, bucket: u64, value: u64) {
        self.newest = self.newest.max(bucket);
        let is_in = bucket + self.size > self.newest;
        let place = if is_in { bucket } else { self.newest };
        self.added.push((place, value));
    }

    fn window(&self, bucket: u64) -> impl Iterator<Item = u64> + Clone + '_ {
        let first = (self.newest.max(bucket) + 1).saturating_sub(self.size);
        let inside = self.added.iter().filter(move |(place, _)| *place >= first);
        inside.map(|(_, value)| *value)
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&first, steps)) = input.split_first() else {
        return;
    };
    let size = 1 + u64::from(first % 12);
    let shape = WindowShape::new(size as usize, BUCKET).expect("neither is zero or too much");
    let counter = RollingCounter::new(shape, Tick::ZERO);
    let summary = RollingSummary::new(shape, Tick::ZERO);
    let mut list = List {
        added: Vec::new(),
        newest: 0,
        size,
    };
    let mut micros = 0_u64;
    // Comparing with the list takes time in its square.
    for step in steps.chunks_exact(4).take(256) {
        let [low, high, value, factor] = step else {
            unreachable!("the chunks are of four");
        };
        let moved = i64::from(i16::from_le_bytes([*low, *high])) * i64::from(factor % 4);
        micros = micros.saturating_add_signed(moved);
        let (now, value) = (at(micros), u64::from(*value));
        counter.add(now, value);
        summary.record(now, Duration::from_nanos(value));
        list.add(micros / 1_000, value);
        for micros in [micros, micros + 2_500] {
            let expected = list.window(micros / 1_000);
            let now = at(micros);
            assert_eq!(counter.count(now), expected.clone().count() as u64);
            assert_eq!(counter.sum(now), expected.clone().sum::<u64>());
            let seen = summary.snapshot(now);
            assert_eq!(seen.count(), expected.clone().count() as u64);
            assert_eq!(seen.sum(), Duration::from_nanos(expected.clone().sum()));
            assert_eq!(seen.min(), expected.clone().min().map(Duration::from_nanos));
            assert_eq!(seen.max(), expected.max().map(Duration::from_nanos));
        }
    }
});

fn at(micros: u64) -> Tick {
    Tick::from_nanos(micros * 1_000)
}
