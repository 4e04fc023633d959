//! What `plimsoll-meter` measures, through the one exporter.

use std::num::NonZeroUsize;

use plimsoll_meter::{
    Counter, Ewma, Gauge, PeakEwma, PointGauge, RollingCounter, RollingGauge, RollingSummary,
    Sample, Tick, WindowShape,
};
use plimsoll_wire::prometheus::{
    Descriptor, Exposition, ExpositionError, Statistic, TextFormat, Unit,
};

use super::promtool::{lint, promtool_is_here, series_of};
use super::*;

const A_SECOND: Duration = Duration::from_secs(1);
const NOW: Tick = Tick::from_nanos(500_000_000);

const SCALAR: Descriptor = Descriptor::gauge("scalar", "A gauge");
const COUNTED: Descriptor = Descriptor::counter("counted_total", "A counter");
const WINDOW: Descriptor = Descriptor::gauge("window", "Windows over whole numbers");
const TIMES: Descriptor =
    Descriptor::gauge("times_seconds", "A window over durations").with_unit(Unit::Seconds);
const RATES: Descriptor = Descriptor::gauge("rate_per_second", "Rates");

fn everything(format: TextFormat) -> Result<String, ExpositionError> {
    let shape = WindowShape::new(10, A_SECOND / 10).unwrap();
    let gauge = Gauge::new();
    gauge.set(-7);
    let (counter, mean) = (Counter::new(), Ewma::new(A_SECOND).unwrap());
    let peak = PeakEwma::new(A_SECOND).unwrap();
    counter.add(u64::MAX);
    mean.record(NOW, true);
    mean.record(NOW, false);
    peak.record(NOW, Sample::new(1.5).unwrap());
    let rolling = RollingCounter::new(shape, Tick::ZERO);
    let samples = RollingGauge::new(shape, 2, Tick::ZERO);
    let last = PointGauge::new(NonZeroUsize::MIN);
    let times = RollingSummary::new(shape, Tick::ZERO);
    for value in [3, 5] {
        rolling.add(NOW, value);
        samples.add(NOW, -(value as i64));
        last.add(value as i64);
        times.record(NOW, Duration::from_millis(value));
    }
    let idle = RollingCounter::new(shape, Tick::ZERO);
    let mut text = Exposition::new(format);
    text.family(&SCALAR)
        .metric(&[("of", "gauge")], &gauge, NOW)
        .metric(&[("of", "mean")], &mean, NOW)
        .metric(&[("of", "peak")], &peak, NOW);
    text.family(&COUNTED).metric(&[], &counter, NOW);
    text.family(&WINDOW)
        .metric(&[("of", "counter")], &rolling, NOW)
        .metric(&[("of", "gauge")], &samples, NOW)
        .metric(&[("of", "points")], &last, NOW)
        .metric(&[("of", "idle counter")], &idle, NOW);
    text.family(&TIMES).metric(&[], &times, NOW);
    text.family(&RATES)
        .statistic(&[("of", "calls")], &rolling, NOW, Statistic::CountPerSecond)
        .statistic(&[("of", "sum")], &rolling, NOW, Statistic::SumPerSecond)
        .statistic(&[("of", "times")], &times, NOW, Statistic::CountPerSecond);
    text.finish()
}

#[test]
fn every_metric_in_the_0_0_4_format() {
    insta::assert_snapshot!(everything(TextFormat::Prometheus).unwrap(), @r#"
    # HELP scalar A gauge
    # TYPE scalar gauge
    scalar{of="gauge"} -7
    scalar{of="mean"} 0.5
    scalar{of="peak"} 1.5
    # HELP counted_total A counter
    # TYPE counted_total counter
    counted_total 18446744073709551615
    # HELP window Windows over whole numbers
    # TYPE window gauge
    window{of="counter",stat="sum"} 8
    window{of="counter",stat="min"} 8
    window{of="counter",stat="max"} 8
    window{of="counter",stat="mean"} 8
    window{of="gauge",stat="sum"} -8
    window{of="gauge",stat="min"} -5
    window{of="gauge",stat="max"} -3
    window{of="gauge",stat="mean"} -4
    window{of="points",stat="sum"} 5
    window{of="points",stat="min"} 5
    window{of="points",stat="max"} 5
    window{of="points",stat="mean"} 5
    window{of="idle counter",stat="sum"} 0
    # HELP times_seconds A window over durations
    # TYPE times_seconds gauge
    times_seconds{stat="sum"} 0.008
    times_seconds{stat="min"} 0.003
    times_seconds{stat="max"} 0.005
    times_seconds{stat="mean"} 0.004
    times_seconds{stat="p50"} 0.003020317
    times_seconds{stat="p90"} 0.005
    times_seconds{stat="p99"} 0.005
    # HELP rate_per_second Rates
    # TYPE rate_per_second gauge
    rate_per_second{of="calls"} 4
    rate_per_second{of="sum"} 16
    rate_per_second{of="times"} 4
    "#);
}

#[test]
fn every_metric_in_open_metrics() {
    let plain = everything(TextFormat::Prometheus).unwrap();
    let open_metrics = everything(TextFormat::OpenMetrics).unwrap();
    let series = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(series(&plain), series(&open_metrics));
    assert!(open_metrics.contains("# UNIT times_seconds seconds\n"));
    assert!(open_metrics.contains("# TYPE counted counter\n"));
    assert!(open_metrics.ends_with("# EOF\n"));
}

#[test]
fn a_window_is_no_counter_and_a_counter_no_gauge() {
    let shape = WindowShape::new(10, A_SECOND).unwrap();
    let mut text = Exposition::new(TextFormat::Prometheus);
    let window = RollingCounter::new(shape, Tick::ZERO);
    text.family(&COUNTED).metric(&[], &window, NOW);
    assert_eq!(text.finish(), Err(ExpositionError::Kind("counted_total")));
    let mut text = Exposition::new(TextFormat::Prometheus);
    text.family(&SCALAR).metric(&[], &Counter::new(), NOW);
    assert_eq!(text.finish(), Err(ExpositionError::Kind("scalar")));
}

#[test]
fn the_label_of_the_statistic_is_taken() {
    let shape = WindowShape::new(10, A_SECOND).unwrap();
    let mut text = Exposition::new(TextFormat::Prometheus);
    let window = RollingCounter::new(shape, Tick::ZERO);
    text.family(&WINDOW)
        .metric(&[("stat", "mine")], &window, NOW);
    let taken = ExpositionError::LabelName("window", "stat".to_owned());
    assert_eq!(text.finish(), Err(taken));
}

#[test]
fn prometheus_reads_every_metric() {
    if !promtool_is_here() {
        return;
    }
    let plain = everything(TextFormat::Prometheus).unwrap();
    assert_eq!(lint(&plain), (true, String::new()));
    let open_metrics = everything(TextFormat::OpenMetrics).unwrap();
    let written = plain.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(series_of("metrics", &open_metrics), Ok(written));
}
