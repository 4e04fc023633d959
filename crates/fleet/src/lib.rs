//! Replicas of a service as local processes.
//!
//! A command becomes as many processes as somebody decides: each on a port of
//! its own, found ready as soon as it is, and stopped with everything that it
//! has started. It is what a container runtime does for an autoscaler, on one
//! machine and without one.
//!
//! # Overview
//!
//! - [`Host`]: the machine: ports, limits, where output goes.
//! - [`ReplicaSet`]: the replicas of one service. [`start`](ReplicaSet::start)
//!   and [`stop`](ReplicaSet::stop) return at once; what comes of it is told to
//!   an [`Observer`], as [`ReplicaEvent`]s.
//! - [`CommandSpec`]: the command, how to know that it is ready
//!   ([`Readiness`]), and how to end it.
//! - [`StartError`] and [`End`]: why there is no replica, in one line for a
//!   person, with what the process wrote last.
//!
//! - [`NoRoom`]: services of which only one may run at a time, and memory that is
//!   not enough for all. Who has been idle longest is asked to leave, by an
//!   [`EvictionWanted`](ReplicaEvent::EvictionWanted); who is busy never is.
//! - [`Keeper`]: the process that ends all replicas if this one is killed. A
//!   program that wants it begins its `main` with [`keep_if_asked`].
//!
//! How many there should be is not decided here, and requests do not pass here.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//! use plimsoll_fleet::{CommandSpec, Host, HostConfig, Observer, ReplicaEvent, ReplicaSet};
//! use tokio::sync::mpsc;
//!
//! struct Tell(mpsc::UnboundedSender<ReplicaEvent>);
//!
//! impl Observer for Tell {
//!     fn event(&self, event: ReplicaEvent) {
//!         drop(self.0.send(event));
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let host = Host::new(HostConfig::default())?;
//! let command = CommandSpec::new("python3", ["-m", "http.server", "--bind", "127.0.0.1", "{port}"]);
//! let (events, mut told) = mpsc::unbounded_channel();
//! let files = ReplicaSet::new(&host, "files", command, Arc::new(Tell(events)))?;
//!
//! let id = files.start()?;
//! while let Some(event) = told.recv().await {
//!     match event {
//!         ReplicaEvent::Ready { address, start_up, .. } => {
//!             assert!(address.ip().is_loopback());
//!             assert!(start_up < files.view()[0].age);
//!             files.stop(id);
//!         }
//!         ReplicaEvent::Ended { end, .. } => assert!(end.to_string().starts_with("stopped after")),
//!         ReplicaEvent::Gone { .. } => break,
//!         _ => {}
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Design: what belongs to a replica
//!
//! A command is often not the server itself: a shell, `npm`, a launcher with
//! workers. So a replica is a process *group*, to which every signal goes, and
//! besides all processes that carry its [mark in their environment](MARK_VARIABLE),
//! which go with their parent's, wherever a process has gone. Its output ends
//! when the last of them has. A port is free, and a [`Gone`](ReplicaEvent::Gone)
//! is told, only when nothing is left.
//!
//! The alternative is a control group for each replica, which nothing can leave.
//! It needs a writable part of the tree, which a plain user has only under some
//! systems, and a container seldom. So what works everywhere decides what belongs
//! to a replica, and a control group keeps its limit of memory where it can.
//!
//! Linux only: `/proc`, pidfds, and the abstract names of sockets are used.

mod backoff;
mod cgroup;
mod command;
mod desk;
mod event;
mod host;
mod keeper;
mod life;
mod listening;
mod mark;
mod memory;
mod output;
mod ports;
mod proc_fs;
mod process;
mod readiness;
mod replica;
mod room;
mod set;
mod spawn;
mod start_error;
mod view;

pub use backoff::{BackOffConfig, BackOffView};
pub use command::{
    CommandSpec, DURATION_MAX, LINES_KEPT_MAX, PORT_PLACEHOLDER, SpecError, StopSignal, WORDS_MAX,
};
pub use desk::WISH_TIME;
pub use event::{End, EndCause, Observer, ReplicaEvent, ReplicaId, Usage};
pub use host::{Host, HostConfig, REPLICAS_MAX_DEFAULT};
pub use keeper::{KEEPER_GRACE, Keeper, keep_if_asked};
pub use mark::MARK_VARIABLE;
pub use output::{KEPT_BYTES_MAX, LINE_BYTES_MAX, OutputLine, OutputSink, Stream};
pub use ports::PORTS_DEFAULT;
pub use readiness::{INTERVAL_MAX, INTERVAL_MIN, LinePattern, Readiness, STARTING_FEW};
pub use room::{NoRoom, Obstacle, RESIDENCE_START_UPS};
pub use set::ReplicaSet;
pub use start_error::{HostError, StartError};
pub use view::{Phase, ReplicaView};
