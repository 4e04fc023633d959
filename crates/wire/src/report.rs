//! A whole report, in the format that was asked for.

use crate::accept::Format;
use crate::families::{self, Families};
use crate::prometheus::{Exposition, TextFormat};
use crate::reporter::{self, Identity, ReporterSample};

/// Writes a report. Serve it with [`Format::content_type`].
///
/// [`Format::KnativeStat`] has room for the identity and the sample only. The
/// text formats hold the five gauges of Knative's reporter, then Plimsoll's own
/// families.
///
/// The time taken is linear in the number of series, which is bounded: no
/// label value comes from a request.
#[must_use]
pub fn render(
    format: Format,
    identity: &Identity,
    sample: &ReporterSample,
    families: &Families<'_>,
) -> Vec<u8> {
    let text = match format {
        Format::KnativeStat => return identity.stat(sample).to_bytes(),
        Format::OpenMetrics => TextFormat::OpenMetrics,
        Format::PrometheusText => TextFormat::Prometheus,
    };
    let mut text = Exposition::new(text);
    reporter::write(&mut text, identity, sample);
    families::write(&mut text, families);
    text.finish()
        .expect("names and labels are constants of this crate, and its tests render all of them")
        .into_bytes()
}
