//! Active health checks: requests of the gateway's own that find out whether an endpoint is well.
//!
//! One task per service looks which endpoints are due and asks them, a bounded number at once. Each endpoint has
//! its own rhythm, shifted at random, so that neither the endpoints nor the gateway see them all in one moment.
//! An endpoint begins well: a gateway that has just started serves at once, and what is dead is found by the
//! first requests as well as by the first checks.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::plan::HealthPlan;
use crate::dice::Dice;

/// Checks of one service under way at once.
pub(crate) const CHECKS_MAX: usize = 64;

/// How often it is looked who is due.
const LOOK_PERIOD: Duration = Duration::from_millis(50);

/// New endpoints get their first check within this time, or within the interval if that is shorter.
const FIRST_CHECK_MAX: Duration = Duration::from_secs(1);

/// How far from the interval a period may be: a tenth, up or down.
const JITTER: f64 = 0.1;

/// What is known about one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    /// Whether it counts as well.
    healthy: bool,
    /// Outcomes in a row that speak against that.
    run: u32,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            healthy: true,
            run: 0,
        }
    }
}

impl Record {
    /// Takes in the outcome of a check.
    fn update(&mut self, plan: &HealthPlan, good: bool) {
        if good == self.healthy {
            self.run = 0;
            return;
        }
        self.run += 1;
        let needed = if good {
            plan.healthy_after
        } else {
            plan.unhealthy_after
        };
        if self.run >= needed {
            self.run = 0;
            self.healthy = good;
        }
    }
}

/// When each endpoint is due, and what is known about it.
#[derive(Debug)]
pub(crate) struct Rounds {
    plan: HealthPlan,
    endpoints: BTreeMap<Arc<str>, Turn>,
    /// Endpoints that begin unhealthy.
    unhealthy: BTreeSet<Arc<str>>,
    dice: Dice,
}

#[derive(Debug)]
struct Turn {
    record: Record,
    /// `None` while it is being checked.
    due: Option<Instant>,
}

impl Rounds {
    pub(crate) fn new(plan: HealthPlan, seed: u64, unhealthy: BTreeSet<Arc<str>>) -> Self {
        Self {
            plan,
            endpoints: BTreeMap::new(),
            unhealthy,
            dice: Dice::new(seed),
        }
    }

    /// Checks these endpoints from now on. What is known about those that stay is kept.
    pub(crate) fn set(&mut self, now: Instant, addresses: &[Arc<str>]) {
        let mut before = std::mem::take(&mut self.endpoints);
        let spread = FIRST_CHECK_MAX.min(self.plan.interval);
        for address in addresses {
            let turn = before.remove(address).unwrap_or_else(|| Turn {
                record: Record {
                    healthy: !self.unhealthy.contains(address),
                    run: 0,
                },
                due: Some(now + spread.mul_f64(self.dice.unit())),
            });
            self.endpoints.insert(Arc::clone(address), turn);
        }
        // They are known by now, or gone: who comes later begins well.
        self.unhealthy.clear();
    }

    /// Up to `most` endpoints whose check is due. They are not due again before [`Rounds::ended`].
    pub(crate) fn due(&mut self, now: Instant, most: usize) -> Vec<Arc<str>> {
        let mut due: Vec<_> = self
            .endpoints
            .iter_mut()
            .filter(|(_, turn)| turn.due.is_some_and(|due| due <= now))
            .collect();
        // Whoever has waited longest, so that a bound on the number passes nobody over.
        due.sort_by_key(|(_, turn)| turn.due);
        due.truncate(most);
        due.into_iter()
            .map(|(address, turn)| {
                turn.due = None;
                Arc::clone(address)
            })
            .collect()
    }

    /// A check has ended. Gives whether the endpoint counts as well now; `None` if it is not in the set any more.
    pub(crate) fn ended(&mut self, now: Instant, address: &str, good: bool) -> Option<bool> {
        let turn = self.endpoints.get_mut(address)?;
        let factor = 1.0 + JITTER * (2.0 * self.dice.unit() - 1.0);
        turn.due = Some(now + self.plan.interval.mul_f64(factor));
        turn.record.update(&self.plan, good);
        Some(turn.record.healthy)
    }
}

/// What the checks of a service act upon.
pub(crate) trait Checked: Send + Sync + 'static {
    /// The endpoints of this moment.
    fn addresses(&self) -> Arc<Vec<Arc<str>>>;
    /// A check has ended, with this failure or none; `healthy` is what the endpoint counts as now.
    fn checked(&self, address: &Arc<str>, healthy: bool, failure: Option<&str>);
    /// Asks an endpoint.
    fn check(&self, address: Arc<str>)
    -> impl Future<Output = Result<(), String>> + Send + 'static;
}

