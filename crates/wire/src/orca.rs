//! What an instance says of its load, as ORCA has it.
//!
//! Open Request Cost Aggregation is how a server tells whoever balances over
//! it how busy it is: a small report beside an answer, in a header or in a
//! trailer. The message is `xds.data.orca.v3.OrcaLoadReport` of the xDS
//! protocols. Its carriers are those of Envoy and gRPC (gRFC A51):
//!
//! | field | value |
//! | --- | --- |
//! | `endpoint-load-metrics` | `TEXT cpu_utilization=0.3, eps=1`, or `JSON {"cpu_utilization": 0.3}`, or `BIN ` and base64 |
//! | `endpoint-load-metrics-bin` | base64 of the protobuf message |
//!
//! # Never trusted without bound
//!
//! A report comes from outside and moves traffic. So one wrong value refuses
//! the whole report: an instance that says `NaN` of its processor is not
//! believed about its memory either. What was wrong is one of few reasons
//! ([`ReportError`]), to be counted. The work is bounded by [`REPORT_BYTES_MAX`]
//! before anything is read, and the number of metrics by [`METRICS_MAX`].
//!
//! # Absent is not zero
//!
//! The fields of [`LoadReport`] are options. A text or JSON report can say 0. A
//! protobuf message cannot, because it leaves zeros out: 0 is read as absent
//! there, as gRPC reads it.
//!
//! # Example
//!
//! ```
//! use plimsoll_wire::orca::{LoadReport, ReportError};
//!
//! let report = LoadReport::from_header(b"TEXT cpu_utilization=0.25, rps_fractional=10")?;
//! assert_eq!((report.cpu_utilization, report.rps), (Some(0.25), Some(10.0)));
//! assert_eq!(LoadReport::from_binary_header(report.to_binary_header().as_bytes()), Ok(report));
//!
//! let refused = LoadReport::from_header(b"TEXT cpu_utilization=-1");
//! assert_eq!(refused, Err(ReportError::Negative));
//! # Ok::<(), ReportError>(())
//! ```

mod error;
mod json;
mod protobuf;
mod text;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

pub use error::ReportError;

/// The header or trailer that says its format first.
pub const HEADER: &str = "endpoint-load-metrics";

/// The header or trailer with the protobuf message.
pub const BINARY_HEADER: &str = "endpoint-load-metrics-bin";

/// The longest report that is read, in bytes of the header's value.
///
/// A report of all known values and [`METRICS_MAX`] named metrics of 40 bytes
/// fits.
pub const REPORT_BYTES_MAX: usize = 4096;

/// The most metrics of a report, named ones included. Envoy and gRPC know no
/// bound but that of a head.
pub const METRICS_MAX: usize = 64;

/// The largest utilization that is believed: a thousand times the allowance.
pub const UTILIZATION_MAX: f64 = 1_000.0;

/// The largest rate that is believed, in events per second.
pub const RATE_MAX: f64 = 1e9;

/// What an instance says of its load. `None` is "not said".
///
/// Named metrics, request costs and other utilizations of the message are
/// checked and then left aside: nothing here uses them.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LoadReport {
    /// The part of its capacity that the application uses, by a measure of its
    /// own; it may be above 1.
    pub application_utilization: Option<f64>,
    /// The part of its processor time that is used; it may be above 1.
    pub cpu_utilization: Option<f64>,
    /// The part of its memory that is used, from 0 to 1.
    pub mem_utilization: Option<f64>,
    /// Requests per second that it serves.
    pub rps: Option<f64>,
    /// Errors per second that it answers.
    pub eps: Option<f64>,
}

/// The field whose place `rps_fractional` has taken.
const WHOLE_RPS: &str = "rps";

/// Padding may be there or not: gRPC sends none and accepts both.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A metric that is known by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metric {
    ApplicationUtilization,
    CpuUtilization,
    MemUtilization,
    Rps,
    Eps,
}

/// A report that is being read.
#[derive(Debug, Default)]
struct Draft {
    report: LoadReport,
    /// The deprecated field `rps`, a whole number. It counts if there is no
    /// `rps_fractional`.
    whole_rps: Option<f64>,
    /// Metrics so far, whether they are used or not.
    metrics: usize,
}

impl LoadReport {
    /// Reads the value of [`HEADER`].
    ///
    /// # Errors
    ///
    /// [`ReportError`], with which the whole report is refused.
    pub fn from_header(value: &[u8]) -> Result<Self, ReportError> {
        let value = text_of(value)?;
        let (format, report) = value.split_once(' ').ok_or(ReportError::UnknownFormat)?;
        match format {
            "TEXT" => text::read(report),
            "JSON" => json::read(report),
            "BIN" => Self::from_binary_header(report.trim().as_bytes()),
            _ => Err(ReportError::UnknownFormat),
        }
    }

    /// Reads the value of [`BINARY_HEADER`].
    ///
    /// # Errors
    ///
    /// [`ReportError`], with which the whole report is refused.
    pub fn from_binary_header(value: &[u8]) -> Result<Self, ReportError> {
        let value = text_of(value)?;
        let message = BASE64.decode(value).map_err(|_| ReportError::Malformed)?;
        protobuf::read(&message)
    }

