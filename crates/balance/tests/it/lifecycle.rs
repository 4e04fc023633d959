//! Sets that change, and what is remembered.

use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_balance::{
    Balancer, BalancerConfig, EndpointSpec, EndpointState, Outcome, POLICY_NAMES, PickError,
    SetChange, SetError,
};

use super::{address, address_of, at, balancer, run, specs, state, view};

#[test]
fn what_was_learned_survives_changes_of_the_list_and_flaps() {
    let balancer = balancer(BalancerConfig::default(), 2);
    let id = view(&balancer, at(0), "a").id;
    for now in 0..10 {
        run(&balancer, at(now)).finish(at(now + 5), Outcome::Success);
    }
    let before = view(&balancer, at(20), "a");
    assert!(before.successes > 0 && before.latency.p50.is_some());

    let change = balancer.set_endpoints(at(20), &specs(3)).unwrap();
    let expected = SetChange {
        added: 1,
        kept: 2,
        ..SetChange::default()
    };
    assert_eq!(change, expected);
    let change = balancer.set_endpoints(at(20), &specs(3)[1..]).unwrap();
    assert_eq!((change.removed, change.kept), (1, 2));
    let change = balancer.set_endpoints(at(20), &specs(2)).unwrap();
    assert_eq!((change.returned, change.removed, change.kept), (1, 1, 1));

    let after = view(&balancer, at(20), "a");
    assert_eq!(after.id, id);
    assert_eq!(after, before);
}

#[test]
fn an_address_that_was_away_for_long_is_new() {
    let config = BalancerConfig {
        retention: Duration::from_secs(60),
        ..BalancerConfig::default()
    };
    let balancer = balancer(config, 2);
    let id = view(&balancer, at(0), "a").id;
    let leave_for = |millis: u64, begin: u64| {
        balancer.set_endpoints(at(begin), &specs(2)[1..]).unwrap();
        balancer.advance(at(begin + millis));
        balancer
            .set_endpoints(at(begin + millis), &specs(2))
            .unwrap();
        view(&balancer, at(begin + millis), "a").id
    };
    assert_eq!(leave_for(59_999, 0), id);
    assert_ne!(leave_for(60_000, 100_000), id);
}

#[test]
fn requests_at_an_endpoint_that_leaves_go_on() {
    let balancer = balancer(BalancerConfig::default(), 1);
    let pick = run(&balancer, at(0));
    balancer.set_endpoints(at(1), &[]).unwrap();
    assert_eq!(
        balancer.enter(at(1), 0).unwrap_err(),
        PickError::NoEndpoints
    );
    pick.finish(at(2), Outcome::Success);
    balancer.set_endpoints(at(3), &specs(1)).unwrap();
    assert_eq!(view(&balancer, at(3), "a").successes, 1);
}

#[test]
fn a_bad_set_is_refused_and_the_old_one_stays() {
    let balancer = balancer(BalancerConfig::default(), 1);
    let spec = EndpointSpec::new;
    let twice = [spec("x"), spec("y"), spec("x")];
    let weightless = [EndpointSpec {
        weight: 0,
        ..spec("x")
    }];
    let heavy = [EndpointSpec {
        weight: 65_536,
        ..spec("x")
    }];
    let error = balancer.set_endpoints(at(1), &twice).unwrap_err();
    assert_eq!(error.to_string(), "endpoint `x` is given twice");
    for bad in [&weightless, &heavy] {
        let error = balancer.set_endpoints(at(1), bad).unwrap_err();
        assert!(matches!(error, SetError::Weight { .. }), "{error}");
        assert!(error.to_string().contains("1 to 65535"), "{error}");
    }
    assert_eq!(&*address_of(&run(&balancer, at(2))), "a");
}

#[test]
fn draining_and_health_are_obeyed_by_every_policy() {
    for name in POLICY_NAMES {
        let config = BalancerConfig {
            policy: name.parse().unwrap(),
            ..BalancerConfig::default()
        };
        let balancer = balancer(config, 3);
        assert!(balancer.set_draining(at(0), "a", true));
        assert!(balancer.set_health(at(0), "b", false));
        for now in 0..50 {
            assert_eq!(&*address_of(&run(&balancer, at(now))), "c", "{name}");
        }
        // The least bad: one that is said to be down, never one that drains.
        assert!(balancer.set_draining(at(50), "c", true));
        assert_eq!(&*address_of(&run(&balancer, at(50))), "b", "{name}");
        assert!(balancer.set_draining(at(51), "b", true));
        let refused = balancer.enter(at(51), 0).unwrap_err();
        assert_eq!(refused, PickError::AllDraining, "{name}");
        assert!(balancer.set_draining(at(52), "a", false));
        assert_eq!(&*address_of(&run(&balancer, at(52))), "a", "{name}");
    }
}

