//! The formats of other systems: what they read of Plimsoll's measurements, and
//! what they say of their own.
//!
//! One port answers two kinds of reader. Knative's autoscaler wants a small
//! protobuf message. A Prometheus server wants text, in one of two formats.
//! This crate chooses between them and writes the answer. Beside their answers,
//! instances tell a balancer how busy they are; this crate reads and writes
//! that too. It is pure formatting: it reads no clock, does no I/O, and knows
//! nothing of how the numbers came about.
//!
//! # Principal types
//!
//! - [`negotiate`] reads the `Accept` header and gives a [`Format`].
//! - [`render`] writes a report in a [`Format`]. It takes an [`Identity`]
//!   (which instance), a [`ReporterSample`] (the numbers of the last period,
//!   which Knative knows too) and [`Families`] (what only Plimsoll has).
//! - [`render_gateway`] writes the metrics of a gateway from
//!   [`GatewayFamilies`].
//! - [`render_user`] writes what users read of their requests, from
//!   [`UserSample`]: today's names of Knative and the older ones.
//! - [`LoadReport`] is what an instance says of its load, in the formats of
//!   ORCA; [`cpu_usage`] is Kratos's word for a part of it, and
//!   [`grpc_status`] tells whether a call succeeded.
//! - [`Stat`] is the protobuf message. [`prometheus::Exposition`] is the
//!   writer under the two text formats.
//! - [`Answer`] and [`ProxyError`] are the bounded sets by which requests are
//!   counted. [`ProxyStatus`] tells a client the same [`ProxyError`] in a
//!   header.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//!
//! use plimsoll_wire::{
//!     Answer, Families, Format, HistogramView, Identity, LimitSample, ProxyError,
//!     ReporterSample, negotiate, render,
//! };
//!
//! let identity = Identity::new("default", "hello", "hello-00001", "hello-00001-x7g9")?;
//! let mut requests = [0; Answer::COUNT];
//! requests[Answer::from_app(204).index()] += 1;
//! let bounds = [Duration::from_millis(5)];
//! let sum = Duration::from_micros(1250);
//! let families = Families {
//!     requests,
//!     errors: [0; ProxyError::COUNT],
//!     requests_in_flight: 0,
//!     connections_open: 1,
//!     limit: Some(LimitSample { slots: 10, queue_capacity: 100, ..LimitSample::default() }),
//!     version: "0.1.0",
//!     request_duration: HistogramView::new(&bounds, &[1, 1], sum)?,
//!     queue_wait: HistogramView::EMPTY,
//!     upstream_duration: HistogramView::EMPTY,
//! };
//!
//! let format = negotiate([b"*/*".as_slice()]);
//! assert_eq!(format, Format::PrometheusText);
//! let body = render(format, &identity, &ReporterSample::default(), &families);
//! let text = String::from_utf8(body)?;
//! assert!(text.contains("plimsoll_requests_total{code_class=\"2xx\",source=\"app\"} 1\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Design: values in, bytes out
//!
//! A scrape passes a complete reading to [`render`]. The usual alternative is
//! a registry: metric objects are created once, code all over the program
//! updates them, and the registry walks them at a scrape. It was rejected for
//! two reasons. The sidecar's counters live in per-worker shards that are
//! summed when they are read, so a registry would hold a second copy. And one
//! struct of plain values makes the whole exposition a function that a test
//! can compare with a snapshot, which suits text that is a contract.
//!
//! For the same reason [`HistogramView`] borrows slices, whoever keeps them. The
//! one crate of Plimsoll that this one knows is `plimsoll-meter`, whose windows
//! and averages [`prometheus::Metric`] can write.

pub mod accept;
pub mod answer;
pub mod cpu_usage;
pub mod families;
pub mod gateway;
pub mod grpc_status;
pub mod orca;
#[cfg(feature = "otlp")]
pub mod otlp;
pub mod prometheus;
pub mod proxy_error;
pub mod proxy_status;
pub mod report;
pub mod reporter;
pub mod stat;
pub mod user;

pub use accept::{Format, negotiate};
pub use answer::{Answer, AnswerSource, CodeClass};
pub use families::{Families, LimitSample};
pub use gateway::{GatewayFamilies, render_gateway};
pub use orca::LoadReport;
pub use prometheus::{HistogramError, HistogramView, SummaryView};
pub use proxy_error::ProxyError;
pub use proxy_status::ProxyStatus;
pub use report::render;
pub use reporter::{Identity, IdentityError, ReporterSample};
pub use stat::{PodNameTooLong, Stat};
pub use user::{UserSample, render_user};
