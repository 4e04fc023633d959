//! The last ten minutes, a second at a time.
//!
//! A second in which a service did nothing and had no replica is not kept, so a thousand idle services cost nothing
//! but the look. That there was a look is kept, once for all: nothing seen is not the same as nobody looking.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use plimsoll_meter::{ConcurrencyMeter, HistogramSnapshot, Reporter, Tick};
use plimsoll_proxy::{Service, StatsView};
use plimsoll_wire::{Answer, CodeClass};

use super::scene::{Scaling, Watched};
use crate::demo::quantile::quantile;

/// The length of a line of the history.
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Seconds that are kept.
pub(crate) const SECONDS_MAX: u32 = 600;

/// Seconds that a point of a chart stands for.
pub(crate) const STEP: u32 = 2;

/// Points of a chart.
pub(crate) const POINTS: u32 = SECONDS_MAX / STEP;

/// Seconds of answers that the quantiles of latencies are of.
const LATENCY_SECONDS: usize = 10;

/// What has been seen.
#[derive(Debug)]
pub(crate) struct History {
    began: Tick,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    /// The seconds in which somebody looked, rising; at most [`SECONDS_MAX`].
    looks: VecDeque<u32>,
    tracks: HashMap<String, Track>,
}

/// One service.
#[derive(Debug)]
struct Track {
    meter: Arc<ConcurrencyMeter>,
    reporter: Reporter,
    /// The counters at the last seconds of something going on, the oldest first; never empty.
    counted: VecDeque<Counted>,
    /// Requests that waited at the last look.
    waiting: usize,
    /// Seconds in which there was something to be seen, rising; at most [`SECONDS_MAX`].
    lines: VecDeque<Line>,
}

#[derive(Debug, Clone)]
struct Counted {
    times: HistogramSnapshot,
    failed: u64,
}

/// One second of a service.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Line {
    /// Seconds since the history began.
    pub(crate) second: u32,
    /// Requests that ran: on average, or when the second ended if any waited. Waiting ones are not among them.
    pub(crate) running: f32,
    /// Requests that waited when the second ended.
    pub(crate) waiting: f32,
    /// Requests that came, a second.
    pub(crate) rate: f32,
    /// Requests that failed or were refused, a second.
    pub(crate) failed: f32,
    /// Half, nine of ten and 99 of 100 requests took at most so long, in seconds. Of the last ten seconds.
    pub(crate) latency: Option<[f32; 3]>,
    /// Replicas, if something starts and stops them.
    pub(crate) scaling: Option<Scaling>,
}

/// A service over the last ten minutes, as charts have it: [`POINTS`] points, the oldest first. `None` is what nobody
/// has seen, because the process had not begun or could not look.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Series(pub(crate) Vec<Option<Line>>);

// === impl History ===

impl History {
    /// Nothing has been seen before `now`.
    pub(crate) fn begin(now: Tick) -> Self {
        Self {
            began: now,
            book: Mutex::default(),
        }
    }

    /// Writes what is to be seen at `now`. Linear in the services; more than a few nanoseconds only for those that do
    /// something.
    pub(crate) fn record(&self, now: Tick, services: &[Watched]) {
        let second = self.second(now);
        let mut book = self.book.lock();
        if book.looks.back() == Some(&second) {
            return;
        }
        book.looks.push_back(second);
        let oldest = second.saturating_sub(SECONDS_MAX - 1);
        while book.looks.front().is_some_and(|&look| look < oldest) {
            book.looks.pop_front();
        }
        let known = |name: &str| services.iter().any(|it| it.service.name() == name);
        if book.tracks.len() > services.len() {
            book.tracks.retain(|name, _| known(name));
        }
        for watched in services {
            let service = &watched.service;
            if let Some(track) = book.tracks.get_mut(service.name())
                && Arc::ptr_eq(&track.meter, service.meter())
            {
                track.look(now, second, watched);
                track.forget_before(oldest);
            } else {
                let track = Track::begin(now, service);
                book.tracks.insert(service.name().to_owned(), track);
            }
        }
    }

    /// The newest second of a service; all zero if it did nothing, `None` if nobody has looked at it yet.
    pub(crate) fn latest(&self, name: &str) -> Option<Line> {
        let book = self.book.lock();
        let &second = book.looks.back()?;
        let track = book.tracks.get(name)?;
        let line = track.lines.back().filter(|line| line.second == second);
        let idle = || Line {
            second,
            ..Line::default()
        };
        Some(line.copied().unwrap_or_else(idle))
    }

