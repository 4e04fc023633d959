//! What there is to see.

use std::net::SocketAddr;
use std::time::Duration;

use crate::event::ReplicaId;

/// Where a replica is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Its process runs, and it is not ready yet.
    Starting,
    /// It can take requests.
    Ready,
    /// It was asked to end, or has ended, and something of it is still there.
    Stopping,
}

/// A replica.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaView {
    /// The replica.
    pub id: ReplicaId,
    /// Its process, which leads a process group of its own.
    pub pid: u32,
    /// The port it was given.
    pub port: u16,
    /// Where it is in its life.
    pub phase: Phase,
    /// Since its process was started.
    pub age: Duration,
    /// From the start of the process until it was ready; `None` if it never was.
    pub start_up: Option<Duration>,
    /// Where it answers, once it is ready.
    pub address: Option<SocketAddr>,
    /// Bytes of memory of all its processes, when last measured; `None` if not yet.
    pub memory: Option<u64>,
    /// The last lines of its output, oldest first.
    pub last_lines: Vec<String>,
}

impl Phase {
    /// A word for it: `starting`, `ready` or `stopping`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Stopping => "stopping",
        }
    }
}
