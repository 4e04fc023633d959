//! A failing endpoint never becomes more attractive.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use plimsoll_balance::{
    BalancerConfig, EjectionChange, EjectionConfig, EjectionReason, EndpointSpec, EndpointState,
    FailureKind, Outcome, POLICY_NAMES, Pick, Policy,
};

use super::{address, address_of, at, balancer, run, specs, state, view};

/// Plays `seconds` of a request each 2 ms against `count` endpoints that answer in
/// 20 ms, but for `a`, which answers as `failing` says. Counts picks.
fn play(
    config: BalancerConfig,
    count: usize,
    seconds: u64,
    failing: impl Fn(u64) -> Option<(u64, Outcome)>,
) -> HashMap<String, u64> {
    let balancer = balancer(config, count);
    let mut picks = HashMap::new();
    let mut running: BinaryHeap<Reverse<(u64, u64)>> = BinaryHeap::new();
    let mut ends: HashMap<u64, (Pick, Outcome)> = HashMap::new();
    for milli in 0..seconds * 1_000 {
        while running
            .peek()
            .is_some_and(|Reverse((end, _))| *end <= milli)
        {
            let Reverse((_, number)) = running.pop().expect("it was just seen");
            let (pick, outcome) = ends.remove(&number).expect("each number runs once");
            pick.finish(at(milli), outcome);
        }
        if milli % 100 == 0 {
            balancer.advance(at(milli));
        }
        if milli % 2 == 0 {
            let pick = run(&balancer, at(milli));
            let address = address_of(&pick).to_string();
            let special = (address == "a").then(|| failing(milli)).flatten();
            let (after, outcome) = special.unwrap_or((20, Outcome::Success));
            *picks.entry(address).or_default() += 1;
            running.push(Reverse((milli + after, milli)));
            ends.insert(milli, (pick, outcome));
        }
    }
    picks
}

fn configs() -> impl Iterator<Item = (String, BalancerConfig)> {
    [true, false].into_iter().flat_map(|enabled| {
        POLICY_NAMES.into_iter().map(move |name| {
            let config = BalancerConfig {
                policy: name.parse().expect("it is a policy's name"),
                ejection: EjectionConfig {
                    enabled,
                    ..EjectionConfig::default()
                },
                ..BalancerConfig::default()
            };
            (format!("{name}, ejection {enabled}"), config)
        })
    })
}

/// The two rows in which Kratos sends the failing node 3 and 10 times the share
/// of the others: all answers fail at once, with Unavailable and with Unknown.
/// Only a policy that looks at nothing may send as much as before, and only if
/// ejection is switched off.
#[test]
fn who_fails_fast_gets_less_than_its_fair_share_by_every_policy() {
    for code in [14, 2] {
        for (name, config) in configs() {
            let blind = !config.ejection.enabled
                && matches!(
                    config.policy,
                    Policy::RoundRobin | Policy::Random | Policy::Orca(_)
                );
            let picks = play(config, 3, 20, |_| Some((1, Outcome::from_grpc_code(code))));
            let total: u64 = picks.values().sum();
            let share = picks["a"] as f64 / total as f64;
            let most = if blind { 0.35 } else { 0.25 };
            assert!(share < most, "{name}, gRPC {code}: {share}");
        }
    }
}

#[test]
fn who_fails_from_time_to_time_gets_less_than_its_fair_share() {
    let config = BalancerConfig::default();
    let every_third = |milli: u64| {
        let failed = (milli / 2).is_multiple_of(3);
        failed.then_some((1, Outcome::Failure(FailureKind::Error)))
    };
    let picks = play(config, 3, 20, every_third);
    let share = picks["a"] as f64 / picks.values().sum::<u64>() as f64;
    assert!(share < 0.1, "{share}");
}

#[test]
fn who_hangs_is_left_alone_before_anything_fails() {
    let hangs = |_| Some((100_000, Outcome::Success));
    let picks = play(BalancerConfig::default(), 4, 10, hangs);
    // What is sent before the first answer is late, and a trial every 5 s.
    assert!(picks["a"] <= 6, "{picks:?}");
}

