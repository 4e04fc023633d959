//! The life of one replica, from its start until nothing is left of it.

use std::net::SocketAddr;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::command::CommandSpec;
use crate::event::{End, EndCause, ReplicaEvent, ReplicaId};
use crate::output::{Output, Stream};
use crate::ports::Port;
use crate::process::Process;
use crate::readiness::{self, Readiness};
use crate::room::{Occupant, Stay};
use crate::set::SetShared;
use crate::spawn::Spawned;
use crate::view::{Phase, ReplicaView};

/// How long output is waited for after the end of its process: another process may have inherited it.
const OUTPUT_TIME_MAX: Duration = Duration::from_millis(100);

/// Who was asked to leave and has not begun to is asked again after so long.
const LEAVE_TIME: Duration = Duration::from_secs(30);

/// A replica, as those see it who do not run it.
pub(crate) struct Replica {
    pub(crate) id: ReplicaId,
    pub(crate) pid: u32,
    pub(crate) spec: Arc<CommandSpec>,
    pub(crate) output: Output,
    pub(crate) port: Port,
    started: Instant,
    state: Mutex<State>,
    /// Wakes the life of the replica when somebody asks it to end.
    asked_to_end: Notify,
}

#[derive(Clone, Copy, Debug)]
struct State {
    phase: Phase,
    ready: Option<(Instant, SocketAddr)>,
    /// Bytes of memory, when it was last measured.
    memory: Option<u64>,
    asked: Option<Asked>,
    /// When its service was asked to stop it in favour of another.
    leaving: Option<Instant>,
}

/// Why somebody wants it to end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked {
    Stop,
    Memory { used: u64, max: u64 },
}

/// What ends the time in which a replica is, or becomes, of use.
enum Fate {
    Exited(ExitStatus),
    Asked(Asked),
    NotReady,
}

impl Replica {
    pub(crate) fn new(
        id: ReplicaId,
        pid: u32,
        spec: Arc<CommandSpec>,
        output: Output,
        port: Port,
        started: Instant,
    ) -> Self {
        let state = State {
            phase: Phase::Starting,
            ready: None,
            memory: None,
            asked: None,
            leaving: None,
        };
        Self {
            id,
            pid,
            spec,
            output,
            port,
            started,
            state: Mutex::new(state),
            asked_to_end: Notify::new(),
        }
    }

    /// Asks it to end. The first reason counts.
    pub(crate) fn ask_to_end(&self, why: Asked) {
        let mut state = self.state.lock();
        if state.asked.is_none() {
            state.asked = Some(why);
            state.phase = Phase::Stopping;
            self.asked_to_end.notify_one();
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.state.lock().phase
    }

    pub(crate) fn set_memory(&self, bytes: u64) {
        self.state.lock().memory = Some(bytes);
    }

    pub(crate) fn view(&self, now: Instant) -> ReplicaView {
        let state = *self.state.lock();
        ReplicaView {
            id: self.id,
            pid: self.pid,
            port: self.port.number(),
            phase: state.phase,
            age: now.saturating_duration_since(self.started),
            start_up: state.ready.map(|(at, _)| at - self.started),
            address: state.ready.map(|(_, address)| address),
            memory: state.memory,
            last_lines: self.output.last_lines(),
        }
    }

    /// As far as room goes. `expected` is what it may be expected to need.
    pub(crate) fn occupant(&self, expected: u64, now: Instant) -> Occupant {
        let state = *self.state.lock();
        let asked = |at: Instant| now.saturating_duration_since(at) < LEAVE_TIME;
        let stay = match state.ready {
            _ if state.phase == Phase::Stopping || state.leaving.is_some_and(asked) => {
                Stay::Leaving
            }
            None => Stay::Starting,
            Some((at, _)) => Stay::Ready {
                since: now.saturating_duration_since(at),
                start_up: at - self.started,
            },
        };
        Occupant {
            id: self.id,
            stay,
            memory: state.memory.unwrap_or(0).max(expected),
        }
    }

    pub(crate) fn make_leave(&self, now: Instant) {
        self.state.lock().leaving = Some(now);
    }

    async fn asked(&self) -> Asked {
        loop {
            if let Some(why) = self.state.lock().asked {
                return why;
            }
            self.asked_to_end.notified().await;
        }
    }

    /// Waits until the replica is ready; the address at which it answers.
    async fn ready(&self, starting: &AtomicU32) -> SocketAddr {
        if let Readiness::LogLine(_) = self.spec.readiness {
            self.output.ready.notified().await;
            return SocketAddr::from(([127, 0, 0, 1], self.port.number()));
        }
        let path = match &self.spec.readiness {
            Readiness::Http(path) => Some(path.as_str()),
            _ => None,
        };
        loop {
            if let Some(address) = readiness::ask(self.port.number(), path).await {
                return address;
            }
            let starting = starting.load(Ordering::Relaxed);
            sleep(readiness::interval(self.started.elapsed(), starting)).await;
        }
    }
}

/// Counts one more while it is there.
struct Counted<'a>(&'a AtomicU32);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What lives one life: the process and its output.
pub(crate) struct Life {
    pub(crate) set: Arc<SetShared>,
    pub(crate) replica: Arc<Replica>,
    pub(crate) process: Process,
    pub(crate) readers: JoinSet<()>,
}

