//! Which addresses are known, and which of them are in the set.

use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_meter::{Decay, Tick};

use crate::config::{ENDPOINTS_MAX, WEIGHT_MAX};
use crate::core::Core;
use crate::endpoint::{Endpoint, EndpointSpec};
use crate::standing::Control;

/// What a change of the set has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetChange {
    /// Addresses that were not known.
    pub added: usize,
    /// Addresses that had left the set and are back, with what was learned about them.
    pub returned: usize,
    /// Addresses that have left the set.
    pub removed: usize,
    /// Addresses that were in the set and still are.
    pub kept: usize,
}

/// Why a set of endpoints was refused. The old set stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// Two endpoints have the same address.
    #[error("endpoint `{address}` is given twice")]
    Duplicate {
        /// The address.
        address: Arc<str>,
    },
    /// A weight is out of range.
    #[error("endpoint `{address}` has weight {weight}; accepted is 1 to {WEIGHT_MAX}")]
    Weight {
        /// The endpoint's address.
        address: Arc<str>,
        /// The weight.
        weight: u32,
    },
    /// There are too many.
    #[error("there are {count} endpoints; accepted are at most {ENDPOINTS_MAX}")]
    TooMany {
        /// How many were given.
        count: usize,
    },
    /// No endpoint of the set has this address.
    #[error("there is no endpoint `{address}`")]
    Unknown {
        /// The address.
        address: Arc<str>,
    },
}

/// All addresses that are known: those in the set, and those that were in it not long ago.
#[derive(Default)]
pub(crate) struct Registry {
    known: HashMap<Arc<str>, Arc<Endpoint>>,
    /// The set, in the order in which it was given.
    specs: Vec<EndpointSpec>,
}

impl Registry {
    /// The endpoint of that address, if it is in the set.
    pub(crate) fn member(&self, address: &str) -> Option<&Arc<Endpoint>> {
        let endpoint = self.known.get(address)?;
        endpoint.control.lock().member.then_some(endpoint)
    }

    /// The set, in the order in which it was given.
    pub(crate) fn members(&self) -> Vec<Arc<Endpoint>> {
        let members = self
            .specs
            .iter()
            .map(|spec| Arc::clone(&self.known[&spec.address]));
        members.collect()
    }

    /// How the members were described.
    pub(crate) fn specs(&self) -> &[EndpointSpec] {
        &self.specs
    }

    /// Finds what is wrong with a set.
    pub(crate) fn check(specs: &[EndpointSpec]) -> Result<(), SetError> {
        if specs.len() > ENDPOINTS_MAX {
            return Err(SetError::TooMany { count: specs.len() });
        }
        let mut seen = std::collections::HashSet::with_capacity(specs.len());
        for spec in specs {
            check_weight(&spec.address, spec.weight)?;
            if !seen.insert(&spec.address) {
                let address = Arc::clone(&spec.address);
                return Err(SetError::Duplicate { address });
            }
        }
        Ok(())
    }

    /// Makes `specs`, which have been checked, the set. Returns what has changed, and who is to [`leave`] when picks
    /// go by the new set.
    pub(crate) fn replace(
        &mut self,
        now: Tick,
        specs: &[EndpointSpec],
        core: &Arc<Core>,
        decay: Decay,
    ) -> (SetChange, Vec<Arc<Endpoint>>) {
        let mut change = SetChange::default();
        let mut roll = core.roll.lock();
        let mut leaving = self.members();
        // The first endpoints start slowly beside nobody.
        let was_empty = leaving.is_empty();
        for spec in specs {
            let endpoint = match self.known.entry(Arc::clone(&spec.address)) {
                MapEntry::Occupied(known) => known.into_mut(),
                MapEntry::Vacant(place) => {
                    change.added += 1;
                    let endpoint =
                        Endpoint::new(Arc::clone(&spec.address), Arc::clone(core), decay, now);
                    place.insert(Arc::new(endpoint))
                }
            };
            let mut control = endpoint.control.lock();
            change.kept += usize::from(control.member);
            change.returned += usize::from(control.unused_since.is_some());
            let is_new = !control.member && control.unused_since.is_none();
            if !control.member {
                endpoint.set_joined(now);
            }
            control.join(spec.weight);
            if is_new && !was_empty {
                control.ramp_since = Some(now);
            }
            endpoint.set_share(control.share(now, roll.slow_start));
            roll.settle(endpoint, &control);
            drop(control);
            endpoint.estimate(now);
        }
        self.specs = specs.to_vec();
        let staying: std::collections::HashSet<&str> =
            specs.iter().map(|spec| &*spec.address).collect();
        leaving.retain(|old| !staying.contains(&**old.address()));
        core.publish(&roll);
        (change, leaving)
    }

    /// Forgets addresses that left the set longer than `retention` ago and have nothing running.
    pub(crate) fn expire(&mut self, now: Tick, retention: Duration) {
        self.known.retain(|_, endpoint| {
            let unused_since = endpoint.control.lock().unused_since;
            let expired =
                unused_since.is_some_and(|since| now.saturating_duration_since(since) >= retention);
            !expired || endpoint.in_flight() > 0
        });
    }
}

/// These are not in the set any more: they get nothing new.
pub(crate) fn leave(now: Tick, leaving: &[Arc<Endpoint>], core: &Core) {
    let mut roll = core.roll.lock();
    for endpoint in leaving {
        let mut control = endpoint.control.lock();
        control.leave(now);
        withdraw_probe(endpoint, &mut control);
        roll.settle(endpoint, &control);
    }
    core.publish(&roll);
}

/// Nobody is to try an endpoint that gets nothing new.
pub(crate) fn withdraw_probe(endpoint: &Endpoint, control: &mut Control) {
    let withdrawn = endpoint.claim_probe();
    if let Some(ejection) = control.ejection.as_mut().filter(|_| withdrawn) {
        ejection.probing = false;
    }
}

/// Whether `weight` is in range.
pub(crate) fn check_weight(address: &Arc<str>, weight: u32) -> Result<(), SetError> {
    if !(1..=WEIGHT_MAX).contains(&weight) {
        let address = Arc::clone(address);
        return Err(SetError::Weight { address, weight });
    }
    Ok(())
}
