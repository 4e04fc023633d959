//! Services that have not room for all of them.

use std::time::Duration;

use plimsoll_fleet::{
    EndCause, HostConfig, NoRoom, Obstacle, ReplicaEvent, ReplicaId, StartError, Usage,
};

use tokio::select;
use tokio::time::interval;

use crate::support::{Service, server};

const IDLE: Usage = Usage::Idle(Duration::from_secs(60));

/// A program that takes so many MiB and keeps them.
fn hog(mebibytes: u32) -> plimsoll_fleet::CommandSpec {
    server(&format!("kept = bytearray(b'x') * ({mebibytes} << 20)"))
}

fn refused(service: &Service) -> NoRoom {
    match service.set.start() {
        Err(StartError::NoRoom(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// Until the service is asked to stop a replica, and for whom. The other repeats its wish meanwhile.
async fn asked_to_leave(service: &mut Service, waiting: &Service) -> (ReplicaId, String) {
    let mut repeat = interval(Duration::from_secs(1));
    loop {
        select! {
            event = service.next() => {
                if let ReplicaEvent::EvictionWanted { id, for_service } = event {
                    return (id, for_service.to_string());
                }
            }
            _ = repeat.tick() => drop(refused(waiting)),
        }
    }
}

async fn told_of_room(service: &mut Service) {
    while !matches!(service.next().await, ReplicaEvent::RoomFreed) {}
}

#[tokio::test]
async fn services_of_a_group_take_turns_and_the_busy_one_is_left_alone() {
    let config = HostConfig {
        residence_min: Duration::ZERO,
        ..HostConfig::default()
    };
    let mut spec = server("");
    spec.group = Some("gpu".to_owned());
    let mut one = Service::with(config, spec.clone());
    let mut other = one.another("other", spec);
    let first = one.set.start().unwrap();
    let NoRoom::Group { by, obstacle, .. } = refused(&other) else {
        panic!("the other has the group");
    };
    assert_eq!(
        (&*by, obstacle),
        ("chat", Obstacle::Busy),
        "whose use is not known is busy"
    );
    one.ready(first).await;
    one.is(Usage::Busy);
    assert!(matches!(
        refused(&other),
        NoRoom::Group {
            obstacle: Obstacle::Busy,
            ..
        }
    ));
    one.is(IDLE);
    let (leaving, for_whom) = asked_to_leave(&mut one, &other).await;
    assert_eq!((leaving, for_whom.as_str()), (first, "other"));
    assert!(matches!(
        refused(&other),
        NoRoom::Group {
            obstacle: Obstacle::Leaving,
            ..
        }
    ));
    one.set.stop(first);
    told_of_room(&mut other).await;
    let second = other.set.start().unwrap();
    other.ready(second).await;
    assert!(matches!(refused(&one), NoRoom::Group { .. }));
    one.host.shutdown().await;
}

#[tokio::test]
async fn a_replica_with_too_much_memory_is_ended_with_the_figures() {
    let mut spec = hog(64);
    spec.memory_max = Some(48 << 20);
    let mut service = Service::new(spec);
    let id = service.set.start().unwrap();
    let end = service.ended(id).await;
    let EndCause::Memory { used, max } = end.cause else {
        panic!("{end}");
    };
    assert_eq!(max, 48 << 20);
    match service.host.memory_groups() {
        Ok(_) => assert!(end.to_string().contains("ended by the kernel"), "{end}"),
        Err(_) => {
            assert!(used > max, "{used}");
            let words = "of memory, and may have 48 MiB";
            assert!(end.to_string().contains(words), "{end}");
        }
    }
    assert!(
        end.retry_after > Duration::ZERO,
        "it will need as much again"
    );
}

#[tokio::test]
async fn where_it_is_permitted_the_kernel_keeps_the_limit_and_nothing_is_left_of_it() {
    let mut spec = server("");
    spec.memory_max = Some(256 << 20);
    let mut service = Service::new(spec);
    let parent = match service.host.memory_groups() {
        Ok(parent) => parent,
        Err(why) => {
            println!("skipped: {why}");
            return;
        }
    };
    let id = service.set.start().unwrap();
    service.ready(id).await;
    let pid = service.set.view()[0].pid;
    let membership = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let own = membership.lines().find_map(|line| line.strip_prefix("0::"));
    let name = own.unwrap().rsplit('/').next().unwrap();
    assert!(name.starts_with("plimsoll-replica-"), "{membership}");
    let group = std::path::Path::new(&parent).join(name);
    let limit = std::fs::read_to_string(group.join("memory.max")).unwrap();
    assert_eq!(limit.trim(), (256 << 20).to_string());
    service.set.stop(id);
    service.gone(id).await;
    assert!(!group.exists());
}

#[tokio::test]
async fn the_idle_one_makes_room_in_memory() {
    let config = HostConfig {
        residence_min: Duration::ZERO,
        memory_max: Some(200 << 20),
        ..HostConfig::default()
    };
    let mut spec = hog(64);
    spec.memory_max = Some(100 << 20);
    let mut old = Service::with(config, spec.clone());
    let mut new = old.another("new", spec.clone());
    let mut third = old.another("third", spec);
    let first = old.set.start().unwrap();
    old.ready(first).await;
    let second = new.set.start().unwrap();
    new.ready(second).await;
    new.is(Usage::Busy);
    old.is(IDLE);
    assert!(matches!(refused(&third), NoRoom::Memory { .. }));
    let asked = asked_to_leave(&mut old, &third).await;
    assert_eq!(asked, (first, "third".to_owned()));
    old.set.stop(first);
    told_of_room(&mut third).await;
    let id = third.set.start().unwrap();
    third.ready(id).await;
    assert_eq!(new.set.view().len(), 1, "the busy one has stayed");
    old.host.shutdown().await;
}
