//! What an endpoint occupies. Alone in its process: it measures that.
#![cfg(target_os = "linux")]

use plimsoll_balance::{Balancer, BalancerConfig, EndpointSpec, Entry, LoadReport, Outcome};
use plimsoll_meter::Tick;

/// The most that an endpoint may occupy, everything included.
const ENDPOINT_BYTES_MAX: usize = 8 * 1024;

const ENDPOINTS: usize = 8_192;

/// Resident memory of this process.
#[allow(
    clippy::disallowed_methods,
    reason = "a test may ask the system what it has cost"
)]
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("this is Linux");
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("the second number is the resident pages") * 4096
}

#[test]
fn an_endpoint_occupies_a_bounded_amount_of_memory() {
    let before = resident_bytes();
    // Of all policies wrr keeps the most.
    let config = BalancerConfig {
        policy: "wrr".parse().unwrap(),
        ..BalancerConfig::default()
    };
    let balancer = Balancer::new(config).unwrap();
    let address = |index| EndpointSpec::new(format!("10.20.{}.{}:8080", index / 256, index % 256));
    let specs: Vec<_> = (0..ENDPOINTS).map(address).collect();
    balancer.set_endpoints(Tick::ZERO, &specs).unwrap();
    drop(specs);
    for round in 0..4 * ENDPOINTS as u64 {
        let now = Tick::from_nanos(round * 4_000_000);
        let Ok(Entry::Running(mut pick)) = balancer.enter(now, 0) else {
            panic!("without slot limits nobody waits");
        };
        let report = LoadReport {
            cpu_utilization: Some(0.5),
            ..LoadReport::default()
        };
        pick.report(now, &report);
        pick.finish(now, Outcome::Success);
        if round % 1_000 == 0 {
            balancer.advance(now);
        }
    }
    let each = (resident_bytes() - before) / ENDPOINTS;
    assert!(each <= ENDPOINT_BYTES_MAX, "{each} bytes each");
    assert!(each >= 1024, "{each} bytes each: nothing was measured");
}
