//! What became of the requests, and the figures made of it.

use super::{Metric, Scenario};

/// Parts into which the time of a scenario is cut for its picture.
const PARTS: usize = 120;

/// Parts of a second by which the return of a backend is measured.
const RETURN_PARTS_PER_SECOND: f64 = 4.0;

/// The part of its fair share with which a backend is back.
const RETURN_SHARE: f64 = 0.8;

/// Shares of requests for which [`Score::tail`] has the latency that they exceed.
pub const TAIL_SHARES: [f64; 13] = [
    0.9, 0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.003, 0.002, 0.001,
];

/// How a request ended, as its client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Answered well and in time.
    Answered,
    /// Answered with an error, or refused.
    Failed,
    /// Not answered in time.
    TimedOut,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// When it came, seconds from the start.
    pub arrival: f64,
    /// From then to the head of its answer, or to its end without one; seconds.
    pub latency: f64,
    /// How it ended.
    pub fate: Fate,
    /// Its class, counted from 0.
    pub class: usize,
}

/// Collects what became of the requests of one run.
#[derive(Clone, Debug)]
pub struct Recorder {
    score_from: f64,
    seconds: f64,
    steps: usize,
    returning: Vec<bool>,
    faulty: Vec<bool>,
    faults_end: Option<f64>,
    records: Vec<Record>,
    attempts: Vec<u64>,
    /// Attempts after the last fault, at all backends and at those it had hit, by part of a second.
    after: Vec<(u64, u64)>,
    together: u64,
    idle_while_queued: f64,
}

/// The figures of one run.
#[derive(Clone, Debug)]
pub struct Score {
    /// Requests that are scored.
    pub requests: usize,
    /// 99th percentile of latency over time, seconds; `None` where nothing was answered.
    pub timeline: Vec<Option<f64>>,
    /// The latency that each of [`TAIL_SHARES`] exceeds, seconds.
    pub tail: Vec<f64>,
    /// 99.9th percentile of latency in each step of the arrivals, seconds.
    pub steps: Vec<f64>,
    figures: Vec<(Metric, f64)>,
}

impl Recorder {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(scenario: &Scenario) -> Self {
        let backends = 0..scenario.backend_count();
        let faults_end = scenario.faults_end();
        let returns = |backend| {
            let mut faults = scenario.faults.iter();
            faults.any(|fault| Some(fault.to) == faults_end && fault.concerns(backend))
        };
        Self {
            score_from: scenario.score_from,
            seconds: scenario.seconds,
            steps: scenario.arrivals.steps(),
            returning: backends.clone().map(returns).collect(),
            faulty: backends
                .map(|backend| scenario.is_faulty(backend))
                .collect(),
            faults_end,
            records: Vec::new(),
            attempts: vec![0; scenario.backend_count()],
            after: Vec::new(),
            together: 0,
            idle_while_queued: 0.0,
        }
    }

    /// A request has ended.
    pub fn record(&mut self, record: Record) {
        if record.arrival >= self.score_from {
            self.records.push(record);
        }
    }

    /// A request, or one more attempt at it, has been sent to a backend, which has `together` now.
    pub fn attempt(&mut self, second: f64, backend: usize, together: u64) {
        self.together = self.together.max(together);
        if second >= self.score_from {
            self.attempts[backend] += 1;
        }
        let Some(end) = self.faults_end.filter(|end| second >= *end) else {
            return;
        };
        let part = ((second - end) * RETURN_PARTS_PER_SECOND) as usize;
        if self.after.len() <= part {
            self.after.resize(part + 1, (0, 0));
        }
        self.after[part].0 += 1;
        self.after[part].1 += u64::from(self.returning[backend]);
    }

    /// For so many seconds a request waited while a backend of its gateway had nothing to do.
    pub fn idle_while_queued(&mut self, seconds: f64) {
        self.idle_while_queued += seconds;
    }

