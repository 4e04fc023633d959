//! The replicas of one service.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::backoff::{BackOff, BackOffView};
use crate::command::{CommandSpec, SpecError};
use crate::event::{End, Observer, ReplicaEvent, ReplicaId, Usage};
use crate::host::{Host, HostShared};
use crate::life::Life;
use crate::output::Output;
use crate::readiness::Readiness;
use crate::replica::{Asked, Replica};
use crate::room::{Tenant, Wish};
use crate::spawn::spawn;
use crate::start_error::StartError;
use crate::view::{Phase, ReplicaView};

/// The replicas of one service. A clone is another handle of the same set.
///
/// Dropping the handles stops nothing: [`close`](Self::close) does.
#[derive(Clone)]
pub struct ReplicaSet(Arc<SetShared>);

/// What the handles and the replicas have in common.
pub(crate) struct SetShared {
    pub(crate) host: Arc<HostShared>,
    pub(crate) name: Arc<str>,
    state: Mutex<State>,
    /// How many replicas there are, for those who wait for none.
    count: watch::Sender<usize>,
}

struct State {
    spec: Arc<CommandSpec>,
    replicas: BTreeMap<ReplicaId, Arc<Replica>>,
    back_off: BackOff,
    /// The most memory that a replica of this command has had, in bytes.
    memory_peak: u64,
    closed: bool,
    /// Gone when the set is closed and empty: the observer may hold the set.
    observer: Option<Arc<dyn Observer>>,
}

impl ReplicaSet {
    /// A set without replicas.
    ///
    /// # Errors
    ///
    /// The first setting that cannot be.
    pub fn new(
        host: &Host,
        name: &str,
        spec: CommandSpec,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, SpecError> {
        spec.validate()?;
        let state = State {
            spec: Arc::new(spec),
            replicas: BTreeMap::new(),
            back_off: BackOff::default(),
            memory_peak: 0,
            closed: false,
            observer: Some(observer),
        };
        let shared = Arc::new(SetShared {
            host: Arc::clone(&host.0),
            name: name.into(),
            state: Mutex::new(state),
            count: watch::Sender::new(0),
        });
        host.0.add(&shared);
        Ok(Self(shared))
    }

    /// The name of the service.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Starts a replica: its process runs when this returns, about a millisecond later.
    ///
    /// What becomes of it is told to the [`Observer`]. It may be called from any thread.
    ///
    /// # Errors
    ///
    /// Why no process was started. After a failure the next start has to wait ([`StartError::BackingOff`]).
    pub fn start(&self) -> Result<ReplicaId, StartError> {
        self.0.start()
    }

    /// Asks a replica to end: its stop signal, and after its grace `SIGKILL`, to the whole process group.
    ///
    /// Returns at once. `false` if there is no such replica, or it is ending already.
    pub fn stop(&self, id: ReplicaId) -> bool {
        let replica = self.0.state.lock().replicas.get(&id).cloned();
        let replica = replica.filter(|replica| replica.phase() != Phase::Stopping);
        if let Some(replica) = &replica {
            replica.ask_to_end(Asked::Stop);
        }
        replica.is_some()
    }

    /// What replicas are like that start from now on. Those that run stay as they are. Failures are forgotten.
    ///
    /// # Errors
    ///
    /// The first setting that cannot be; nothing is changed then.
    pub fn reconfigure(&self, spec: CommandSpec) -> Result<(), SpecError> {
        spec.validate()?;
        let mut state = self.0.state.lock();
        state.spec = Arc::new(spec);
        state.back_off.succeeded();
        state.memory_peak = 0;
        Ok(())
    }

    /// Forgets failures, so that the next start need not wait.
    pub fn forget_failures(&self) {
        self.0.healthy();
    }

    /// What there is to wait for after failures; `None` if there was none since the last success.
    pub fn back_off(&self) -> Option<BackOffView> {
        self.0.state.lock().back_off.view(Instant::now())
    }

    /// All replicas, oldest first, with those that are ending.
    pub fn view(&self) -> Vec<ReplicaView> {
        let now = Instant::now();
        let replicas = self.0.replicas();
        replicas.iter().map(|replica| replica.view(now)).collect()
    }

    /// Refuses further starts, and asks all replicas to end. [`emptied`](Self::emptied) waits for it.
    pub fn close(&self) {
        self.0.close();
    }

    /// Waits until there is no replica, and nothing left of one.
    pub async fn emptied(&self) {
        self.0.emptied().await;
    }
}

impl SetShared {
    fn start(self: &Arc<Self>) -> Result<ReplicaId, StartError> {
        let _runtime = self.host.runtime.enter();
        let now = Instant::now();
        let spec = {
            let state = self.state.lock();
            if state.closed {
                return Err(StartError::Closed);
            }
            if let Some(view) = state.back_off.view(now)
                && !view.remaining.is_zero()
            {
                return Err(StartError::BackingOff(view));
            }
            Arc::clone(&state.spec)
        };
        let permit = self.host.permit()?;
        let admission = self.host.desk.admit(self, &spec)?;
        let ports = &self.host.ports;
        let port = ports
            .take()
            .ok_or_else(|| StartError::NoPort(ports.range()))?;
        let started = Instant::now();
        let id = self.host.next_id();
        let mark = self.host.mark.of_replica(id);
        let spawned = spawn(&spec, port.number(), &mark.value())
            .inspect_err(|error| self.start_failed(error, &spec))?;
        let limited = spec
            .memory_max
            .and_then(|max| self.host.limit(id, spawned.process.pid(), max));
        let keeper = self.host.keeper.as_ref();
        let known = keeper.map(|keeper| keeper.tell(spawned.process.pid()));
        let pid = spawned.process.pid().as_raw_nonzero().get().unsigned_abs();
        let ready_line = match &spec.readiness {
            Readiness::LogLine(pattern) => Some(pattern.clone()),
            _ => None,
        };
        let name = Arc::clone(&self.name);
        let sink = self.host.output.clone();
        let output = Output::new(name, id, spec.lines_kept, ready_line, sink);
        let replica = Arc::new(Replica::new(id, pid, spec, output, port, started));
        let life = Life::new(Arc::clone(self), Arc::clone(&replica), spawned, limited);
        self.insert(replica)?;
        drop(admission);
        drop(self.host.runtime.spawn(async move {
            life.live().await;
            drop((known, permit));
        }));
        Ok(id)
    }

