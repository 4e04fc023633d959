//! The most that was needed, for as long as it is to be kept.

use std::collections::VecDeque;
use std::time::Duration;

use plimsoll_meter::Tick;

/// The most levels that are kept apart. With more, the two lowest become one.
const LEVELS_MAX: usize = 1_024;

/// Which numbers of replicas were needed, and until when each is kept.
///
/// The levels fall from the front to the back, and the front is what holds, so
/// the ends are all there is to look at: constant time on average. For how long
/// a level is kept is settled when it is last needed. What is learned later
/// counts from then on: otherwise more load, from which something is learned,
/// might lead to fewer replicas at the same moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hold {
    levels: VecDeque<Level>,
}

#[derive(Clone, Copy, Debug)]
struct Level {
    replicas: u32,
    /// When it was last needed.
    at: Tick,
    until: Tick,
}

impl Hold {
    /// So many are needed now, and are to be kept for so long.
    pub(crate) fn record(&mut self, now: Tick, replicas: u32, keep: Duration) {
        let below = |level: &Level| level.replicas <= replicas;
        while self.levels.back().is_some_and(below) {
            self.levels.pop_back();
        }
        if replicas == 0 {
            return;
        }
        let level = Level {
            replicas,
            at: now,
            until: now.saturating_add(keep),
        };
        let full = self.levels.len() == LEVELS_MAX;
        match self.levels.back_mut() {
            Some(last) if full => {
                *last = Level {
                    replicas: last.replicas,
                    ..level
                };
            }
            _ => self.levels.push_back(level),
        }
    }

    /// The highest level that is still kept, and until when. Those that are not
    /// are forgotten.
    pub(crate) fn highest(&mut self, now: Tick) -> Option<(u32, Tick)> {
        while let Some(level) = self.levels.front() {
            if now < level.until {
                return Some((level.replicas, level.until));
            }
            self.levels.pop_front();
        }
        None
    }

    /// Settles anew for how long the levels are kept.
    pub(crate) fn settle(&mut self, keep: impl Fn(u32) -> Duration) {
        for level in &mut self.levels {
            level.until = level.at.saturating_add(keep(level.replicas));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::from_nanos(seconds * 1_000_000_000)
    }

    const TEN: Duration = Duration::from_secs(10);
    const HUNDRED: Duration = Duration::from_secs(100);

    #[test]
    fn each_level_is_kept_for_its_time() {
        let mut hold = Hold::default();
        assert_eq!(hold.highest(at(0)), None);
        hold.record(at(0), 8, TEN);
        hold.record(at(1), 3, HUNDRED);
        hold.record(at(2), 0, HUNDRED);
        assert_eq!(hold.highest(at(9)), Some((8, at(10))));
        assert_eq!(hold.highest(at(10)), Some((3, at(101))));
        hold.record(at(50), 3, HUNDRED);
        assert_eq!(hold.highest(at(101)), Some((3, at(150))));
        hold.settle(|_| TEN);
        assert_eq!(hold.highest(at(101)), None);
    }

    #[test]
    fn no_more_levels_are_kept_than_may_be() {
        let mut hold = Hold::default();
        for second in 0..5_000 {
            hold.record(at(second), 10_000 - second as u32, HUNDRED * 100);
        }
        assert_eq!(hold.levels.len(), LEVELS_MAX);
        assert_eq!(hold.highest(at(5_000)), Some((10_000, at(10_000))));
    }
}
