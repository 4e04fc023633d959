//! The cost of choosing an endpoint, and of hearing how it went.
//!
//! `cargo bench -p plimsoll-balance` takes about a minute. Figures are per
//! request: one pick and one finish. Two threads each do the stated number of
//! requests; the time is that of the slower one.

#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark has to read the clock; the crate does not"
)]

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use plimsoll_balance::{Balancer, BalancerConfig, EndpointSpec, Outcome, POLICY_NAMES};
use plimsoll_meter::Tick;

/// A balancer of `count` endpoints whose weights are all different.
fn balancer(policy: &str, count: u32) -> Balancer {
    let config = BalancerConfig {
        policy: policy.parse().expect("the name of a policy"),
        ..BalancerConfig::default()
    };
    let balancer = Balancer::new(config).expect("the defaults are in range");
    let spec = |number: u32| EndpointSpec {
        weight: 100 + number % 100,
        ..EndpointSpec::new(number.to_string())
    };
    let specs: Vec<EndpointSpec> = (0..count).map(spec).collect();
    let set = balancer.set_endpoints(Tick::ZERO, &specs);
    assert!(set.is_ok(), "{set:?}");
    balancer
}

/// One request; those of a thread are a microsecond apart.
fn request(balancer: &Balancer, number: u64) {
    let began = Tick::from_nanos(number * 1_000);
    let pick = balancer.try_pick(began, &[]).expect("no slot is limited");
    let ended = Tick::from_nanos(number * 1_000 + 500);
    black_box(pick).finish(ended, Outcome::Success);
}

/// Runs `rounds` requests on each of `threads` threads that start together.
fn on_threads(threads: usize, rounds: u64, balancer: &Balancer) -> Duration {
    let start = Barrier::new(threads);
    let run = || {
        start.wait();
        let began = Instant::now();
        for number in 0..rounds {
            request(balancer, number);
        }
        began.elapsed()
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        let times = threads.into_iter().map(|thread| thread.join());
        times.map(|time| time.expect("requests do not panic")).max()
    })
    .unwrap_or_default()
}

fn picks(criterion: &mut Criterion) {
    for policy in POLICY_NAMES {
        let mut group = criterion.benchmark_group(policy);
        group.warm_up_time(Duration::from_millis(300));
        group.measurement_time(Duration::from_secs(1));
        for (count, threads) in [(10, 1), (10, 2), (1_000, 1), (1_000, 2), (10_000, 1)] {
            let balancer = balancer(policy, count);
            let id = BenchmarkId::new(format!("{threads} threads"), count);
            group.bench_function(id, |bench| {
                bench.iter_custom(|rounds| on_threads(threads, rounds, &balancer));
            });
        }
        group.finish();
    }
}

/// What housekeeping does once a second, for all endpoints.
fn renewal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("advance by a second");
    group.warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(1));
    for policy in ["wrr", "orca", "round-robin"] {
        for count in [10, 1_000, 10_000] {
            let balancer = balancer(policy, count);
            let mut seconds = 0;
            group.bench_function(BenchmarkId::new(policy, count), |bench| {
                bench.iter(|| {
                    seconds += 1;
                    balancer.advance(Tick::from_nanos(seconds * 1_000_000_000));
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, picks, renewal);
criterion_main!(benches);
