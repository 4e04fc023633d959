//! Selection by weight: who is next, in constant time and without a lock.
//!
//! # How it works
//!
//! A [`Schedule`] is a ring of stops. Every pick takes a number from one
//! counter, and the number names the stop and the turn of the ring. A stop is
//! *due* in a fraction of the turns: the endpoint with the largest weight in
//! every turn, one with half of it in every second. Which turns these are is
//! arithmetic on the number alone (the carry of a 64-bit fixed-point sum, as
//! Bresenham draws a line), so nothing is written but the counter. If a stop is
//! not due, or its endpoint may not be picked now, the next number is taken.
//!
//! An endpoint that has far more than the mean gets several stops, spread
//! evenly. So at least a third of all stops are due, whatever the weights are,
//! and a pick looks at three stops on average or fewer. With equal weights
//! every stop is due: plain round robin.
//!
//! # What it promises
//!
//! - In whole turns each endpoint has had its exact number of picks, give or
//!   take one. The error does not grow with time. What each has saved up stays
//!   when weights change ([`Schedule::with_weights`]), and the same weights
//!   again change nothing at all. So weights that change every second cannot
//!   starve anybody (Kratos's picker bursts and starves then). A change within
//!   a turn may shift an endpoint by a part of a pick, up or down by chance.
//! - Weights are fractions of 2⁻⁶⁴. Nothing is cut to whole units, and no
//!   weight above zero means never.
//! - An endpoint that may not be picked drops out without burdening its
//!   neighbour on the ring: each stop is visited once per turn, whoever else
//!   was passed over.
//! - Balancers with different seeds have different orders and phases, so many
//!   clients do not all begin with the same endpoint.
//!
//! # Why not something else
//!
//! nginx's smooth weighted round robin (`policy/kratos.rs` has it) is as even,
//! but each pick looks at and changes all endpoints under a lock. A heap of
//! deadlines (EDF, gRFC A58) takes a lock too. The alias method is lock-free and
//! as fast, but random: an endpoint gets its share only on average, and queues
//! grow on the deviations. gRPC's static stride scheduler is the nearest
//! relative; it has one stop per endpoint, and so has to limit how far the
//! largest weight may be from the mean.

#[cfg(all(test, not(loom)))]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use crossbeam_utils::CachePadded;

use crate::random::below;

/// How many times the mean a weight may be before its endpoint gets a second
/// stop. At 2 the ring has at most half as many stops again as endpoints, and
/// at least a third of them are due.
const SPLIT_RATIO: f64 = 2.0;

/// No weight counts for less than this part of the largest. It only keeps the
/// arithmetic away from zero: at a million picks per second the endpoint would
/// still be picked every 18 minutes.
const WEIGHT_RATIO_MIN: f64 = 1.0 / (1_u64 << 30) as f64;

/// Stops a pick looks at before it looks at all endpoints at once. Two thirds
/// to the power of 32 is 2·10⁻⁶, so if all may be picked it hardly ever comes
/// to that; if few may, it bounds the search.
const STOPS_MAX: usize = 32;

/// One in the fixed-point arithmetic of this file.
const ONE: f64 = 18_446_744_073_709_551_616.0; // 2⁶⁴

/// Picks indices in proportion to weights. See the file's documentation.
#[derive(Debug)]
pub(crate) struct Schedule {
    stops: Box<[Stop]>,
    rates: Box<[Rate]>,
    seed: u64,
    /// The next number. Alone on its cache line: every pick writes it.
    next: CachePadded<AtomicU64>,
}

/// A place on the ring.
#[derive(Clone, Debug)]
struct Stop {
    index: usize,
    /// Which of its endpoint's stops this is, from 0.
    visit: u64,
    /// Part of a pick that a visit is worth; 2⁶⁴ would be a whole one.
    step: u64,
    /// The endpoint's sum after this stop's visit in turn 0.
    phase: u64,
    /// What all visits of a turn are worth.
    turn_step: u64,
}

