//! What becomes of replicas, told as it happens.

use std::fmt;
use std::net::SocketAddr;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

/// A replica; no other of the same [`Host`](crate::Host) ever has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(pub(crate) u64);

/// Is told what becomes of the replicas of a service, and asked what they do.
///
/// It is called without a lock held, and by several replicas at once, so it must not wait. It may call the
/// [`ReplicaSet`](crate::ReplicaSet).
pub trait Observer: Send + Sync {
    /// Something has happened. For each replica: [`Started`](ReplicaEvent::Started), then
    /// [`Ready`](ReplicaEvent::Ready) if it gets there, then [`Ended`](ReplicaEvent::Ended), and
    /// [`Gone`](ReplicaEvent::Gone) last.
    fn event(&self, event: ReplicaEvent);

    /// How much the service is used now. Who does not know is never asked to make room for others.
    fn usage(&self) -> Usage {
        Usage::Unknown
    }
}

/// What has become of a replica.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ReplicaEvent {
    /// Its process runs.
    Started {
        /// The replica.
        id: ReplicaId,
        /// Its process, which leads a process group of its own.
        pid: u32,
        /// The port it was given.
        port: u16,
    },
    /// It takes its time, and there is something to say about it: that it listens on another port, for one.
    NotReadyYet {
        /// The replica.
        id: ReplicaId,
        /// What was found, for a person.
        hint: String,
    },
    /// It can take requests.
    Ready {
        /// The replica.
        id: ReplicaId,
        /// Where it answers.
        address: SocketAddr,
        /// From the start of the process until now.
        start_up: Duration,
    },
    /// It can take no more requests, or will never take any. Its processes may still be there.
    Ended {
        /// The replica.
        id: ReplicaId,
        /// Why, and what it wrote last.
        end: Arc<End>,
    },
    /// Nothing is left of it, and its port is free.
    Gone {
        /// The replica.
        id: ReplicaId,
    },
    /// Another service needs the room: take this replica out of use, let its requests end, and stop it.
    EvictionWanted {
        /// The replica.
        id: ReplicaId,
        /// The service that waits for it.
        for_service: Arc<str>,
    },
    /// A start was refused for want of room, and now there may be some: try again.
    RoomFreed,
}

/// How much a service is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// It cannot be said. Its replicas are never evicted.
    Unknown,
    /// Requests or connections are open, or wait.
    Busy,
    /// Nothing has been open for so long.
    Idle(Duration),
}

/// Why a replica ended, and how it was doing. Its [`Display`](fmt::Display) is one line for a person.
#[derive(Clone, Debug)]
pub struct End {
    /// Why.
    pub cause: EndCause,
    /// How long it was ready; `None` if it never was.
    pub ready_for: Option<Duration>,
    /// How long its process was there.
    pub lived: Duration,
    /// The last lines of its output, oldest first.
    pub last_lines: Vec<String>,
    /// No replica is started before this time has passed. Zero if it was stopped because somebody asked.
    pub retry_after: Duration,
}

/// Why a replica ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EndCause {
    /// Somebody asked for it, and it ended within its grace.
    Stopped,
    /// Somebody asked for it, it did not end within its grace, and was killed.
    Killed {
        /// The signal that it did not follow.
        signal: crate::StopSignal,
        /// The time that it had.
        grace: Duration,
    },
    /// It ended by itself.
    Exited(ExitStatus),
    /// It was not ready within its start time limit.
    NotReady {
        /// The limit.
        limit: Duration,
        /// What was found instead, if anything was: another port for one.
        hint: Option<String>,
    },
    /// It needed more memory than it may have.
    Memory {
        /// Bytes it had; not more than it may have if the kernel has seen to that.
        used: u64,
        /// Bytes it may have.
        max: u64,
    },
}

impl ReplicaId {
    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl EndCause {
    /// Whether it ended although nobody asked for it.
    pub fn is_failure(&self) -> bool {
        !matches!(self, Self::Stopped | Self::Killed { .. })
    }

    /// A word for it, from a small set, for labels of metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Killed { .. } => "killed",
            Self::Exited(_) => "exited",
            Self::NotReady { .. } => "not_ready",
            Self::Memory { .. } => "memory",
        }
    }
}

impl fmt::Display for EndCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("stopped"),
            Self::Killed { signal, grace } => {
                write!(f, "ignored {signal} for {grace:?} and was killed")
            }
            // "exit status: 1", "signal: 9 (SIGKILL)": what the standard library says.
            Self::Exited(status) => write!(f, "ended by itself ({status})"),
            Self::NotReady { limit, hint } => {
                write!(f, "was not ready within {limit:?}")?;
                match hint {
                    Some(hint) => write!(f, ": {hint}"),
                    None => Ok(()),
                }
            }
            Self::Memory { used, max } if used <= max => {
                let max = Mebibytes(*max);
                write!(
                    f,
                    "was ended by the kernel: it needed more than the {max} of memory that it may have"
                )
            }
            Self::Memory { used, max } => {
                write!(
                    f,
                    "needed {} of memory, and may have {}",
                    Mebibytes(*used),
                    Mebibytes(*max)
                )
            }
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)?;
        match self.ready_for {
            Some(time) => write!(f, " after {} ready", Rounded(time))?,
            // It says how long that was.
            None if matches!(self.cause, EndCause::NotReady { .. }) => {}
            None if self.cause.is_failure() => {
                write!(f, " after {}, before it was ready", Rounded(self.lived))?;
            }
            None => {}
        }
        let said = self
            .last_lines
            .iter()
            .rev()
            .map(|line| crate::output::quoted(line));
        match said.into_iter().find(|line| !line.is_empty()) {
            Some(line) if self.cause.is_failure() => write!(f, "; its last output: {line}"),
            _ => Ok(()),
        }
    }
}

/// Bytes as a person reads them.
pub(crate) struct Mebibytes(pub(crate) u64);

impl fmt::Display for Mebibytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.0.div_ceil(1 << 20))
    }
}

/// A time without digits that nobody reads.
pub(crate) struct Rounded(pub(crate) Duration);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < Duration::from_secs(10) {
            write!(f, "{} ms", self.0.as_millis())
        } else {
            write!(f, "{} s", self.0.as_secs())
        }
    }
}
