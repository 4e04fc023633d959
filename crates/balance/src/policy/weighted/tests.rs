//! The policies at work: servers with queues, in virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use plimsoll_meter::Tick;

use crate::random::mix;
use crate::{
    Balancer, BalancerConfig, EjectionConfig, EndpointSpec, LoadReport, OrcaConfig, Outcome, Pick,
    Policy, WrrConfig, WrrMode,
};

const SECOND: u64 = 1_000_000_000;
const MILLI: u64 = 1_000_000;

/// How a server behaves.
#[derive(Clone, Copy)]
struct Server {
    /// The mean time of a request, in nanoseconds; exponential.
    service: u64,
    /// Requests that it works on at once; others wait.
    slots: usize,
    /// Failures per thousand requests.
    fails: u64,
    /// What it reports with each answer.
    report: Option<LoadReport>,
}

/// What is behind a balancer, and the time.
struct World {
    balancer: Balancer,
    servers: Vec<Server>,
    /// When each slot of each server is free.
    free_at: Vec<BinaryHeap<Reverse<u64>>>,
    now: u64,
    random: u64,
    /// Requests that are out: when they end, a number, and which server.
    out: BinaryHeap<Reverse<(u64, usize)>>,
    picks: Vec<Option<(usize, Pick, bool)>>,
    /// Picks of each server.
    tally: Vec<u64>,
}

impl World {
    fn new(policy: Policy, servers: &[Server]) -> Self {
        // Without the frame around the policy, so that only the policy is seen.
        let ejection = EjectionConfig {
            enabled: false,
            ..EjectionConfig::default()
        };
        let config = BalancerConfig {
            policy,
            ejection,
            slow_start: Duration::ZERO,
            ..BalancerConfig::default()
        };
        let slots = |server: &Server| vec![Reverse(0); server.slots].into();
        let world = Self {
            balancer: Balancer::new(config).expect("the settings are in range"),
            servers: servers.to_vec(),
            free_at: servers.iter().map(slots).collect(),
            now: SECOND,
            random: 42,
            out: BinaryHeap::new(),
            picks: Vec::new(),
            tally: vec![0; servers.len()],
        };
        let specs: Vec<EndpointSpec> = (0..servers.len()).map(spec).collect();
        world.set(&specs);
        world
    }

    fn set(&self, specs: &[EndpointSpec]) {
        let change = self.balancer.set_endpoints(self.tick(), specs);
        assert!(change.is_ok(), "{change:?}");
    }

    fn tick(&self) -> Tick {
        Tick::from_nanos(self.now)
    }

