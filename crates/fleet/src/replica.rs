//! A replica, as those see it who do not live its life.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::command::{CommandSpec, PORT_PLACEHOLDER};
use crate::event::ReplicaId;
use crate::listening;
use crate::output::Output;
use crate::ports::Port;
use crate::readiness::{self, Readiness, Unready};
use crate::room::{Occupant, Stay};
use crate::view::{Phase, ReplicaView};

/// Who was asked to leave and has not begun to is asked again after so long.
const LEAVE_TIME: Duration = Duration::from_secs(30);

/// A replica, as those see it who do not run it.
pub(crate) struct Replica {
    pub(crate) id: ReplicaId,
    pub(crate) pid: u32,
    pub(crate) spec: Arc<CommandSpec>,
    pub(crate) output: Output,
    pub(crate) port: Port,
    pub(crate) started: Instant,
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
    /// What came of asking it last whether it is ready.
    unready: Unready,
}

/// Why somebody wants it to end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked {
    Stop,
    Memory { used: u64, max: u64 },
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
            unready: Unready::NoConnection,
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

    /// From now on it is of no use any more.
    pub(crate) fn be_stopping(&self) {
        self.state.lock().phase = Phase::Stopping;
    }

    /// It can take requests from now on, unless somebody has asked it to end.
    pub(crate) fn be_ready(&self, now: Instant, address: SocketAddr) {
        let mut state = self.state.lock();
        state.ready = Some((now, address));
        if state.asked.is_none() {
            state.phase = Phase::Ready;
        }
    }

    /// How long it has been ready, or was when it ended; `None` if it never was.
    pub(crate) fn ready_for(&self, now: Instant) -> Option<Duration> {
        self.state.lock().ready.map(|(at, _)| now - at)
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

    pub(crate) async fn asked(&self) -> Asked {
        loop {
            if let Some(why) = self.state.lock().asked {
                return why;
            }
            self.asked_to_end.notified().await;
        }
    }

    /// Why it may not be ready, if that can be seen.
    pub(crate) async fn hint(&self) -> Option<String> {
        let path = match &self.spec.readiness {
            Readiness::LogLine(pattern) => {
                return Some(format!(
                    "no line of its output has matched `{}`",
                    pattern.as_str()
                ));
            }
            Readiness::Http(path) => path.as_str(),
            Readiness::Tcp => "",
        };
        let unready = self.state.lock().unready;
        match unready {
            Unready::NoAnswer => return Some(format!("GET {path} was not answered")),
            Unready::Status(status) => {
                return Some(format!("GET {path} was answered with {}", status.as_u16()));
            }
            Unready::NoConnection => {}
        }
        let group = i32::try_from(self.pid).ok()?;
        // Elsewhere, because it looks at every process of this machine.
        let addresses = tokio::task::spawn_blocking(move || listening::addresses(group)).await;
        let addresses = addresses.ok()?;
        let port = self.port.number();
        let reachable = |address: &SocketAddr| {
            let ip = address.ip();
            address.port() == port && (ip.is_loopback() || ip.is_unspecified())
        };
        // It may have begun to listen since it was asked.
        let elsewhere = !addresses.is_empty() && !addresses.iter().any(reachable);
        let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
        elsewhere.then(|| {
            let addresses = addresses.join(", ");
            format!("it listens on {addresses} and not on {}", self.given())
        })
    }

    /// Where it should listen, and how it could have known.
    fn given(&self) -> String {
        format!(
            "127.0.0.1:{}, the port it was given (as {PORT_PLACEHOLDER} in its arguments, and in the variable PORT)",
            self.port.number()
        )
    }

    /// Why it was not ready in time.
    pub(crate) async fn why_not_ready(&self) -> String {
        let hint = self.hint().await;
        hint.unwrap_or_else(|| format!("nothing accepts connections on {}", self.given()))
    }

    /// Waits until the replica is ready; the address at which it answers.
    pub(crate) async fn ready(&self, starting: &AtomicU32) -> SocketAddr {
        if let Readiness::LogLine(_) = self.spec.readiness {
            self.output.ready.notified().await;
            return SocketAddr::from(([127, 0, 0, 1], self.port.number()));
        }
        let path = match &self.spec.readiness {
            Readiness::Http(path) => Some(path.as_str()),
            _ => None,
        };
        loop {
            match readiness::ask(self.port.number(), path).await {
                Ok(address) => return address,
                Err(unready) => self.state.lock().unready = unready,
            }
            let starting = starting.load(Ordering::Relaxed);
            sleep(readiness::interval(self.started.elapsed(), starting)).await;
        }
    }
}
