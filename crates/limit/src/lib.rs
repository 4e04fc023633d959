//! A breaker that holds requests: slots, a strictly first-in first-out queue
//! behind them, and immediate refusal beyond.
//!
//! An instance that is given more work than it can do at once answers
//! everything late. A [`Breaker`] in front of it lets as many callers run as
//! it has **slots**, keeps a bounded number of others waiting in order, and
//! refuses the rest while they can still go elsewhere.
//!
//! # Overview
//!
//! - [`Breaker`]: the shared limit. [`enter`](Breaker::enter) answers at once,
//!   [`acquire`](Breaker::acquire) waits, [`try_reserve`](Breaker::try_reserve)
//!   takes a slot only if one is free,
//!   [`set_concurrency`](Breaker::set_concurrency) changes the limit.
//! - [`Slot`]: the right to run, given back on drop.
//! - [`Waiting`]: a place in the queue, a future of the slot; dropping it
//!   leaves the queue.
//! - [`BreakerLayer`] and [`BreakerService`]: the same for `tower`.
//! - [`WaitQueue`]: the queue alone, for whoever has another idea of a slot.
//!
//! The crate reads no clock, does no I/O, spawns nothing and logs nothing. It
//! works on any executor. A limit on the time in the queue is the caller's:
//! wrap the future in a timeout, and the place is given up when it fires.
//!
//! # Example
//!
//! ```
//! use plimsoll_limit::{Breaker, Entry, QueueFull};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let breaker = Breaker::new(1, 1)?; // one slot, one place in the queue
//!
//! let first = breaker.acquire().await?; // runs
//! let Entry::Waiting(second) = breaker.enter()? else {
//!     panic!("the slot is taken");
//! };
//! assert_eq!(breaker.acquire().await.unwrap_err(), QueueFull);
//!
//! drop(first); // the slot goes straight to the one who waits
//! assert!(breaker.try_reserve().is_none());
//! let second = second.await;
//!
//! drop(second);
//! assert_eq!(breaker.in_system(), 0);
//! # Ok(())
//! # }
//! ```
//!
//! # Design: one lock, not a semaphore
//!
//! The slots, their number and the queue are one small structure behind one
//! mutex, which is held for a few instructions and never while a waker is
//! called or dropped. Every operation is one step, so the counts always agree
//! and a changed limit is in force when the call that changed it returns.
//!
//! The alternative was an asynchronous semaphore with a counter of callers
//! beside it. A semaphore's total cannot be lowered while its permits are out,
//! so it needs a debt that is paid by slots that come back; and the decision
//! to pay the debt or to return the permit is not one step with returning it.
//! A release that saw no debt, a lowering to 0 that finished meanwhile and a
//! caller that entered afterwards then end with that caller running. Closing
//! the gap takes a lock around the release, held while the semaphore calls
//! wakers; a waker may drop a task that owns a slot, and deadlock. The one lock
//! costs about what a semaphore alone does, which locks on release in any case
//! and bounds no queue: `cargo bench -p plimsoll-limit` shows both.

mod breaker;
mod error;
mod future;
mod layer;
mod queue;
mod service;
mod slot;
mod state;
mod sync;
mod waiting;

pub use breaker::{Breaker, DEFAULT_QUEUE_PER_SLOT, MAX_CONCURRENCY, MAX_QUEUE_DEPTH};
pub use error::{BreakerError, QueueFull, ServiceError};
pub use future::ResponseFuture;
pub use layer::BreakerLayer;
pub use queue::{Place, Standing, WaitQueue};
pub use service::BreakerService;
pub use slot::Slot;
pub use state::Occupancy;
pub use waiting::{Entry, Waiting};
