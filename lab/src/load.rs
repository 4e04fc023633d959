//! Load generators.
//!
//! Closed loop ([`Pace::Closed`]): a number of connections, each sending its next request when it
//! has the response to the last. It finds the capacity of what it is aimed at.
//!
//! Open loop ([`Pace::Constant`], [`Pace::Poisson`]): requests arrive at a rate, whatever happens to
//! those before them, and latency counts from the arrival that was intended. A server that stalls for
//! a second is charged with all the requests of that second, not with one ("coordinated omission").
//!
//! A run owns one thread with a single-threaded runtime: [`run()`] and [`run_blocking`] start it.
//! Sharing the caller's runtime was the alternative; its other tasks would be in the figures, and
//! a multi-threaded one would spread the generator over processors that belong to what is measured.
//!
//! ```
//! use std::time::Duration;
//! use plimsoll_lab::backend::Backend;
//! use plimsoll_lab::load::{self, Options, Target};
//!
//! let backend = Backend::bind("127.0.0.1:0".parse()?)?.spawn(None)?;
//! let summary = load::run_blocking(Options {
//!     connections: 4,
//!     requests: Some(100),
//!     ..Options::new(Target::at(backend.addr(), "/bytes/64"))
//! })?;
//! assert!(summary.ok >= 100);
//! assert_eq!(summary.failed(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod arrivals;
mod client;
mod hold;
pub(crate) mod http1;
mod http2;
mod options;
mod parse;
mod recorder;
mod run;
mod summary;
pub(crate) mod timer;

use std::fmt;
use std::io;
use std::net::SocketAddr;

pub use self::client::Failure;
pub use self::hold::Held;
pub use self::options::{Options, Pace, Protocol, Target};
pub use self::run::Observer;
pub use self::summary::{Latency, Summary};

/// Why a run could not be made. What happens to single requests is in the [`Summary`].
#[derive(Debug)]
pub enum Error {
    /// The target is not one.
    Target {
        /// The URL as given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The options contradict themselves.
    Options(&'static str),
    /// A connection could not be opened before the run.
    Connect {
        /// Where to.
        addr: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The timer of the open loop could not be made.
    Timer(io::Error),
    /// The generator's thread or runtime could not be made.
    Thread(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target { url, why } => write!(f, "target {url:?}: {why}"),
            Self::Options(why) => f.write_str(why),
            Self::Connect { addr, source } => write!(f, "connecting to {addr}: {source}"),
            Self::Timer(source) => write!(f, "timer: {source}"),
            Self::Thread(source) => write!(f, "load thread: {source}"),
        }
    }
}

impl std::error::Error for Error {}

/// Runs load on a thread of its own and waits for it without blocking the caller's runtime.
///
/// # Errors
/// See [`Error`]. The failure of a request is not an error but a count.
pub async fn run(options: Options) -> Result<Summary, Error> {
    tokio::task::spawn_blocking(move || run_blocking(options))
        .await
        .unwrap_or_else(|panicked| Err(Error::Thread(io::Error::other(panicked))))
}

/// Runs load on a thread of its own and blocks until it is over.
///
/// # Errors
/// See [`Error`].
pub fn run_blocking(options: Options) -> Result<Summary, Error> {
    run_observed(options, None, &mut ())
}

/// Runs load on a new thread, pinned to processor `cpu` if given, telling `observer` when the
/// measured window begins and ends; blocks until it is over.
///
/// # Errors
/// See [`Error`].
pub fn run_observed<O: Observer + Send>(
    options: Options,
    cpu: Option<usize>,
    observer: &mut O,
) -> Result<Summary, Error> {
    std::thread::scope(|scope| {
        let work = move || {
            if let Some(cpu) = cpu {
                crate::affinity::pin_current_thread(cpu).map_err(Error::Thread)?;
            }
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(Error::Thread)?;
            runtime.block_on(run::run_here(&options, observer))
        };
        let thread = std::thread::Builder::new()
            .name("lab-load".into())
            .spawn_scoped(scope, work)
            .map_err(Error::Thread)?;
        let panicked = |_| Error::Thread(io::Error::other("the load thread panicked"));
        thread.join().map_err(panicked)?
    })
}
