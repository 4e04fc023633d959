//! A gateway: a balancer over some of the backends, and the requests that wait in it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;
use plimsoll_balance::{Balancer, BalancerConfig, EndpointSpec, Pick, QueueError, Waiting};
use plimsoll_meter::Tick;

use super::backend::seconds;
use super::player::Player;
use crate::random::SplitMix64;
use crate::scenario::Scenario;

/// One gateway.
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) balancer: Balancer,
    /// The backends it knows, whether they are in the list at present or not.
    pub(super) backends: std::ops::Range<usize>,
    /// Requests that wait in it.
    pub(super) waiting: usize,
}

/// A request's place in the queue of its gateway.
pub(super) struct Place(Pin<Box<Waiting>>);

/// The numbers of the requests that have been woken and not yet been looked at.
#[derive(Debug, Default)]
pub(super) struct Woken {
    numbers: Mutex<Vec<usize>>,
    count: AtomicUsize,
}

struct Alarm {
    number: usize,
    woken: Arc<Woken>,
}

impl Gateway {
    pub(super) fn new(
        scenario: &Scenario,
        player: &Player,
        seed: u64,
        number: usize,
    ) -> anyhow::Result<Self> {
        let all = scenario.backend_count();
        let part = all / scenario.gateways;
        let backends = if scenario.split {
            number * part..(number + 1) * part
        } else {
            0..all
        };
        let balancer = Balancer::new(BalancerConfig {
            endpoint_concurrency: scenario.endpoint_concurrency,
            seed: SplitMix64::stream(seed, number as u64).next_u64(),
            ..player.config()
        })?;
        let gateway = Self {
            balancer,
            backends,
            waiting: 0,
        };
        gateway.list(scenario, Tick::ZERO)?;
        Ok(gateway)
    }

    /// Takes the list of endpoints of this moment.
    pub(super) fn list(&self, scenario: &Scenario, now: Tick) -> anyhow::Result<()> {
        let present = |backend: &usize| !scenario.condition(*backend, seconds(now)).absent;
        let specs: Vec<EndpointSpec> = self
            .backends
            .clone()
            .filter(present)
            .map(|backend| EndpointSpec::new(address(backend)))
            .collect();
        self.balancer.set_endpoints(now, &specs)?;
        Ok(())
    }
}

impl Place {
    pub(super) fn new(waiting: Waiting) -> Self {
        Self(Box::pin(waiting))
    }

    /// What has become of it; the request's number will be among the woken when that changes.
    pub(super) fn poll(
        &mut self,
        number: usize,
        woken: &Arc<Woken>,
    ) -> Poll<Result<Pick, QueueError>> {
        let waker = Waker::from(Arc::new(Alarm {
            number,
            woken: Arc::clone(woken),
        }));
        self.0.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

impl Woken {
    /// The next one, oldest first.
    pub(super) fn take(&self) -> Vec<usize> {
        // Almost always nobody has been woken: do not lock for that.
        if self.count.swap(0, Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        std::mem::take(&mut self.numbers.lock())
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.woken.numbers.lock().push(self.number);
        self.woken.count.fetch_add(1, Ordering::Relaxed);
    }
}

/// The address of a backend: its number is the port, so that a pick leads back to it.
fn address(backend: usize) -> String {
    format!("backend:{backend}")
}

/// The backend at an address.
pub(super) fn backend_at(address: &str) -> usize {
    let number = address
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok());
    number.expect("every address in the simulation is made by `address`")
}
