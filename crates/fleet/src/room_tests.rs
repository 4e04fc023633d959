//! Who gets room, as tables, and what holds whatever the machine is like.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MIB: u64 = 1 << 20;

fn rules(memory_mib: u64) -> Rules {
    Rules {
        memory_max: (memory_mib > 0).then_some(memory_mib * MIB),
        residence_min: 10 * SECOND,
    }
}

/// Ready for so many seconds, after a start of one second.
fn ready(seconds: u32) -> Stay {
    Stay::Ready {
        since: seconds * SECOND,
        start_up: SECOND,
    }
}

fn idle(seconds: u32) -> Usage {
    Usage::Idle(seconds * SECOND)
}

fn tenant(name: &str, group: &str, usage: Usage, replicas: &[(u64, Stay, u64)]) -> Tenant {
    let occupant = |(id, stay, mib): &(u64, Stay, u64)| Occupant {
        id: ReplicaId(*id),
        stay: *stay,
        memory: mib * MIB,
    };
    Tenant {
        name: name.into(),
        group: (!group.is_empty()).then(|| group.into()),
        usage,
        replicas: replicas.iter().map(occupant).collect(),
    }
}

fn wish(name: &str, group: &str, mib: u64) -> Wish {
    Wish {
        name: name.into(),
        group: (!group.is_empty()).then(|| group.into()),
        memory: mib * MIB,
    }
}

/// The verdict as text: `start`, or why not and who has to go.
fn told(rules: &Rules, tenants: &[Tenant], earlier: &[Wish], wish: &Wish) -> String {
    match decide(rules, tenants, earlier, wish) {
        Verdict::Start => "start".to_owned(),
        Verdict::Wait(why, leave) => {
            let leave: Vec<u64> = leave.iter().map(|id| id.0).collect();
            format!("{why}; leave {leave:?}")
        }
    }
}

#[test]
fn of_a_group_one_service_runs_at_a_time() {
    let only = "only one service of the group `gpu` runs at a time, and `sd`";
    for (usage, stay, expected) in [
        (idle(5), ready(60), format!("{only} is leaving; leave [1]")),
        (idle(0), ready(60), format!("{only} is leaving; leave [1]")),
        (Usage::Busy, ready(60), format!("{only} is busy; leave []")),
        (
            Usage::Unknown,
            ready(60),
            format!("{only} is busy; leave []"),
        ),
        (
            idle(5),
            ready(4),
            format!("{only} has just come, and may stay for 6000 ms more; leave []"),
        ),
        (
            idle(5),
            Stay::Starting,
            format!("{only} is starting; leave []"),
        ),
        (
            idle(5),
            Stay::Leaving,
            format!("{only} is leaving; leave []"),
        ),
        (
            Usage::Busy,
            Stay::Leaving,
            format!("{only} is leaving; leave []"),
        ),
        // A start of 20 s is worth a stay of 60 s.
        (
            idle(5),
            Stay::Ready {
                since: 40 * SECOND,
                start_up: 20 * SECOND,
            },
            format!("{only} has just come, and may stay for 20 s more; leave []"),
        ),
    ] {
        let tenants = [tenant("sd", "gpu", usage, &[(1, stay, 100)])];
        let actual = told(&rules(0), &tenants, &[], &wish("llm", "gpu", 100));
        assert_eq!(actual, expected, "{usage:?} {stay:?}");
        for free in [
            wish("llm", "", 100),
            wish("llm", "cpu", 100),
            wish("sd", "gpu", 100),
        ] {
            assert_eq!(told(&rules(0), &tenants, &[], &free), "start", "{free:?}");
        }
    }
}

#[test]
fn memory_is_made_free_by_the_longest_idle_and_only_if_that_is_enough() {
    let old = tenant(
        "old",
        "",
        idle(300),
        &[(1, ready(900), 300), (2, ready(900), 300)],
    );
    let new = tenant("new", "", idle(20), &[(3, ready(900), 300)]);
    let busy = tenant("busy", "", Usage::Busy, &[(4, ready(900), 100)]);
    let tenants = [busy, new, old];
    let needs = |mib| told(&rules(1_100), &tenants, &[], &wish("x", "", mib));
    assert_eq!(needs(0), "start");
    assert_eq!(needs(100), "start");
    let leaving = |mib| {
        format!(
            "it needs {mib} MiB of memory, 100 MiB of 1100 MiB are free, and who has the rest is leaving"
        )
    };
    assert_eq!(needs(400), format!("{}; leave [1]", leaving(400)));
    assert_eq!(needs(401), format!("{}; leave [1, 2]", leaving(401)));
    assert_eq!(needs(1_000), format!("{}; leave [1, 2, 3]", leaving(1_000)));
    let busy = "it needs 1001 MiB of memory, 100 MiB of 1100 MiB are free, and who has the rest is busy; leave []";
    assert_eq!(needs(1_001), busy);
    let never =
        "it needs 1101 MiB of memory, and all replicas together may have 1100 MiB; leave []";
    assert_eq!(needs(1_101), never);
}