#[test]
fn unknown_addresses_are_told() {
    let balancer = balancer(BalancerConfig::default(), 1);
    assert!(!balancer.set_draining(at(0), "z", true));
    assert!(!balancer.set_health(at(0), "z", true));
    let error = balancer.set_weight(at(0), "z", 3).unwrap_err();
    assert_eq!(error.to_string(), "there is no endpoint `z`");
    let error = balancer.set_weight(at(0), "a", 0).unwrap_err();
    assert!(matches!(error, SetError::Weight { .. }));
}

/// Requests that overlap, so that policies by load have something to count.
#[test]
fn static_weights_are_honoured_by_every_policy() {
    for name in POLICY_NAMES {
        let config = BalancerConfig {
            policy: name.parse().unwrap(),
            ..BalancerConfig::default()
        };
        let balancer = balancer(config, 2);
        balancer.set_weight(at(0), "a", 3).unwrap();
        let mut counts = [0_u32; 2];
        let mut running = std::collections::VecDeque::new();
        for now in 0..6_000 {
            if now % 100 == 0 {
                balancer.advance(at(now));
            }
            let pick = run(&balancer, at(now));
            counts[usize::from(&*address_of(&pick) == "b")] += 1;
            running.push_back(pick);
            if running.len() > 40 {
                let oldest = running.pop_front().unwrap();
                oldest.finish(at(now), Outcome::Success);
            }
        }
        let ratio = f64::from(counts[0]) / f64::from(counts[1]);
        // The better of two random ones is not proportional; both are always drawn here.
        assert!((2.0..4.0).contains(&ratio), "{name}: {ratio}");
    }
}

#[test]
fn a_newcomer_starts_slowly_and_the_first_set_does_not() {
    let balancer = balancer(BalancerConfig::default(), 2);
    assert_eq!(state(&balancer, at(0), "a"), EndpointState::Healthy);
    balancer.set_endpoints(at(0), &specs(3)).unwrap();
    let newcomer = view(&balancer, at(0), "c");
    assert_eq!(newcomer.state, EndpointState::SlowStart);
    assert!((newcomer.effective_weight - 0.1).abs() < 1e-6);
    balancer.advance(at(5_000));
    let half = view(&balancer, at(5_000), "c");
    assert!((half.effective_weight - 0.5).abs() < 1e-6);
    balancer.advance(at(10_000));
    assert_eq!(state(&balancer, at(10_000), "c"), EndpointState::Healthy);
}

#[test]
fn settings_change_and_statistics_stay() {
    let balancer = balancer(BalancerConfig::default(), 2);
    for now in 0..10 {
        run(&balancer, at(now)).finish(at(now + 5), Outcome::Success);
    }
    let before = view(&balancer, at(20), "a").successes;
    for name in POLICY_NAMES {
        let config = BalancerConfig {
            policy: name.parse().unwrap(),
            endpoint_concurrency: NonZeroU32::new(4),
            ..BalancerConfig::default()
        };
        balancer.reconfigure(at(20), config).unwrap();
        let after = view(&balancer, at(20), "a");
        assert_eq!((after.successes, after.slots), (before, NonZeroU32::new(4)));
        assert_eq!(balancer.view(at(20)).policy, name);
    }
    let bad = BalancerConfig {
        slow_start: Duration::MAX,
        ..BalancerConfig::default()
    };
    let error = balancer.reconfigure(at(21), bad).unwrap_err();
    assert_eq!(error.setting, "slow_start");
}

#[test]
fn a_retry_goes_elsewhere_or_nowhere() {
    let balancer = balancer(BalancerConfig::default(), 2);
    let first = run(&balancer, at(0));
    let avoid = [first.endpoint().id()];
    let second = balancer.try_pick(at(0), &avoid).unwrap();
    assert_ne!(second.endpoint().id(), first.endpoint().id());
    let both = [first.endpoint().id(), second.endpoint().id()];
    assert_eq!(
        balancer.try_pick(at(0), &both).unwrap_err(),
        PickError::NoOther
    );
}

#[test]
fn the_same_seed_makes_the_same_choices() {
    let choices = |seed| {
        let config = BalancerConfig {
            policy: "random".parse().unwrap(),
            seed,
            ..BalancerConfig::default()
        };
        let balancer = balancer(config, 8);
        let pick = |now| address_of(&run(&balancer, at(now)));
        (0..200).map(pick).collect::<Vec<_>>()
    };
    assert_eq!(choices(7), choices(7));
    assert_ne!(choices(7), choices(8));
}

#[test]
fn a_balancer_can_be_used_from_any_thread() {
    fn shared<T: Clone + Send + Sync>() {}
    shared::<Balancer>();
}

/// A set that is replaced as a whole is never empty in between.
#[test]
fn there_is_always_an_endpoint_while_the_set_changes() {
    let balancer = balancer(BalancerConfig::default(), 1);
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 0..20_000 {
                let spec = EndpointSpec::new(address(turn % 2));
                balancer.set_endpoints(at(1), &[spec]).unwrap();
            }
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
            run(&balancer, at(1)).finish(at(1), Outcome::Success);
        }
    });
}
