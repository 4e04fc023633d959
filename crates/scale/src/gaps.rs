//! How long so many replicas are usually not needed, before they are needed again.

use std::time::Duration;

use plimsoll_meter::Tick;

use crate::config::{KeepAlive, REPLICAS_MAX};

/// How many sizes of demand are told apart: 1, 2, 3, 4, 6, 8, 12, 16 and so on.
const CLASSES: usize = class_count(REPLICAS_MAX);

/// How many lengths of gaps are told apart: from 1 s, each √2 times the one
/// before, until 12 hours; the last one is longer.
const LENGTHS: usize = 32;

/// After so many gaps the old ones count half.
const GAPS_REMEMBERED: u16 = 32;

/// Before so many gaps nothing has been learned.
const GAPS_NEEDED: u16 = 2;

/// After so many gaps that were all short, the minimum is enough.
const SHORT_GAPS_NEEDED: u16 = 16;

/// How much longer than a gap a replica is kept.
const MARGIN: f64 = 1.1;

/// Which share of the gaps that can be bridged is to be bridged.
const BRIDGED_SHARE: f64 = 0.9;

/// How long demand of a size stays away before it comes back.
///
/// Demand of one replica or more, of two or more, and so on, each has gaps of
/// its own: a service may have traffic all day, and every half minute a burst
/// that needs ten. How long the tenth replica should be kept follows from the
/// bursts, not from the traffic. This is the idle-time histogram of Shahrad et
/// al., "Serverless in the Wild" (2020), for each size of demand.
#[derive(Clone, Debug)]
pub(crate) struct Gaps {
    classes: Box<[Class; CLASSES]>,
    /// How many classes the demand of now has.
    present: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Class {
    /// Since when there has been less demand.
    gone: Option<Tick>,
    lengths: [u16; LENGTHS],
    total: u16,
    short: u16,
}

/// How many classes demand for so many replicas has.
const fn class_count(replicas: u32) -> usize {
    match replicas.checked_ilog2() {
        None => 0,
        Some(0) => 1,
        Some(log) => 2 * log as usize + (replicas >= 3 << (log - 1)) as usize,
    }
}

impl Gaps {
    pub(crate) fn new() -> Self {
        Self {
            classes: Box::new([Class::default(); CLASSES]),
            present: 0,
        }
    }

    /// So many replicas are needed now.
    pub(crate) fn observe(&mut self, now: Tick, needed: u32, bounds: KeepAlive) {
        let present = class_count(needed.min(REPLICAS_MAX));
        if present == self.present {
            return;
        }
        for class in &mut self.classes[present.min(self.present)..present.max(self.present)] {
            if present < self.present {
                class.gone = Some(now);
            } else if let Some(gone) = class.gone.take() {
                class.add(now.saturating_duration_since(gone), bounds);
            }
        }
        self.present = present;
    }

    /// Nobody knows what was needed in the meantime.
    pub(crate) fn interrupt(&mut self) {
        for class in self.classes.iter_mut() {
            class.gone = None;
        }
    }

    /// How long so many replicas should be kept after they were last needed, if
    /// it is known.
    pub(crate) fn keep_alive(&self, replicas: u32, bounds: KeepAlive) -> Option<Duration> {
        let class = class_count(replicas.min(REPLICAS_MAX)).checked_sub(1)?;
        self.classes[class].keep_alive(bounds)
    }
}

impl Class {
    fn add(&mut self, gap: Duration, bounds: KeepAlive) {
        // The minimum bridges shorter ones with room to spare; they say nothing.
        if gap < bounds.min / 2 {
            self.short = self.short.saturating_add(1);
            return;
        }
        if self.total >= GAPS_REMEMBERED {
            self.total = 0;
            for count in &mut self.lengths {
                *count /= 2;
                self.total += *count;
            }
        }
        self.lengths[length_index(gap)] += 1;
        self.total += 1;
    }

