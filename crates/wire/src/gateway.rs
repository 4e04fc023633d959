//! The metric families of a gateway.
//!
//! As for the sidecar, the input is plain values and borrowed histograms:
//! whoever carries requests and whoever chooses endpoints fills in
//! [`GatewayFamilies`] once per scrape. Every series that can occur is written
//! from the start, with 0; what does not apply or is not known is absent.
//!
//! # Labels
//!
//! `service` is a name of the configuration and `endpoint` an address of its
//! set. Neither comes from a request, so the number of series is bounded by
//! what the operator wrote and by what name resolution answers. An address
//! that has left the set has no series any more. All other labels are fixed
//! sets: [`crate::Answer`], [`crate::ProxyError`], [`EndpointState`],
//! [`EndpointOutcome`], [`EjectionReason`] and
//! [`ReportError`](crate::orca::ReportError).

mod endpoint;
mod scaled;
mod service;
mod set;

use std::time::Duration;

pub use endpoint::{EndpointSample, ReportSample};
pub use scaled::ScaledSample;
pub use service::{DiscoverySample, LoadReportSample, QueueSample, RetrySample, ServiceSample};
pub use set::{EjectionReason, EndpointOutcome, EndpointState};

use crate::answer::Answer;
use crate::families::{BUILD_INFO, CONNECTIONS_OPEN};
use crate::prometheus::{Descriptor, Exposition, ExpositionError, TextFormat, Unit};
use crate::proxy_error::ProxyError;

const UNROUTED: Descriptor = Descriptor::counter(
    "plimsoll_gateway_unrouted_requests_total",
    "Requests that ended without a service, by the class of their status and by who decided the answer",
);
const UNROUTED_ERRORS: Descriptor = Descriptor::counter(
    "plimsoll_gateway_unrouted_request_errors_total",
    "Requests that failed without a service, by the error type of RFC 9209",
);
const TLS_HANDSHAKE_FAILURES: Descriptor = Descriptor::counter(
    "plimsoll_gateway_tls_handshake_failures_total",
    "TLS handshakes with clients that failed",
);
const RELOADS: Descriptor = Descriptor::counter(
    "plimsoll_gateway_config_reloads_total",
    "Attempts to load a changed configuration, by their result",
);
const RELOAD_SUCCESSFUL: Descriptor = Descriptor::gauge(
    "plimsoll_gateway_config_last_reload_successful",
    "Whether the newest configuration is the one that is used",
);
const RELOAD_TIME: Descriptor = Descriptor::gauge(
    "plimsoll_gateway_config_last_reload_success_timestamp_seconds",
    "When the configuration that is used was loaded, in seconds since 1970",
)
.with_unit(Unit::Seconds);

/// One reading of everything that a gateway shows.
#[derive(Debug, Clone, Copy)]
pub struct GatewayFamilies<'a> {
    /// The services, each name once.
    pub services: &'a [ServiceSample<'a>],
    /// The services of which replicas are kept, each name once.
    pub scaled: &'a [ScaledSample<'a>],
    /// Requests that ended without a service, indexed by [`Answer::index`]; of
    /// these, only [`Answer::UNROUTED`] are shown.
    pub unrouted: [u64; Answer::COUNT],
    /// Requests that failed without a service, indexed by
    /// [`ProxyError::index`]; of these, only [`ProxyError::UNROUTED`] are shown.
    pub unrouted_errors: [u64; ProxyError::COUNT],
    /// Connections from clients that are open.
    pub connections_open: u64,
    /// TLS handshakes with clients that failed; `None` without TLS.
    pub tls_handshake_failures: Option<u64>,
    /// How loading the configuration went.
    pub config: ConfigSample,
    /// The version of the program.
    pub version: &'a str,
}

/// How loading the configuration went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConfigSample {
    /// Changed configurations that were taken.
    pub reloads_successful: u64,
    /// Changed configurations that were refused. The one before stays in use.
    pub reloads_failed: u64,
    /// Whether the newest attempt was refused.
    pub last_failed: bool,
    /// When the configuration in use was loaded, since the Unix epoch; `None`
    /// if the system's clock is before it.
    pub loaded_at: Option<Duration>,
}

/// Writes a gateway's metrics. Serve them with [`TextFormat::content_type`];
/// [`Format::text`](crate::Format::text) gives the format that a client asked
/// for.
///
/// The time taken is linear in the number of series: about 35 for each endpoint
/// and 100 for each service.
///
/// # Errors
///
/// [`ExpositionError::DuplicateSeries`] if two services have the same name, or
/// two endpoints of a service the same address.
pub fn render_gateway(
    format: TextFormat,
    families: &GatewayFamilies<'_>,
) -> Result<String, ExpositionError> {
    let mut text = Exposition::new(format);
    service::write(&mut text, families.services);
    endpoint::write(&mut text, families.services);
    scaled::write(&mut text, families.scaled);
    write_unrouted(&mut text, families);
    write_config(&mut text, &families.config);
    text.family(&CONNECTIONS_OPEN)
        .integer(&[], families.connections_open);
    if let Some(failures) = families.tls_handshake_failures {
        text.family(&TLS_HANDSHAKE_FAILURES).integer(&[], failures);
    }
    text.family(&BUILD_INFO)
        .info(&[("version", families.version)]);
    text.finish()
}

fn write_unrouted(text: &mut Exposition, families: &GatewayFamilies<'_>) {
    let mut unrouted = text.family(&UNROUTED);
    for answer in Answer::UNROUTED {
        let labels = [
            ("code_class", answer.code_class().as_str()),
            ("source", answer.source().as_str()),
        ];
        unrouted.integer(&labels, families.unrouted[answer.index()]);
    }
    let mut errors = text.family(&UNROUTED_ERRORS);
    for error in ProxyError::UNROUTED {
        let count = families.unrouted_errors[error.index()];
        errors.integer(&[("error", error.as_str())], count);
    }
}

fn write_config(text: &mut Exposition, config: &ConfigSample) {
    text.family(&RELOADS)
        .integer(&[("result", "success")], config.reloads_successful)
        .integer(&[("result", "failure")], config.reloads_failed);
    text.family(&RELOAD_SUCCESSFUL)
        .integer(&[], u64::from(!config.last_failed));
    if let Some(loaded_at) = config.loaded_at {
        text.family(&RELOAD_TIME)
            .number(&[], loaded_at.as_secs_f64());
    }
}
