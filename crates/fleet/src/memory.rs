//! How much memory replicas have, and which have too much.
//!
//! A replica is all its processes: those of its group, and what descends from
//! them. One look at `/proc` serves all replicas. Of a replica with several
//! processes the proportional shares are added up (`smaps_rollup`, Pss) if there
//! is a limit, so that a server that has forked workers is not ended for pages
//! that they have in common. Otherwise resident memory is good enough, which is
//! cheap, and counts such pages once for each.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::sleep;

use crate::host::HostShared;
use crate::proc_fs::{self, Stat};
use crate::replica::{Asked, Replica};
use crate::set::SetShared;

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
        let of = |set: Arc<SetShared>| {
            let replicas = set.replicas().into_iter();
            replicas.map(move |replica| (Arc::clone(&set), replica))
        };
        let all: Vec<(Arc<SetShared>, Arc<Replica>)> =
            host.sets().into_iter().flat_map(of).collect();
        let own_limit = |(_, replica): &(_, Arc<Replica>)| replica.spec.memory_max.is_some();
        let limited = host.desk.limits_memory() || all.iter().any(own_limit);
        drop(host);
        period = if limited || all.is_empty() {
            PERIOD_LIMITED
        } else {
            PERIOD
        };
        if !all.is_empty() {
            // Reading `/proc` takes milliseconds on a machine with many processes. A panic there ends nothing here.
            let _measured = tokio::task::spawn_blocking(move || measure(&all, limited)).await;
        }
    }
}

fn measure(all: &[(Arc<SetShared>, Arc<Replica>)], limited: bool) {
    let processes: Vec<Stat> = proc_fs::processes().collect();
    let group = |replica: &Replica| i32::try_from(replica.pid).unwrap_or_default();
    let groups: HashSet<i32> = all.iter().map(|(_, replica)| group(replica)).collect();
    let owned = owned_by(&groups, &processes);
    for (set, replica) in all {
        let used = sum(
            owned.get(&group(replica)).map_or(&[], Vec::as_slice),
            limited,
        );
        // One that has ended meanwhile has no processes.
        if used > 0 {
            replica.set_memory(used);
            set.measured(used);
        }
        if let Some(max) = replica.spec.memory_max
            && used > max
        {
            replica.ask_to_end(Asked::Memory { used, max });
        }
    }
}

/// Bytes of memory of these processes together, exactly if something depends on it.
fn sum(processes: &[&Stat], exact: bool) -> u64 {
    let page = rustix::param::page_size() as u64;
    let resident = |stat: &Stat| stat.pages * page;
    let share = |stat: &&Stat| match proc_fs::proportional(stat.pid) {
        Some(share) if exact => share,
        _ => resident(stat),
    };
    match processes {
        [one] => resident(one),
        // To read the shares takes the kernel milliseconds for a large process.
        _ if exact => processes.iter().map(share).sum(),
        _ => processes.iter().map(|stat| resident(stat)).sum(),
    }
}

/// Which processes belong to each of the groups: members, and descendants that have left it.
fn owned_by<'a>(groups: &HashSet<i32>, processes: &'a [Stat]) -> HashMap<i32, Vec<&'a Stat>> {
    let by_pid: HashMap<i32, &Stat> = processes.iter().map(|stat| (stat.pid, stat)).collect();
    let mut owned: HashMap<i32, Vec<&Stat>> = HashMap::new();
    for stat in processes {
        let parent = |stat: &&Stat| by_pid.get(&stat.parent).copied();
        let ancestors = std::iter::successors(Some(stat), parent);
        let mut line = ancestors.take(GENERATIONS_MAX).map(|stat| stat.group);
        if let Some(owner) = line.find(|group| groups.contains(group)) {
            owned.entry(owner).or_default().push(stat);
        }
    }
    owned
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
        let owned = owned_by(&HashSet::from([10, 20, 99]), &processes);
        let mut owned: Vec<(i32, Vec<i32>)> = owned
            .into_iter()
            .map(|(group, stats)| (group, stats.iter().map(|stat| stat.pid).collect()))
            .collect();
        owned.sort_unstable();
        assert_eq!(owned, [(10, vec![10, 11, 12, 13]), (20, vec![20, 21])]);
    }
}
