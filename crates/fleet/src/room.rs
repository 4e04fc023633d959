//! Who gets room on a machine that has not enough for all.
//!
//! Room is short in two ways: services of one [group](crate::CommandSpec::group)
//! exclude each other, and all replicas together may have so much memory. Who
//! wants a replica and finds no room waits, and the services that have been idle
//! longest are asked to go. The rules:
//!
//! - A service that is busy, or of which it is not known, is never asked to go.
//! - Nor is one that has just come: it stays for the residence time, and at least
//!   [`RESIDENCE_START_UPS`] times as long as its start took. So at most a quarter
//!   of the time goes into starting, however often two services take turns.
//! - Nobody is asked to go if that does not make enough room.
//! - Who has waited longer comes first. A small wish does not overtake a large one
//!   that waits for memory, or the large one would wait for ever.
//!
//! Everything here is a function of its arguments; who asks is [`desk`](crate::desk).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::event::{Mebibytes, ReplicaId, Rounded, Usage};

/// A service stays for so many times the time that its start took.
pub const RESIDENCE_START_UPS: u32 = 3;

/// What there is to share, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Bytes of memory of all replicas.
    pub(crate) memory_max: Option<u64>,
    /// How long a replica stays after it was ready.
    pub(crate) residence_min: Duration,
}

/// A service with replicas.
#[derive(Clone, Debug)]
pub(crate) struct Tenant {
    pub(crate) name: Arc<str>,
    pub(crate) group: Option<Arc<str>>,
    pub(crate) usage: Usage,
    pub(crate) replicas: Vec<Occupant>,
}

/// A replica, as far as room goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Occupant {
    pub(crate) id: ReplicaId,
    pub(crate) stay: Stay,
    /// Bytes it has, or may be expected to have.
    pub(crate) memory: u64,
}

/// Since when a replica is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stay {
    /// It is not ready yet.
    Starting,
    /// It was ready so long ago, and its start took so long.
    Ready { since: Duration, start_up: Duration },
    /// It will go: it was asked to, or is ending.
    Leaving,
}

/// What somebody wants: one replica more.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) name: Arc<str>,
    pub(crate) group: Option<Arc<str>>,
    /// Bytes that the replica will need, as far as is known.
    pub(crate) memory: u64,
}

/// What becomes of a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// There is room.
    Start,
    /// There is none, and these replicas are to make it.
    Wait(NoRoom, Vec<ReplicaId>),
}

/// Why there is no room for a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoRoom {
    /// Another service of the same group has replicas.
    Group {
        /// The group.
        group: Arc<str>,
        /// The other service.
        by: Arc<str>,
        /// What it is waited for.
        obstacle: Obstacle,
    },
    /// There is not enough memory left.
    Memory {
        /// Bytes that a replica needs.
        needs: u64,
        /// Bytes that are free.
        free: u64,
        /// Bytes that all replicas together may have.
        max: u64,
        /// What is waited for.
        obstacle: Obstacle,
    },
    /// A replica needs more memory than all together may have.
    Never {
        /// Bytes that a replica needs.
        needs: u64,
        /// Bytes that all replicas together may have.
        max: u64,
    },
    /// Another service has waited longer for the same room.
    Turn {
        /// The other service.
        after: Arc<str>,
    },
}

/// What stands in the way of room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Obstacle {
    /// Who has it is making it free.
    Leaving,
    /// Who has it has just come, and may stay so long still.
    Fresh(Duration),
    /// Who has it is starting.
    Starting,
    /// Who has it is in use, or has not said that it is not.
    Busy,
}

impl Tenant {
    /// What stands in the way of asking those to go that are not going already. `None` if nothing does.
    fn obstacle(&self, rules: &Rules) -> Option<Obstacle> {
        if self.all_leave() {
            return Some(Obstacle::Leaving);
        }
        match self.usage {
            Usage::Idle(_) => staying(self)
                .filter_map(|replica| replica.obstacle(rules))
                .max(),
            _ => Some(Obstacle::Busy),
        }
    }

    fn all_leave(&self) -> bool {
        self.replicas
            .iter()
            .all(|replica| replica.stay == Stay::Leaving)
    }