#[test]
fn cancelled_requests_blame_nobody() {
    let gone = |_| Some((5, Outcome::Cancelled));
    let picks = play(BalancerConfig::default(), 3, 10, gone);
    let share = picks["a"] as f64 / picks.values().sum::<u64>() as f64;
    assert!((0.25..0.8).contains(&share), "{share}");
}

#[test]
fn of_two_endpoints_one_is_ejected_after_three_failures_and_tried_with_one_request() {
    let balancer = balancer(BalancerConfig::default(), 2);
    let mut failures = 0;
    let mut now = 0;
    while state(&balancer, at(now), "a") != EndpointState::Ejected {
        now += 1;
        assert!(now < 100, "{failures} failures were not enough");
        let pick = run(&balancer, at(now));
        let failed = &*address_of(&pick) == "a";
        failures += u32::from(failed);
        let outcome = if failed {
            Outcome::from_http_status(500, None)
        } else {
            Outcome::Success
        };
        pick.finish(at(now + 1), outcome);
    }
    assert_eq!(failures, 3);
    for later in now..now + 9_000 {
        let pick = run(&balancer, at(later));
        assert_eq!(&*address_of(&pick), "b");
        pick.finish(at(later), Outcome::Success);
    }

    now += 10_100;
    balancer.advance(at(now));
    assert_eq!(state(&balancer, at(now), "a"), EndpointState::Probing);
    let probe = run(&balancer, at(now));
    assert!(probe.is_probe() && &*address_of(&probe) == "a");
    let others: Vec<Pick> = (0..20).map(|_| run(&balancer, at(now))).collect();
    assert!(others.iter().all(|pick| &*address_of(pick) == "b"));

    probe.finish(at(now + 20), Outcome::Success);
    assert_eq!(state(&balancer, at(now), "a"), EndpointState::SlowStart);
    for step in 0..=100 {
        balancer.advance(at(now + 20 + 100 * step));
    }
    assert_eq!(
        state(&balancer, at(now + 10_020), "a"),
        EndpointState::Healthy
    );
}

#[test]
fn a_probe_that_tells_nothing_is_repeated_and_one_that_fails_costs_twice_the_time() {
    let balancer = balancer(BalancerConfig::default(), 2);
    eject(&balancer, 0);
    let left = |now| view(&balancer, at(now), "a").ejected_until;
    assert_eq!(left(0), Some(Duration::from_secs(10)));
    balancer.advance(at(10_000));
    drop(run(&balancer, at(10_000)));
    let again = run(&balancer, at(10_001));
    assert!(again.is_probe(), "the first was dropped");
    again.finish(at(10_002), Outcome::Failure(FailureKind::Connect));
    assert_eq!(left(10_002), Some(Duration::from_secs(20)));
    assert!(!run(&balancer, at(10_003)).is_probe());
}

#[test]
fn who_is_left_out_and_let_in_again_is_told_once() {
    let config = BalancerConfig {
        policy: Policy::RoundRobin,
        ..BalancerConfig::default()
    };
    let balancer = balancer(config, 2);
    let seconds = Duration::from_secs;
    let told = || {
        let taken = balancer.take_events();
        assert_eq!(taken.forgotten, 0);
        let told = taken.events.into_iter();
        told.map(|event| (event.address.to_string(), event.change))
            .collect::<Vec<_>>()
    };
    eject(&balancer, 0);
    let ejected = |reason, wait| EjectionChange::Ejected { reason, wait };
    let first = ejected(EjectionReason::Failures, seconds(10));
    assert_eq!(told(), [("a".to_owned(), first)]);
    assert_eq!(told(), []);

    balancer.advance(at(10_000));
    run(&balancer, at(10_000)).finish(at(10_000), Outcome::Failure(FailureKind::Connect));
    let second = ejected(EjectionReason::ProbeFailed, seconds(20));
    assert_eq!(told(), [("a".to_owned(), second)]);

    balancer.advance(at(30_000));
    run(&balancer, at(30_000)).finish(at(31_000), Outcome::Success);
    let back = EjectionChange::Readmitted { after: seconds(21) };
    assert_eq!(view(&balancer, at(31_000), "a").ejections, [1, 0, 1]);
    assert_eq!(told(), [("a".to_owned(), back)]);

    // It is left out again, and then the other fails as well.
    eject(&balancer, 32_000);
    for step in 0..200 {
        run(&balancer, at(32_000)).finish(at(32_000), Outcome::Failure(FailureKind::Error));
        balancer.advance(at(32_000 + step));
    }
    let told = told();
    let last = &told.last().expect("it was let in again").1;
    assert!(matches!(last, EjectionChange::Forgiven { .. }), "{told:?}");
}

