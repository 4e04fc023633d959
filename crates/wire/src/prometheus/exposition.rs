//! One answer to a scrape, as it is written.

use std::collections::BTreeSet;
use std::time::Duration;

use super::descriptor::{Descriptor, Kind, is_name};
use super::histogram::HistogramView;
use super::metric::Number;
use super::number::{push_bound, push_float, push_integer, push_seconds, push_whole};
use super::summary::{Quantile, SummaryView};

/// A text format that Prometheus reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TextFormat {
    /// The Prometheus text format, version 0.0.4.
    Prometheus,
    /// OpenMetrics text, version 1.0.0.
    OpenMetrics,
}

/// What an [`Exposition`] refused to write. Each would make a Prometheus
/// server reject the scrape, or take one series for another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpositionError {
    /// A family of this name was already begun.
    #[error("metric family {0} occurs twice")]
    DuplicateFamily(&'static str),
    /// The same labels were already written in this family.
    #[error("series {0}{{{1}}} occurs twice")]
    DuplicateSeries(&'static str, String),
    /// A label name is malformed, reserved (`__…`, `le` of a histogram,
    /// `quantile` of a summary), or occurs twice in one series.
    #[error("label name {1:?} of {0} is not allowed")]
    LabelName(&'static str, String),
    /// The sample does not fit the kind of its family.
    #[error("a sample of {0} does not fit its kind")]
    Kind(&'static str),
}

/// Writes metric families in one of the two text formats.
///
/// ```
/// use plimsoll_wire::prometheus::{Descriptor, Exposition, TextFormat};
///
/// const OPEN: Descriptor = Descriptor::gauge("doors_open", "Doors that stand open");
///
/// let mut text = Exposition::new(TextFormat::OpenMetrics);
/// text.family(&OPEN).integer(&[("side", "lee")], 3);
/// let expected = "\
/// ## HELP doors_open Doors that stand open
/// ## TYPE doors_open gauge
/// doors_open{side=\"lee\"} 3
/// ## EOF
/// ";
/// assert_eq!(text.finish().as_deref(), Ok(expected));
/// ```
#[derive(Debug)]
pub struct Exposition {
    format: TextFormat,
    out: String,
    /// Family names as OpenMetrics declares them; they are the shorter ones,
    /// so names that differ here differ in both formats.
    families: BTreeSet<&'static str>,
    /// The first thing that was refused.
    refused: Option<ExpositionError>,
}

/// A family that is being written. Its samples must be written before the next
/// family begins, which the borrow enforces.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut Exposition,
    descriptor: Descriptor,
    /// The labels of each series so far, as text.
    series: BTreeSet<String>,
    /// Not written, because the family itself was refused.
    refused: bool,
}

// === impl TextFormat ===

impl TextFormat {
    /// Both formats.
    pub const ALL: [Self; 2] = [Self::Prometheus, Self::OpenMetrics];

    /// The value of `Content-Type` for this format.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

// === impl Exposition ===

impl Exposition {
    /// Begins an answer.
    #[must_use]
    pub const fn new(format: TextFormat) -> Self {
        Self {
            format,
            out: String::new(),
            families: BTreeSet::new(),
            refused: None,
        }
    }

    /// Begins a metric family. If one of the same name was written before, the
    /// new one and its samples are refused.
    pub fn family(&mut self, descriptor: &Descriptor) -> Family<'_> {
        let is_new = self.families.insert(descriptor.family_name());
        if is_new {
            self.push_head(descriptor);
        } else {
            self.refuse(ExpositionError::DuplicateFamily(descriptor.name()));
        }
        Family {
            text: self,
            descriptor: *descriptor,
            series: BTreeSet::new(),
            refused: !is_new,
        }
    }

    /// Ends the answer and returns its text.
    ///
    /// # Errors
    ///
    /// The first thing that was refused, if anything was.
    pub fn finish(mut self) -> Result<String, ExpositionError> {
        if let Some(refused) = self.refused {
            return Err(refused);
        }
        if self.format == TextFormat::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        Ok(self.out)
    }

    fn push_head(&mut self, descriptor: &Descriptor) {
        let open_metrics = self.format == TextFormat::OpenMetrics;
        let name = if open_metrics {
            descriptor.family_name()
        } else {
            descriptor.name()
        };
        let kind = match descriptor.kind() {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::OlderCounter if open_metrics => "unknown",
            Kind::OlderCounter => "counter",
            Kind::Histogram => "histogram",
            Kind::Summary => "summary",
            Kind::Info if open_metrics => "info",
            // The 0.0.4 format has no such kind.
            Kind::Info => "gauge",
        };
        self.push_all(&["# HELP ", name, " "]);
        // Only OpenMetrics has quotation marks escaped in a help text.
        push_escaped(&mut self.out, descriptor.help(), open_metrics);
        self.push_all(&["\n# TYPE ", name, " ", kind, "\n"]);
        if let (true, Some(unit)) = (open_metrics, descriptor.unit()) {
            self.push_all(&["# UNIT ", name, " ", unit.as_str(), "\n"]);
        }
    }

    fn push_all(&mut self, parts: &[&str]) {
        for part in parts {
            self.out.push_str(part);
        }
    }

    fn refuse(&mut self, error: ExpositionError) {
        self.refused.get_or_insert(error);
    }
}

// === impl Family ===

impl Family<'_> {
    /// Writes a sample of a gauge or a counter.
    pub fn number(&mut self, labels: &[(&str, &str)], value: f64) -> &mut Self {
        if let Some(labels) = self.admit(labels, &[Kind::Gauge, Kind::Counter]) {
            self.push_name("", &labels);
            push_float(&mut self.text.out, value, self.text.format);
            self.text.out.push('\n');
        }
        self
    }

    /// Writes a sample of a gauge or a counter that is a whole number.
    pub fn integer(&mut self, labels: &[(&str, &str)], value: u64) -> &mut Self {
        let kinds = [Kind::Gauge, Kind::Counter, Kind::OlderCounter];
        if let Some(labels) = self.admit(labels, &kinds) {
            self.push_integer_line("", &labels, value);
        }
        self
    }

    /// Writes a number of a metric of the given kind.
    pub(super) fn told(&mut self, labels: &[(&str, &str)], kind: Kind, number: Number) {
        let Some(labels) = self.admit(labels, &[kind]) else {
            return;
        };
        self.push_name("", &labels);
        match number {
            Number::Whole(value) => push_whole(&mut self.text.out, value),
            Number::Seconds(value) => push_seconds(&mut self.text.out, value),
            Number::Real(value) => push_float(&mut self.text.out, value, self.text.format),
        }
        self.text.out.push('\n');
    }

    /// Writes the facts of an info family.
    pub fn info(&mut self, labels: &[(&str, &str)]) -> &mut Self {
        if let Some(labels) = self.admit(labels, &[Kind::Info]) {
            self.push_integer_line("", &labels, 1);
        }
        self
    }

    /// Writes the buckets, sum and count of a histogram, in seconds.
    pub fn histogram(&mut self, labels: &[(&str, &str)], view: &HistogramView<'_>) -> &mut Self {
        let Some(labels) = self.admit(labels, &[Kind::Histogram]) else {
            return self;
        };
        for (bound, count) in view.buckets() {
            let mut le = String::new();
            push_bound(&mut le, bound, self.text.format);
            self.push_integer_line("_bucket", &with(&labels, "le", &le), count);
        }
        self.push_integer_line("_bucket", &with(&labels, "le", "+Inf"), view.count());
        self.push_sum_and_count(&labels, view.sum(), view.count());
        self
    }

    /// Writes the buckets, sum and count of a histogram whose bounds are whole numbers of some unit. `cumulative`
    /// has one count more than there are `bounds`.
    pub(crate) fn whole_histogram(
        &mut self,
        labels: &[(&str, &str)],
        bounds: &[u64],
        cumulative: &[u64],
        sum: f64,
    ) -> &mut Self {
        let Some(labels) = self.admit(labels, &[Kind::Histogram]) else {
            return self;
        };
        let count = cumulative.last().copied().unwrap_or(0);
        for (&bound, &count) in bounds.iter().zip(cumulative) {
            let mut le = String::new();
            push_float(&mut le, bound as f64, self.text.format);
            self.push_integer_line("_bucket", &with(&labels, "le", &le), count);
        }
        self.push_integer_line("_bucket", &with(&labels, "le", "+Inf"), count);
        self.push_name("_sum", &labels);
        push_float(&mut self.text.out, sum, self.text.format);
        self.text.out.push('\n');
        self.push_integer_line("_count", &labels, count);
        self
    }

    /// Writes the quantiles, sum and count of a summary, in seconds. A quantile
    /// that is not known is left out.
    pub fn summary(&mut self, labels: &[(&str, &str)], view: &SummaryView) -> &mut Self {
        let Some(labels) = self.admit(labels, &[Kind::Summary]) else {
            return self;
        };
        for (quantile, value) in Quantile::ALL.into_iter().zip(view.quantiles) {
            if let Some(value) = value {
                self.push_name("", &with(&labels, "quantile", quantile.as_str()));
                push_seconds(&mut self.text.out, value);
                self.text.out.push('\n');
            }
        }
        self.push_sum_and_count(&labels, view.sum, view.count);
        self
    }

    /// Checks a series, and gives its labels as text if it may be written.
    fn admit(&mut self, labels: &[(&str, &str)], kinds: &[Kind]) -> Option<String> {
        if self.refused {
            return None;
        }
        match self.check(labels, kinds) {
            Ok(labels) => Some(labels),
            Err(error) => {
                self.text.refuse(error);
                None
            }
        }
    }

    fn check(
        &mut self,
        labels: &[(&str, &str)],
        kinds: &[Kind],
    ) -> Result<String, ExpositionError> {
        let name = self.descriptor.name();
        if !kinds.contains(&self.descriptor.kind()) {
            return Err(ExpositionError::Kind(name));
        }
        let mut text = String::new();
        for (index, (label, value)) in labels.iter().enumerate() {
            let is_repeated = labels[..index].iter().any(|(earlier, _)| earlier == label);
            if is_repeated || !self.is_label(label) {
                return Err(ExpositionError::LabelName(name, (*label).to_owned()));
            }
            if index > 0 {
                text.push(',');
            }
            text.push_str(label);
            text.push_str("=\"");
            push_escaped(&mut text, value, true);
            text.push('"');
        }
        if !self.series.insert(text.clone()) {
            return Err(ExpositionError::DuplicateSeries(name, text));
        }
        Ok(text)
    }

    fn is_label(&self, label: &str) -> bool {
        let taken = match self.descriptor.kind() {
            Kind::Histogram => "le",
            Kind::Summary => "quantile",
            Kind::Gauge | Kind::Counter | Kind::OlderCounter | Kind::Info => "",
        };
        is_name(label, false) && !label.starts_with("__") && label != taken
    }

    fn push_sum_and_count(&mut self, labels: &str, sum: Duration, count: u64) {
        self.push_name("_sum", labels);
        push_seconds(&mut self.text.out, sum);
        self.text.out.push('\n');
        self.push_integer_line("_count", labels, count);
    }

    fn push_integer_line(&mut self, suffix: &str, labels: &str, value: u64) {
        self.push_name(suffix, labels);
        push_integer(&mut self.text.out, value);
        self.text.out.push('\n');
    }

    /// Writes a sample up to its value. The 0.0.4 name is right in both
    /// formats: the suffix that OpenMetrics drops from the family's name
    /// returns on its samples.
    fn push_name(&mut self, suffix: &str, labels: &str) {
        self.text.push_all(&[self.descriptor.name(), suffix]);
        if !labels.is_empty() {
            self.text.push_all(&["{", labels, "}"]);
        }
        self.text.out.push(' ');
    }
}

/// Labels with one more, whose value needs no escapes.
fn with(labels: &str, name: &str, value: &str) -> String {
    let comma = if labels.is_empty() { "" } else { "," };
    format!("{labels}{comma}{name}=\"{value}\"")
}

/// Appends a help text or a label value. Both formats escape the backslash and
/// the line feed everywhere, and the quotation mark where it could end a value.
fn push_escaped(out: &mut String, text: &str, quotes: bool) {
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            other => out.push(other),
        }
    }
}
