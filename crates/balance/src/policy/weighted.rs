//! What a policy that selects by weight keeps for one set of endpoints.

#[cfg(all(test, not(loom)))]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use plimsoll_meter::Tick;

use super::kratos::{self, Picker};
use super::wrr::{WrrConfig, WrrMode, score};
use super::{OrcaConfig, Policy, orca};
use crate::choose::Field;
use crate::endpoint::Endpoint;
use crate::schedule::ScheduleCell;
use crate::sync::Mutex;

/// The weights of one set of endpoints, and whose turn it is.
///
/// What the weights are made of belongs to the endpoints and outlives this.
pub(crate) struct Weights {
    selection: Selection,
    renewal: Mutex<Renewal>,
}

/// Whose turn it is.
enum Selection {
    /// Without a lock, see `schedule.rs`.
    Schedule(ScheduleCell),
    /// As in Kratos.
    Kratos(Mutex<Picker>),
}

/// The last renewal of weights.
#[derive(Clone)]
struct Renewal {
    /// When scores were last looked at. Kept when the set changes: sets that
    /// change every 100 ms would never be scored otherwise.
    at: Tick,
    /// The weights that picks go by.
    weights: Vec<f64>,
}

impl Weights {
    /// Weights of `endpoints` from what is known of them, or `None` if `policy`
    /// does not select by weight. `previous` are those of the set before.
    pub(crate) fn new(
        now: Tick,
        policy: &Policy,
        endpoints: &[Arc<Endpoint>],
        seed: u64,
        previous: Option<&Self>,
    ) -> Option<Self> {
        let selection = match policy {
            Policy::Wrr(config) => {
                for endpoint in endpoints {
                    endpoint.windows().set_mode(config.mode);
                }
                match config.mode {
                    WrrMode::Corrected => Selection::of(&by_ratio(endpoints), seed),
                    WrrMode::Kratos => Selection::Kratos(Mutex::new(Picker::new(
                        endpoints
                            .iter()
                            .map(|endpoint| kratos::static_weight(endpoint.share())),
                    ))),
                }
            }
            Policy::Orca(config) => {
                for endpoint in endpoints {
                    endpoint
                        .control
                        .lock()
                        .reported
                        .set_expiration(config.expiration);
                }
                Selection::of(&by_report(now, config, endpoints), seed)
            }
            Policy::RoundRobin | Policy::Random => Selection::of(&by_share(endpoints), seed),
            Policy::PeakEwma(_) | Policy::P2c | Policy::LeastLoaded => return None,
        };
        let at = previous.map_or(now, |previous| previous.renewal.lock().at);
        // Empty, so that the first renewal compares with nothing and sets what is right.
        let weights = Vec::new();
        let renewal = Mutex::new(Renewal { at, weights });
        Some(Self { selection, renewal })
    }

    /// Whose turn it is among those that `field` admits.
    #[inline]
    pub(crate) fn pick<'a>(&self, field: Field<'a>) -> Option<&'a Arc<Endpoint>> {
        let admits = |index: usize| field.admits(&field.endpoints[index]);
        let index = match &self.selection {
            Selection::Schedule(schedule) => schedule.pick(admits),
            Selection::Kratos(picker) => picker.lock().pick(admits),
        };
        index.map(|index| &field.endpoints[index])
    }

    /// One by chance among those that `field` admits, in proportion to the weights.
    #[inline]
    pub(crate) fn pick_by_chance<'a>(
        &self,
        field: Field<'a>,
        random: u64,
    ) -> Option<&'a Arc<Endpoint>> {
        let admits = |index: usize| field.admits(&field.endpoints[index]);
        let Selection::Schedule(schedule) = &self.selection else {
            return self.pick(field);
        };
        let index = schedule.pick_by_chance(random, admits);
        index.map(|index| &field.endpoints[index])
    }

    /// Looks at the endpoints again, if it is time. For housekeeping.
    ///
    /// Static weights and slow start come into force at each call, scores as
    /// often as the policy says.
    pub(crate) fn renew(&self, now: Tick, policy: &Policy, endpoints: &[Arc<Endpoint>]) {
        match (&self.selection, policy) {
            (Selection::Kratos(picker), _) => renew_kratos(now, &mut picker.lock(), endpoints),
            (Selection::Schedule(schedule), Policy::Wrr(config)) => {
                let mut renewal = self.renewal.lock();
                if let Some(elapsed) = renewal.due(now, config.update_period) {
                    renew_ratios(now, elapsed, config, endpoints);
                }
                renewal.apply(schedule, by_ratio(endpoints));
            }
            (Selection::Schedule(schedule), Policy::Orca(config)) => {
                let mut renewal = self.renewal.lock();
                if renewal.due(now, config.period()).is_some() {
                    renewal.apply(schedule, by_report(now, config, endpoints));
                }
            }
            (Selection::Schedule(schedule), _) => {
                self.renewal.lock().apply(schedule, by_share(endpoints));
            }
        }
    }

    /// The part of all picks that each endpoint gets, if all may be picked.
    pub(crate) fn shares(&self) -> Vec<f64> {
        match &self.selection {
            Selection::Schedule(schedule) => schedule.shares(),
            Selection::Kratos(picker) => picker.lock().shares(),
        }
    }
}