    /// Reads the protobuf message itself, as it is before it becomes text for a
    /// header.
    ///
    /// # Errors
    ///
    /// [`ReportError`], with which the whole report is refused.
    pub fn from_protobuf(message: &[u8]) -> Result<Self, ReportError> {
        if message.len() > REPORT_BYTES_MAX {
            return Err(ReportError::TooLong);
        }
        protobuf::read(message)
    }

    /// The value of [`HEADER`] as text, e.g. `TEXT cpu_utilization=0.25`.
    #[must_use]
    pub fn to_text_header(&self) -> String {
        format!("TEXT {}", text::write(self))
    }

    /// The value of [`HEADER`] as JSON, e.g. `JSON {"cpu_utilization":0.25}`.
    #[must_use]
    pub fn to_json_header(&self) -> String {
        format!("JSON {}", json::write(self))
    }

    /// The value of [`BINARY_HEADER`], without padding. A value of 0 is not in
    /// it.
    #[must_use]
    pub fn to_binary_header(&self) -> String {
        base64::engine::general_purpose::STANDARD_NO_PAD.encode(protobuf::write(self))
    }

    /// What to balance by: the application's own measure if it has one, else
    /// the processor (gRFC A58). 0 counts as not said, as there.
    #[must_use]
    pub fn utilization(&self) -> Option<f64> {
        let said = |value: &f64| *value > 0.0;
        let own = self.application_utilization.filter(said);
        own.or_else(|| self.cpu_utilization.filter(said))
    }

    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The metrics that are said, in the order of the text format.
    fn metrics(&self) -> impl Iterator<Item = (Metric, f64)> {
        let all = Metric::ALL.map(|metric| (metric, self.value(metric)));
        all.into_iter()
            .filter_map(|(metric, value)| Some((metric, value?)))
    }

    fn value(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::ApplicationUtilization => self.application_utilization,
            Metric::CpuUtilization => self.cpu_utilization,
            Metric::MemUtilization => self.mem_utilization,
            Metric::Rps => self.rps,
            Metric::Eps => self.eps,
        }
    }

    fn value_mut(&mut self, metric: Metric) -> &mut Option<f64> {
        match metric {
            Metric::ApplicationUtilization => &mut self.application_utilization,
            Metric::CpuUtilization => &mut self.cpu_utilization,
            Metric::MemUtilization => &mut self.mem_utilization,
            Metric::Rps => &mut self.rps,
            Metric::Eps => &mut self.eps,
        }
    }
}

impl Draft {
    /// Takes a value that the report states under a name of the message's
    /// fields. A name that is not known is one of a newer message: its value
    /// is checked to be a number, and left aside.
    fn set(&mut self, name: &str, value: f64) -> Result<(), ReportError> {
        if name == WHOLE_RPS {
            self.count()?;
            return put(&mut self.whole_rps, Metric::Rps.check(value)?);
        }
        match Metric::of_name(name) {
            None => self.set_other(value),
            Some(metric) => {
                self.count()?;
                put(self.report.value_mut(metric), metric.check(value)?)
            }
        }
    }

    /// Takes a value that is not used: of a named metric, for one. It may be
    /// negative, for its meaning is the application's.
    fn set_other(&mut self, value: f64) -> Result<(), ReportError> {
        self.count()?;
        finite(value).map(drop)
    }

    fn count(&mut self) -> Result<(), ReportError> {
        self.metrics += 1;
        if self.metrics > METRICS_MAX {
            return Err(ReportError::TooMany);
        }
        Ok(())
    }

    fn finish(self) -> LoadReport {
        LoadReport {
            rps: self.report.rps.or(self.whole_rps),
            ..self.report
        }
    }
}

/// Fills a place that must be empty.
fn put(place: &mut Option<f64>, value: f64) -> Result<(), ReportError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(ReportError::Duplicate),
    }
}

impl Metric {
    const ALL: [Self; 5] = [
        Self::ApplicationUtilization,
        Self::CpuUtilization,
        Self::MemUtilization,
        Self::Rps,
        Self::Eps,
    ];

    /// The name of the message's field.
    const fn as_str(self) -> &'static str {
        match self {
            Self::ApplicationUtilization => "application_utilization",
            Self::CpuUtilization => "cpu_utilization",
            Self::MemUtilization => "mem_utilization",
            Self::Rps => "rps_fractional",
            Self::Eps => "eps",
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.as_str() == name)
    }

    const fn max(self) -> f64 {
        match self {
            Self::ApplicationUtilization | Self::CpuUtilization => UTILIZATION_MAX,
            Self::MemUtilization => 1.0,
            Self::Rps | Self::Eps => RATE_MAX,
        }
    }

    fn check(self, value: f64) -> Result<f64, ReportError> {
        let value = finite(value)?;
        if value < 0.0 {
            Err(ReportError::Negative)
        } else if value > self.max() {
            Err(ReportError::TooLarge)
        } else {
            // Not -0, which would be written as a negative number.
            Ok(value.abs())
        }
    }
}

fn finite(value: f64) -> Result<f64, ReportError> {
    value
        .is_finite()
        .then_some(value)
        .ok_or(ReportError::NotFinite)
}

/// A value that is not too long, as text.
fn text_of(value: &[u8]) -> Result<&str, ReportError> {
    if value.len() > REPORT_BYTES_MAX {
        return Err(ReportError::TooLong);
    }
    std::str::from_utf8(value).map_err(|_| ReportError::Malformed)
}

#[cfg(test)]
mod tests;