    fn idle(&self) -> Duration {
        match self.usage {
            Usage::Idle(time) => time,
            _ => Duration::ZERO,
        }
    }
}

impl Occupant {
    fn obstacle(&self, rules: &Rules) -> Option<Obstacle> {
        match self.stay {
            Stay::Starting => Some(Obstacle::Starting),
            Stay::Leaving => Some(Obstacle::Leaving),
            Stay::Ready { since, start_up } => {
                let residence = rules.residence_min.max(start_up * RESIDENCE_START_UPS);
                let rest = residence.saturating_sub(since);
                (!rest.is_zero()).then_some(Obstacle::Fresh(rest))
            }
        }
    }
}

/// Whether there is room for this wish, and who has to go if not.
///
/// `tenants` are all services with replicas, that of the wish too. `earlier` are the wishes that have waited longer.
pub(crate) fn decide(rules: &Rules, tenants: &[Tenant], earlier: &[Wish], wish: &Wish) -> Verdict {
    if let Some(verdict) = decide_group(rules, tenants, earlier, wish) {
        return verdict;
    }
    let Some(max) = rules.memory_max else {
        return Verdict::Start;
    };
    let needs = wish.memory;
    if needs > max {
        return Verdict::Wait(NoRoom::Never { needs, max }, Vec::new());
    }
    let waits = |other: &&Wish| other.name != wish.name && other.memory > 0;
    if needs > 0
        && let Some(other) = earlier.iter().find(waits)
    {
        let after = Arc::clone(&other.name);
        return Verdict::Wait(NoRoom::Turn { after }, Vec::new());
    }
    let free = max.saturating_sub(used(tenants));
    if needs <= free {
        return Verdict::Start;
    }
    let others: Vec<&Tenant> = tenants
        .iter()
        .filter(|tenant| tenant.name != wish.name)
        .collect();
    let (obstacle, leave) = make_room(rules, &others, needs - free, leaving(tenants));
    Verdict::Wait(
        NoRoom::Memory {
            needs,
            free,
            max,
            obstacle,
        },
        leave,
    )
}

/// The part of the groups. `None` if no other service of the group is in the way.
fn decide_group(
    rules: &Rules,
    tenants: &[Tenant],
    earlier: &[Wish],
    wish: &Wish,
) -> Option<Verdict> {
    let group = wish.group.as_ref()?;
    let is_in = |other: &Option<Arc<str>>| other.as_ref() == Some(group);
    let present = |tenant: &&Tenant| is_in(&tenant.group) && !tenant.replicas.is_empty();
    let holds = |tenant: &Tenant| tenant.name == wish.name && !tenant.all_leave();
    let own = tenants.iter().filter(present).any(holds);
    let others: Vec<&Tenant> = tenants
        .iter()
        .filter(present)
        .filter(|tenant| tenant.name != wish.name)
        .collect();
    let before = |other: &&Wish| is_in(&other.group) && other.name != wish.name;
    if !own && let Some(other) = earlier.iter().find(before) {
        let after = Arc::clone(&other.name);
        return Some(Verdict::Wait(NoRoom::Turn { after }, Vec::new()));
    }
    // Of several in the way the hardest to remove is named; there is more than one only after a change of groups.
    let (obstacle, by) = others
        .iter()
        .map(|tenant| (tenant.obstacle(rules), *tenant))
        .max_by_key(|(obstacle, _)| *obstacle)?;
    let leave = match obstacle {
        Some(_) => Vec::new(),
        None => others
            .iter()
            .flat_map(|tenant| staying(tenant))
            .map(|replica| replica.id)
            .collect(),
    };
    let no_room = NoRoom::Group {
        group: Arc::clone(group),
        by: Arc::clone(&by.name),
        obstacle: obstacle.unwrap_or(Obstacle::Leaving),
    };
    Some(Verdict::Wait(no_room, leave))
}