#[test]
fn what_is_leaving_already_is_waited_for_before_others_have_to_go() {
    let tenants = [
        tenant("old", "", idle(300), &[(1, Stay::Leaving, 300)]),
        tenant("new", "", idle(20), &[(2, ready(900), 300)]),
    ];
    let needs = |mib| match decide(&rules(600), &tenants, &[], &wish("x", "", mib)) {
        Verdict::Wait(NoRoom::Memory { obstacle, .. }, leave) => (obstacle, leave),
        other => panic!("{other:?}"),
    };
    assert_eq!(needs(300), (Obstacle::Leaving, vec![]));
    assert_eq!(needs(301), (Obstacle::Leaving, vec![ReplicaId(2)]));
}

#[test]
fn what_stays_of_a_service_has_to_go_although_some_of_it_is_going() {
    let replicas = [(1, Stay::Leaving, 0), (2, ready(60), 0)];
    let tenants = [tenant("sd", "gpu", idle(5), &replicas)];
    let verdict = decide(&rules(0), &tenants, &[], &wish("llm", "gpu", 0));
    assert!(matches!(verdict, Verdict::Wait(_, leave) if leave == [ReplicaId(2)]));
}

#[test]
fn a_service_does_not_make_room_for_itself() {
    let tenants = [tenant("x", "", idle(300), &[(1, ready(900), 300)])];
    let verdict = decide(&rules(500), &tenants, &[], &wish("x", "", 300));
    assert!(matches!(verdict, Verdict::Wait(NoRoom::Memory { .. }, leave) if leave.is_empty()));
}

#[test]
fn who_has_waited_longer_comes_first() {
    let group = told(&rules(0), &[], &[wish("a", "gpu", 0)], &wish("b", "gpu", 0));
    assert_eq!(group, "`a` has waited longer; leave []");
    let memory = told(&rules(100), &[], &[wish("a", "", 90)], &wish("b", "", 1));
    assert_eq!(memory, "`a` has waited longer; leave []");
    for (earlier, wish) in [
        (wish("a", "gpu", 0), wish("a", "gpu", 0)),
        (wish("a", "gpu", 0), wish("b", "cpu", 0)),
        (wish("a", "", 90), wish("b", "", 0)),
    ] {
        assert_eq!(told(&rules(100), &[], &[earlier], &wish), "start");
    }
    // Who has the group may grow in it.
    let tenants = [tenant("b", "gpu", Usage::Busy, &[(1, ready(60), 0)])];
    assert_eq!(
        told(
            &rules(0),
            &tenants,
            &[wish("a", "gpu", 0)],
            &wish("b", "gpu", 0)
        ),
        "start"
    );
    // Who is leaving it has to queue for it.
    let tenants = [tenant("b", "gpu", Usage::Busy, &[(1, Stay::Leaving, 0)])];
    let queued = told(
        &rules(0),
        &tenants,
        &[wish("a", "gpu", 0)],
        &wish("b", "gpu", 0),
    );
    assert_eq!(queued, "`a` has waited longer; leave []");
}

#[test]
fn too_much_memory_is_relieved_by_the_idle_alone() {
    let tenants = [
        tenant("busy", "", Usage::Busy, &[(1, ready(900), 500)]),
        tenant("new", "", idle(20), &[(2, ready(900), 200)]),
        tenant(
            "old",
            "",
            idle(300),
            &[(3, ready(900), 200), (4, Stay::Leaving, 100)],
        ),
    ];
    let ids = |mib| {
        relieve(&rules(mib), &tenants)
            .iter()
            .map(|id| id.0)
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(0), [0; 0], "without a limit");
    assert_eq!(ids(1_000), [0; 0]);
    assert_eq!(ids(900), [0; 0], "the one that is leaving is enough");
    assert_eq!(ids(899), [3]);
    assert_eq!(ids(100), [3, 2], "never the busy one");
}