#[test]
fn an_answer_that_ends_a_trial_is_shown_once() {
    let balancer = balancer(BalancerConfig::default(), 2);
    let mut now = 0;
    let mut answer = |latency: &dyn Fn(&Pick) -> u64| {
        let pick = run(&balancer, at(now));
        let latency = latency(&pick);
        now += 20;
        if now % 100 == 0 {
            balancer.advance(at(now));
        }
        let probe = pick.is_probe();
        pick.finish(at(now + latency), Outcome::Success);
        probe
    };
    // `a` is slow until nothing but a trial goes there.
    let slow = |pick: &Pick| if &*address_of(pick) == "a" { 2_000 } else { 2 };
    assert!(!(0..50).any(|_| answer(&slow)), "no trial yet");
    assert!((0..1_000).any(|_| answer(&|_| 2)), "there was no trial");
    let shown = view(&balancer, at(now + 2), "a");
    assert_eq!(shown.latency.sampled, shown.successes);
}

/// Has `a` ejected at `now`.
fn eject(balancer: &plimsoll_balance::Balancer, now: u64) {
    for _ in 0..100 {
        let pick = run(balancer, at(now));
        let failed = &*address_of(&pick) == "a";
        let outcome = if failed {
            Outcome::Failure(FailureKind::Error)
        } else {
            Outcome::Success
        };
        pick.finish(at(now), outcome);
    }
    assert_eq!(state(balancer, at(now), "a"), EndpointState::Ejected);
}

#[test]
fn retry_after_is_honoured_within_its_bound() {
    let balancer = balancer(BalancerConfig::default(), 3);
    let first = run(&balancer, at(0));
    let shy = address_of(&first);
    let wait = Some(Duration::from_secs(3_600));
    first.finish(at(1), Outcome::from_http_status(503, wait));
    assert_eq!(state(&balancer, at(1), &shy), EndpointState::Ejected);
    let left = view(&balancer, at(1), &shy).ejected_until;
    assert_eq!(left, Some(plimsoll_balance::RETRY_AFTER_MAX));
}

#[test]
fn what_one_client_is_told_takes_the_endpoint_from_nobody_else() {
    let balancer = balancer(BalancerConfig::default(), 3);
    let first = run(&balancer, at(0));
    let asked = address_of(&first);
    let wait = Some(Duration::from_secs(3_600));
    first.finish(at(1), Outcome::from_http_status(429, wait));
    assert_eq!(state(&balancer, at(1), &asked), EndpointState::Healthy);
    // It is counted all the same.
    let seen = view(&balancer, at(1), &asked);
    assert_eq!(seen.failures.total(), 1);
    assert!(seen.failure_evidence > 0.0 && seen.success_rate < 1.0);
}

