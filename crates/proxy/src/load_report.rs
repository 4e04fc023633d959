//! What answers say of the load.
//!
//! The fields are made a few times a second by whoever measures, and published here. A request only reads them:
//! whether there are any, and then a reference counted once more for each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use http::{HeaderMap, HeaderName, HeaderValue};
use plimsoll_wire::{cpu_usage, orca};

const ORCA: HeaderName = HeaderName::from_static(orca::HEADER);
const ORCA_BINARY: HeaderName = HeaderName::from_static(orca::BINARY_HEADER);
const CPU_USAGE: HeaderName = HeaderName::from_static(cpu_usage::HEADER);

/// Where the load report for all answers is published. Clones are the same place; it is empty at first.
#[derive(Debug, Clone, Default)]
pub struct LoadReports(Arc<Published>);

#[derive(Debug, Default)]
struct Published {
    /// Whether there are any, so that a request pays next to nothing where nothing is reported.
    any: AtomicBool,
    fields: ArcSwapOption<ReportFields>,
}

/// The fields of a load report. Those that are `None` are not sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReportFields {
    /// `endpoint-load-metrics`, in the head of an answer that is no gRPC.
    pub orca: Option<HeaderValue>,
    /// `endpoint-load-metrics-bin`, in the trailers of a gRPC answer, where gRPC clients look for it.
    pub orca_binary: Option<HeaderValue>,
    /// `cpu_usage`, in the head, or in the trailers of a gRPC answer.
    pub cpu_usage: Option<HeaderValue>,
}

impl LoadReports {
    /// From now on answers carry these fields, or none.
    pub fn publish(&self, fields: Option<ReportFields>) {
        let any = fields.is_some();
        self.0.fields.store(fields.map(Arc::new));
        self.0.any.store(any, Ordering::Relaxed);
    }

    /// Adds the report to the head of an answer. A gRPC answer has it in its trailers, and those are its head if
    /// it has no body.
    pub(crate) fn add_to_head(&self, headers: &mut HeaderMap, grpc: bool, has_body: bool) {
        match (grpc, has_body) {
            (false, _) => self.add(headers, &ORCA, |fields| fields.orca.as_ref()),
            (true, false) => self.add_to_trailers(headers),
            (true, true) => {}
        }
    }

    /// Adds the report to the trailers of a gRPC answer.
    pub(crate) fn add_to_trailers(&self, trailers: &mut HeaderMap) {
        self.add(trailers, &ORCA_BINARY, |fields| fields.orca_binary.as_ref());
    }

    /// What the application says of itself stays: it knows better, and a client would refuse two reports.
    fn add(
        &self,
        headers: &mut HeaderMap,
        orca: &HeaderName,
        report: impl Fn(&ReportFields) -> Option<&HeaderValue>,
    ) {
        if !self.0.any.load(Ordering::Relaxed) {
            return;
        }
        let published = self.0.fields.load();
        let Some(fields) = published.as_deref() else {
            return;
        };
        if let Some(value) = report(fields)
            && !headers.contains_key(ORCA)
            && !headers.contains_key(ORCA_BINARY)
        {
            headers.insert(orca, value.clone());
        }
        if let Some(value) = &fields.cpu_usage
            && !headers.contains_key(CPU_USAGE)
        {
            headers.insert(CPU_USAGE, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> ReportFields {
        let value = |text| Some(HeaderValue::from_static(text));
        ReportFields {
            orca: value("TEXT eps=1"),
            orca_binary: value("Og=="),
            cpu_usage: value("500"),
        }
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn nothing_is_added_until_something_is_published() {
        let reports = LoadReports::default();
        let mut headers = HeaderMap::new();
        reports.add_to_head(&mut headers, false, true);
        reports.add_to_trailers(&mut headers);
        reports.publish(Some(fields()));
        reports.publish(None);
        reports.add_to_head(&mut headers, false, true);
        assert!(headers.is_empty());
    }

    #[test]
    fn each_kind_of_answer_has_its_form_at_its_place() {
        let reports = LoadReports::default();
        reports.publish(Some(fields()));
        for (grpc, has_body, expected) in [
            (false, true, &["cpu_usage", "endpoint-load-metrics"][..]),
            (false, false, &["cpu_usage", "endpoint-load-metrics"]),
            (true, true, &[]),
            (true, false, &["cpu_usage", "endpoint-load-metrics-bin"]),
        ] {
            let mut headers = HeaderMap::new();
            reports.add_to_head(&mut headers, grpc, has_body);
            assert_eq!(names(&headers), expected, "gRPC {grpc}, body {has_body}");
        }
        let mut trailers = HeaderMap::new();
        reports.add_to_trailers(&mut trailers);
        assert_eq!(names(&trailers), ["cpu_usage", "endpoint-load-metrics-bin"]);
    }

    #[test]
    fn what_is_not_to_be_sent_is_not() {
        let reports = LoadReports::default();
        reports.publish(Some(ReportFields {
            cpu_usage: None,
            ..fields()
        }));
        let mut headers = HeaderMap::new();
        reports.add_to_head(&mut headers, false, true);
        assert_eq!(names(&headers), ["endpoint-load-metrics"]);
    }

    #[test]
    fn the_applications_own_report_stays_and_is_the_only_one() {
        let reports = LoadReports::default();
        reports.publish(Some(fields()));
        for own in [ORCA, ORCA_BINARY] {
            let mut headers = HeaderMap::new();
            headers.insert(own.clone(), HeaderValue::from_static("own"));
            headers.insert(CPU_USAGE, HeaderValue::from_static("7"));
            reports.add_to_head(&mut headers, false, true);
            reports.add_to_trailers(&mut headers);
            assert_eq!(headers[&own], "own");
            assert_eq!(headers[CPU_USAGE], "7");
            assert_eq!(headers.len(), 2, "{headers:?}");
        }
    }
}