/// Two services of one group, both wanted all the time, take turns: how much of the time goes into starting?
#[test]
fn two_services_that_take_turns_start_a_quarter_of_the_time_at_most() {
    for start_up in [1_u64, 5, 30] {
        let rules = rules(0);
        let (mut running, mut since, mut started) = (0_usize, 0_u64, 0_u64);
        let (mut starting_time, time) = (0_u64, 10_000_u64);
        for now in 0..time {
            let stay = if now < started + start_up {
                starting_time += 1;
                Stay::Starting
            } else {
                since = since.max(started + start_up);
                Stay::Ready {
                    since: Duration::from_secs(now - since),
                    start_up: Duration::from_secs(start_up),
                }
            };
            let names = ["a", "b"];
            let tenants = [tenant(names[running], "gpu", idle(0), &[(now, stay, 0)])];
            let verdict = decide(&rules, &tenants, &[], &wish(names[1 - running], "gpu", 0));
            if matches!(verdict, Verdict::Wait(_, leave) if !leave.is_empty()) {
                (running, started) = (1 - running, now + 1);
            }
        }
        assert!(
            starting_time * 4 <= time + 4 * start_up,
            "{starting_time} s of {time} s"
        );
        assert!(starting_time > 0);
    }
}

fn any_stay() -> impl Strategy<Value = Stay> {
    prop_oneof![
        Just(Stay::Starting),
        Just(Stay::Leaving),
        (0..100_u32, 0..20_u32).prop_map(|(since, start_up)| Stay::Ready {
            since: since * SECOND,
            start_up: start_up * SECOND,
        }),
    ]
}

fn any_usage() -> impl Strategy<Value = Usage> {
    prop_oneof![
        Just(Usage::Unknown),
        Just(Usage::Busy),
        (0..1_000_u32).prop_map(idle)
    ]
}

fn any_tenants() -> impl Strategy<Value = Vec<Tenant>> {
    let replicas = prop::collection::vec((any_stay(), 0..500_u64), 1..4);
    let groups = prop::sample::select(vec!["", "", "gpu", "cpu"]);
    prop::collection::vec((groups, any_usage(), replicas), 0..6).prop_map(|tenants| {
        let mut all = Vec::new();
        let mut ids = 0..;
        for (group, usage, replicas) in tenants {
            let numbered: Vec<_> = ids
                .by_ref()
                .zip(replicas)
                .map(|(id, (stay, mib))| (id, stay, mib))
                .collect();
            all.push(tenant(&all.len().to_string(), group, usage, &numbered));
        }
        all
    })
}

proptest! {
    #[test]
    fn nobody_who_is_busy_fresh_or_leaving_is_asked_and_nobody_in_vain(
        tenants in any_tenants(),
        limit in 0..2_000_u64,
        mib in 0..600_u64,
        group in prop::sample::select(vec!["", "gpu"]),
    ) {
        let rules = rules(limit);
        let wish = wish("x", group, mib);
        let Verdict::Wait(why, leave) = decide(&rules, &tenants, &[], &wish) else {
            return Ok(());
        };
        let mut freed = 0;
        for id in &leave {
            let of = |tenant: &&Tenant| tenant.replicas.iter().any(|replica| replica.id == *id);
            let tenant = tenants.iter().find(of).expect("it was among them");
            prop_assert!(matches!(tenant.usage, Usage::Idle(_)));
            let replica = tenant.replicas.iter().find(|replica| replica.id == *id).expect("it is its");
            prop_assert_eq!(replica.obstacle(&rules), None);
            freed += replica.memory;
        }
        if let NoRoom::Memory { needs, free, .. } = why && !leave.is_empty() {
            prop_assert!(free + freed + leaving(&tenants) >= needs);
        }
    }

    #[test]
    fn who_is_told_to_start_fits(tenants in any_tenants(), limit in 1..2_000_u64, mib in 0..600_u64) {
        let verdict = decide(&rules(limit), &tenants, &[], &wish("x", "gpu", mib));
        if verdict == Verdict::Start {
            prop_assert!(mib == 0 || used(&tenants) + mib * MIB <= limit * MIB);
            let in_group = |tenant: &Tenant| tenant.group.as_deref() == Some("gpu");
            prop_assert!(!tenants.iter().any(in_group));
        }
    }
}
