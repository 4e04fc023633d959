//! The protobuf message.

use prost::Message;

use super::{Draft, LoadReport, Metric, ReportError, WHOLE_RPS};

/// `xds.data.orca.v3.OrcaLoadReport`, written by hand with its field tags: the
/// message is small, and a compiler for it would be a build step.
#[derive(Clone, PartialEq, Message)]
struct OrcaLoadReport {
    #[prost(double, tag = "1")]
    cpu_utilization: f64,
    #[prost(double, tag = "2")]
    mem_utilization: f64,
    /// Deprecated in favour of `rps_fractional`.
    #[prost(uint64, tag = "3")]
    rps: u64,
    #[prost(message, repeated, tag = "4")]
    request_cost: Vec<Entry>,
    #[prost(message, repeated, tag = "5")]
    utilization: Vec<Entry>,
    #[prost(double, tag = "6")]
    rps_fractional: f64,
    #[prost(double, tag = "7")]
    eps: f64,
    #[prost(message, repeated, tag = "8")]
    named_metrics: Vec<Entry>,
    #[prost(double, tag = "9")]
    application_utilization: f64,
}

/// An entry of a map, which is a message on the wire. Its key (tag 1) is
/// skipped: nothing here asks for a metric by name.
#[derive(Clone, Copy, PartialEq, Message)]
struct Entry {
    #[prost(double, tag = "2")]
    value: f64,
}

/// Reads a message. Of a field that occurs twice the last counts, as protobuf
/// has it.
pub(super) fn read(message: &[u8]) -> Result<LoadReport, ReportError> {
    let message = OrcaLoadReport::decode(message).map_err(|_| ReportError::Malformed)?;
    let mut draft = Draft::default();
    for (name, value) in [
        (
            Metric::ApplicationUtilization.as_str(),
            message.application_utilization,
        ),
        (Metric::CpuUtilization.as_str(), message.cpu_utilization),
        (Metric::MemUtilization.as_str(), message.mem_utilization),
        (Metric::Rps.as_str(), message.rps_fractional),
        (Metric::Eps.as_str(), message.eps),
        (WHOLE_RPS, message.rps as f64),
    ] {
        if value != 0.0 {
            draft.set(name, value)?;
        }
    }
    let maps = [
        message.named_metrics,
        message.utilization,
        message.request_cost,
    ];
    for entry in maps.iter().flatten() {
        draft.set_other(entry.value)?;
    }
    Ok(draft.finish())
}

/// Writes a message.
pub(super) fn write(report: &LoadReport) -> Vec<u8> {
    let message = OrcaLoadReport {
        cpu_utilization: report.cpu_utilization.unwrap_or_default(),
        mem_utilization: report.mem_utilization.unwrap_or_default(),
        rps_fractional: report.rps.unwrap_or_default(),
        eps: report.eps.unwrap_or_default(),
        application_utilization: report.application_utilization.unwrap_or_default(),
        ..OrcaLoadReport::default()
    };
    message.encode_to_vec()
}