/// What an endpoint's stops have in common.
#[derive(Clone, Copy, Debug)]
struct Rate {
    /// Stops on the ring, at least 1.
    visits: u64,
    step: u64,
    /// The sum after visit 0 of turn 0.
    base: u64,
}

/// A [`Schedule`] that is replaced while others pick from it.
#[derive(Debug)]
pub(crate) struct ScheduleCell(ArcSwap<Schedule>);

impl Stop {
    fn sum(&self, turn: u64) -> u64 {
        self.phase.wrapping_add(turn.wrapping_mul(self.turn_step))
    }

    /// Whether the sum passed a whole number with this visit.
    fn is_due(&self, turn: u64) -> bool {
        self.sum(turn) < self.step
    }
}

impl Schedule {
    /// A schedule of `weights.len()` indices in proportion to `weights`.
    ///
    /// A weight that is not a positive finite number is replaced by the mean of
    /// those that are, as gRFC A58 has it for endpoints not yet known. Takes
    /// *O(n log n)*.
    pub(crate) fn new(weights: &[f64], seed: u64) -> Self {
        let rates = rates(weights);
        let phases: Vec<u64> = (0..rates.len()).map(|index| mixed(seed, index)).collect();
        let order = order(&rates, seed);
        let position = start(order.len(), seed);
        Self::assemble(order, &rates, &phases, position, seed)
    }

    /// The same indices with other weights, continuing where this schedule is.
    ///
    /// What an endpoint has saved up towards its next pick stays saved. If
    /// there are more or fewer weights than before, everything begins anew.
    /// *O(n)* unless the number of stops changes.
    pub(crate) fn with_weights(&self, weights: &[f64]) -> Self {
        if weights.len() != self.rates.len() || weights.is_empty() {
            return Self::new(weights, self.seed.wrapping_add(1));
        }
        let rates = rates(weights);
        let next = self.next.load(Ordering::Relaxed);
        let saved = self.saved(next);
        let same_ring = rates
            .iter()
            .zip(&self.rates)
            .all(|(a, b)| a.visits == b.visits);
        let (order, position) = if same_ring {
            let order = self
                .stops
                .iter()
                .map(|stop| (stop.index, stop.visit))
                .collect();
            (order, self.position(next).0)
        } else {
            let order = order(&rates, self.seed);
            let position = start(order.len(), self.seed.wrapping_add(next));
            (order, position)
        };
        Self::assemble(order, &rates, &saved, position, self.seed)
    }

    /// Lays the ring out so that the next stop is `position` in turn 0, and the
    /// sums before it are those of `saved`.
    fn assemble(
        order: Vec<(usize, u64)>,
        rates: &[Rate],
        saved: &[u64],
        position: usize,
        seed: u64,
    ) -> Self {
        let passed = visits(order[..position].iter().map(|stop| stop.0), rates.len());
        let based = |(rate, (&saved, passed)): (&Rate, (&u64, u64))| Rate {
            base: saved.wrapping_sub(passed.wrapping_sub(1).wrapping_mul(rate.step)),
            ..*rate
        };
        let rates: Box<[Rate]> = rates
            .iter()
            .zip(saved.iter().zip(passed))
            .map(based)
            .collect();
        let stop = |(index, visit): (usize, u64)| {
            let Rate { visits, step, base } = rates[index];
            Stop {
                index,
                visit,
                step,
                phase: base.wrapping_add(visit.wrapping_mul(step)),
                turn_step: visits.wrapping_mul(step),
            }
        };
        Self {
            stops: order.into_iter().map(stop).collect(),
            rates,
            seed,
            next: CachePadded::new(AtomicU64::new(position as u64)),
        }
    }

