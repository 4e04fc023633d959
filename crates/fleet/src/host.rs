//! What all services on one machine have in common.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::Pid;
use tokio::runtime::Handle;

use crate::cgroup::{Group, Groups};
use crate::command::SpecError;
use crate::desk::{self, Desk};
use crate::event::ReplicaId;
use crate::keeper::{Keeper, Link};
use crate::mark::Mark;
use crate::memory;
use crate::output::OutputSink;
use crate::ports::{PORTS_DEFAULT, Ports};
use crate::room::Rules;
use crate::set::SetShared;
use crate::start_error::{HostError, StartError};

/// Replicas of one host, unless set otherwise.
pub const REPLICAS_MAX_DEFAULT: usize = 1_000;

/// The settings of a [`Host`]. Begin with the default, and change what differs.
#[derive(Clone)]
pub struct HostConfig {
    /// The loopback ports that replicas are given. Default: [`PORTS_DEFAULT`].
    pub ports: RangeInclusive<u16>,
    /// Replicas of all services together, at most. Default: [`REPLICAS_MAX_DEFAULT`].
    pub replicas_max: usize,
    /// Memory of all replicas together, in bytes: none is started that would need more, and those that are idle make
    /// room. Default: no limit.
    pub memory_max: Option<u64>,
    /// How long a replica stays after it was ready before it has to make room for others. Default: 10 s.
    pub residence_min: Duration,
    /// The process that ends all replicas if this one dies without having done so. Default: none, and they stay then.
    pub keeper: Option<Keeper>,
    /// Takes the output of all replicas. Default: none; the last lines are kept all the same.
    pub output: Option<OutputSink>,
}

/// The machine on which replicas run. A clone is another handle of the same host.
#[derive(Clone)]
pub struct Host(pub(crate) Arc<HostShared>);

pub(crate) struct HostShared {
    pub(crate) runtime: Handle,
    pub(crate) ports: Arc<Ports>,
    pub(crate) output: Option<OutputSink>,
    pub(crate) mark: Mark,
    pub(crate) keeper: Option<Arc<Link>>,
    pub(crate) desk: Arc<Desk>,
    /// Where limits of memory are kept, or why there is no such place; unknown before the first limit.
    groups: OnceLock<Result<Groups, String>>,
    /// Replicas that are not ready yet.
    pub(crate) starting: AtomicU32,
    replicas: AtomicUsize,
    replicas_max: usize,
    ids: AtomicU64,
    sets: Mutex<Vec<Weak<SetShared>>>,
}

/// The right to have one replica more, given back on drop.
pub(crate) struct Permit(Arc<HostShared>);

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            ports: PORTS_DEFAULT,
            replicas_max: REPLICAS_MAX_DEFAULT,
            memory_max: None,
            residence_min: Duration::from_secs(10),
            keeper: None,
            output: None,
        }
    }
}

impl Host {
    /// Must be called within a tokio runtime with I/O and time; all replicas live on it.
    ///
    /// # Errors
    ///
    /// A setting that cannot be, or a keeper that cannot be started.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    pub fn new(config: HostConfig) -> Result<Self, HostError> {
        if config.ports.is_empty() || *config.ports.start() == 0 {
            let (first, last) = config.ports.into_inner();
            let problem = format!("{first} to {last} is no range of ports, from 1 to 65535");
            return Err(SpecError::new("ports", problem).into());
        }
        if config.replicas_max == 0 {
            return Err(SpecError::new("replicas_max", "is 0; allow one at least").into());
        }
        let seed = std::process::id();
        if config.memory_max == Some(0) {
            return Err(SpecError::new("memory_max", "is 0; leave it out for no limit").into());
        }
        SpecError::check_duration("residence_min", config.residence_min, Duration::ZERO)?;
        let rules = Rules {
            memory_max: config.memory_max,
            residence_min: config.residence_min,
        };
        let runtime = Handle::current();
        let mark = Mark::new();
        let link = |keeper| Link::new(keeper, mark.clone()).map_err(HostError::Keeper);
        let keeper = config.keeper.map(link).transpose()?;
        let shared = Arc::new(HostShared {
            runtime: runtime.clone(),
            // Processes begun one after the other begin far from each other.
            ports: Ports::new(config.ports, seed.wrapping_mul(97)),
            output: config.output,
            mark,
            keeper,
            desk: Arc::new(Desk::new(rules)),
            groups: OnceLock::new(),
            starting: AtomicU32::new(0),
            replicas: AtomicUsize::new(0),
            replicas_max: config.replicas_max,
            ids: AtomicU64::new(0),
            sets: Mutex::new(Vec::new()),
        });
        drop(runtime.spawn(memory::watch(Arc::downgrade(&shared))));
        drop(runtime.spawn(desk::watch(Arc::downgrade(&shared))));
        Ok(Self(shared))
    }

    /// Refuses further starts, asks all replicas of all sets to end, and waits until nothing is left of them.
    pub async fn shutdown(&self) {
        let sets = self.0.sets();
        for set in &sets {
            set.close();
        }
        for set in &sets {
            set.emptied().await;
        }
    }

    /// Where the kernel keeps [limits of memory](crate::CommandSpec::memory_max): the control group that has one for each
    /// replica with a limit.
    ///
    /// # Errors
    ///
    /// Why it does not; then memory is measured each second, and a replica that has too much is stopped.
    pub fn memory_groups(&self) -> Result<String, String> {
        let groups = self.0.groups();
        groups
            .as_ref()
            .map(ToString::to_string)
            .map_err(Clone::clone)
    }

    /// Replicas there are, of all services, with those that are ending.
    pub fn replicas(&self) -> usize {
        self.0.replicas.load(Ordering::Relaxed)
    }

    /// Ports in use by replicas.
    pub fn ports_in_use(&self) -> usize {
        self.0.ports.in_use()
    }
}

impl HostShared {
    pub(crate) fn add(&self, set: &Arc<SetShared>) {
        let mut sets = self.sets.lock();
        sets.retain(|set| set.strong_count() > 0);
        sets.push(Arc::downgrade(set));
    }

    pub(crate) fn sets(&self) -> Vec<Arc<SetShared>> {
        self.sets.lock().iter().filter_map(Weak::upgrade).collect()
    }

    fn groups(&self) -> &Result<Groups, String> {
        self.groups
            .get_or_init(|| Groups::of_this_process(&self.mark))
    }

    /// Lets the kernel keep a limit of memory. `None` if it cannot: then it is measured.
    pub(crate) fn limit(&self, id: ReplicaId, pid: Pid, max: u64) -> Option<Group> {
        let groups = self.groups().as_ref().ok()?;
        groups.limit(id, pid, max).ok()
    }

    pub(crate) fn next_id(&self) -> ReplicaId {
        ReplicaId(self.ids.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub(crate) fn permit(self: &Arc<Self>) -> Result<Permit, StartError> {
        let permit = Permit(Arc::clone(self));
        let before = self.replicas.fetch_add(1, Ordering::Relaxed);
        if before >= self.replicas_max {
            return Err(StartError::ReplicasMax(self.replicas_max));
        }
        Ok(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.replicas.fetch_sub(1, Ordering::Relaxed);
    }
}
