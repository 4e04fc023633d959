//! How much memory replicas have, and which have too much.
//!
//! A replica is all its processes: those of its group, and what descends from
//! them. One look at `/proc` serves all replicas. Of a replica with several
//! processes the proportional shares are added up (`smaps_rollup`, Pss) if there
//! is a limit, so that a server that has forked workers is not ended for pages
//! that they have in common. Otherwise resident memory is good enough, which is
//! cheap, and counts such pages once for each.

use std::collections::HashSet;
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
    let owned = proc_fs::owned_by(&groups, &processes);
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