    /// A failure before there was a process. One of the machine says nothing about the command.
    fn start_failed(&self, error: &StartError, spec: &CommandSpec) {
        if error.is_fault_of_command() {
            let now = Instant::now();
            let mut state = self.state.lock();
            let failure = error.to_string().into();
            state.back_off.failed(now, &spec.back_off, None, failure);
        }
    }

    fn insert(&self, replica: Arc<Replica>) -> Result<(), StartError> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(StartError::Closed);
        }
        state.replicas.insert(replica.id, replica);
        self.count.send_replace(state.replicas.len());
        Ok(())
    }

    pub(crate) fn remove(&self, replica: &Replica) {
        let mut state = self.state.lock();
        state.replicas.remove(&replica.id);
    }

    pub(crate) fn replicas(&self) -> Vec<Arc<Replica>> {
        self.state.lock().replicas.values().cloned().collect()
    }

    /// Tells the observer, without a lock held.
    pub(crate) fn tell(&self, event: ReplicaEvent) {
        let gone = matches!(event, ReplicaEvent::Gone { .. });
        let observer = self.state.lock().observer.clone();
        if let Some(observer) = observer {
            observer.event(event);
        }
        if gone {
            let count = self.state.lock().replicas.len();
            self.count.send_replace(count);
            self.host.desk.wake();
            self.part_if_over();
        }
    }

    /// What the service wants of the machine with one replica more.
    pub(crate) fn wish(&self, spec: &CommandSpec) -> Wish {
        Wish {
            name: Arc::clone(&self.name),
            group: spec.group.as_deref().map(Arc::from),
            memory: self.memory_expected(spec),
        }
    }

    /// What a replica may have, so that it can have it; else the most that one has had, if one was ever measured.
    fn memory_expected(&self, spec: &CommandSpec) -> u64 {
        let peak = self.state.lock().memory_peak;
        spec.memory_max.unwrap_or(peak)
    }

    /// What the service has of the machine.
    pub(crate) fn tenant(&self, usage: Usage, now: Instant) -> Tenant {
        let spec = Arc::clone(&self.state.lock().spec);
        let expected = self.memory_expected(&spec);
        let replicas = self.replicas();
        let group = replicas
            .first()
            .map_or(&spec.group, |replica| &replica.spec.group);
        Tenant {
            name: Arc::clone(&self.name),
            group: group.as_deref().map(Arc::from),
            usage,
            replicas: replicas
                .iter()
                .map(|replica| replica.occupant(expected, now))
                .collect(),
        }
    }

    pub(crate) fn usage(&self) -> Usage {
        let observer = self.state.lock().observer.clone();
        observer.map_or(Usage::Unknown, |observer| observer.usage())
    }

    /// Whether the replica is one of these, and now known to be leaving.
    pub(crate) fn make_leave(&self, id: ReplicaId, now: Instant) -> bool {
        let replica = self.state.lock().replicas.get(&id).cloned();
        replica.is_some_and(|replica| {
            replica.make_leave(now);
            true
        })
    }

    /// Takes note of what a replica has been measured to have.
    pub(crate) fn measured(&self, bytes: u64) {
        let mut state = self.state.lock();
        state.memory_peak = state.memory_peak.max(bytes);
    }

    /// Counts a failure; how long to wait.
    pub(crate) fn failed(&self, now: Instant, end: &End, spec: &CommandSpec) -> Duration {
        let mut state = self.state.lock();
        let failure = end.to_string().into();
        state
            .back_off
            .failed(now, &spec.back_off, end.ready_for, failure)
    }

    pub(crate) fn healthy(&self) {
        self.state.lock().back_off.succeeded();
    }

    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        for replica in self.replicas() {
            replica.ask_to_end(Asked::Stop);
        }
        self.part_if_over();
    }

    /// Lets go of the observer when there will be nothing more to tell.
    fn part_if_over(&self) {
        let mut state = self.state.lock();
        let over = state.closed && state.replicas.is_empty();
        let parted = if over { state.observer.take() } else { None };
        drop(state);
        // Dropped without the lock: it may hold the last handle of this set.
        drop(parted);
    }

    pub(crate) async fn emptied(&self) {
        let mut count = self.count.subscribe();
        // The sender is in `self`, so it cannot have gone.
        let _none = count.wait_for(|count| *count == 0).await;
    }
}
