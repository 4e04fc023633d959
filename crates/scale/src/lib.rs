//! Decides how many replicas a service needs, and says why.
//!
//! Too few and requests wait; too many and a machine is full of idle processes.
//! The difficulty is in between: a replica takes time to start, so what is
//! decided now helps only later, and what is stopped now may be missed at once.
//!
//! # Overview
//!
//! - [`Scaler`]: the scaler of one service. [`observe`](Scaler::observe) tells it
//!   what there is, [`decide`](Scaler::decide) asks it how many replicas there
//!   should be.
//! - [`Observation`]: the [`Load`] and the [`Replicas`] at a moment.
//! - [`Decision`]: the number, with its [`Reason`], the [`Inputs`] it follows
//!   from, and when to ask again. It displays as a sentence. [`DecisionLog`]
//!   keeps the last ones.
//! - [`ScaleConfig`]: all that can be chosen. [`Policy::Plimsoll`] is the default;
//!   [`Policy::Kpa`] decides as Knative does.
//! - [`knative`]: Knative's ConfigMap and annotations, as a [`ScaleConfig`].
//! - [`simulation`]: a service in virtual time, to see what would happen.
//! - [`KpaEngine`], [`LinearWindow`], [`WeightedWindow`], [`MaxWindow`],
//!   [`Reporters`]: the parts of the latter, for who has reports of his own.
//!
//! The crate reads no clock, does no I/O, starts nothing and logs nothing. Time
//! is an argument, so a day of decisions is simulated in seconds.
//!
//! # Example
//!
//! ```
//! use std::num::NonZeroU32;
//! use std::time::Duration;
//! use plimsoll_meter::Tick;
//! use plimsoll_scale::{Load, Observation, Reason, Replicas, ScaleConfig, Scaler};
//!
//! let config = ScaleConfig {
//!     concurrency: NonZeroU32::new(1),
//!     ..ScaleConfig::default()
//! };
//! let mut now = Tick::ZERO;
//! let mut scaler = Scaler::new(config, now)?;
//!
//! // A request comes, and nothing is there: one replica, though it has one slot.
//! let load = Load { waiting: 1, arrivals: 1, ..Load::default() };
//! scaler.observe(now, &Observation { load: Some(load), replicas: Replicas::default() });
//! let decision = scaler.decide(now);
//! assert_eq!((decision.desired, decision.reason), (1, Reason::Demand));
//!
//! // It has been served. The replica is kept for a while, and then is not.
//! now = now.saturating_add(Duration::from_secs(3));
//! let load = Load { arrivals: 1, ..Load::default() };
//! let idle = Observation { load: Some(load), replicas: Replicas { ready: 1, ..Replicas::default() } };
//! scaler.observe(now, &idle);
//! let decision = scaler.decide(now);
//! assert_eq!((decision.desired, decision.reason), (1, Reason::KeepAlive));
//! let end = decision.next.expect("it will be looked at again");
//! scaler.observe(end, &idle);
//! assert_eq!(scaler.decide(end).desired, 0);
//! # Ok::<(), plimsoll_scale::ConfigError>(())
//! ```
//!
//! # Design: events up, gaps down
//!
//! Upwards, a decision follows from the requests that are there and those that
//! came within one service time, at the moment they come. What is starting counts
//! as there. A queue that builds up while something starts is not taken for
//! demand, or a slow start would ask for ever more.
//!
//! Downwards, a decision follows from gaps: how long it usually took until so
//! many replicas were needed again.
//!
//! The alternative is to average the load over a window and divide, every two
//! seconds, in both directions, as Knative does: [`Policy::Kpa`]. One number then
//! has to be quick enough for a burst and slow enough for a pause. It cannot be
//! both, so there is a second, shorter window for bursts, in which nothing is
//! ever taken away; and that window cannot tell a burst from a slow start.

mod arrivals;
mod config;
mod decision;
mod gaps;
mod history;
mod hold;
pub mod knative;
mod learned;

mod observation;
mod policy;
mod scaler;
pub mod simulation;
mod window;

pub use config::{
    Aggregation, CONCURRENCY_TARGET_DEFAULT, ConfigError, DURATION_MAX, KeepAlive, Metric, Policy,
    REPLICAS_MAX, RPS_TARGET_DEFAULT, ScaleConfig, TARGET_MIN, WINDOW_MAX, WINDOW_MIN,
};
pub use decision::{Decision, Inputs, Reason};
pub use history::DecisionLog;
pub use observation::{Load, Observation, Replicas};
pub use policy::kpa::{Averages, Evaluation, KpaEngine};
pub use scaler::{Scaler, ScalerView};
pub use window::{LinearWindow, MaxWindow, REPORTERS_MAX, Reporters, WeightedWindow};
