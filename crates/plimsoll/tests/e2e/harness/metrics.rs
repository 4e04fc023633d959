//! What `/metrics` says.

use std::collections::BTreeMap;

/// One scrape of the text format: the value of each series, by its name and labels as written.
#[derive(Debug, Clone)]
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    pub(crate) fn parse(text: &str) -> Self {
        let series = text.lines().filter(|line| !line.starts_with('#'));
        Self(
            series
                .map(|line| {
                    let (series, value) = line.rsplit_once(' ').unwrap();
                    (series.to_owned(), value.parse().unwrap())
                })
                .collect(),
        )
    }

    /// The value of a series, named in full.
    pub(crate) fn value(&self, series: &str) -> f64 {
        *self
            .0
            .get(series)
            .unwrap_or_else(|| panic!("no series {series}"))
    }

    /// `plimsoll_requests_total`.
    pub(crate) fn requests(&self, class: &str, source: &str) -> f64 {
        self.value(&format!(
            "plimsoll_requests_total{{code_class=\"{class}\",source=\"{source}\"}}"
        ))
    }

    /// All of `plimsoll_requests_total`.
    pub(crate) fn requests_total(&self) -> f64 {
        self.sum("plimsoll_requests_total{")
    }

    /// `plimsoll_request_errors_total`.
    pub(crate) fn errors(&self, word: &str) -> f64 {
        self.value(&format!(
            "plimsoll_request_errors_total{{error=\"{word}\"}}"
        ))
    }

    /// All of `plimsoll_request_errors_total`.
    pub(crate) fn errors_total(&self) -> f64 {
        self.sum("plimsoll_request_errors_total{")
    }

    pub(crate) fn in_flight(&self) -> f64 {
        self.value("plimsoll_requests_in_flight")
    }

    /// The series of a family that are not 0.
    pub(crate) fn nonzero(&self, prefix: &str) -> Vec<&str> {
        let series = self.0.iter();
        series
            .filter(|(series, value)| series.starts_with(prefix) && **value != 0.0)
            .map(|(series, _)| series.as_str())
            .collect()
    }

    pub(crate) fn sum(&self, prefix: &str) -> f64 {
        self.sum_where(|series| series.starts_with(prefix))
    }

    /// The sum over the series that `wanted` takes.
    pub(crate) fn sum_where(&self, wanted: impl Fn(&str) -> bool) -> f64 {
        let series = self.0.iter().filter(|(series, _)| wanted(series));
        series.map(|(_, value)| value).sum()
    }

    /// Whether there is a series that `wanted` takes.
    pub(crate) fn has(&self, wanted: impl Fn(&str) -> bool) -> bool {
        self.0.keys().any(|series| wanted(series))
    }
}
