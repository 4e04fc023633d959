//! A loop for an instruction counter. It prints nothing of its own accord.
//!
//! ```text
//! cargo build --release -p plimsoll-balance --example count_instructions
//! valgrind --tool=callgrind target/release/examples/count_instructions wrr 10 100000
//! ```
//!
//! The arguments are a policy, a number of endpoints, and how many requests to
//! carry, each a pick and a finish. The difference between two counts of
//! requests, divided by the difference of the counts, is the cost of one.

use std::env;
use std::error::Error;
use std::hint::black_box;

use plimsoll_balance::{Balancer, BalancerConfig, EndpointSpec, Outcome};
use plimsoll_meter::Tick;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [policy, endpoints, requests] = &arguments[..] else {
        return Err("usage: count_instructions POLICY ENDPOINTS REQUESTS".into());
    };
    let config = BalancerConfig {
        policy: policy.parse()?,
        ..BalancerConfig::default()
    };
    let balancer = Balancer::new(config)?;
    let spec = |number: u32| EndpointSpec {
        weight: 100 + number % 100,
        ..EndpointSpec::new(number.to_string())
    };
    let specs: Vec<EndpointSpec> = (0..endpoints.parse()?).map(spec).collect();
    balancer.set_endpoints(Tick::ZERO, &specs)?;
    for number in 0..requests.parse()? {
        let began = Tick::from_nanos(number * 1_000);
        let pick = black_box(balancer.try_pick(began, &[])?);
        pick.finish(Tick::from_nanos(number * 1_000 + 500), Outcome::Success);
    }
    Ok(())
}
