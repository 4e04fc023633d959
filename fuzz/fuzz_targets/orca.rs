//! A load report of a stranger, in a header or trailer.
//!
//! The input is the value of `endpoint-load-metrics`, whose first word says the format; without one it
//! is also read as the protobuf message itself. Any bytes are refused or give numbers within bounds,
//! and what was read once reads the same again after it was written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use plimsoll_wire::orca::{LoadReport, RATE_MAX, REPORT_BYTES_MAX, ReportError, UTILIZATION_MAX};

fuzz_target!(|input: &[u8]| {
    // The seeds are files of text, and end as such do.
    let input = input.strip_suffix(b"\n").unwrap_or(input);
    let read = LoadReport::from_header(input);
    if input.len() > REPORT_BYTES_MAX {
        assert_eq!(read, Err(ReportError::TooLong));
    }
    for report in [
        read,
        LoadReport::from_binary_header(input),
        LoadReport::from_protobuf(input),
    ] {
        let Ok(report) = report else { continue };
        assert_bounded(&report);
        if !report.is_empty() {
            let text = report.to_text_header();
            assert_eq!(
                LoadReport::from_header(text.as_bytes()),
                Ok(report),
                "{text}"
            );
        }
        let json = LoadReport::from_header(report.to_json_header().as_bytes());
        assert_bounded(&json.expect("what was written is accepted"));
        let binary = report.to_binary_header();
        let binary = LoadReport::from_binary_header(binary.as_bytes());
        assert_bounded(&binary.expect("what was written is accepted"));
    }
});

fn assert_bounded(report: &LoadReport) {
    for (value, max) in [
        (report.application_utilization, UTILIZATION_MAX),
        (report.cpu_utilization, UTILIZATION_MAX),
        (report.mem_utilization, 1.0),
        (report.rps, RATE_MAX),
        (report.eps, RATE_MAX),
    ] {
        if let Some(value) = value {
            assert!((0.0..=max).contains(&value), "{report:?}");
        }
    }
}