    /// The last ten minutes of a service, each point the mean of [`STEP`] seconds and for what waits the most.
    pub(crate) fn series(&self, name: &str) -> Series {
        let book = self.book.lock();
        let lines = book.tracks.get(name).map(|track| &track.lines);
        let Some(&last) = book.looks.back() else {
            return Series::default();
        };
        Series::of(&book.looks, lines.unwrap_or(&VecDeque::new()), last)
    }

    fn second(&self, now: Tick) -> u32 {
        let seconds = now.saturating_duration_since(self.began).as_secs();
        u32::try_from(seconds).unwrap_or(u32::MAX)
    }
}

// === impl Track ===

impl Track {
    fn begin(now: Tick, service: &Service) -> Self {
        Self {
            meter: Arc::clone(service.meter()),
            reporter: service.meter().reporter(now),
            counted: VecDeque::from([Counted::of(&service.view().requests)]),
            waiting: 0,
            lines: VecDeque::new(),
        }
    }

    fn look(&mut self, now: Tick, second: u32, watched: &Watched) {
        let report = self.reporter.report(now);
        let busy = report.requests > 0 || report.in_flight.total > 0;
        let is_resting = !busy && self.counted.len() == 1;
        if is_resting && watched.scaling.unwrap_or_default() == Scaling::default() {
            return;
        }
        let waiting = watched.service.balancer().waiting();
        // What waits is known at this instant only, so while anything does, what runs is counted at the same instant.
        let running = if waiting == 0 && self.waiting == 0 {
            report.average_concurrency as f32
        } else {
            report.in_flight.total.saturating_sub(waiting as u64) as f32
        };
        self.waiting = waiting;
        let mut line = Line {
            second,
            running,
            waiting: waiting as f32,
            rate: report.requests_per_second() as f32,
            scaling: watched.scaling,
            ..Line::default()
        };
        if !is_resting {
            let stats = watched.service.view().requests;
            self.count(&stats, report.period.as_secs_f32(), &mut line);
        }
        if !busy && line.latency.is_none() {
            // Nothing has ended for a while: whatever comes next is compared with what was counted last.
            let rest = self.counted.len() - 1;
            self.counted.drain(..rest);
        }
        self.lines.push_back(line);
    }

    /// What has been counted since the last second, and how long answers took in the last ten.
    fn count(&mut self, stats: &StatsView, period: f32, line: &mut Line) {
        let now = Counted::of(stats);
        if let Some(before) = self.counted.back() {
            let failed = now.failed.saturating_sub(before.failed);
            line.failed = failed as f32 / period.max(f32::EPSILON);
        }
        let before = self.counted.front().map(|counted| &counted.times);
        let of = |q| quantile(before, &now.times, q).map(|time| time.as_secs_f32());
        line.latency = match (of(0.5), of(0.9), of(0.99)) {
            (Some(p50), Some(p90), Some(p99)) => Some([p50, p90, p99]),
            _ => None,
        };
        if self.counted.len() == LATENCY_SECONDS {
            self.counted.pop_front();
        }
        self.counted.push_back(now);
    }

    fn forget_before(&mut self, oldest: u32) {
        while self.lines.front().is_some_and(|line| line.second < oldest) {
            self.lines.pop_front();
        }
        if self.lines.is_empty() {
            // An idle service gives back what it needed.
            self.lines.shrink_to_fit();
        }
    }
}

// === impl Counted ===

impl Counted {
    fn of(stats: &StatsView) -> Self {
        let is_failure = |answer: &Answer| {
            answer.code_class() == CodeClass::ServerError
                || matches!(answer, Answer::QueueFull429 | Answer::QueueTimeout429)
        };
        let failures = Answer::ALL.into_iter().filter(is_failure);
        Self {
            times: stats.request_time.clone(),
            failed: failures.map(|answer| stats.requests(answer)).sum(),
        }
    }
}

// === impl Series ===

impl Series {
    /// `lines` within `looks`, both rising, up to the second `last`.
    fn of(looks: &VecDeque<u32>, lines: &VecDeque<Line>, last: u32) -> Self {
        let mut points = vec![None; POINTS as usize];
        let newest = last / STEP;
        // The place of a second's point; `None` if it is too old.
        let place = |second: u32| {
            let back = newest.checked_sub(second / STEP)?;
            (POINTS - 1).checked_sub(back).map(|place| place as usize)
        };
        let mut seen = vec![0_u16; POINTS as usize];
        for place in looks.iter().filter_map(|&look| place(look)) {
            seen[place] += 1;
            points[place] = Some(Line::default());
        }
        for line in lines {
            let Some(place) = place(line.second) else {
                continue;
            };
            if let Some(point) = &mut points[place] {
                let part = 1.0 / f32::from(seen[place]);
                point.running += line.running * part;
                point.rate += line.rate * part;
                point.failed += line.failed * part;
                point.waiting = point.waiting.max(line.waiting);
                point.latency = line.latency.or(point.latency);
                point.scaling = line.scaling.or(point.scaling);
                point.second = line.second;
            }
        }
        Self(points)
    }