    /// The next index for which `eligible` holds, or `None` if there is none.
    ///
    /// `eligible` may be asked several times about one index. Constant time on
    /// average if a fair part of the weight is eligible, else at most *O(n)*.
    pub(crate) fn pick(&self, eligible: impl Fn(usize) -> bool) -> Option<usize> {
        if self.stops.is_empty() {
            return None;
        }
        for _ in 0..STOPS_MAX {
            let (position, turn) = self.position(self.next.fetch_add(1, Ordering::Relaxed));
            let stop = &self.stops[position];
            if stop.is_due(turn) && eligible(stop.index) {
                return Some(stop.index);
            }
        }
        let draw = mixed(self.seed, self.next.load(Ordering::Relaxed) as usize);
        self.pick_at_random(draw, eligible)
    }

    /// One of the eligible by chance, in proportion to their weights, whatever
    /// was picked before. Writes nothing.
    ///
    /// A random stop is taken with the probability that it is due (von Neumann's
    /// rejection). At least a third of all draws are taken if all are eligible,
    /// so it takes constant time as [`pick`](Self::pick) does.
    pub(crate) fn pick_by_chance(
        &self,
        random: u64,
        eligible: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let mut bits = random;
        for draw in 0..STOPS_MAX {
            let stop = self.stops.get(below(bits as u32, self.stops.len()))?;
            bits = mixed(bits, draw);
            if bits <= stop.step && eligible(stop.index) {
                return Some(stop.index);
            }
            bits = mixed(bits, draw);
        }
        self.pick_at_random(bits, eligible)
    }

    /// One of the eligible by chance, in proportion to their weights.
    ///
    /// The way out when few are eligible: to wait for them on the ring could
    /// take many turns, and to take whoever comes first would ignore weights.
    fn pick_at_random(&self, draw: u64, eligible: impl Fn(usize) -> bool) -> Option<usize> {
        let mut chosen = None;
        let mut total = 0.0;
        for (position, stop) in self.stops.iter().enumerate() {
            if eligible(stop.index) {
                let weight = stop.step as f64;
                total += weight;
                // Replacing with probability weight / total leaves each with its share.
                if mixed(draw, position) as f64 / ONE * total < weight || chosen.is_none() {
                    chosen = Some(stop.index);
                }
            }
        }
        chosen
    }

    /// The part of all picks that each index gets if all are eligible, 0 to 1.
    ///
    /// *O(n)*: for views, not for the path of a request.
    pub(crate) fn shares(&self) -> Vec<f64> {
        let worth = |rate: &Rate| rate.visits as f64 * rate.step as f64;
        let total: f64 = self.rates.iter().map(worth).sum();
        self.rates.iter().map(|rate| worth(rate) / total).collect()
    }

    /// The sums of all endpoints when `next` is the next number.
    fn saved(&self, next: u64) -> Vec<u64> {
        let (position, turn) = self.position(next);
        let of_turn = visits(
            self.stops[..position].iter().map(|stop| stop.index),
            self.rates.len(),
        );
        let sum = |(rate, of_turn): (&Rate, u64)| {
            let made = turn.wrapping_mul(rate.visits).wrapping_add(of_turn);
            rate.base
                .wrapping_add(made.wrapping_sub(1).wrapping_mul(rate.step))
        };
        self.rates.iter().zip(of_turn).map(sum).collect()
    }

    /// The stop and the turn of a number.
    fn position(&self, number: u64) -> (usize, u64) {
        let stops = self.stops.len() as u64;
        ((number % stops) as usize, number / stops)
    }
}

impl ScheduleCell {
    /// A cell with a new schedule of these weights, see [`Schedule::new`].
    pub(crate) fn new(weights: &[f64], seed: u64) -> Self {
        Self(ArcSwap::from_pointee(Schedule::new(weights, seed)))
    }

    /// The next eligible index, see [`Schedule::pick`].
    pub(crate) fn pick(&self, eligible: impl Fn(usize) -> bool) -> Option<usize> {
        self.0.load().pick(eligible)
    }