    fn keep_alive(&self, bounds: KeepAlive) -> Option<Duration> {
        if self.total < GAPS_NEEDED {
            let enough = self.total == 0 && self.short >= SHORT_GAPS_NEEDED;
            return enough.then_some(bounds.min);
        }
        let fits = |index: &usize| Duration::from_secs_f64(edge(*index)) <= bounds.max;
        let bridged: u16 = (0..LENGTHS)
            .filter(fits)
            .map(|index| self.lengths[index])
            .sum();
        if bridged * 2 < self.total {
            // Most come back so late that waiting for them is in vain.
            return Some(bounds.min);
        }
        let wanted = f64::from(bridged) * BRIDGED_SHARE;
        let mut seen = 0;
        for index in (0..LENGTHS).filter(fits) {
            seen += self.lengths[index];
            if f64::from(seen) >= wanted {
                let keep = Duration::from_secs_f64(edge(index) * MARGIN);
                return Some(keep.clamp(bounds.min, bounds.max));
            }
        }
        Some(bounds.max)
    }
}

/// The longest gap of a length, in seconds.
fn edge(index: usize) -> f64 {
    // At most 31, which an f64 holds exactly.
    2_f64.powf(index as f64 / 2.0)
}

fn length_index(gap: Duration) -> usize {
    let seconds = gap.as_secs_f64();
    (0..LENGTHS - 1)
        .find(|&index| seconds <= edge(index))
        .unwrap_or(LENGTHS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: KeepAlive = KeepAlive {
        min: Duration::from_secs(30),
        max: Duration::from_secs(600),
    };

    fn at(seconds: u64) -> Tick {
        Tick::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn sizes_of_demand_fall_into_classes() {
        let rows = [
            (0, 0),
            (1, 1),
            (2, 2),
            (3, 3),
            (4, 4),
            (5, 4),
            (6, 5),
            (8, 6),
            (11, 6),
            (12, 7),
        ];
        for (replicas, classes) in rows {
            assert_eq!(class_count(replicas), classes, "{replicas}");
        }
        assert_eq!(CLASSES, 32);
    }

    /// Demand that alternates between `base` and `peak`, with gaps of the given length.
    fn learned(base: u32, peak: u32, gap: u64, turns: u64) -> Gaps {
        let mut gaps = Gaps::new();
        for turn in 0..turns {
            gaps.observe(at(turn * (gap + 1)), peak, BOUNDS);
            gaps.observe(at(turn * (gap + 1) + 1), base, BOUNDS);
        }
        gaps
    }

    #[test]
    fn nothing_is_known_before_two_gaps() {
        assert_eq!(learned(0, 1, 100, 2).keep_alive(1, BOUNDS), None);
        assert!(learned(0, 1, 100, 3).keep_alive(1, BOUNDS).is_some());
        assert_eq!(Gaps::new().keep_alive(0, BOUNDS), None);
    }

    #[test]
    fn gaps_that_can_be_bridged_are() {
        for gap in [20, 29, 31, 100, 300, 360] {
            let keep = learned(0, 1, gap, 10).keep_alive(1, BOUNDS).expect("known");
            let gap = Duration::from_secs(gap);
            assert!(keep >= gap && keep <= BOUNDS.max, "{keep:?} for {gap:?}");
            assert!(keep >= BOUNDS.min && keep < gap * 2);
        }
    }

    #[test]
    fn gaps_that_cannot_be_bridged_are_not_waited_for() {
        assert_eq!(
            learned(0, 1, 3_600, 10).keep_alive(1, BOUNDS),
            Some(BOUNDS.min)
        );
        assert_eq!(learned(0, 1, 2, 20).keep_alive(1, BOUNDS), Some(BOUNDS.min));
    }

    #[test]
    fn bursts_have_gaps_of_their_own() {
        let gaps = learned(1, 10, 100, 10);
        assert_eq!(gaps.keep_alive(1, BOUNDS), None);
        assert!(gaps.keep_alive(10, BOUNDS) > Some(Duration::from_secs(100)));
    }

    #[test]
    fn old_gaps_are_forgotten() {
        let mut gaps = learned(0, 1, 60, 100);
        for turn in 0..100 {
            gaps.observe(at(10_000 + turn * 300), 1, BOUNDS);
            gaps.observe(at(10_001 + turn * 300), 0, BOUNDS);
        }
        let keep = gaps.keep_alive(1, BOUNDS).expect("known");
        assert!(keep >= Duration::from_secs(299), "{keep:?}");
    }

    #[test]
    fn what_nobody_saw_is_no_gap() {
        let mut gaps = learned(0, 1, 100, 2);
        gaps.interrupt();
        gaps.observe(at(300), 1, BOUNDS);
        assert_eq!(gaps.keep_alive(1, BOUNDS), None);
    }
}
