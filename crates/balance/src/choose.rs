//! Looks over the endpoints that may be used.

use std::sync::Arc;

use crate::endpoint::{Endpoint, EndpointId};
use crate::error::PickError;
use crate::random::{below, mix};
use crate::standing::Standing;

/// Up to so many endpoints, all are looked at.
///
/// Two random choices of four endpoints meet two slow ones in a sixth of all
/// picks, which caps what choice can do; looking at all costs little.
pub const SCAN_ALL_MAX: usize = 16;

/// Of more endpoints than [`SCAN_ALL_MAX`], so many random ones are looked at.
pub const CHOICES: usize = 4;

/// Draws among all before every endpoint is looked at.
const DRAWS_MAX: usize = 4;

/// Pairs drawn by [`Field::better_of_two`].
const DRAWS_OF_TWO_MAX: usize = 3;

/// The endpoints, and which of them this request may have.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) endpoints: &'a [Arc<Endpoint>],
    /// The worst standing that may be used.
    pub(crate) floor: u8,
    /// Whether it must have a free slot. Exact under the lock of the gate.
    pub(crate) slots: bool,
    pub(crate) avoid: &'a [EndpointId],
    /// Whether it must not have failed lately.
    pub(crate) spotless: bool,
}

/// The cheapest of those that were looked at.
struct Cheapest<'a> {
    endpoint: Option<&'a Arc<Endpoint>>,
    cost: f32,
}

impl<'a> Cheapest<'a> {
    #[inline]
    fn look(
        &mut self,
        endpoint: &'a Arc<Endpoint>,
        admitted: bool,
        cost: &impl Fn(&Endpoint) -> f32,
    ) {
        if admitted {
            let cost = cost(endpoint);
            if cost < self.cost {
                self.cost = cost;
                self.endpoint = Some(endpoint);
            }
        }
    }
}

impl Default for Cheapest<'_> {
    fn default() -> Self {
        Self {
            endpoint: None,
            cost: f32::INFINITY,
        }
    }
}

impl<'a> Field<'a> {
    /// The free slots of one endpoint, if it may be used down to `floor`.
    pub(crate) const fn of(endpoint: &'a Arc<Endpoint>, floor: u8) -> Self {
        Self {
            endpoints: std::slice::from_ref(endpoint),
            floor,
            slots: true,
            avoid: &[],
            spotless: false,
        }
    }

    /// Whether this request may have `endpoint`.
    #[inline]
    pub(crate) fn admits(&self, endpoint: &Endpoint) -> bool {
        endpoint.standing() <= self.floor
            && (!self.slots || endpoint.has_slot())
            && (self.avoid.is_empty() || !self.avoid.contains(&endpoint.id()))
            && (!self.spotless || endpoint.learned.evidence() == 0.0)
    }

    /// The cheapest of all, or of [`CHOICES`] random ones if there are many.
    /// Equals are chosen by chance.
    #[inline]
    pub(crate) fn cheapest(
        &self,
        random: u64,
        cost: impl Fn(&Endpoint) -> f32,
    ) -> Option<&'a Arc<Endpoint>> {
        let count = self.endpoints.len();
        if count <= SCAN_ALL_MAX {
            return self.cheapest_from(below(random as u32, count), cost);
        }
        let mut bits = random;
        for _ in 0..DRAWS_MAX {
            let drawn = (0..CHOICES).map(|_| {
                bits = mix(bits);
                &self.endpoints[below(bits as u32, count)]
            });
            let best = self.best(drawn, &cost);
            if best.is_some() {
                return best;
            }
        }
        self.cheapest_from(below(random as u32, count), cost)
    }

    /// The first that may be used, from position `start` on.
    #[inline]
    pub(crate) fn next_from(&self, start: usize) -> Option<&'a Arc<Endpoint>> {
        let (before, after) = self.endpoints.split_at_checked(start)?;
        let mut turn = after.iter().chain(before);
        turn.find(|endpoint| self.admits(endpoint))
    }

    fn cheapest_from(
        &self,
        start: usize,
        cost: impl Fn(&Endpoint) -> f32,
    ) -> Option<&'a Arc<Endpoint>> {
        let (before, after) = self.endpoints.split_at_checked(start)?;
        if self.is_plain() {
            let mut cheapest = Cheapest::default();
            for endpoint in after {
                cheapest.look(endpoint, endpoint.standing() <= self.floor, &cost);
            }
            for endpoint in before {
                cheapest.look(endpoint, endpoint.standing() <= self.floor, &cost);
            }
            return cheapest.endpoint;
        }
        self.best(after.iter().chain(before), &cost)
    }

    #[inline]
    fn best(
        &self,
        candidates: impl Iterator<Item = &'a Arc<Endpoint>>,
        cost: &impl Fn(&Endpoint) -> f32,
    ) -> Option<&'a Arc<Endpoint>> {
        let mut cheapest = Cheapest::default();
        for endpoint in candidates {
            cheapest.look(endpoint, self.admits(endpoint), cost);
        }
        cheapest.endpoint
    }

    /// Whether all endpoints that may be used at all will do, as for most requests.
    #[inline]
    const fn is_plain(&self) -> bool {
        !self.slots && self.avoid.is_empty() && !self.spotless
    }

    /// Makes this request the one by which an endpoint that asks for it is tried.
    pub(crate) fn claim_probe(&self) -> Option<&'a Arc<Endpoint>> {
        let may_be_tried = |endpoint: &Endpoint| {
            endpoint.is_probe_due()
                && endpoint.standing() <= Standing::Ejected as u8
                && (!self.slots || endpoint.has_slot())
        };
        let mut endpoints = self.endpoints.iter();
        endpoints.find(|endpoint| may_be_tried(endpoint) && endpoint.claim_probe())
    }

    /// Kratos's drawing: the better of two random endpoints, of another two if
    /// both are unwell, and of two more if they are too.
    pub(crate) fn better_of_two(&self, random: u64) -> Option<&'a Arc<Endpoint>> {
        let count = self.endpoints.len();
        let mut bits = random;
        let mut best = None;
        for _ in 0..DRAWS_OF_TWO_MAX {
            bits = mix(bits);
            let first = below(bits as u32, count);
            // Another one than the first.
            let second =
                (first + 1 + below((bits >> 32) as u32, count.saturating_sub(1))) % count.max(1);
            let drawn = [first, second]
                .into_iter()
                .filter_map(|index| self.endpoints.get(index));
            let load =
                |endpoint: &Endpoint| endpoint.p2c.load(endpoint.in_flight(), endpoint.share());
            best = self.best(drawn, &load).or(best);
            if best.is_some_and(|endpoint| endpoint.p2c.is_well()) {
                return best;
            }
        }
        best.or_else(|| self.next_from(below(random as u32, count)))
    }

    /// Why nothing was found. O(endpoints).
    pub(crate) fn refusal(&self) -> PickError {
        let out = Standing::Out as u8;
        if self.endpoints.is_empty() {
            return PickError::NoEndpoints;
        }
        if self
            .endpoints
            .iter()
            .all(|endpoint| endpoint.standing() == out)
        {
            return PickError::AllDraining;
        }
        let without_slots = Self {
            slots: false,
            ..*self
        };
        if self
            .endpoints
            .iter()
            .any(|endpoint| without_slots.admits(endpoint))
        {
            return PickError::NoSlot;
        }
        PickError::NoOther
    }
}
