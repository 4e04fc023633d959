//! The one exporter for everything that `plimsoll-meter` measures.

use std::time::Duration;

use plimsoll_meter::{
    Counter, Ewma, Gauge, PeakEwma, PointGauge, RollingCounter, RollingGauge, RollingSummary, Tick,
};

use super::descriptor::Kind;
use super::exposition::Family;

/// Something that can be written into a family: counters, gauges, windows and
/// averages of `plimsoll-meter`.
///
/// ```
/// use std::time::Duration;
///
/// use plimsoll_meter::{RollingCounter, Tick, WindowShape};
/// use plimsoll_wire::prometheus::{Descriptor, Exposition, Statistic, TextFormat};
///
/// const BYTES: Descriptor = Descriptor::gauge("bytes_read", "Bytes of the last second");
/// const RATE: Descriptor = Descriptor::gauge("reads_per_second", "Reads per second");
///
/// let shape = WindowShape::new(10, Duration::from_millis(100))?;
/// let read = RollingCounter::new(shape, Tick::ZERO);
/// let now = Tick::from_nanos(500_000_000);
/// read.add(now, 40);
/// read.add(now, 2);
///
/// let mut text = Exposition::new(TextFormat::Prometheus);
/// text.family(&BYTES).metric(&[("disk", "a")], &read, now);
/// text.family(&RATE).statistic(&[("disk", "a")], &read, now, Statistic::CountPerSecond);
/// let text = text.finish()?;
/// assert!(text.contains("bytes_read{disk=\"a\",stat=\"sum\"} 42\n"));
/// assert!(text.contains("reads_per_second{disk=\"a\"} 4\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Metric {
    /// The kind of family that it can be written into. All but [`Counter`] are
    /// gauges: what a window has seen goes down again, so `rate()` over it
    /// would be nonsense.
    const KIND: Kind = Kind::Gauge;

    /// Tells each statistic that there is at `now`. What is not known is left
    /// out, and not zero.
    fn read(&self, now: Tick, tell: &mut dyn FnMut(Statistic, Number));
}

/// What is told of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Statistic {
    /// The only value of a metric that has just one.
    Value,
    /// The sum of the values.
    Sum,
    /// The smallest value.
    Min,
    /// The largest value.
    Max,
    /// The mean value.
    Mean,
    /// The value that half of all do not exceed.
    P50,
    /// The value that nine of ten do not exceed.
    P90,
    /// The value that 99 of 100 do not exceed.
    P99,
    /// The number of values.
    Count,
    /// The sum per second of time that the window covers.
    SumPerSecond,
    /// Values per second of time that the window covers.
    CountPerSecond,
}

/// A number that is written as it is: whole, exact in nanoseconds, or a float.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// A whole number.
    Whole(i128),
    /// Seconds.
    Seconds(Duration),
    /// Any other number.
    Real(f64),
}

/// The label that tells statistics of one metric apart.
const LABEL: &str = "stat";

// === impl Statistic ===

impl Statistic {
    /// The value of the label `stat`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Sum => "sum",
            Self::Min => "min",
            Self::Max => "max",
            Self::Mean => "mean",
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P99 => "p99",
            Self::Count => "count",
            Self::SumPerSecond => "sum_per_second",
            Self::CountPerSecond => "count_per_second",
        }
    }

    /// Whether it has the unit of the values, so that it may be in one family
    /// with others that have.
    #[must_use]
    pub const fn has_unit_of_values(self) -> bool {
        !matches!(
            self,
            Self::Count | Self::SumPerSecond | Self::CountPerSecond
        )
    }
}

// === impl Family ===

impl Family<'_> {
    /// Writes a metric: one series for each statistic in the unit of its values,
    /// told apart by the label `stat`; without that label if it has one value
    /// only. The values of `labels` must come from a bounded set.
    ///
    /// It is refused in a family of another kind than [`Metric::KIND`].
    pub fn metric<M: Metric>(
        &mut self,
        labels: &[(&str, &str)],
        metric: &M,
        now: Tick,
    ) -> &mut Self {
        let mut labels = labels.to_vec();
        metric.read(now, &mut |statistic, number| {
            if statistic == Statistic::Value {
                self.told(&labels, M::KIND, number);
            } else if statistic.has_unit_of_values() {
                labels.push((LABEL, statistic.as_str()));
                self.told(&labels, M::KIND, number);
                labels.pop();
            }
        });
        self
    }

    /// Writes one statistic of a metric as a series without the label `stat`, or
    /// nothing if it is not known.
    pub fn statistic<M: Metric>(
        &mut self,
        labels: &[(&str, &str)],
        metric: &M,
        now: Tick,
        wanted: Statistic,
    ) -> &mut Self {
        metric.read(now, &mut |statistic, number| {
            if statistic == wanted {
                self.told(labels, M::KIND, number);
            }
        });
        self
    }
}