/// Who has to go so that so many bytes are free, the longest idle first; nobody if that is not enough.
///
/// `coming` bytes become free without that.
fn make_room(
    rules: &Rules,
    tenants: &[&Tenant],
    missing: u64,
    coming: u64,
) -> (Obstacle, Vec<ReplicaId>) {
    if missing <= coming {
        return (Obstacle::Leaving, Vec::new());
    }
    let removable = |tenant: &&&Tenant| tenant.obstacle(rules).is_none();
    let mut idle: Vec<&&Tenant> = tenants.iter().filter(removable).collect();
    idle.sort_by_key(|tenant| std::cmp::Reverse(tenant.idle()));
    let (mut leave, mut freed) = (Vec::new(), coming);
    for replica in idle.iter().flat_map(|tenant| staying(tenant)) {
        if freed >= missing {
            break;
        }
        freed += replica.memory;
        leave.push(replica.id);
    }
    if freed >= missing {
        return (Obstacle::Leaving, leave);
    }
    // What will pass soonest is what is waited for.
    let obstacles = tenants.iter().filter_map(|tenant| tenant.obstacle(rules));
    let in_the_way = obstacles.filter(|obstacle| *obstacle != Obstacle::Leaving);
    (in_the_way.min().unwrap_or(Obstacle::Busy), Vec::new())
}

/// Who has to go because all replicas together have more memory than they may: the longest idle, as many as it takes.
pub(crate) fn relieve(rules: &Rules, tenants: &[Tenant]) -> Vec<ReplicaId> {
    let Some(max) = rules.memory_max else {
        return Vec::new();
    };
    let missing = used(tenants).saturating_sub(max);
    let mut idle: Vec<&Tenant> = tenants
        .iter()
        .filter(|tenant| matches!(tenant.usage, Usage::Idle(_)))
        .collect();
    idle.sort_by_key(|tenant| std::cmp::Reverse(tenant.idle()));
    let (mut leave, mut freed) = (Vec::new(), leaving(tenants));
    for replica in idle.iter().flat_map(|tenant| staying(tenant)) {
        if freed >= missing {
            break;
        }
        freed += replica.memory;
        leave.push(replica.id);
    }
    leave
}

fn staying(tenant: &Tenant) -> impl Iterator<Item = &Occupant> {
    tenant
        .replicas
        .iter()
        .filter(|replica| replica.stay != Stay::Leaving)
}

fn used(tenants: &[Tenant]) -> u64 {
    let replicas = tenants.iter().flat_map(|tenant| &tenant.replicas);
    replicas.fold(0, |sum, replica| replica.memory.saturating_add(sum))
}

fn leaving(tenants: &[Tenant]) -> u64 {
    let replicas = tenants.iter().flat_map(|tenant| &tenant.replicas);
    let leaving = replicas.filter(|replica| replica.stay == Stay::Leaving);
    leaving.fold(0, |sum, replica| replica.memory.saturating_add(sum))
}

impl NoRoom {
    /// A word for it, from a small set, for labels of metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Group { .. } => "group",
            Self::Memory { .. } | Self::Never { .. } => "memory",
            Self::Turn { .. } => "turn",
        }
    }
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group {
                group,
                by,
                obstacle,
            } => {
                write!(
                    f,
                    "only one service of the group `{group}` runs at a time, and `{by}` {obstacle}"
                )
            }
            Self::Memory {
                needs,
                free,
                max,
                obstacle,
            } => {
                let (needs, free, max) = (Mebibytes(*needs), Mebibytes(*free), Mebibytes(*max));
                write!(
                    f,
                    "it needs {needs} of memory, {free} of {max} are free, and who has the rest {obstacle}"
                )
            }
            Self::Never { needs, max } => {
                let (needs, max) = (Mebibytes(*needs), Mebibytes(*max));
                write!(
                    f,
                    "it needs {needs} of memory, and all replicas together may have {max}"
                )
            }
            Self::Turn { after } => write!(f, "`{after}` has waited longer"),
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leaving => f.write_str("is leaving"),
            Self::Fresh(rest) => {
                write!(f, "has just come, and may stay for {} more", Rounded(*rest))
            }
            Self::Starting => f.write_str("is starting"),
            Self::Busy => f.write_str("is busy"),
        }
    }
}

#[cfg(test)]
#[path = "room_tests.rs"]
mod tests;