#[test]
fn when_all_fail_all_are_used_and_nobody_waits_for_the_end() {
    for count in [1, 2, 5] {
        let balancer = balancer(BalancerConfig::default(), count);
        let mut used = HashMap::<String, u32>::new();
        for now in 0..2_000 {
            if now % 100 == 0 {
                balancer.advance(at(now));
            }
            let pick = run(&balancer, at(now));
            *used.entry(address_of(&pick).to_string()).or_default() += 1;
            pick.finish(at(now), Outcome::Failure(FailureKind::Error));
        }
        for index in 0..count {
            let used = used.get(&address(index)).copied().unwrap_or(0);
            assert!(used as usize > 2_000 / count / 4, "{count}: {used}");
        }
        // The fault is gone: the first answer is good.
        run(&balancer, at(2_001)).finish(at(2_002), Outcome::Success);
    }
}

#[test]
fn no_more_than_the_share_is_ejected() {
    let balancer = balancer(BalancerConfig::default(), 10);
    for now in 0..20_000 {
        let pick = run(&balancer, at(now));
        // `a` to `g` fail: seven of ten.
        let failed = *address_of(&pick) < *"h";
        let outcome = if failed {
            Outcome::Failure(FailureKind::Error)
        } else {
            Outcome::Success
        };
        pick.finish(at(now), outcome);
        let view = balancer.view(at(now));
        let out = view
            .endpoints
            .iter()
            .filter(|it| it.state == EndpointState::Ejected);
        assert!(out.count() <= 5);
    }
}

/// Whoever left the set while it was tried is tried when it is back, and asks for nothing in between.
#[test]
fn a_probe_that_ends_without_a_word_after_its_endpoint_has_left_is_not_lost() {
    let balancer = balancer(BalancerConfig::default(), 2);
    eject(&balancer, 0);
    balancer.advance(at(10_000));
    let probe = run(&balancer, at(10_000));
    assert!(probe.is_probe());
    let only = [EndpointSpec::new("b")];
    balancer.set_endpoints(at(10_001), &only).unwrap();
    drop(probe);
    balancer.advance(at(10_100));
    balancer.set_endpoints(at(10_200), &specs(2)).unwrap();
    assert!(
        !run(&balancer, at(10_200)).is_probe(),
        "nothing was due while it was away"
    );
    balancer.advance(at(10_300));
    let probe = run(&balancer, at(10_300));
    assert!(probe.is_probe() && &*address_of(&probe) == "a");
}

/// Requests that hang at an endpoint that is well again do not count, and those that end are not mistaken for them.
#[test]
fn what_began_while_an_endpoint_was_tried_is_forgotten_when_it_ends() {
    let balancer = balancer(BalancerConfig::default(), 3);
    let serve = |now, millis, avoid: &[_]| {
        let pick = balancer.try_pick(at(now), avoid).unwrap();
        let endpoint = pick.endpoint().clone();
        pick.finish(at(now + millis), Outcome::Success);
        endpoint
    };
    let mut all: Vec<_> = (0..300).map(|now| serve(now, 1, &[])).collect();
    all.sort_by_key(|endpoint| endpoint.id());
    all.dedup_by_key(|endpoint| endpoint.id());
    let [a, b, c] = &all[..] else {
        panic!("three endpoints are used: {all:?}");
    };
    let others = [b.id(), c.id()];
    let hanging = balancer.try_pick(at(300), &others).unwrap();
    let mut now = 300;
    let probe = loop {
        now += 100;
        assert!(now < 60_000, "it is tried");
        balancer.advance(at(now));
        let pick = run(&balancer, at(now));
        if pick.is_probe() {
            break pick;
        }
        pick.finish(at(now + 1), Outcome::Success);
    };
    assert_eq!(probe.endpoint().id(), a.id());
    let beside = [0, 1].map(|_| balancer.try_pick(at(now), &others).unwrap());
    probe.finish(at(now + 1), Outcome::Success);
    for pick in beside {
        pick.finish(at(now + 2), Outcome::Success);
    }
    hanging.finish(at(now + 3), Outcome::Success);
    assert_eq!(a.in_flight(), 0);
    let few: Vec<_> = (0..9).map(|_| run(&balancer, at(now + 3))).collect();
    assert_eq!(a.in_flight(), 3, "{few:?}");
}
