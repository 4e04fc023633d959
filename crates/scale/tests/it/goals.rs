//! What the default policy is to reach, in virtual time, beside Knative's.

use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_scale::simulation::{Outcome, Request, Setting, simulate};
use plimsoll_scale::{Decision, Policy, ScaleConfig};

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn setting(policy: Policy, slots: u32, start_up: u64, until: u64) -> Setting {
    Setting {
        config: ScaleConfig {
            policy,
            concurrency: NonZeroU32::new(slots),
            ..ScaleConfig::default()
        },
        start_up: millis(start_up),
        until: millis(until),
        step: Duration::from_secs(1),
    }
}

fn request(arrival: u64, duration: u64) -> Request {
    Request {
        arrival: millis(arrival),
        duration: millis(duration),
    }
}

/// The decisions, for whoever must find out why a test has failed.
fn decisions(outcome: &Outcome) -> String {
    let line = |decision: &Decision| {
        let at = decision.at.as_nanos() as f64 / 1e9;
        format!(
            "\n{at:.3} s: {decision}, {:?}",
            decision.inputs.service_time
        )
    };
    outcome.decisions.iter().map(line).collect()
}

fn play(setting: &Setting, requests: Vec<Request>) -> Outcome {
    simulate(setting, requests).expect("the settings are valid")
}

#[test]
fn one_request_to_a_single_slot_starts_one_replica() {
    let one = vec![request(0, 20_000)];
    let ours = play(&setting(Policy::Plimsoll, 1, 3_000, 200_000), one.clone());
    assert_eq!((ours.starts, ours.most), (1, 1));
    // With a target of 0.7, one request is too much for one replica there.
    let theirs = play(&setting(Policy::Kpa, 1, 3_000, 200_000), one);
    assert_eq!((theirs.starts, theirs.most), (2, 2));
}

#[test]
fn a_slow_start_is_not_mistaken_for_load() {
    // Eight requests a second that take 0.9 s keep 7.2 replicas busy. It takes 30 s to start one.
    let steady = |until: u64| (0..until / 125).map(|n| request(n * 125, 900)).collect();
    let ours = play(
        &setting(Policy::Plimsoll, 1, 30_000, 600_000),
        steady(600_000),
    );
    assert!(ours.most <= 9 && ours.starts <= 9, "{}", decisions(&ours));
    let theirs = play(&setting(Policy::Kpa, 1, 30_000, 600_000), steady(600_000));
    assert!(theirs.most > 50, "{}", theirs.most);

    // Eight clients, each of which waits for its answer: eight at once.
    let waves = (0..8).map(|_| request(0, 400_000)).collect();
    let ours = play(&setting(Policy::Plimsoll, 1, 30_000, 400_000), waves);
    assert_eq!((ours.starts, ours.most), (8, 8));
}

#[test]
fn a_burst_that_comes_again_finds_its_replicas() {
    let bursts = |gap: u64, count: u64| -> Vec<Request> {
        let times = (0..count).map(|burst| burst * gap);
        times
            .flat_map(|at| (0..10).map(move |_| request(at, 1_000)))
            .collect()
    };
    let ours = play(
        &setting(Policy::Plimsoll, 1, 3_000, 600_000),
        bursts(30_000, 20),
    );
    // The first ten wait for their start, and nobody after them waits at all.
    assert_eq!((ours.starts, ours.cold), (10, 10));
    assert_eq!(ours.waits.quantile(0.9), Some(Duration::ZERO));

    // Every two minutes is further apart than replicas are kept without knowing better.
    let ours = play(
        &setting(Policy::Plimsoll, 1, 3_000, 3_600_000),
        bursts(120_000, 30),
    );
    assert!(
        ours.cold <= 30,
        "{} cold starts: nothing was learned",
        ours.cold
    );
}

#[test]
fn an_idle_service_ends_at_zero_and_stays_there() {
    let ours = play(
        &setting(Policy::Plimsoll, 1, 1_000, 600_000),
        vec![request(0, 1_000)],
    );
    let steps = ours.timeline.steps();
    assert_eq!(steps.last().map(|step| step.ready), Some(0.0));
    let kept: f64 = steps.iter().map(|step| step.ready).sum();
    assert!((60.0..=62.0).contains(&kept), "{kept}");
}