    /// One of the eligible by chance, see [`Schedule::pick_by_chance`].
    pub(crate) fn pick_by_chance(
        &self,
        random: u64,
        eligible: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        self.0.load().pick_by_chance(random, eligible)
    }

    /// Continues with other weights, see [`Schedule::with_weights`].
    ///
    /// One thread at a time may do this. Picks that come between the old and
    /// the new schedule may be repeated once.
    pub(crate) fn set_weights(&self, weights: &[f64]) {
        let next = self.0.load().with_weights(weights);
        self.0.store(Arc::new(next));
    }

    /// The part of all picks that each index gets, see [`Schedule::shares`].
    pub(crate) fn shares(&self) -> Vec<f64> {
        self.0.load().shares()
    }
}

/// Visits and worth per visit of each weight.
fn rates(weights: &[f64]) -> Vec<Rate> {
    let weights = relative(weights);
    let mean = weights.iter().sum::<f64>() / weights.len().max(1) as f64;
    let most = (SPLIT_RATIO * mean).min(1.0);
    let rate = |weight: f64| {
        let visits = (weight / most).ceil().max(1.0);
        Rate {
            visits: visits as u64,
            // `as` saturates: what is due in every turn is due in all of 2⁶⁴ turns but one.
            step: (weight / (visits * most) * ONE) as u64,
            base: 0,
        }
    };
    weights.into_iter().map(rate).collect()
}

/// Weights as parts of the largest, within [`WEIGHT_RATIO_MIN`] and 1.
fn relative(weights: &[f64]) -> Vec<f64> {
    let is_usable = |weight: &f64| weight.is_finite() && *weight > 0.0;
    let largest = weights
        .iter()
        .copied()
        .filter(is_usable)
        .fold(0.0, f64::max);
    let parts = weights
        .iter()
        .copied()
        .filter(is_usable)
        .map(|weight| weight / largest);
    let (count, sum) = parts.fold((0_u32, 0.0), |(count, sum), part| (count + 1, sum + part));
    let mean = if count == 0 {
        1.0
    } else {
        sum / f64::from(count)
    };
    let part = |weight: &f64| {
        if is_usable(weight) {
            weight / largest
        } else {
            mean
        }
    };
    weights
        .iter()
        .map(|weight| part(weight).clamp(WEIGHT_RATIO_MIN, 1.0))
        .collect()
}

/// The ring: each endpoint's stops evenly spread from an offset of its own.
fn order(rates: &[Rate], seed: u64) -> Vec<(usize, u64)> {
    let stop = |index: usize, visit: u64| {
        let visits = rates[index].visits;
        // Of a range of 2⁶⁴ / visits, so that no sum overflows.
        let offset = mixed(!seed, index) / visits;
        (visit * (u64::MAX / visits) + offset, index, visit)
    };
    let all = |index: usize| (0..rates[index].visits).map(move |visit| (index, visit));
    let mut stops: Vec<_> = (0..rates.len())
        .flat_map(all)
        .map(|(index, visit)| stop(index, visit))
        .collect();
    stops.sort_unstable();
    stops
        .into_iter()
        .map(|(_, index, visit)| (index, visit))
        .collect()
}

/// How often each of `endpoints` is among `indices`.
fn visits(indices: impl Iterator<Item = usize>, endpoints: usize) -> Vec<u64> {
    let mut visits = vec![0; endpoints];
    for index in indices {
        visits[index] += 1;
    }
    visits
}

/// A place on a ring of `stops` to begin at.
fn start(stops: usize, seed: u64) -> usize {
    if stops == 0 {
        return 0;
    }
    (mixed(seed, usize::MAX) % stops as u64) as usize
}

/// A number that looks random, of a seed and an index: `SplitMix64` (Steele,
/// Lea and Flood, 2014).
fn mixed(seed: u64, index: usize) -> u64 {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut z = seed.wrapping_add((index as u64).wrapping_add(1).wrapping_mul(GOLDEN));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
