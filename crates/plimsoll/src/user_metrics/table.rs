//! The counts of one worker, by key.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use plimsoll_meter::Tick;
use plimsoll_proxy::RequestEnd;
use plimsoll_wire::user::{
    DURATION_BOUNDS, Distribution, RequestLabels, RequestSeries, SIZE_BOUNDS,
};

use super::key::Key;

/// The most keys that a worker counts by, the coarse ones included.
const SERIES_MAX: usize = 256;

/// Room for the coarse keys, of which there are ten.
const COARSE: usize = 10;

/// The counts of one worker. Only that worker writes; anyone reads at any time.
#[derive(Debug)]
pub(super) struct Table {
    /// Filled from the front, and never emptied.
    series: Box<[Place]>,
    /// Where each key is. Only the worker looks here, so nobody ever waits for it.
    places: Mutex<Places>,
}

/// Room for a key and its counts, which take memory only once they are there.
type Place = OnceLock<Box<(Key, Counts)>>;

#[derive(Debug, Default)]
struct Places {
    by_key: HashMap<u64, usize>,
    /// Mostly the next request is of the same kind.
    last: Option<(u64, usize)>,
}

/// How many requests of one key were how long and how large.
#[derive(Debug)]
pub(super) struct Counts {
    duration: Buckets<{ DURATION_BOUNDS.len() + 1 }>,
    app_duration: Buckets<{ DURATION_BOUNDS.len() + 1 }>,
    request_size: Buckets<{ SIZE_BOUNDS.len() + 1 }>,
    app_request_size: Buckets<{ SIZE_BOUNDS.len() + 1 }>,
    response_size: Buckets<{ SIZE_BOUNDS.len() + 1 }>,
}

/// Counts by bound, and the sum.
#[derive(Debug)]
struct Buckets<const N: usize> {
    counts: [AtomicU64; N],
    sum: AtomicU64,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            series: (0..SERIES_MAX).map(|_| OnceLock::new()).collect(),
            places: Mutex::default(),
        }
    }
}

impl Table {
    /// A request has ended. Only for the worker whose table this is.
    pub(super) fn count(&self, key: Key, began: Tick, end: &RequestEnd) {
        let place = self.place(key);
        if let Some((_, counts)) = self
            .series
            .get(place)
            .and_then(OnceLock::get)
            .map(AsRef::as_ref)
        {
            counts.count(began, end);
        }
    }

    /// Where a key is, or where the coarse one is if there is no room left.
    fn place(&self, key: Key) -> usize {
        let mut places = self.places.lock();
        if let Some((last, place)) = places.last
            && last == key.word()
        {
            return place;
        }
        let fine =
            places.by_key.contains_key(&key.word()) || places.by_key.len() < SERIES_MAX - COARSE;
        let kept = if fine { key } else { key.coarse() };
        let next = places.by_key.len();
        let place = match places.by_key.entry(kept.word()) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                if let Some(slot) = self.series.get(next) {
                    // It is empty: each place is given once.
                    slot.get_or_init(|| Box::new((kept, Counts::default())));
                }
                *entry.insert(next)
            }
        };
        places.last = Some((key.word(), place));
        place
    }

    /// Everything so far.
    pub(super) fn series(&self) -> impl Iterator<Item = (Key, &Counts)> {
        let kept = self.series.iter().map_while(OnceLock::get);
        kept.map(|series| (series.0, &series.1))
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            duration: Buckets::new(),
            app_duration: Buckets::new(),
            request_size: Buckets::new(),
            app_request_size: Buckets::new(),
            response_size: Buckets::new(),
        }
    }
}

impl Counts {
    fn count(&self, began: Tick, end: &RequestEnd) {
        let nanos = |since: Tick| {
            let time = end.ended.saturating_duration_since(since);
            u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
        };
        self.duration.add(&DURATION_BOUNDS, nanos(began));
        self.request_size.add(&SIZE_BOUNDS, end.request_bytes);
        self.response_size.add(&SIZE_BOUNDS, end.response_bytes);
        if let Some(since) = end.running_since {
            self.app_duration.add(&DURATION_BOUNDS, nanos(since));
            self.app_request_size.add(&SIZE_BOUNDS, end.request_bytes);
        }
    }

