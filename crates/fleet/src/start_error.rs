//! Why a replica was not started, in words that say what to do.

use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::backoff::BackOffView;
use crate::command::SpecError;
use crate::desk::REPEAT_AFTER;
use crate::event::Rounded;
use crate::room::NoRoom;

/// Why a replica was not started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The program is not there.
    #[error("command not found: `{program}` {searched}")]
    NotFound {
        /// As it was written.
        program: String,
        /// Where it was looked for.
        searched: String,
    },
    /// The program may not be executed.
    #[error("`{}` may not be executed: {problem}", .path.display())]
    NotExecutable {
        /// What was found.
        path: PathBuf,
        /// Why not.
        problem: &'static str,
    },
    /// The program is a script, and its interpreter is not there.
    #[error("`{}` is a script for `{interpreter}`, which is not there", .path.display())]
    InterpreterMissing {
        /// The script.
        path: PathBuf,
        /// What its first line names.
        interpreter: String,
    },
    /// The directory in which to run is not there, or is none.
    #[error("the directory `{}` {problem}", .path.display())]
    Directory {
        /// As it was written.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Something that all processes of this machine share is used up.
    #[error("no process can be started: {what} ({error})")]
    Exhausted {
        /// What is used up.
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// Every port of the range is taken.
    #[error("all ports from {} to {} are taken; allow more, or fewer replicas", .0.start(), .0.end())]
    NoPort(RangeInclusive<u16>),
    /// As many replicas as may be are there.
    #[error("{0} replicas are there already, and no more may be")]
    ReplicasMax(usize),
    /// Replicas failed, and the next start has to wait.
    #[error("waits {} after {} failures in a row; the last: {}", Rounded(.0.remaining), .0.failures, .0.last_failure)]
    BackingOff(BackOffView),
    /// There is no room now. It is to be tried again when [`RoomFreed`](crate::ReplicaEvent::RoomFreed) is told, and
    /// at least every [`WISH_TIME`](crate::WISH_TIME), which keeps the place in the queue.
    #[error("waits for room: {0}")]
    NoRoom(NoRoom),
    /// The set or the host is being shut down.
    #[error("is being shut down")]
    Closed,
    /// Something else that the system said.
    #[error("cannot be started: {0}")]
    Other(#[from] io::Error),
}

/// What of a [`Host`](crate::Host) or a [`ReplicaSet`](crate::ReplicaSet) cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// A setting that cannot be.
    #[error(transparent)]
    Setting(#[from] SpecError),
    /// The process that ends all replicas if this one dies cannot be started.
    #[error("the keeper of processes cannot be started: {0}")]
    Keeper(io::Error),
}

impl StartError {
    /// How long until it may be tried again, if that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::BackingOff(view) => Some(view.remaining),
            Self::NoRoom(NoRoom::Never { .. }) => None,
            Self::NoRoom(_) => Some(REPEAT_AFTER),
            _ => None,
        }
    }

    /// Whether the command itself is at fault, so that trying again soon cannot help.
    pub fn is_fault_of_command(&self) -> bool {
        matches!(
            self,
            Self::NotFound { .. }
                | Self::NotExecutable { .. }
                | Self::InterpreterMissing { .. }
                | Self::Directory { .. }
        )
    }

    /// A word for it, from a small set, for labels of metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::NotExecutable { .. } | Self::InterpreterMissing { .. } => "not_executable",
            Self::Directory { .. } => "directory",
            Self::Exhausted { .. } => "exhausted",
            Self::NoPort(_) => "no_port",
            Self::ReplicasMax(_) => "replicas_max",
            Self::BackingOff(_) => "backing_off",
            Self::NoRoom(_) => "no_room",
            Self::Closed => "closed",
            Self::Other(_) => "other",
        }
    }
}
