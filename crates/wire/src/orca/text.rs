//! The text format: `cpu_utilization=0.3, named_metrics.queue=12`.

use super::{Draft, LoadReport, METRICS_MAX, ReportError};

/// Reads `name=value` or `name:value`, separated by commas. Envoy accepts both
/// signs, and skips what is empty between two commas.
pub(super) fn read(report: &str) -> Result<LoadReport, ReportError> {
    let mut draft = Draft::default();
    let mut names = [""; METRICS_MAX];
    let items = report.split(',').map(str::trim);
    for (index, item) in items.filter(|item| !item.is_empty()).enumerate() {
        let (name, value) = item.split_once(['=', ':']).ok_or(ReportError::Malformed)?;
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() {
            return Err(ReportError::Malformed);
        }
        if names.contains(&name) {
            return Err(ReportError::Duplicate);
        }
        *names.get_mut(index).ok_or(ReportError::TooMany)? = name;
        draft.set(name, value.parse().map_err(|_| ReportError::Malformed)?)?;
    }
    if draft.metrics == 0 {
        return Err(ReportError::Malformed);
    }
    Ok(draft.finish())
}

/// Writes a report. It reads back as the same.
pub(super) fn write(report: &LoadReport) -> String {
    let items: Vec<_> = report
        .metrics()
        .map(|(metric, value)| format!("{}={value}", metric.as_str()))
        .collect();
    items.join(", ")
}