    /// The figures.
    #[must_use]
    pub fn score(mut self) -> Score {
        self.records.sort_by(|a, b| a.latency.total_cmp(&b.latency));
        let latencies: Vec<f64> = self.heard().map(|record| record.latency).collect();
        let first: Vec<f64> = self
            .heard()
            .filter(|record| record.class == 0)
            .map(|record| record.latency)
            .collect();
        let mut figures = self.counted();
        for (metric, figure) in [
            (Metric::MeanMs, mean(&latencies)),
            (Metric::P50Ms, quantile(&latencies, 0.5)),
            (Metric::P99Ms, quantile(&latencies, 0.99)),
            (Metric::P999Ms, quantile(&latencies, 0.999)),
            // In units of the healthy run's once that is known: see `compare_with_healthy`.
            (Metric::P99VsHealthy, quantile(&first, 0.99)),
            (Metric::P999VsHealthy, quantile(&first, 0.999)),
        ] {
            figures.extend(figure.map(|seconds| (metric, 1000.0 * seconds)));
        }
        let timeline = self.by_part(PARTS);
        let timeline = timeline.iter().map(|part| quantile(part, 0.99)).collect();
        let steps = self.by_part(self.steps);
        Score {
            requests: self.records.len(),
            timeline,
            steps: steps
                .iter()
                .filter_map(|step| quantile(step, 0.999))
                .collect(),
            tail: TAIL_SHARES
                .iter()
                .filter_map(|share| quantile(&latencies, 1.0 - share))
                .collect(),
            figures,
        }
    }

    /// Requests that have a latency: a refusal comes soon and would make the rest look fast.
    fn heard(&self) -> impl Iterator<Item = &Record> {
        self.records
            .iter()
            .filter(|record| record.fate != Fate::Failed)
    }

    fn counted(&self) -> Vec<(Metric, f64)> {
        let number = self.records.len() as f64;
        let failed = self
            .records
            .iter()
            .filter(|record| record.fate != Fate::Answered);
        let errors = failed.count() as f64;
        let attempts = self.attempts.iter().sum::<u64>() as f64;
        let mean = attempts / self.attempts.len() as f64;
        let most = self.attempts.iter().max().copied().unwrap_or(0) as f64;
        let ends = self
            .records
            .iter()
            .map(|record| record.arrival + record.latency);
        let mut figures = vec![
            (Metric::Success, 1.0 - errors / number),
            (Metric::Errors, errors),
            (Metric::LoadRatio, most / mean),
            (Metric::Attempts, attempts / number),
            (Metric::Together, self.together as f64),
            (Metric::IdleWhileQueuedMs, 1000.0 * self.idle_while_queued),
            (Metric::SpanSeconds, ends.fold(0.0, f64::max)),
        ];
        let faulty = self.faulty.iter().filter(|faulty| **faulty).count() as f64;
        if faulty > 0.0 {
            let theirs = self.attempts.iter().zip(&self.faulty);
            let theirs: u64 = theirs
                .filter(|(_, faulty)| **faulty)
                .map(|(count, _)| count)
                .sum();
            figures.push((Metric::FaultyShare, theirs as f64 / (mean * faulty)));
        }
        figures.extend(self.recovery_ms().map(|ms| (Metric::RecoveryMs, ms)));
        figures.extend(
            self.return_seconds()
                .map(|time| (Metric::ReturnSeconds, time)),
        );
        figures
    }

    fn recovery_ms(&self) -> Option<f64> {
        let end = self.faults_end?;
        let late = self
            .records
            .iter()
            .filter(|record| record.fate != Fate::Answered && record.arrival >= end)
            .map(|record| record.arrival + record.latency - end);
        Some(1000.0 * late.fold(0.0, f64::max))
    }

    /// Until the first part of a second from which on two parts in a row have [`RETURN_SHARE`].
    fn return_seconds(&self) -> Option<f64> {
        self.faults_end?;
        let returning = self
            .returning
            .iter()
            .filter(|returning| **returning)
            .count() as f64;
        let fair = RETURN_SHARE * returning / self.returning.len() as f64;
        let back = |pair: &[(u64, u64)]| {
            let all = (pair[0].0 + pair[1].0) as f64;
            all > 0.0 && (pair[0].1 + pair[1].1) as f64 >= fair * all
        };
        let part = self.after.windows(2).position(back)?;
        Some(part as f64 / RETURN_PARTS_PER_SECOND)
    }

    /// Latencies by the time of arrival, each part sorted.
    fn by_part(&self, count: usize) -> Vec<Vec<f64>> {
        let mut parts = vec![Vec::new(); count];
        for record in self.heard() {
            let part = (record.arrival / self.seconds * count as f64) as usize;
            parts[part.min(count - 1)].push(record.latency);
        }
        parts
    }
}

