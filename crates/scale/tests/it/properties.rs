//! What holds whatever happens.

use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_meter::Tick;
use plimsoll_scale::simulation::{Request, Setting, simulate};
use plimsoll_scale::{
    Averages, KpaEngine, Load, Observation, Policy, Reason, Replicas, ScaleConfig, Scaler,
};
use proptest::prelude::*;

fn policy() -> impl Strategy<Value = Policy> {
    prop_oneof![Just(Policy::Plimsoll), Just(Policy::Kpa)]
}

/// What is there after so many milliseconds.
#[derive(Clone, Copy, Debug)]
struct Moment {
    after: u64,
    running: u32,
    waiting: u32,
    ready: u32,
    starting: u32,
}

fn moment() -> impl Strategy<Value = Moment> {
    (0_u64..20_000, 0_u32..40, 0_u32..40, 0_u32..20, 0_u32..20).prop_map(
        |(after, running, waiting, ready, starting)| Moment {
            after,
            running,
            waiting,
            ready,
            starting,
        },
    )
}

/// A scaler with a history, and where time and the count of arrivals stand.
struct Player {
    scaler: Scaler,
    now: Tick,
    arrivals: u64,
}

impl Player {
    fn new(config: ScaleConfig) -> Self {
        Self {
            scaler: Scaler::new(config, Tick::ZERO).expect("the settings are valid"),
            now: Tick::ZERO,
            arrivals: 0,
        }
    }

    fn observation(&mut self, moment: &Moment) -> Observation {
        self.arrivals += u64::from(moment.running / 2 + moment.waiting / 2);
        Observation {
            load: Some(Load {
                running: moment.running,
                waiting: moment.waiting,
                arrivals: self.arrivals,
                ..Load::default()
            }),
            replicas: Replicas {
                ready: moment.ready,
                starting: moment.starting,
                oldest_start: (moment.starting > 0).then_some(self.now),
                draining: 0,
            },
        }
    }

    fn play(&mut self, moments: &[Moment]) {
        for moment in moments {
            self.now = self.now.saturating_add(Duration::from_millis(moment.after));
            let observation = self.observation(moment);
            self.scaler.observe(self.now, &observation);
            self.scaler.decide(self.now);
        }
    }
}

fn config(policy: Policy, slots: u32) -> ScaleConfig {
    ScaleConfig {
        policy,
        concurrency: NonZeroU32::new(slots),
        // More than any history here asks for: how many may start at once is a goal of its own.
        starts_max: 1_000,
        ..ScaleConfig::default()
    }
}

