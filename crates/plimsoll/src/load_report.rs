//! What the sidecar's answers say of the instance's load, renewed four times a second.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use plimsoll_limit::Breaker;
use plimsoll_meter::{Clock, Ewma, Reporter, Sample, Tick};
use plimsoll_proxy::{LoadReports, MonotonicClock, ReportFields, Running, Stats};
use plimsoll_wire::orca::{RATE_MAX, UTILIZATION_MAX};
use plimsoll_wire::{Answer, CodeClass, LoadReport, cpu_usage};
use tokio::time::MissedTickBehavior;

use crate::cpu::{CpuMeter, CpuOptions, Files, SAMPLE_PERIOD, System, TIME_CONSTANT};

/// Utilizations are told in ten-thousandths.
const UTILIZATION_STEPS: f64 = 10_000.0;

/// Rates are told in hundredths of an event per second.
const RATE_STEPS: f64 = 100.0;

/// What answers are to say of the load.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LoadReportSettings {
    /// The reports of ORCA: `endpoint-load-metrics` and `endpoint-load-metrics-bin`.
    pub(crate) orca: bool,
    /// The report of Kratos: `cpu_usage`.
    pub(crate) kratos: bool,
    /// Whose processor time is told.
    pub(crate) cpu: CpuOptions,
}

/// Measures the load. All its numbers are averages over about the last second.
#[derive(Debug)]
struct LoadMeter<F = System> {
    cpu: CpuMeter<F>,
    utilization: Ewma,
    rps: Ewma,
    eps: Ewma,
    /// When the counts were last read, and what they were.
    last: (Tick, Ended),
}

/// Requests that have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Ended {
    all: u64,
    /// With a 5xx, or with none because the instance did not answer.
    failed: u64,
}

/// Publishes a load report every [`SAMPLE_PERIOD`], for as long as it is polled.
pub(crate) async fn publish(
    settings: LoadReportSettings,
    clock: MonotonicClock,
    reports: LoadReports,
    readings: LoadReadings,
) {
    let LoadReadings {
        mut concurrency,
        breaker,
        stats,
    } = readings;
    let now = clock.now();
    let cpu = CpuMeter::new(System, settings.cpu.clone(), now);
    tracing::info!(group = %cpu.source(), processors = cpu.allowed(), "reporting load");
    let mut meter = LoadMeter::new(cpu, now, Ended::of(&stats.requests()));
    let mut ticks = tokio::time::interval(SAMPLE_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let now = clock.now();
        let occupied = concurrency.report(now).average_concurrency;
        let slots = breaker.as_ref().map(Breaker::concurrency);
        let utilization = slots.map(|slots| occupied / slots.max(1) as f64);
        let report = meter.report(now, utilization, Ended::of(&stats.requests()));
        reports.publish(Some(fields(&settings, &report)));
    }
}

/// What the load is computed from, besides processor time.
#[derive(Debug)]
pub(crate) struct LoadReadings {
    concurrency: Reporter,
    breaker: Option<Breaker>,
    stats: Stats,
}

// === impl LoadReadings ===

impl LoadReadings {
    /// The readings of a running sidecar.
    pub(crate) fn of(running: &Running) -> Self {
        Self {
            concurrency: Arc::clone(running.meter()).reporter(running.clock().now()),
            breaker: running.breaker().cloned(),
            stats: running.stats(),
        }
    }
}

// === impl Ended ===

impl Ended {
    fn of(requests: &[u64; Answer::COUNT]) -> Self {
        let failed = Answer::ALL
            .into_iter()
            .filter(|answer| answer.code_class() == CodeClass::ServerError);
        Self {
            all: requests.iter().sum(),
            failed: failed.map(|answer| requests[answer.index()]).sum(),
        }
    }
}

// === impl LoadMeter ===

impl<F: Files> LoadMeter<F> {
    fn new(cpu: CpuMeter<F>, now: Tick, ended: Ended) -> Self {
        let average = || Ewma::new(TIME_CONSTANT).expect("a second is a time constant");
        Self {
            cpu,
            utilization: average(),
            rps: average(),
            eps: average(),
            last: (now, ended),
        }
    }

    /// Takes samples. `utilization` is the mean of the last period, `None` without a limit.
    fn report(&mut self, now: Tick, utilization: Option<f64>, ended: Ended) -> LoadReport {
        let (then, before) = std::mem::replace(&mut self.last, (now, ended));
        let elapsed = now.saturating_duration_since(then);
        record(&self.rps, now, rate(before.all, ended.all, elapsed));
        record(&self.eps, now, rate(before.failed, ended.failed, elapsed));
        record(&self.utilization, now, utilization);
        let cpu = self.cpu.sample(now);
        let part = |value: Option<f64>| {
            value.map(|value| round(value, UTILIZATION_STEPS).min(UTILIZATION_MAX))
        };
        let per_second = |average: &Ewma| {
            average
                .mean()
                .map(|rate| round(rate, RATE_STEPS).min(RATE_MAX))
        };
        LoadReport {
            application_utilization: part(self.utilization.mean()),
            cpu_utilization: part(cpu),
            mem_utilization: None,
            rps: per_second(&self.rps),
            eps: per_second(&self.eps),
        }
    }
}