/// Checks, for as long as it is polled. The endpoints in `unhealthy` begin as such.
pub(crate) async fn keep_checking(
    plan: HealthPlan,
    seed: u64,
    unhealthy: BTreeSet<Arc<str>>,
    service: Arc<impl Checked>,
) {
    let timeout = plan.timeout;
    let mut rounds = Rounds::new(plan, seed, unhealthy);
    let mut under_way = JoinSet::new();
    let mut ticks = tokio::time::interval(LOOK_PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let now = Instant::now();
                rounds.set(now, &service.addresses());
                for address in rounds.due(now, CHECKS_MAX - under_way.len()) {
                    let check = service.check(Arc::clone(&address));
                    under_way.spawn(async move {
                        let outcome = tokio::time::timeout(timeout, check).await;
                        let late = |_| Err(format!("no answer within {timeout:?}"));
                        (address, outcome.unwrap_or_else(late))
                    });
                }
            }
            Some(Ok((address, outcome))) = under_way.join_next() => {
                                if let Some(healthy) = rounds.ended(Instant::now(), &address, outcome.is_ok()) {
                    service.checked(&address, healthy, outcome.err().as_deref());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> HealthPlan {
        HealthPlan::of("/".to_owned())
    }

    #[test]
    fn only_a_run_of_outcomes_changes_the_state() {
        // Two good ones in a row, three bad ones.
        let mut record = Record::default();
        let states: String = "bbgbbbbgbggg"
            .chars()
            .map(|outcome| {
                record.update(&plan(), outcome == 'g');
                if record.healthy { 'H' } else { 'U' }
            })
            .collect();
        assert_eq!(states, "HHHHHUUUUUHH");
    }

    fn addresses(count: usize) -> Vec<Arc<str>> {
        (0..count)
            .map(|index| format!("10.0.0.{index}:80").into())
            .collect()
    }

    #[test]
    fn first_checks_are_spread_and_later_ones_keep_their_rhythm() {
        let mut rounds = Rounds::new(plan(), 1, BTreeSet::new());
        let start = Instant::now();
        rounds.set(start, &addresses(100));
        let half = rounds.due(start + FIRST_CHECK_MAX / 2, 1_000).len();
        assert!((25..75).contains(&half), "{half} of 100 in half the time");
        let rest = rounds.due(start + FIRST_CHECK_MAX, 1_000).len();
        assert_eq!(half + rest, 100);
        assert_eq!(
            rounds.due(start + FIRST_CHECK_MAX, 1_000).len(),
            0,
            "under way"
        );
        for address in addresses(100) {
            rounds.ended(start, &address, true);
        }
        let interval = HEALTH_INTERVAL;
        assert_eq!(rounds.due(start + interval.mul_f64(0.9), 1_000).len(), 0);
        assert_eq!(rounds.due(start + interval.mul_f64(1.1), 1_000).len(), 100);
    }

    const HEALTH_INTERVAL: Duration = super::super::plan::HEALTH_INTERVAL_DEFAULT;

    #[test]
    fn a_bound_on_the_number_passes_nobody_over() {
        let mut rounds = Rounds::new(plan(), 1, BTreeSet::new());
        let start = Instant::now();
        rounds.set(start, &addresses(10));
        let late = start + FIRST_CHECK_MAX;
        let mut seen = Vec::new();
        while seen.len() < 10 {
            let due = rounds.due(late, 3);
            assert!((1..=3).contains(&due.len()));
            for address in &due {
                // Due again at once, and still the others come first.
                rounds.ended(start, address, true);
            }
            seen.extend(due);
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 10);
    }

    #[test]
    fn what_is_known_survives_a_change_of_the_list_and_goes_with_the_endpoint() {
        let mut rounds = Rounds::new(plan(), 1, BTreeSet::new());
        let now = Instant::now();
        let both = addresses(2);
        rounds.set(now, &both);
        let ends: Vec<_> = (0..3).map(|_| rounds.ended(now, &both[0], false)).collect();
        assert_eq!(ends, [Some(true), Some(true), Some(false)]);
        rounds.set(now, &both[..1]);
        assert_eq!(rounds.ended(now, &both[0], false), Some(false));
        assert_eq!(rounds.ended(now, &both[1], false), None);
        rounds.set(now, &[]);
        rounds.set(now, &both);
        assert_eq!(rounds.ended(now, &both[0], false), Some(true));
    }

    #[test]
    fn what_checks_before_these_have_found_holds_until_there_is_better_news() {
        let both = addresses(2);
        let unhealthy = BTreeSet::from([Arc::clone(&both[0])]);
        let mut rounds = Rounds::new(plan(), 1, unhealthy);
        let now = Instant::now();
        rounds.set(now, &both);
        assert_eq!(rounds.ended(now, &both[0], true), Some(false));
        assert_eq!(rounds.ended(now, &both[0], true), Some(true));
        assert_eq!(rounds.ended(now, &both[1], false), Some(true));
    }
}
