//! What can be wrong with a report.

/// Why a report was refused. A fixed set, so that it can be counted by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum ReportError {
    /// Longer than [`super::REPORT_BYTES_MAX`].
    #[error("the report is over {} bytes", super::REPORT_BYTES_MAX)]
    TooLong,
    /// It does not begin with `TEXT`, `JSON` or `BIN`.
    #[error("the report is neither TEXT nor JSON nor BIN")]
    UnknownFormat,
    /// It cannot be read in its format, or a value is not a number.
    #[error("the report cannot be read")]
    Malformed,
    /// A value is NaN or infinite.
    #[error("a value of the report is not a finite number")]
    NotFinite,
    /// A value is below 0.
    #[error("a value of the report is negative")]
    Negative,
    /// A value is larger than is believed.
    #[error("a value of the report is too large")]
    TooLarge,
    /// A metric occurs twice, or the answer has two reports.
    #[error("the report says something twice")]
    Duplicate,
    /// It has more than [`super::METRICS_MAX`] metrics.
    #[error("the report has over {} metrics", super::METRICS_MAX)]
    TooMany,
}

impl ReportError {
    /// How many reasons there are: the length of an array indexed by
    /// [`ReportError::index`].
    pub const COUNT: usize = 8;

    /// Every reason, in the order of [`ReportError::index`].
    pub const ALL: [Self; Self::COUNT] = [
        Self::TooLong,
        Self::UnknownFormat,
        Self::Malformed,
        Self::NotFinite,
        Self::Negative,
        Self::TooLarge,
        Self::Duplicate,
        Self::TooMany,
    ];

    /// A dense index below [`ReportError::COUNT`], for an array of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The label value, e.g. `not_finite`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::UnknownFormat => "unknown_format",
            Self::Malformed => "malformed",
            Self::NotFinite => "not_finite",
            Self::Negative => "negative",
            Self::TooLarge => "too_large",
            Self::Duplicate => "duplicate",
            Self::TooMany => "too_many",
        }
    }
}
