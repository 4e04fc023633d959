//! What a metric family is called, and what it means.

/// The kind of a metric family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A value that goes up and down.
    Gauge,
    /// A count that only goes up, until the process starts again.
    Counter,
    /// A count whose name was chosen before counters had to end in `_total`.
    OlderCounter,
    /// Observations counted in buckets.
    Histogram,
    /// Quantiles of recent observations, with the count and sum of all.
    Summary,
    /// Facts about the process, as labels of a sample whose value is 1.
    Info,
}

/// The unit of a metric family. Its name ends the family's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// A part of a whole; 1 is the whole.
    Ratio,
}

/// Name, help text, kind and unit of a metric family.
///
/// Made by constant functions, so that this is checked by the compiler:
///
/// ```
/// use plimsoll_wire::prometheus::Descriptor;
/// const RIGHT: Descriptor = Descriptor::counter("doors_opened_total", "Doors opened");
/// ```
///
/// and this does not compile, because a counter ends in `_total`:
///
/// ```compile_fail,E0080
/// use plimsoll_wire::prometheus::Descriptor;
/// const WRONG: Descriptor = Descriptor::counter("doors_opened", "Doors opened");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Descriptor {
    /// The name as the 0.0.4 format writes it, suffix included.
    name: &'static str,
    help: &'static str,
    kind: Kind,
    unit: Option<Unit>,
}

impl Unit {
    /// The name of the unit, as it ends the family's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::Ratio => "ratio",
        }
    }
}

impl Descriptor {
    /// Declares a gauge.
    ///
    /// # Panics
    ///
    /// If the name is not a legal metric name, or ends in a suffix that
    /// another kind uses (`_total`, `_bucket`, `_count`, `_sum`, `_created`,
    /// `_info`).
    #[must_use]
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        assert_plain(name);
        Self::new(name, help, Kind::Gauge)
    }

    /// Declares a counter.
    ///
    /// # Panics
    ///
    /// If the name is not a legal metric name ending in `_total`.
    #[must_use]
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        assert!(ends_with(name, "_total"), "a counter ends in _total");
        Self::new(name, help, Kind::Counter)
    }

    /// Declares a counter whose name is older than the rule that a counter ends in `_total`. OpenMetrics holds to
    /// the rule, so there its kind is unknown.
    ///
    /// # Panics
    ///
    /// If the name is not a legal metric name.
    #[must_use]
    pub const fn older_counter(name: &'static str, help: &'static str) -> Self {
        Self::new(name, help, Kind::OlderCounter)
    }

    /// Declares a histogram.
    ///
    /// # Panics
    ///
    /// As [`Descriptor::gauge`].
    #[must_use]
    pub const fn histogram(name: &'static str, help: &'static str) -> Self {
        assert_plain(name);
        Self::new(name, help, Kind::Histogram)
    }

    /// Declares a summary.
    ///
    /// # Panics
    ///
    /// As [`Descriptor::gauge`].
    #[must_use]
    pub const fn summary(name: &'static str, help: &'static str) -> Self {
        assert_plain(name);
        Self::new(name, help, Kind::Summary)
    }

    /// Declares facts about the process.
    ///
    /// # Panics
    ///
    /// If the name is not a legal metric name ending in `_info`.
    #[must_use]
    pub const fn info(name: &'static str, help: &'static str) -> Self {
        assert!(ends_with(name, "_info"), "an info ends in _info");
        Self::new(name, help, Kind::Info)
    }

    const fn new(name: &'static str, help: &'static str, kind: Kind) -> Self {
        assert!(is_name(name, true), "not a legal metric name");
        Self {
            name,
            help,
            kind,
            unit: None,
        }
    }

    /// Declares the unit.
    ///
    /// # Panics
    ///
    /// If the name, without `_total`, does not end in `_` and the unit.
    #[must_use]
    pub const fn with_unit(self, unit: Unit) -> Self {
        let name_end = self.name.len() - self.suffix().len();
        let ends = match unit {
            Unit::Seconds => ends_with_before(self.name, "_seconds", name_end),
            Unit::Bytes => ends_with_before(self.name, "_bytes", name_end),
            Unit::Ratio => ends_with_before(self.name, "_ratio", name_end),
        };
        assert!(ends, "the name must end in the unit");
        Self {
            unit: Some(unit),
            ..self
        }
    }

    /// The name as the 0.0.4 format writes it, e.g. `plimsoll_requests_total`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The name as OpenMetrics declares it: without `_total` or `_info`.
    #[must_use]
    pub fn family_name(&self) -> &'static str {
        self.name.strip_suffix(self.suffix()).unwrap_or(self.name)
    }

    /// The help text, unescaped.
    #[must_use]
    pub const fn help(&self) -> &'static str {
        self.help
    }

    /// The kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The unit, if the name ends in one.
    #[must_use]
    pub const fn unit(&self) -> Option<Unit> {
        self.unit
    }

    /// What OpenMetrics adds to the family's name on each sample.
    const fn suffix(&self) -> &'static str {
        match self.kind {
            Kind::Gauge | Kind::OlderCounter | Kind::Histogram | Kind::Summary => "",
            Kind::Counter => "_total",
            Kind::Info => "_info",
        }
    }
}

