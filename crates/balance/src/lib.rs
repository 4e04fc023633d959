//! Chooses the endpoint that will answer best.
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

mod balancer;
mod choose;
mod config;
mod core;
mod eject;
mod endpoint;
mod error;
mod judge;
mod learned;
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
mod trial;
mod view;

pub use balancer::Balancer;
pub use choose::{CHOICES, SCAN_ALL_MAX};
pub use config::{
    BalancerConfig, ConfigError, DURATION_MAX, ENDPOINTS_MAX, EjectionConfig, QUEUE_DEPTH_MAX,
    QueueConfig, RetryBudgetConfig, WEIGHT_MAX,
};
pub use eject::EjectionReason;
pub use endpoint::{Endpoint, EndpointId, EndpointSpec};
pub use error::{PickError, QueueError};
pub use outcome::{FailureKind, Outcome, RETRY_AFTER_MAX};
pub use pick::{Entry, Pick, Waiting};
pub use policy::{
    OrcaConfig, POLICY_NAMES, PeakEwmaConfig, Policy, UnknownPolicy, WrrConfig, WrrMode,
};
pub use registry::{SetChange, SetError};
pub use report::LoadReport;
pub use retry::RetryBudget;
pub use view::{BalancerView, EndpointState, EndpointView, FailureCounts, LatencyView, WindowView};