    /// The counts as they are, with their labels.
    pub(super) fn series(&self, labels: RequestLabels) -> RequestSeries {
        RequestSeries {
            labels,
            duration: self.duration.read(),
            app_duration: self.app_duration.read(),
            request_size: self.request_size.read(),
            app_request_size: self.app_request_size.read(),
            response_size: self.response_size.read(),
        }
    }
}

impl<const N: usize> Buckets<N> {
    const fn new() -> Self {
        Self {
            counts: [const { AtomicU64::new(0) }; N],
            sum: AtomicU64::new(0),
        }
    }

    fn add(&self, bounds: &[u64], value: u64) {
        bump(
            &self.counts[bounds.partition_point(|bound| *bound < value)],
            1,
        );
        bump(&self.sum, value);
    }

    fn read(&self) -> Distribution {
        let counts = self.counts.iter();
        Distribution {
            counts: counts.map(|count| count.load(Ordering::Relaxed)).collect(),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

/// Adds where only one thread does, which spares it a locked instruction.
fn bump(counter: &AtomicU64, more: u64) {
    counter.store(
        counter.load(Ordering::Relaxed).wrapping_add(more),
        Ordering::Relaxed,
    );
}

#[cfg(test)]
mod tests {
    use plimsoll_wire::Answer;

    use super::*;

    fn end(status: u16, running_since: Option<u64>) -> RequestEnd {
        RequestEnd {
            answer: Answer::from_app(status),
            error: None,
            status,
            request_bytes: 6,
            response_bytes: 20_000,
            running_since: running_since.map(Tick::from_nanos),
            ended: Tick::from_nanos(30_000_000),
        }
    }

    #[test]
    fn a_request_is_counted_once_in_each_distribution_and_with_the_application_only_if_it_ran() {
        let table = Table::default();
        let key = Key::of_word(7);
        table.count(key, Tick::from_nanos(0), &end(200, Some(10_000_000)));
        table.count(key, Tick::from_nanos(0), &end(503, None));
        let all: Vec<_> = table.series().collect();
        assert_eq!(all.len(), 1);
        let series = all[0].1.series(RequestLabels::default());
        assert_eq!(
            (series.duration.count(), series.duration.sum),
            (2, 60_000_000)
        );
        assert_eq!(
            (series.app_duration.count(), series.app_duration.sum),
            (1, 20_000_000)
        );
        assert_eq!(
            (series.request_size.count(), series.request_size.sum),
            (2, 12)
        );
        assert_eq!(
            (series.app_request_size.count(), series.app_request_size.sum),
            (1, 6)
        );
        assert_eq!(series.response_size.counts.last(), Some(&2));
        // 20 ms is at the bound, and bounds are inclusive.
        assert_eq!(series.app_duration.counts[2], 1);
    }

    #[test]
    fn keys_beyond_the_bound_are_counted_by_the_class_of_their_status() {
        let table = Table::default();
        let begun = Tick::from_nanos(0);
        let requests = 3 * SERIES_MAX;
        for word in 0..requests as u64 {
            let end = end(200 + (word % 400) as u16, None);
            table.count(Key::of_word(word).ended(&end), begun, &end);
        }
        let series: Vec<_> = table.series().collect();
        assert!(series.len() <= SERIES_MAX, "{}", series.len());
        assert!(series.len() > SERIES_MAX - COARSE, "{}", series.len());
        let counted = |counts: &Counts| counts.series(RequestLabels::default()).duration.count();
        let sum: u64 = series.iter().map(|(_, counts)| counted(counts)).sum();
        assert_eq!(sum, requests as u64);
    }
}