proptest! {
    #[test]
    fn more_load_never_asks_for_fewer(
        slots in 0_u32..12,
        history in prop::collection::vec(moment(), 0..30),
        last in moment(),
        more_running in 0_u32..20,
        more_waiting in 0_u32..20,
    ) {
        let mut player = Player::new(config(Policy::Plimsoll, slots));
        player.play(&history);
        let mut more = player.scaler.clone();
        player.now = player.now.saturating_add(Duration::from_millis(last.after));
        let mut observation = player.observation(&last);
        player.scaler.observe(player.now, &observation);
        let before = player.scaler.decide(player.now);
        if let Some(load) = &mut observation.load {
            load.running += more_running;
            load.waiting += more_waiting;
            load.arrivals += u64::from(more_running + more_waiting);
        }
        more.observe(player.now, &observation);
        let after = more.decide(player.now);
        prop_assert!(after.desired >= before.desired, "{before}\n{after}");
    }

    #[test]
    fn knatives_engine_is_monotone_too(
        history in prop::collection::vec((0_u64..90, 0.0_f64..500.0, 0.0_f64..500.0, 0_u32..50), 0..20),
        (stable, panic, ready) in (0.0_f64..500.0, 0.0_f64..500.0, 0_u32..50),
        (more_stable, more_panic) in (0.0_f64..500.0, 0.0_f64..500.0),
    ) {
        let config = config(Policy::Kpa, 10);
        let mut engine = KpaEngine::new(Tick::ZERO, None, &config);
        let mut now = Tick::ZERO;
        for (seconds, stable, panic, ready) in history {
            now = now.saturating_add(Duration::from_secs(seconds));
            engine.evaluate(now, &config, Some(ready), Some(Averages { stable, panic }));
        }
        let mut more = engine.clone();
        let less = engine.evaluate(now, &config, Some(ready), Some(Averages { stable, panic }));
        let averages = Averages { stable: stable + more_stable, panic: panic + more_panic };
        let more = more.evaluate(now, &config, Some(ready), Some(averages));
        let desired = |got: Option<plimsoll_scale::Evaluation>| got.map(|got| got.desired);
        prop_assert!(desired(more) >= desired(less));
    }

    #[test]
    fn what_is_not_known_changes_nothing(
        policy in policy(),
        slots in 0_u32..12,
        history in prop::collection::vec(moment(), 0..30),
        unknown in prop::collection::vec(moment(), 1..10),
    ) {
        let mut player = Player::new(config(policy, slots));
        player.play(&history);
        let before = player.scaler.view().desired;
        for moment in unknown {
            player.now = player.now.saturating_add(Duration::from_millis(moment.after));
            let observation = Observation { load: None, ..player.observation(&moment) };
            player.scaler.observe(player.now, &observation);
            let decision = player.scaler.decide(player.now);
            prop_assert_eq!((decision.desired, decision.reason), (before, Reason::NoData));
        }
        // When it is known again there is no load. Nobody can say since when.
        if policy == Policy::Plimsoll {
            let observation = player.observation(&Moment {
                after: 0, running: 0, waiting: 0, ready: before, starting: 0,
            });
            player.scaler.observe(player.now, &observation);
            prop_assert_eq!(player.scaler.decide(player.now).desired, before);
        }
    }

    #[test]
    fn an_answer_stays_the_same_and_within_its_bounds(
        policy in policy(),
        slots in 0_u32..12,
        min in 0_u32..5,
        more in 1_u32..10,
        history in prop::collection::vec(moment(), 1..30),
    ) {
        let config = ScaleConfig { min, max: NonZeroU32::new(min + more), ..config(policy, slots) };
        let mut player = Player::new(config);
        player.play(&history);
        let first = player.scaler.decide(player.now);
        let again = player.scaler.decide(player.now);
        prop_assert_eq!((first.desired, first.next), (again.desired, again.next));
        prop_assert!((min..=min + more).contains(&first.desired), "{}", first);
        prop_assert!(!first.to_string().is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_steady_load_makes_nobody_change_his_mind_soon(
        slots in 1_u32..6,
        gap in 20_u64..2_000,
        duration in 10_u64..5_000,
        start_up in 0_u64..40_000,
        delay in 0_u64..120,
    ) {
        let length = 600_000;
        let config = ScaleConfig {
            scale_down_delay: Duration::from_secs(delay),
            ..config(Policy::Plimsoll, slots)
        };
        let setting = Setting {
            config,
            start_up: Duration::from_millis(start_up),
            until: Duration::from_millis(length),
            step: Duration::from_secs(10),
        };
        let requests = (0..length / gap).map(|n| Request {
            arrival: Duration::from_millis(n * gap),
            duration: Duration::from_millis(duration),
        });
        let outcome = simulate(&setting, requests).expect("the settings are valid");
        let least = Duration::from_millis(start_up).min(Duration::from_secs(delay));
        let end = Tick::ZERO.saturating_add(Duration::from_millis(length - gap));
        let changes: Vec<_> = outcome.decisions.iter().filter(|one| one.at < end).collect();
        for pair in changes.windows(2) {
            let up = |index: usize| pair[index].desired > pair[index].previous;
            let apart = pair[1].at.saturating_duration_since(pair[0].at);
            prop_assert!(up(0) == up(1) || apart >= least, "{}\n{}", pair[0], pair[1]);
        }
    }

    #[test]
    fn whoever_comes_is_served_whatever_the_policy(
        policy in policy(),
        slots in 0_u32..6,
        start_up in 0_u64..10_000,
        mut requests in prop::collection::vec((0_u64..300_000, 0_u64..20_000), 0..200),
    ) {
        requests.sort_unstable();
        let setting = Setting {
            config: config(policy, slots),
            start_up: Duration::from_millis(start_up),
            until: Duration::from_secs(600),
            step: Duration::from_secs(10),
        };
        let busy: u64 = requests.iter().map(|(_, duration)| duration).sum();
        let count = requests.len() as u64;
        let outcome = simulate(&setting, requests.into_iter().map(|(arrival, duration)| Request {
            arrival: Duration::from_millis(arrival),
            duration: Duration::from_millis(duration),
        })).expect("the settings are valid");
        prop_assert_eq!((outcome.requests, outcome.waits.count()), (count, count));
        prop_assert!((outcome.busy_seconds - busy as f64 / 1e3).abs() < 1e-3);
        let most = f64::from(slots.max(1));
        prop_assert!(slots == 0 || outcome.replica_seconds * most >= outcome.busy_seconds - 1e-3);
    }
}