// === impl Metric ===

impl Metric for Counter {
    const KIND: Kind = Kind::Counter;

    fn read(&self, _: Tick, tell: &mut dyn FnMut(Statistic, Number)) {
        tell(Statistic::Value, Number::Whole(self.value().into()));
    }
}

impl Metric for Gauge {
    fn read(&self, _: Tick, tell: &mut dyn FnMut(Statistic, Number)) {
        tell(Statistic::Value, Number::Whole(self.value().into()));
    }
}

impl Metric for Ewma {
    fn read(&self, _: Tick, tell: &mut dyn FnMut(Statistic, Number)) {
        if let Some(mean) = self.mean() {
            tell(Statistic::Value, Number::Real(mean));
        }
    }
}

impl Metric for PeakEwma {
    fn read(&self, now: Tick, tell: &mut dyn FnMut(Statistic, Number)) {
        if let Some(peak) = Self::read(self, now) {
            tell(Statistic::Value, Number::Real(peak));
        }
    }
}

impl Metric for RollingCounter {
    fn read(&self, now: Tick, tell: &mut dyn FnMut(Statistic, Number)) {
        let tally = self.tally(now);
        tell(Statistic::Sum, Number::Whole(tally.sum.into()));
        tell_some(tell, Statistic::Min, self.min(now), whole);
        tell_some(tell, Statistic::Max, self.max(now), whole);
        tell_some(tell, Statistic::Mean, self.mean(now), Number::Real);
        tell(Statistic::Count, Number::Whole(tally.count.into()));
        let per_second = [
            (Statistic::SumPerSecond, self.sum_per_second(now)),
            (Statistic::CountPerSecond, self.count_per_second(now)),
        ];
        for (statistic, rate) in per_second {
            tell_some(tell, statistic, rate, Number::Real);
        }
    }
}

impl Metric for RollingGauge {
    fn read(&self, now: Tick, tell: &mut dyn FnMut(Statistic, Number)) {
        tell(Statistic::Sum, Number::Whole(self.sum(now)));
        tell_some(tell, Statistic::Min, self.min(now), whole);
        tell_some(tell, Statistic::Max, self.max(now), whole);
        tell_some(tell, Statistic::Mean, self.mean(now), Number::Real);
        tell(Statistic::Count, Number::Whole(self.count(now).into()));
    }
}

impl Metric for PointGauge {
    fn read(&self, _: Tick, tell: &mut dyn FnMut(Statistic, Number)) {
        tell(Statistic::Sum, Number::Whole(self.sum()));
        tell_some(tell, Statistic::Min, self.min(), whole);
        tell_some(tell, Statistic::Max, self.max(), whole);
        tell_some(tell, Statistic::Mean, self.mean(), Number::Real);
        tell(Statistic::Count, Number::Whole(self.count() as i128));
    }
}

impl Metric for RollingSummary {
    fn read(&self, now: Tick, tell: &mut dyn FnMut(Statistic, Number)) {
        let snapshot = self.snapshot(now);
        let durations = [
            (Statistic::Sum, Some(snapshot.sum())),
            (Statistic::Min, snapshot.min()),
            (Statistic::Max, snapshot.max()),
            (Statistic::Mean, snapshot.mean()),
            (Statistic::P50, snapshot.quantile(0.5)),
            (Statistic::P90, snapshot.quantile(0.9)),
            (Statistic::P99, snapshot.quantile(0.99)),
        ];
        for (statistic, duration) in durations {
            tell_some(tell, statistic, duration, Number::Seconds);
        }
        tell(Statistic::Count, Number::Whole(snapshot.count().into()));
        let rate = self.count_per_second(now);
        tell_some(tell, Statistic::CountPerSecond, rate, Number::Real);
    }
}

fn tell_some<V>(
    tell: &mut dyn FnMut(Statistic, Number),
    statistic: Statistic,
    value: Option<V>,
    number: impl Fn(V) -> Number,
) {
    if let Some(value) = value {
        tell(statistic, number(value));
    }
}

fn whole(value: impl Into<i128>) -> Number {
    Number::Whole(value.into())
}
