//! What an endpoint says about its own load.

/// What an endpoint says about its own load, in an answer or out of band.
///
/// The fields of ORCA's `OrcaLoadReport` (gRFC A51) that a balancer uses, and
/// what Kratos's `cpu_usage` trailer says (permille there, a fraction here).
/// A field is `None` if the endpoint did not say. Values that make no sense
/// are ignored by whoever reads the report, and counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoadReport {
    /// Load by the application's own measure, as a fraction; 1 is full, more is allowed.
    pub application_utilization: Option<f64>,
    /// Processor time used, as a fraction of what it may use; more than 1 is allowed.
    pub cpu_utilization: Option<f64>,
    /// Memory used, as a fraction, 0 to 1.
    pub mem_utilization: Option<f64>,
    /// Requests each second.
    pub rps: Option<f64>,
    /// Failed requests each second.
    pub eps: Option<f64>,
}
