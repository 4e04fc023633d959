//! Chooses the endpoint that will answer best, and holds each endpoint to what
//! it can carry.
//!
//! A service has several endpoints, and they are not equal: one is slow for a
//! minute, one fails, one hangs, one is twice the machine, one has just begun.
//! Nobody tells; it must be learned from the requests themselves, without
//! spoiling many of them, and forgotten when it is over.
//!
//! # Overview
//!
//! - [`Balancer`]: the endpoints of one service. [`enter`](Balancer::enter)
//!   chooses one or gives a place in the queue,
//!   [`try_pick`](Balancer::try_pick) chooses one for a retry, and never waits.
//!   [`set_endpoints`](Balancer::set_endpoints) changes the set;
//!   [`advance`](Balancer::advance) is its housekeeping, ten times a second.
//! - [`Pick`]: a request at an endpoint, its in-flight count and its slot.
//!   [`finish`](Pick::finish) says how it went; a pick that is dropped blames nobody.
//! - [`Waiting`]: a place in the queue, a future of the pick.
//! - [`Outcome`] and [`FailureKind`]: how a request went, from an HTTP status or a
//!   gRPC code.
//! - [`Policy`]: how an endpoint is chosen. Every policy honours static weights,
//!   slots, ejection of those that fail, drain, health, and slow start.
//! - [`RetryBudget`]: how many retries there may be.
//! - [`BalancerView`]: everything that goes into the choice, to look at.
//! - `tower::BalancerService`, with the feature `tower`: a service over a changing
//!   set of services.
//!
//! The crate reads no clock, does no I/O, spawns nothing and logs nothing: time
//! is an argument, so the same code runs in a simulator. It works on any
//! executor.
//!
//! # Example
//!
//! ```
//! use plimsoll_balance::{Balancer, BalancerConfig, EndpointSpec, Entry, Outcome};
//! use plimsoll_meter::Tick;
//!
//! let balancer = Balancer::new(BalancerConfig::default())?;
//! let now = Tick::ZERO;
//! balancer.set_endpoints(now, &["10.0.0.1:80", "10.0.0.2:80"].map(EndpointSpec::new))?;
//!
//! let Entry::Running(pick) = balancer.enter(now, 0)? else {
//!     panic!("without slot limits nobody waits");
//! };
//! let answer = Outcome::from_http_status(200, None);
//! pick.finish(Tick::from_nanos(2_000_000), answer);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Design: three clocks
//!
//! What is known about an endpoint has three ages. The number of its requests in
//! flight is right at once and exact; it alone keeps equal endpoints equally
//! full, and moves work away from a slow one before it has answered anything.
//! What answers teach comes later and is noisy: it may overrule the first only
//! as far as it cannot be chance. And what shuts an endpoint out, ejection, needs
//! evidence against its peers, is bounded in number and time, and ends with one
//! request that tries it.
//!
//! The alternative is one score of everything, from which weights are made once
//! a second, as in Kratos's weighted round robin. It is there as
//! [`Policy::Wrr`], corrected. It cannot see a second's queue before the second
//! is over, and its weights depend on the units in which its parts are
//! multiplied.

mod balancer;
mod choose;
mod config;
mod core;
mod eject;
mod endpoint;
mod error;
mod journal;
mod judge;
mod learned;
#[cfg(all(test, loom))]
mod loom_tests;
mod outcome;
mod peers;
mod pick;
mod policy;
mod random;
mod registry;
mod report;
mod retry;
mod schedule;
mod standing;
mod sync;
#[cfg(all(feature = "tower", not(loom)))]
pub mod tower;
mod trial;
mod view;

pub use balancer::Balancer;
pub use choose::{CHOICES, SCAN_ALL_MAX};
pub use config::{
    BalancerConfig, ConfigError, DURATION_MAX, ENDPOINTS_MAX, EjectionConfig, QUEUE_DEPTH_MAX,
    QueueConfig, RetryBudgetConfig, WEIGHT_MAX, WhenEmpty,
};
pub use eject::EjectionReason;
pub use endpoint::{Endpoint, EndpointId, EndpointSpec};
pub use error::{PickError, QueueError};
pub use journal::{EVENTS_MAX, EjectionChange, EjectionEvent, EjectionEvents};
pub use outcome::{FailureKind, Outcome, RETRY_AFTER_MAX};
pub use pick::{Entry, Pick, Waiting};
pub use policy::{
    OrcaConfig, POLICY_NAMES, PeakEwmaConfig, Policy, UnknownPolicy, WrrConfig, WrrMode,
};
pub use registry::{SetChange, SetError};
pub use report::LoadReport;
pub use retry::RetryBudget;
pub use view::{BalancerView, EndpointState, EndpointView, FailureCounts, LatencyView, WindowView};