impl Selection {
    fn of(weights: &[f64], seed: u64) -> Self {
        Self::Schedule(ScheduleCell::new(weights, seed))
    }
}

impl Renewal {
    /// How long the last one is ago, if that is at least `period`. The next is
    /// due a period later: housekeeping that comes late does not shift it.
    fn due(&mut self, now: Tick, period: Duration) -> Option<Duration> {
        let elapsed = now.saturating_duration_since(self.at);
        if elapsed < period {
            return None;
        }
        self.at = now;
        Some(elapsed)
    }

    fn apply(&mut self, schedule: &ScheduleCell, weights: Vec<f64>) {
        if self.weights != weights {
            schedule.set_weights(&weights);
            self.weights = weights;
        }
    }
}

/// Scores all endpoints, and moves their weights toward the scores.
fn renew_ratios(now: Tick, elapsed: Duration, config: &WrrConfig, endpoints: &[Arc<Endpoint>]) {
    let evidence = |endpoint: &Arc<Endpoint>| {
        let (in_flight, stall) = (endpoint.in_flight(), endpoint.stall_age(now));
        endpoint.windows().take_evidence(now, in_flight, stall)
    };
    let evidence: Vec<_> = endpoints.iter().map(evidence).collect();
    if let Some(usual) = score::usual_latency(&evidence) {
        for endpoint in endpoints {
            endpoint.windows().set_usual(usual);
        }
    }
    let targets = score::targets(&evidence, config.failure_penalty);
    for (endpoint, target) in endpoints.iter().zip(targets) {
        endpoint.windows().step(target, elapsed);
    }
}

fn renew_kratos(now: Tick, picker: &mut Picker, endpoints: &[Arc<Endpoint>]) {
    for (index, endpoint) in endpoints.iter().enumerate() {
        picker.set_weight(index, kratos::static_weight(endpoint.share()));
    }
    picker.update_if_due(now, |index| endpoints[index].windows().observed(now));
}

/// Weights as the static weights and slow start have them.
fn by_share(endpoints: &[Arc<Endpoint>]) -> Vec<f64> {
    endpoints
        .iter()
        .map(|endpoint| f64::from(endpoint.share()))
        .collect()
}

/// The same, times what was learned.
fn by_ratio(endpoints: &[Arc<Endpoint>]) -> Vec<f64> {
    let weight =
        |endpoint: &Arc<Endpoint>| endpoint.windows().ratio() * f64::from(endpoint.share());
    endpoints.iter().map(weight).collect()
}

/// The same, times what endpoints have reported.
fn by_report(now: Tick, config: &OrcaConfig, endpoints: &[Arc<Endpoint>]) -> Vec<f64> {
    let known: Vec<_> = endpoints
        .iter()
        .map(|endpoint| endpoint.control.lock().reported.weight(now, config))
        .collect();
    let shares = by_share(endpoints);
    orca::weights(&known)
        .into_iter()
        .zip(shares)
        .map(|(weight, share)| weight * share)
        .collect()
}
