//! How much memory replicas have, and which have too much.
//!
//! A replica is all its processes: those of its group, and what descends from
//! them. One look at `/proc` serves all replicas. Resident memory is added up
//! first, which is cheap and counts shared pages once for each process; before
//! a replica is said to have too much, its proportional share
//! (`smaps_rollup`, Pss) is added up instead, so that a server that has forked
//! workers is not ended for pages that they have in common.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::sleep;

use crate::host::HostShared;
use crate::proc_fs::{self, Stat};
use crate::replica::{Asked, Replica};

/// How often memory is measured if a replica has a limit.
const PERIOD_LIMITED: Duration = Duration::from_secs(1);

/// How often it is measured otherwise.
const PERIOD: Duration = Duration::from_secs(5);

/// Generations of processes that are followed.
const GENERATIONS_MAX: usize = 64;

/// Measures as long as the host is there. Costs nothing but a timer while there is no replica.
pub(crate) async fn watch(host: Weak<HostShared>) {
    let mut period = PERIOD_LIMITED;
    loop {
        sleep(period).await;
        let Some(host) = host.upgrade() else {
            return;
        };
        let replicas: Vec<Arc<Replica>> =
            host.sets().iter().flat_map(|set| set.replicas()).collect();
        let limited = replicas
            .iter()
            .any(|replica| replica.spec.memory_max.is_some());
        period = if limited || replicas.is_empty() {
            PERIOD_LIMITED
        } else {
            PERIOD
        };
        drop(host);
        if !replicas.is_empty() {
            // Reading `/proc` takes milliseconds on a machine with many processes. A panic there ends nothing here.
            let _measured = tokio::task::spawn_blocking(move || measure(&replicas)).await;
        }
    }
}

fn measure(replicas: &[Arc<Replica>]) {
    let processes: Vec<Stat> = proc_fs::processes().collect();
    let groups: Vec<i32> = replicas
        .iter()
        .filter_map(|replica| i32::try_from(replica.pid).ok())
        .collect();
    let owned = owned_by(&groups, &processes);
    let page = rustix::param::page_size() as u64;
    for (replica, group) in replicas.iter().zip(&groups) {
        let own = || {
            owned
                .iter()
                .filter(|(_, owner)| *owner == *group)
                .map(|(stat, _)| *stat)
        };
        let resident: u64 = own().map(|stat| stat.pages * page).sum();
        let over = |used| replica.spec.memory_max.filter(|max| used > *max);
        let used = match over(resident) {
            None => resident,
            Some(_) => own()
                .map(|stat| proc_fs::proportional(stat.pid).unwrap_or(stat.pages * page))
                .sum(),
        };
        replica.set_memory(used);
        if let Some(max) = over(used) {
            replica.ask_to_end(Asked::Memory { used, max });
        }
    }
}

/// Which processes belong to which of the groups: members, and descendants that have left it.
fn owned_by<'a>(groups: &[i32], processes: &'a [Stat]) -> Vec<(&'a Stat, i32)> {
    let by_pid: HashMap<i32, &Stat> = processes.iter().map(|stat| (stat.pid, stat)).collect();
    let owner = |stat: &Stat| {
        let parent = |stat: &&Stat| by_pid.get(&stat.parent).copied();
        let ancestors = std::iter::successors(by_pid.get(&stat.pid).copied(), parent);
        let mut lines = ancestors.take(GENERATIONS_MAX).map(|stat| stat.group);
        lines.find(|group| groups.contains(group))
    };
    processes
        .iter()
        .filter_map(|stat| Some((stat, owner(stat)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_descendants_belong_to_a_group() {
        let process = |pid, parent, group| Stat {
            pid,
            state: b'S',
            parent,
            group,
            started: 0,
            pages: 1,
        };
        let processes = [
            process(1, 0, 1),
            process(10, 1, 10),
            process(11, 10, 10),
            // A child with a session of its own, and its child.
            process(12, 11, 12),
            process(13, 12, 13),
            process(20, 1, 20),
            // An orphan that stayed in the group.
            process(21, 1, 20),
            process(30, 1, 30),
        ];
        let owned = owned_by(&[10, 20], &processes);
        let owned: Vec<_> = owned
            .iter()
            .map(|(stat, owner)| (stat.pid, *owner))
            .collect();
        assert_eq!(
            owned,
            [(10, 10), (11, 10), (12, 10), (13, 10), (20, 20), (21, 20)]
        );
    }
}
