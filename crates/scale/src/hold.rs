//! The most that was needed, for as long as it is to be kept.

use std::collections::VecDeque;
use std::time::Duration;

use plimsoll_meter::Tick;

/// The most levels that are kept apart. With more, the two lowest become one.
const LEVELS_MAX: usize = 1_024;

/// Which numbers of replicas were needed, and when last.
///
/// Each level is kept for a time of its own. The levels fall and their times
/// rise, so both ends of a queue are all there is to look at: constant time on
/// average.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hold {
    levels: VecDeque<(u32, Tick)>,
}

impl Hold {
    /// So many are needed now.
    pub(crate) fn record(&mut self, now: Tick, level: u32) {
        while self.levels.back().is_some_and(|&(below, _)| below <= level) {
            self.levels.pop_back();
        }
        if level == 0 {
            return;
        }
        if self.levels.len() == LEVELS_MAX
            && let Some((_, at)) = self.levels.back_mut()
        {
            *at = now;
            return;
        }
        self.levels.push_back((level, now));
    }

    /// The highest level that is still kept, and until when. Those that are not
    /// are forgotten; `keep` says for how long a level is.
    pub(crate) fn highest(
        &mut self,
        now: Tick,
        keep: impl Fn(u32) -> Duration,
    ) -> Option<(u32, Tick)> {
        while let Some(&(level, at)) = self.levels.front() {
            let until = at.saturating_add(keep(level));
            if now < until {
                return Some((level, until));
            }
            self.levels.pop_front();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn each_level_is_kept_for_its_time() {
        let mut hold = Hold::default();
        let keep = |level| Duration::from_secs(if level > 5 { 10 } else { 100 });
        assert_eq!(hold.highest(at(0), keep), None);
        hold.record(at(0), 8);
        hold.record(at(1), 3);
        hold.record(at(2), 0);
        assert_eq!(hold.highest(at(9), keep), Some((8, at(10))));
        assert_eq!(hold.highest(at(10), keep), Some((3, at(101))));
        hold.record(at(50), 3);
        assert_eq!(hold.highest(at(101), keep), Some((3, at(150))));
        assert_eq!(hold.highest(at(150), keep), None);
    }

    #[test]
    fn no_more_levels_are_kept_than_may_be() {
        let mut hold = Hold::default();
        for second in 0..5_000 {
            hold.record(at(second), 10_000 - second as u32);
        }
        assert_eq!(hold.levels.len(), LEVELS_MAX);
        let keep = |_| Duration::from_secs(10_000);
        assert_eq!(hold.highest(at(5_000), keep), Some((10_000, at(10_000))));
    }
}