impl Score {
    /// A figure, if the run has it.
    #[must_use]
    pub fn figure(&self, metric: Metric) -> Option<f64> {
        let found = self.figures.iter().find(|(known, _)| *known == metric);
        found.map(|(_, figure)| *figure)
    }

    /// Adds the regret against the run of an omniscient balancer.
    pub fn compare_with_oracle(&mut self, oracle: &Self) {
        let ours = self.figure(Metric::P999Ms);
        if let (Some(ours), Some(best)) = (ours, oracle.figure(Metric::P999Ms)) {
            self.figures.push((Metric::Regret, ours / best));
        }
    }

    /// Adds the worst ratio of the 99.9th percentiles in any step, against the run of Prequal.
    pub fn compare_with_prequal(&mut self, prequal: &Self) {
        let ratios = self.steps.iter().zip(&prequal.steps);
        let worst = ratios
            .map(|(ours, theirs)| ours / theirs)
            .fold(0.0, f64::max);
        self.figures.push((Metric::VsPrequal, worst));
    }

    /// Puts what is said in units of a healthy run into these units.
    pub fn compare_with_healthy(&mut self, healthy: &Self) {
        for (metric, figure) in &mut self.figures {
            let of_healthy = match metric {
                Metric::P99VsHealthy | Metric::P999VsHealthy => healthy.figure(*metric),
                _ => continue,
            };
            *figure /= of_healthy.unwrap_or(f64::NAN);
        }
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The nearest rank.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::example;

    fn scenario(faults: &str) -> Scenario {
        example(
            "{ count = 2, slots = 1, service = { fixed_ms = 1 } }",
            faults,
        )
    }

    fn record(arrival: f64, latency: f64, fate: Fate) -> Record {
        Record {
            arrival,
            latency,
            fate,
            class: 0,
        }
    }

    #[test]
    fn figures_are_those_of_the_records() {
        let mut recorder = Recorder::new(&scenario(""));
        for number in 1..=1000 {
            recorder.record(record(1.0, f64::from(number) / 1000.0, Fate::Answered));
            recorder.attempt(1.0, usize::from(number % 4 == 0), 3);
        }
        recorder.record(record(2.0, 0.0, Fate::Failed));
        let score = recorder.score();
        let figure = |metric| score.figure(metric).unwrap();
        assert_eq!(figure(Metric::Errors), 1.0);
        assert!((figure(Metric::Success) - 1000.0 / 1001.0).abs() < 1e-12);
        assert_eq!(figure(Metric::P50Ms), 500.0);
        assert_eq!(figure(Metric::P99Ms), 990.0);
        assert_eq!(figure(Metric::P999Ms), 999.0);
        assert_eq!(figure(Metric::LoadRatio), 1.5);
        assert_eq!(figure(Metric::SpanSeconds), 2.0);
        assert_eq!(figure(Metric::Together), 3.0);
        assert_eq!(score.figure(Metric::RecoveryMs), None);
    }

    #[test]
    fn a_return_is_seen_when_the_share_is_there() {
        let fault = r#"{ first = 1, count = 1, from = 1, to = 2, what = "stall" }"#;
        let mut recorder = Recorder::new(&scenario(fault));
        for hundredth in 200..600 {
            let second = f64::from(hundredth) / 100.0;
            let back = second >= 3.0 && hundredth % 2 == 0;
            recorder.attempt(second, usize::from(back), 1);
        }
        recorder.record(record(2.5, 0.25, Fate::TimedOut));
        recorder.record(record(1.5, 1.0, Fate::TimedOut));
        let score = recorder.score();
        assert_eq!(score.figure(Metric::ReturnSeconds), Some(1.0));
        assert_eq!(score.figure(Metric::RecoveryMs), Some(750.0));
        assert_eq!(score.figure(Metric::FaultyShare), Some(2.0 * 150.0 / 400.0));
    }

    #[test]
    fn a_run_is_compared_with_others() {
        let run = |latency| {
            let mut recorder = Recorder::new(&scenario(""));
            recorder.record(record(1.0, latency, Fate::Answered));
            recorder.score()
        };
        let mut score = run(0.03);
        score.compare_with_oracle(&run(0.02));
        score.compare_with_healthy(&run(0.01));
        assert!((score.figure(Metric::Regret).unwrap() - 1.5).abs() < 1e-9);
        assert!((score.figure(Metric::P999VsHealthy).unwrap() - 3.0).abs() < 1e-9);
    }
}
