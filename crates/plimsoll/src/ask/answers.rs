//! What the API says, as far as it is told here. What is not known is passed over: the program that answers may be of
//! another version.

use std::collections::BTreeMap;

use serde::Deserialize;

/// `/api/v1/status`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Status {
    pub(crate) version: String,
    pub(crate) state: String,
    pub(crate) uptime_seconds: f64,
    pub(crate) problems: Vec<String>,
}

/// `/api/v1/services`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Services {
    pub(crate) services: Vec<Service>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) policy: String,
    pub(crate) requests_in_flight: u64,
    pub(crate) requests_total: u64,
    pub(crate) queue: Queue,
    pub(crate) typical_latency_seconds: Option<f64>,
    /// Of services whose replicas are started and stopped.
    pub(crate) scale: Option<Scale>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Queue {
    pub(crate) depth: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Scale {
    pub(crate) mode: String,
    pub(crate) policy: String,
    pub(crate) desired: u32,
    pub(crate) ready: u32,
    pub(crate) starting: u32,
    pub(crate) draining: u32,
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) problem: Option<String>,
}

/// `/api/v1/endpoints`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Endpoints {
    pub(crate) endpoints: Vec<Endpoint>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Endpoint {
    pub(crate) service: String,
    pub(crate) address: String,
    pub(crate) state: String,
    pub(crate) in_flight: u64,
    pub(crate) slots: Option<u64>,
    pub(crate) picks: u64,
    pub(crate) failures: BTreeMap<String, u64>,
    pub(crate) success_rate: f64,
    pub(crate) ejected_for: Option<String>,
    pub(crate) ejected_seconds: Option<f64>,
    pub(crate) latency_seconds: Latency,
    pub(crate) health_check: Option<HealthCheck>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct HealthCheck {
    pub(crate) failure: Option<String>,
}

/// `/api/v1/events`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Events {
    pub(crate) events: Vec<Event>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Event {
    pub(crate) age_seconds: f64,
    pub(crate) event: String,
    pub(crate) text: String,
}

/// `/api/v1/services/NAME/decisions`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Decisions {
    pub(crate) decisions: Vec<Decision>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Decision {
    pub(crate) age_seconds: f64,
    pub(crate) desired: u32,
    pub(crate) previous: u32,
    pub(crate) reason: String,
    pub(crate) text: String,
}

/// Why not.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) error: String,
    pub(crate) accepted: String,
}

// === impl Endpoint ===

impl Endpoint {
    /// All failures together.
    pub(crate) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}