    /// A number below 1, above 0.
    fn draw(&mut self) -> f64 {
        self.random = mix(self.random);
        ((self.random >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn exponential(&mut self, mean: u64) -> u64 {
        (-self.draw().ln() * mean as f64) as u64
    }

    /// Lets `rps` requests per second arrive for so long. Returns the share of each server.
    fn run(&mut self, rps: u64, seconds: u64) -> Vec<f64> {
        self.tally.fill(0);
        let end = self.now + seconds * SECOND;
        let mut arrival = self.now + self.exponential(SECOND / rps);
        while arrival < end {
            self.pass_to(arrival);
            self.arrive();
            arrival += self.exponential(SECOND / rps);
        }
        self.pass_to(end);
        let total: u64 = self.tally.iter().sum();
        self.tally
            .iter()
            .map(|&picks| picks as f64 / total as f64)
            .collect()
    }

    /// Requests end and housekeeping is done, in the order of time.
    fn pass_to(&mut self, until: u64) {
        loop {
            let housekeeping = (self.now / (100 * MILLI) + 1) * 100 * MILLI;
            let ending = self.out.peek().map_or(u64::MAX, |Reverse((at, _))| *at);
            self.now = until.min(housekeeping).min(ending.max(self.now));
            if self.now == ending {
                self.end_one();
            } else if self.now == housekeeping {
                self.balancer.advance(self.tick());
            }
            if self.now == until && ending > until {
                return;
            }
        }
    }

    fn arrive(&mut self) {
        let pick = self
            .balancer
            .try_pick(self.tick(), &[])
            .expect("no slot is limited");
        let index: usize = pick
            .endpoint()
            .address()
            .parse()
            .expect("addresses are numbers");
        self.tally[index] += 1;
        let server = self.servers[index];
        let Reverse(free) = self.free_at[index]
            .pop()
            .expect("a slot is put back as it is taken");
        let ends = free.max(self.now) + self.exponential(server.service).max(1);
        self.free_at[index].push(Reverse(ends));
        let failed = self.draw() * 1_000.0 < server.fails as f64;
        self.out.push(Reverse((ends, self.picks.len())));
        self.picks.push(Some((index, pick, failed)));
    }

    fn end_one(&mut self) {
        let Reverse((_, number)) = self.out.pop().expect("one is due");
        let (index, mut pick, failed) = self.picks[number].take().expect("each ends once");
        if let Some(report) = self.servers[index].report {
            pick.report(self.tick(), &report);
        }
        let status = if failed { 500 } else { 200 };
        pick.finish(self.tick(), Outcome::from_http_status(status, None));
    }
}

fn spec(index: usize) -> EndpointSpec {
    EndpointSpec::new(index.to_string())
}

/// A server with room for whatever comes.
fn server(service: u64) -> Server {
    Server {
        service,
        slots: 1_000,
        fails: 0,
        report: None,
    }
}

fn wrr() -> Policy {
    Policy::Wrr(WrrConfig::default())
}

fn kratos() -> Policy {
    Policy::Wrr(WrrConfig {
        mode: WrrMode::Kratos,
        ..WrrConfig::default()
    })
}

fn assert_near(got: f64, wanted: f64, within: f64) {
    assert!((got - wanted).abs() <= within, "{got}, wanted {wanted}");
}

#[test]
fn r01_whoever_fails_fast_ends_below_its_fair_share() {
    let failing = Server {
        fails: 1_000,
        ..server(200_000)
    };
    let servers = [server(20 * MILLI), server(20 * MILLI), failing];
    // Kratos: three times the fair share of a third.
    let mut world = World::new(kratos(), &servers);
    world.run(300, 5);
    let shares = world.run(300, 20);
    assert!(shares[2] > 0.5, "{shares:?}");

    let mut world = World::new(wrr(), &servers);
    let first = world.run(300, 5);
    assert!(first[2] < 0.33, "{first:?}");
    let then = world.run(300, 20);
    assert!(then[2] < 0.03, "{then:?}");
    // And it comes back when it is well.
    world.servers[2] = server(20 * MILLI);
    world.run(300, 60);
    let well = world.run(300, 20);
    assert_near(well[2], 0.333, 0.05);
}

#[test]
fn equal_servers_have_equal_shares() {
    for (rps, within) in [(1_000, 0.012), (100, 0.03), (20, 0.05)] {
        let mut world = World::new(wrr(), &[server(20 * MILLI); 10]);
        world.run(rps, 10);
        for share in world.run(rps, 60) {
            assert_near(share, 0.1, within);
        }
    }
}

#[test]
fn r10_shares_are_in_proportion_to_speed() {
    let servers = [server(10 * MILLI), server(20 * MILLI), server(40 * MILLI)];
    let mut world = World::new(wrr(), &servers);
    world.run(1_000, 30);
    let shares = world.run(1_000, 30);
    for (share, wanted) in shares.into_iter().zip([4.0 / 7.0, 2.0 / 7.0, 1.0 / 7.0]) {
        assert_near(share, wanted, 0.03);
    }
    let view = world.balancer.view(world.tick()).endpoints;
    for (endpoint, ratio) in view.iter().zip([2.0, 1.0, 0.5]) {
        let window = endpoint.window.unwrap();
        assert_near(window.ratio, ratio, 0.2 * ratio);
        let millis = window.latency.unwrap().as_secs_f64() * 1e3;
        assert_near(millis, 20.0 / ratio, 5.0 / ratio);
        assert!(window.successes > 100 && window.failures == 0 && window.load.is_none());
    }
}

#[test]
fn weights_and_load_do_not_swing() {
    // Ten servers of 8 slots each: the busier, the more a little load changes latency. What is
    // measured within a second is noise of about 5 %; a loop that is too eager makes it waves.
    let busy = Server {
        slots: 8,
        ..server(20 * MILLI)
    };
    for (rps, mean_within, all_within) in [(3_200, 0.003, 0.02), (3_800, 0.006, 0.03)] {
        let mut world = World::new(wrr(), &[busy; 10]);
        world.run(rps, 10);
        let seconds = (0..60).map(|_| world.run(rps, 1));
        let off: Vec<f64> = seconds.flatten().map(|share| (share - 0.1).abs()).collect();
        let mean = off.iter().sum::<f64>() / off.len() as f64;
        let most = off.iter().copied().fold(0.0, f64::max);
        assert!(
            mean < mean_within && most < all_within,
            "{rps} rps: {mean}, {most}"
        );
    }
}

#[test]
fn r03_one_that_hangs_is_left_and_one_that_is_left_is_tried_again() {
    let servers = [server(20 * MILLI), server(20 * MILLI), server(20 * MILLI)];
    let mut world = World::new(wrr(), &servers);
    world.run(300, 5);
    world.servers[2] = server(3_600 * SECOND);
    world.run(300, 10);
    let shares = world.run(300, 5);
    assert!(shares[2] < 0.06, "{shares:?}");
    world.servers[2] = server(20 * MILLI);
    world.run(300, 90);
    let shares = world.run(300, 20);
    assert!(shares[2] > 0.25, "{shares:?}");
}

#[test]
fn r05_the_first_update_makes_no_burst() {
    let mut world = World::new(wrr(), &[server(20 * MILLI); 5]);
    for _ in 0..300 {
        // A hundred requests at a time, over updates and not: each has its 20.
        let mut counts = [0_u32; 5];
        for _ in 0..100 {
            let at = world.now + MILLI;
            world.pass_to(at);
            let before = world.tally.clone();
            world.arrive();
            let index = (0..5)
                .find(|&index| world.tally[index] > before[index])
                .unwrap();
            counts[index] += 1;
        }
        assert!(
            counts.iter().all(|count| (15..=25).contains(count)),
            "{counts:?}"
        );
    }
}

#[test]
fn r06_nobody_starves() {
    let awful = Server {
        fails: 1_000,
        ..server(5 * SECOND)
    };
    let mut world = World::new(wrr(), &[server(MILLI), server(MILLI), awful]);
    world.run(1_000, 60);
    let shares = world.run(1_000, 20);
    assert!((0.003..0.03).contains(&shares[2]), "{shares:?}");
}

#[test]
fn r07_a_change_of_the_set_forgets_nothing() {
    let servers = [
        server(10 * MILLI),
        server(10 * MILLI),
        server(100 * MILLI),
        server(10 * MILLI),
    ];
    let mut world = World::new(wrr(), &servers);
    let three: Vec<EndpointSpec> = (0..3).map(spec).collect();
    let four: Vec<EndpointSpec> = (0..4).map(spec).collect();
    // The set changes every 300 ms, three times as often as weights are renewed.
    for round in 0..100 {
        world.set(if round % 2 == 0 { &three } else { &four });
        for _ in 0..30 {
            let at = world.now + 10 * MILLI;
            world.pass_to(at);
            world.arrive();
        }
    }
    world.tally.fill(0);
    world.set(&three);
    for _ in 0..300 {
        let at = world.now + MILLI;
        world.pass_to(at);
        world.arrive();
    }
    let total: u64 = world.tally.iter().sum();
    let share = world.tally[2] as f64 / total as f64;
    assert!(share < 0.15, "the slow one has {share}");
    // One that was away is known when it is back.
    world.set(&[spec(0), spec(1)]);
    world.run(100, 2);
    world.set(&three);
    let shares = world.balancer.view(world.tick()).endpoints;
    assert!(
        shares[2].pick_share.unwrap() < 0.2,
        "{:?}",
        shares[2].pick_share
    );
}

#[test]
fn static_weights_count_under_every_policy_that_selects_by_weight() {
    let policies = [
        wrr(),
        kratos(),
        Policy::Orca(OrcaConfig::default()),
        Policy::RoundRobin,
    ];
    for policy in policies {
        let name = format!("{policy:?}");
        let mut world = World::new(policy, &[server(20 * MILLI); 3]);
        let weighted = |(index, weight)| EndpointSpec {
            weight,
            ..spec(index)
        };
        world.set(&[(0, 1), (1, 2), (2, 5)].map(weighted));
        world.run(2_000, 5);
        for (share, wanted) in world.run(2_000, 10).into_iter().zip([0.125, 0.25, 0.625]) {
            assert!(
                (share - wanted).abs() < 0.02,
                "{name}: {share}, wanted {wanted}"
            );
        }
        // A change comes into force with the next housekeeping, in Kratos with the next update.
        world.balancer.set_weight(world.tick(), "2", 1).unwrap();
        world.run(2_000, 2);
        for (share, wanted) in world.run(2_000, 10).into_iter().zip([0.25, 0.5, 0.25]) {
            assert!(
                (share - wanted).abs() < 0.02,
                "{name}: {share}, wanted {wanted}"
            );
        }
    }
}

#[test]
fn orca_shares_by_what_endpoints_report_once_it_is_known() {
    let reporting = |utilization| Server {
        report: Some(LoadReport {
            application_utilization: Some(utilization),
            rps: Some(100.0),
            ..LoadReport::default()
        }),
        ..server(20 * MILLI)
    };
    let servers = [reporting(0.2), reporting(0.4), server(20 * MILLI)];
    let mut world = World::new(Policy::Orca(OrcaConfig::default()), &servers);
    // During the blackout it is plain round robin.
    for share in world.run(1_000, 9) {
        assert_near(share, 1.0 / 3.0, 0.002);
    }
    world.run(1_000, 3);
    // Two to one, and the silent one has the mean.
    for (share, wanted) in world
        .run(1_000, 10)
        .into_iter()
        .zip([4.0 / 9.0, 2.0 / 9.0, 3.0 / 9.0])
    {
        assert_near(share, wanted, 0.005);
    }
    // One falls silent: with fewer than two known, all are equal.
    world.servers[0].report = None;
    world.run(100, 181);
    for share in world.run(1_000, 10) {
        assert_near(share, 1.0 / 3.0, 0.002);
    }
}

#[test]
fn load_reports_move_weights_and_nonsense_is_counted() {
    let loaded = |cpu| Server {
        report: Some(LoadReport {
            cpu_utilization: Some(cpu),
            ..LoadReport::default()
        }),
        ..server(20 * MILLI)
    };
    let mut world = World::new(wrr(), &[loaded(0.9), loaded(0.3), loaded(f64::NAN)]);
    world.run(1_000, 30);
    let shares = world.run(1_000, 20);
    // The mean is 0.6: 0.67, 2 and 1 of 3.67.
    for (share, wanted) in shares.into_iter().zip([0.182, 0.545, 0.273]) {
        assert_near(share, wanted, 0.03);
    }
    let view = world.balancer.view(world.tick());
    assert_eq!(view.endpoints[0].reports_ignored, 0);
    let nonsense = &view.endpoints[2];
    assert!(nonsense.reports_ignored >= nonsense.successes && nonsense.report.is_none());
}

#[test]
fn r04_weights_can_be_renewed_from_several_threads() {
    let world = World::new(wrr(), &[server(MILLI); 4]);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let balancer = &world.balancer;
            scope.spawn(move || {
                for step in 0..2_000 {
                    let now = Tick::from_nanos(SECOND + step * 10 * MILLI + thread);
                    let pick = balancer.try_pick(now, &[]).unwrap();
                    pick.finish(now, Outcome::from_http_status(200, None));
                    balancer.advance(now);
                }
            });
        }
    });
    let view = world.balancer.view(Tick::from_nanos(21 * SECOND));
    let picks: Vec<u64> = view
        .endpoints
        .iter()
        .map(|endpoint| endpoint.picks)
        .collect();
    assert_eq!(picks.iter().sum::<u64>(), 8_000);
    assert!(
        picks.iter().all(|picks| (1_900..=2_100).contains(picks)),
        "{picks:?}"
    );
}
