//! A strict writer for the two text formats that Prometheus reads.
//!
//! An [`Exposition`] collects one answer to a scrape. Each metric family is
//! declared by a constant [`Descriptor`], whose name is checked when the
//! program is compiled. Mistakes that can only be seen at run time (a family
//! twice, a series twice, an illegal label name) are refused: what was wrong
//! is left out, and [`Exposition::finish`] tells the first of them.
//!
//! What `plimsoll-meter` measures is written by one exporter: any [`Metric`] goes
//! into a family with [`Family::metric`].
//!
//! # Why not the `prometheus-client` crate
//!
//! Two facts of its version 0.25 stand against it. Its text encoder writes
//! OpenMetrics only, while clients that do not name OpenMetrics must be given
//! the 0.0.4 format. And it appends a full stop to each help text, while the
//! texts of Knative's gauges are a contract. The whole writer is shorter than
//! the code that would correct the output afterwards.

mod descriptor;
mod exposition;
mod histogram;
mod metric;
mod number;
mod summary;
#[cfg(test)]
mod tests;

pub use descriptor::{Descriptor, Kind, Unit};
pub use exposition::{Exposition, ExpositionError, Family, TextFormat};
pub use histogram::{HistogramError, HistogramView, MAX_BOUND};
pub use metric::{Metric, Number, Statistic};
pub use summary::{Quantile, SummaryView};
