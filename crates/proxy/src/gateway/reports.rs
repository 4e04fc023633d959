//! What endpoints say of their load, in the head or the trailers of an answer.

use http::{HeaderMap, HeaderName};
use plimsoll_balance::LoadReport;
use plimsoll_wire::cpu_usage;
use plimsoll_wire::orca::{self, ReportError};

const TEXT: HeaderName = HeaderName::from_static(orca::HEADER);
const BINARY: HeaderName = HeaderName::from_static(orca::BINARY_HEADER);
const CPU_USAGE: HeaderName = HeaderName::from_static(cpu_usage::HEADER);

/// The report among `fields`, if there is one; an ORCA report says more than Kratos's `cpu_usage`.
///
/// The fields go on to the client as they are: a client may balance too, and gRPC's do.
pub(crate) fn read(fields: &HeaderMap) -> Option<Result<LoadReport, ReportError>> {
    // One look over the names, because mostly there is none, and each look-up costs a hash.
    let is_report = |name: &HeaderName| *name == TEXT || *name == BINARY || *name == CPU_USAGE;
    if !fields.keys().any(is_report) {
        return None;
    }
    let mut reports = (fields.get_all(BINARY).iter())
        .map(|value| orca::LoadReport::from_binary_header(value.as_bytes()))
        .chain(
            (fields.get_all(TEXT).iter())
                .map(|value| orca::LoadReport::from_header(value.as_bytes())),
        );
    match (reports.next(), reports.next()) {
        (Some(_), Some(_)) => Some(Err(ReportError::Duplicate)),
        (Some(report), None) => Some(report.map(of_orca)),
        (None, _) => {
            let usage = cpu_usage::read(fields.get(CPU_USAGE)?.as_bytes());
            usage.map(|cpu| {
                Ok(LoadReport {
                    cpu_utilization: Some(cpu),
                    ..LoadReport::default()
                })
            })
        }
    }
}

fn of_orca(report: orca::LoadReport) -> LoadReport {
    LoadReport {
        application_utilization: report.application_utilization,
        cpu_utilization: report.cpu_utilization,
        mem_utilization: report.mem_utilization,
        rps: report.rps,
        eps: report.eps,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn fields(rows: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in rows {
            fields.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        fields
    }

    #[test]
    fn reports_are_found_among_other_fields() {
        let cpu = |cpu| {
            Some(Ok(LoadReport {
                cpu_utilization: Some(cpu),
                ..LoadReport::default()
            }))
        };
        let binary = orca::LoadReport {
            cpu_utilization: Some(0.75),
            ..orca::LoadReport::default()
        };
        let binary = HeaderValue::try_from(binary.to_binary_header()).unwrap();
        let mut with_binary = fields(&[("server", "x")]);
        with_binary.insert(BINARY, binary);
        assert_eq!(read(&with_binary), cpu(0.75));
        with_binary.insert(TEXT, HeaderValue::from_static("TEXT cpu_utilization=0.1"));
        assert_eq!(read(&with_binary), Some(Err(ReportError::Duplicate)));

        let text = ("endpoint-load-metrics", "TEXT cpu_utilization=0.25");
        for (rows, expected) in [
            (vec![("server", "x"), text], cpu(0.25)),
            (vec![text, ("cpu_usage", "900")], cpu(0.25)),
            (vec![text, text], Some(Err(ReportError::Duplicate))),
            (vec![("cpu_usage", "900")], cpu(0.9)),
            (vec![("cpu_usage", "-3")], None),
            (vec![("cpu-usage", "900")], None),
            (vec![], None),
            (
                vec![("endpoint-load-metrics", "TEXT cpu_utilization=NaN")],
                Some(Err(ReportError::NotFinite)),
            ),
        ] {
            assert_eq!(read(&fields(&rows)), expected, "{rows:?}");
        }
    }
}