impl Life {
    /// Begins to read the output. Must be called within a runtime.
    pub(crate) fn new(set: Arc<SetShared>, replica: Arc<Replica>, spawned: Spawned) -> Self {
        let mut readers = JoinSet::new();
        let Spawned {
            process,
            stdout,
            stderr,
        } = spawned;
        let one = Arc::clone(&replica);
        readers.spawn(async move { one.output.read(stdout, Stream::Out).await });
        let other = Arc::clone(&replica);
        readers.spawn(async move { other.output.read(stderr, Stream::Error).await });
        Self {
            set,
            replica,
            process,
            readers,
        }
    }

    /// From the start of the process until nothing is left of it.
    pub(crate) async fn live(mut self) {
        let id = self.replica.id;
        self.set.tell(ReplicaEvent::Started {
            id,
            pid: self.replica.pid,
            port: self.replica.port.number(),
        });
        let fate = match self.start_up().await {
            Ok(address) => {
                self.be_ready(address);
                self.be_of_use().await
            }
            Err(fate) => fate,
        };
        self.replica.state.lock().phase = Phase::Stopping;
        let cause = match fate {
            Fate::Exited(status) => {
                self.read_to_the_end().await;
                Some(EndCause::Exited(status))
            }
            Fate::NotReady => Some(self.not_ready()),
            Fate::Asked(Asked::Memory { used, max }) => Some(EndCause::Memory { used, max }),
            Fate::Asked(Asked::Stop) => None,
        };
        let told = cause.is_some();
        if let Some(cause) = cause {
            self.tell_end(cause);
        }
        let spec = Arc::clone(&self.replica.spec);
        let signal = spec.stop_signal;
        let grace = spec.stop_grace;
        let killed = self.process.end(signal.signal(), grace).await;
        self.end_strays().await;
        self.read_to_the_end().await;
        if !told {
            let killed_by_choice = spec.stop_signal == crate::StopSignal::Kill;
            self.tell_end(if killed && !killed_by_choice {
                EndCause::Killed { signal, grace }
            } else {
                EndCause::Stopped
            });
        }
        self.set.remove(&self.replica);
        let Self { set, replica, .. } = self;
        // The port is free when the last of those who look at the replica has gone; nobody keeps it long.
        drop(replica);
        set.tell(ReplicaEvent::Gone { id });
    }

    /// Until it is ready, or will not be.
    async fn start_up(&mut self) -> Result<SocketAddr, Fate> {
        let starting = &self.set.host.starting;
        let _counted = Counted::new(starting);
        let replica = &self.replica;
        tokio::select! {
            // One that has ended is not ready, even if something answers at its port.
            biased;
            status = self.process.exited() => Err(Fate::Exited(status)),
            why = replica.asked() => Err(Fate::Asked(why)),
            address = replica.ready(starting) => Ok(address),
            () = sleep(replica.spec.start_timeout) => Err(Fate::NotReady),
        }
    }

    fn be_ready(&self, address: SocketAddr) {
        let now = Instant::now();
        {
            let mut state = self.replica.state.lock();
            state.ready = Some((now, address));
            if state.asked.is_none() {
                state.phase = Phase::Ready;
            }
        }
        self.set.tell(ReplicaEvent::Ready {
            id: self.replica.id,
            address,
            start_up: now - self.replica.started,
        });
    }

    /// Until it ends, or shall end.
    async fn be_of_use(&mut self) -> Fate {
        let healthy_after = self.replica.spec.back_off.healthy_after;
        let healthy = async {
            sleep(healthy_after).await;
            self.set.healthy();
            std::future::pending().await
        };
        tokio::select! {
            biased;
            status = self.process.exited() => Fate::Exited(status),
            why = self.replica.asked() => Fate::Asked(why),
            never = healthy => never,
        }
    }

    fn not_ready(&self) -> EndCause {
        EndCause::NotReady {
            limit: self.replica.spec.start_timeout,
            hint: None,
        }
    }

    /// Ends what has left the process group. It has had its time: what ends with its replica stays in its group.
    async fn end_strays(&self) {
        let mark = self.set.host.mark.of_replica(self.replica.id);
        // Elsewhere, because it reads the environment of every process of this machine.
        let _ended = tokio::task::spawn_blocking(move || mark.kill_all()).await;
    }

    /// Reads what the processes have written before they ended.
    async fn read_to_the_end(&mut self) {
        let all = async { while self.readers.join_next().await.is_some() {} };
        if timeout(OUTPUT_TIME_MAX, all).await.is_err() && self.process.is_gone() {
            self.readers.abort_all();
        }
    }

    fn tell_end(&self, cause: EndCause) {
        let now = Instant::now();
        let ready = self.replica.state.lock().ready;
        let mut end = End {
            cause,
            ready_for: ready.map(|(at, _)| now - at),
            lived: now - self.replica.started,
            last_lines: self.replica.output.last_lines(),
            retry_after: Duration::ZERO,
        };
        if end.cause.is_failure() {
            end.retry_after = self.set.failed(now, &end, &self.replica.spec);
        }
        self.set.tell(ReplicaEvent::Ended {
            id: self.replica.id,
            end: Arc::new(end),
        });
    }
}