    /// The most that `of` gives of any point.
    pub(crate) fn most(&self, of: impl Fn(&Line) -> f32) -> f32 {
        self.0.iter().flatten().map(of).fold(0.0, f32::max)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use plimsoll_balance::{Balancer, BalancerConfig};
    use plimsoll_meter::Source;
    use plimsoll_proxy::ServiceSettings;

    use super::*;

    fn at(second: u64) -> Tick {
        Tick::from_nanos(second * 1_000_000_000)
    }

    fn service(name: &str) -> Watched {
        let balancer = Balancer::new(BalancerConfig::default()).expect("valid settings");
        let settings = ServiceSettings::default();
        Watched {
            service: Arc::new(Service::new(name, balancer, settings, NonZeroUsize::MIN)),
            scaling: None,
        }
    }

    fn kept(history: &History) -> usize {
        let book = history.book.lock();
        book.tracks.values().map(|track| track.lines.len()).sum()
    }

    #[test]
    fn an_idle_service_is_seen_and_nothing_is_kept_of_it() {
        let history = History::begin(at(0));
        let idle = [service("a")];
        assert_eq!(history.latest("a"), None);
        (0..10).for_each(|second| history.record(at(second), &idle));
        assert_eq!(kept(&history), 0);
        let latest = history.latest("a").expect("somebody has looked");
        assert_eq!((latest.second, latest.running), (9, 0.0));
        let points = history.series("a").0;
        assert_eq!(points.len(), POINTS as usize);
        assert_eq!(points.iter().flatten().count(), 5);
        assert_eq!(history.latest("b"), None);
    }

    #[test]
    fn the_mean_of_what_ran_is_kept_and_is_gone_after_ten_minutes() {
        let history = History::begin(at(0));
        let busy = [service("a")];
        history.record(at(0), &busy);
        let meter = busy[0].service.meter();
        meter.enter(0, Source::Direct, at(0));
        history.record(at(1), &busy);
        assert_eq!(history.latest("a").expect("a line").running, 1.0);
        assert_eq!(history.latest("a").expect("a line").rate, 1.0);
        meter.leave(0, Source::Direct, Tick::from_nanos(1_500_000_000));
        history.record(at(2), &busy);
        assert_eq!(history.latest("a").expect("a line").running, 0.5);
        for second in 3..=602 {
            history.record(at(second), &busy);
        }
        assert_eq!(kept(&history), 0);
        assert_eq!(history.series("a").most(|line| line.running), 0.0);
    }

    #[test]
    fn seconds_nobody_looked_at_are_unknown_and_not_zero() {
        let looks = VecDeque::from([100, 101, 106, 107]);
        let line = |second, running, waiting| Line {
            second,
            running,
            waiting,
            ..Line::default()
        };
        let lines = VecDeque::from([
            line(100, 4.0, 1.0),
            line(101, 2.0, 7.0),
            line(106, 8.0, 0.0),
        ]);
        let points = Series::of(&looks, &lines, 107).0;
        let [.., a, b, c, d] = &points[..] else {
            panic!("{points:?}");
        };
        let shown = |point: &Option<Line>| point.map(|line| (line.running, line.waiting));
        assert_eq!(shown(a), Some((3.0, 7.0)));
        assert_eq!((shown(b), shown(c)), (None, None));
        assert_eq!(shown(d), Some((4.0, 0.0)));
        assert_eq!(points.iter().flatten().count(), 2);
    }

    #[test]
    fn replicas_are_kept_also_while_nothing_comes() {
        let history = History::begin(at(0));
        let mut watched = service("a");
        watched.scaling = Some(Scaling {
            desired: 1,
            ready: 1,
            ..Scaling::default()
        });
        history.record(at(0), &[watched.clone()]);
        history.record(at(1), &[watched.clone()]);
        assert_eq!(
            history.latest("a").expect("a line").scaling,
            watched.scaling
        );
        watched.scaling = Some(Scaling::default());
        history.record(at(2), &[watched]);
        assert_eq!(kept(&history), 1);
    }

    #[test]
    fn services_that_have_gone_are_forgotten_and_new_ones_of_the_name_begin_anew() {
        let history = History::begin(at(0));
        history.record(at(0), &[service("a"), service("b")]);
        history.record(at(1), &[service("b")]);
        assert_eq!(history.book.lock().tracks.len(), 1);
        assert_eq!(history.latest("a"), None);
    }
}