fn record(average: &Ewma, now: Tick, value: Option<f64>) {
    if let Some(sample) = value.and_then(Sample::new) {
        average.record(now, sample);
    }
}

/// Events per second; `None` if no time has passed.
fn rate(before: u64, after: u64, elapsed: Duration) -> Option<f64> {
    let events = after.saturating_sub(before) as f64;
    (!elapsed.is_zero()).then(|| events / elapsed.as_secs_f64())
}

fn round(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

/// The report as header fields.
fn fields(settings: &LoadReportSettings, report: &LoadReport) -> ReportFields {
    let is_told = settings.orca && !report.is_empty();
    let value = |text: String| HeaderValue::try_from(text).ok();
    let cpu = report.cpu_utilization.filter(|_| settings.kratos);
    ReportFields {
        orca: is_told.then(|| report.to_text_header()).and_then(value),
        orca_binary: is_told.then(|| report.to_binary_header()).and_then(value),
        cpu_usage: cpu.and_then(cpu_usage::write).and_then(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine on which nothing is known of processor time.
    #[derive(Debug)]
    struct NoFiles;

    impl Files for NoFiles {
        fn read(&self, _: &std::path::Path) -> Option<String> {
            None
        }

        fn processors(&self) -> u32 {
            1
        }
    }

    fn at(millis: u64) -> Tick {
        Tick::from_nanos(millis * 1_000_000)
    }

    fn meter() -> LoadMeter<NoFiles> {
        let cpu = CpuMeter::new(NoFiles, CpuOptions::default(), at(0));
        LoadMeter::new(cpu, at(0), Ended::default())
    }

    fn ended(all: u64, failed: u64) -> Ended {
        Ended { all, failed }
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        let report = meter().report(at(0), None, ended(0, 0));
        assert!(report.is_empty(), "{report:?}");
        let report = meter().report(at(250), None, ended(0, 0));
        let expected = LoadReport {
            rps: Some(0.0),
            eps: Some(0.0),
            ..LoadReport::default()
        };
        assert_eq!(report, expected);
    }

    #[test]
    fn rates_are_of_the_time_that_has_passed() {
        let mut meter = meter();
        let report = meter.report(at(250), Some(1.25), ended(25, 5));
        let expected = LoadReport {
            application_utilization: Some(1.25),
            rps: Some(100.0),
            eps: Some(20.0),
            ..LoadReport::default()
        };
        assert_eq!(report, expected);
        // A late tick makes a longer period, never a higher rate.
        assert_eq!(
            meter.report(at(1_250), Some(1.25), ended(125, 25)),
            expected
        );
    }

    #[test]
    fn averages_follow_within_seconds() {
        let mut meter = meter();
        for step in 1..=8 {
            meter.report(at(step * 250), Some(0.0), ended(0, 0));
        }
        let mut report = LoadReport::default();
        for step in 9..=24 {
            report = meter.report(at(step * 250), Some(1.0), ended((step - 8) * 25, 0));
        }
        let rps = report.rps.expect("time has passed");
        let utilization = report.application_utilization.expect("there is a limit");
        assert!((95.0..=100.0).contains(&rps), "{rps}");
        assert!((0.95..=1.0).contains(&utilization), "{utilization}");
    }

    #[test]
    fn every_failure_of_the_instance_is_an_error() {
        let requests = std::array::from_fn(|_| 1);
        let failures = Answer::ALL.map(Answer::code_class);
        let failures = failures
            .iter()
            .filter(|class| **class == CodeClass::ServerError);
        let expected = ended(Answer::COUNT as u64, failures.count() as u64);
        assert_eq!(Ended::of(&requests), expected);
        assert!(expected.failed < expected.all);
    }

    #[test]
    fn each_form_has_its_fields() {
        let report = LoadReport {
            application_utilization: Some(0.5),
            cpu_utilization: Some(0.7346),
            mem_utilization: None,
            rps: Some(12.25),
            eps: Some(0.0),
        };
        let fields_of = |orca, kratos| {
            let settings = LoadReportSettings {
                orca,
                kratos,
                cpu: CpuOptions::default(),
            };
            fields(&settings, &report)
        };
        let all = fields_of(true, true);
        let text =
            "TEXT application_utilization=0.5, cpu_utilization=0.7346, rps_fractional=12.25, eps=0";
        assert_eq!(all.orca.as_ref().expect("asked for"), text);
        let binary = all.orca_binary.as_ref().expect("asked for");
        let read = LoadReport::from_binary_header(binary.as_bytes());
        assert_eq!(
            read,
            Ok(LoadReport {
                eps: None,
                ..report
            })
        );
        assert_eq!(all.cpu_usage.as_ref().expect("asked for"), "735");
        let orca = fields_of(true, false);
        assert_eq!((orca.orca, orca.cpu_usage), (all.orca, None));
        let kratos = fields_of(false, true);
        assert_eq!(kratos.orca.or(kratos.orca_binary), None);
        assert_eq!(kratos.cpu_usage, all.cpu_usage);
    }
}
