//! The lab: what Plimsoll is tested and measured with. It is not shipped.
//!
//! - [`backend`]: a server whose every answer is asked for in the path, over HTTP/1.1 and h2c.
//! - [`apps`]: applications for `plimsoll run`: a chat over WebSockets, one that is slow to start, one that measures.
//! - [`coldstart`]: what `plimsoll run` promises, measured with the program as it is shipped.
//! - [`load`]: closed-loop and open-loop load generators with exact counts and quantiles of latency.
//! - [`compare`]: Plimsoll, HAProxy, nginx and Envoy side by side on one machine, in turns.
//! - [`conformance`]: Knative's contract for the process beside an application, asked over the wire.
//! - [`scenario`]: what a balancer should cope with, as data files, and how it is scored.
//! - [`sim`]: the scenarios in virtual time, with the balancer that is shipped.
//! - [`wire`]: the scenarios with real processes: Plimsoll's gateway, HAProxy, nginx and Envoy.
//!
//! All of them are a library, so that tests drive them without a terminal, and the sub-commands of the
//! program `lab`.
//!
//! ```
//! use plimsoll_lab::backend::Backend;
//! use plimsoll_lab::load::{self, Options, Target};
//!
//! let backend = Backend::bind("127.0.0.1:0".parse()?)?.spawn(None)?;
//! let summary = load::run_blocking(Options {
//!     requests: Some(10),
//!     ..Options::new(Target::at(backend.addr(), "/status/418"))
//! })?;
//! assert_eq!(summary.status(418), summary.requests);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Why not wrk, oha or k6
//!
//! They are good, and they were the first choice. But the comparison needs to know exactly which requests
//! fell between two readings of a proxy's processor time, latencies that count from the intended
//! arrival, and the same generator in tests and in measurements. A program of our own of a few
//! hundred lines gives that; a foreign one would have to be installed, pinned and parsed.

pub mod affinity;
pub mod apps;
pub mod backend;
pub mod coldstart;
pub mod compare;
pub mod conformance;
pub mod image;
pub mod load;
pub mod random;
pub mod scenario;
pub mod sim;
pub mod stopped_thread;
pub mod wire;