/// Whether `name` is a legal metric name (`colon`) or label name (no colon):
/// `[a-zA-Z_:][a-zA-Z0-9_:]*`.
pub(super) const fn is_name(name: &str, colon: bool) -> bool {
    let bytes = name.as_bytes();
    let mut index = 0;
    while index < bytes.len() {
        let legal = match bytes[index] {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => true,
            b'0'..=b'9' => index > 0,
            b':' => colon,
            _ => false,
        };
        if !legal {
            return false;
        }
        index += 1;
    }
    !bytes.is_empty()
}

/// Refuses the suffixes that samples of other kinds carry. OpenMetrics forbids
/// the clash, and forbidding the suffix is the check that sees one name only.
const fn assert_plain(name: &str) {
    let taken = ends_with(name, "_total")
        || ends_with(name, "_bucket")
        || ends_with(name, "_count")
        || ends_with(name, "_sum")
        || ends_with(name, "_created")
        || ends_with(name, "_info");
    assert!(!taken, "the suffix belongs to another kind");
}

const fn ends_with(text: &str, suffix: &str) -> bool {
    ends_with_before(text, suffix, text.len())
}

/// Whether `text[..end]` ends with `suffix`; `str::ends_with` is not `const`.
const fn ends_with_before(text: &str, suffix: &str, end: usize) -> bool {
    let (text, suffix) = (text.as_bytes(), suffix.as_bytes());
    if suffix.len() > end {
        return false;
    }
    let mut index = 0;
    while index < suffix.len() {
        if text[end - suffix.len() + index] != suffix[index] {
            return false;
        }
        index += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for (name, as_metric, as_label) in [
            ("plimsoll_requests", true, true),
            ("_a9", true, true),
            ("a:b", true, false),
            ("", false, false),
            ("9a", false, false),
            ("a-b", false, false),
            ("a b", false, false),
            ("ä", false, false),
        ] {
            assert_eq!(is_name(name, true), as_metric, "{name}");
            assert_eq!(is_name(name, false), as_label, "{name}");
        }
    }

    #[test]
    fn open_metrics_drops_the_suffix_of_counters_and_infos() {
        assert_eq!(Descriptor::counter("a_total", "").family_name(), "a");
        assert_eq!(Descriptor::info("a_info", "").family_name(), "a");
        assert_eq!(Descriptor::gauge("a", "").family_name(), "a");
    }

    #[test]
    fn a_unit_must_end_the_name() {
        let gauge = Descriptor::gauge("a_seconds", "").with_unit(Unit::Seconds);
        assert_eq!(gauge.unit(), Some(Unit::Seconds));
        let counter = Descriptor::counter("a_bytes_total", "").with_unit(Unit::Bytes);
        assert_eq!(counter.unit(), Some(Unit::Bytes));
        let gauge = Descriptor::gauge("a_ratio", "").with_unit(Unit::Ratio);
        assert_eq!(gauge.unit(), Some(Unit::Ratio));
    }

    #[test]
    #[should_panic(expected = "the name must end in the unit")]
    fn a_unit_that_does_not_end_the_name_is_refused() {
        assert_eq!(
            Descriptor::gauge("a_seconds", "")
                .with_unit(Unit::Bytes)
                .unit(),
            None
        );
    }

    #[test]
    #[should_panic(expected = "the suffix belongs to another kind")]
    fn a_gauge_that_looks_like_a_counter_is_refused() {
        assert_eq!(Descriptor::gauge("a_total", "").unit(), None);
    }
}
