//! The balancer through its public interface, in virtual time.

mod failing;
mod idle;
mod lifecycle;
mod model;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use plimsoll_balance::{
    Balancer, BalancerConfig, EndpointSpec, EndpointState, EndpointView, Entry, Pick,
};
use plimsoll_meter::Tick;

/// The tick `millis` milliseconds after the origin.
fn at(millis: u64) -> Tick {
    Tick::ZERO.saturating_add(Duration::from_millis(millis))
}

/// The addresses `a`, `b`, ….
fn address(index: usize) -> String {
    char::from(b'a' + index as u8).to_string()
}

fn specs(count: usize) -> Vec<EndpointSpec> {
    (0..count)
        .map(|index| EndpointSpec::new(address(index)))
        .collect()
}

fn balancer(config: BalancerConfig, count: usize) -> Balancer {
    let balancer = Balancer::new(config).expect("the settings are in range");
    balancer
        .set_endpoints(at(0), &specs(count))
        .expect("the set is sound");
    balancer
}

fn run(balancer: &Balancer, now: Tick) -> Pick {
    match balancer.enter(now, 0) {
        Ok(Entry::Running(pick)) => pick,
        other => panic!("should run: {other:?}"),
    }
}

fn address_of(pick: &Pick) -> Arc<str> {
    Arc::clone(pick.endpoint().address())
}

fn view(balancer: &Balancer, now: Tick, address: &str) -> EndpointView {
    let view = balancer.view(now);
    let found = view
        .endpoints
        .into_iter()
        .find(|it| &*it.address == address);
    found.expect("the endpoint is in the set")
}

fn state(balancer: &Balancer, now: Tick, address: &str) -> EndpointState {
    view(balancer, now, address).state
}
