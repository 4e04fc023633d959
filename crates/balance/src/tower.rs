//! A [`BalancerService`] for `tower`: one service over many that come and go.
//!
//! Needs the feature `tower`.
//!
//! - [`BalancerService`]: chooses an endpoint for each request, and waits in the
//!   balancer's queue if none has a slot. [`set`](BalancerService::set),
//!   [`insert`](BalancerService::insert), [`remove`](BalancerService::remove) and
//!   [`follow`](BalancerService::follow) change the set; for each address a
//!   factory makes the inner service, which stays as long as the address does.
//! - [`Classify`]: what a response or an error says of its endpoint.
//!   [`ByResult`] looks at what the inner future gives. [`Http`] follows the
//!   answer to the end of its body, where gRPC says how it went.
//! - [`Ongoing`]: a request at an endpoint, until it is told how it went.
//!
//! # Example
//!
//! ```
//! use plimsoll_balance::tower::{BalancerService, ByResult};
//! use plimsoll_balance::{BalancerConfig, EndpointSpec, FailureKind, Outcome};
//! use plimsoll_meter::ManualClock;
//! use tower::{ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let outcomes = ByResult(|result: Result<&String, &std::io::Error>| match result {
//!     Ok(_) => Outcome::Success,
//!     Err(_) => Outcome::Failure(FailureKind::Reset),
//! });
//! // In a program: a clock that reads the time. And something that calls `advance` every 100 ms.
//! let clock = ManualClock::default();
//! let service = BalancerService::new(BalancerConfig::default(), clock, outcomes, |endpoint| {
//!     let address = endpoint.address.to_string();
//!     Ok(service_fn(move |name: &str| {
//!         let answer = format!("{name} from {address}");
//!         async move { Ok::<_, std::io::Error>(answer) }
//!     }))
//! })?;
//! service.set(&[EndpointSpec::new("10.0.0.1:80")])?;
//! assert_eq!(service.clone().oneshot("hello").await?, "hello from 10.0.0.1:80");
//! assert_eq!(service.view().endpoints[0].successes, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Design: the choice is made in `call`
//!
//! `tower`'s own balancer chooses in `poll_ready` and keeps the choice until
//! `call`. A clone that was made ready and then left idle holds a place that
//! nobody uses; and what was the best choice then need not be it now. Here
//! `poll_ready` is always ready. `call` enters the balancer, so that the order
//! of calls is the order in the queue. Only when there is an endpoint, its
//! service is cloned and made ready; the time that takes is the endpoint's,
//! and counts like any other.

mod body;
mod classify;
mod endpoints;
mod error;
mod future;
mod http;
mod ongoing;
mod service;

pub use body::MeasuredBody;
pub use classify::{ByResult, Classify};
pub use endpoints::Change;
pub use error::{BoxError, ChangeError, FollowError, ServiceError};
pub use future::ResponseFuture;
pub use http::{Http, outcome_of_error};
pub use ongoing::Ongoing;
pub use service::BalancerService;
