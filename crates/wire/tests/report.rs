//! Whole reports: what they say, whether Prometheus can read them, and whether
//! the documentation knows of everything in them.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "clippy permits both in test functions, but not in what they call"
)]

#[path = "report/document.rs"]
mod document;
#[path = "report/gateway.rs"]
mod gateway;
#[path = "report/metric.rs"]
mod metric;
#[path = "report/promtool.rs"]
mod promtool;
#[path = "report/snapshot.rs"]
mod snapshot;
#[path = "report/user.rs"]
mod user;

use std::time::Duration;

use plimsoll_wire::{
    Answer, Families, Format, HistogramView, Identity, LimitSample, ProxyError, ReporterSample,
    render,
};

/// Bounds that show each form of a number: with an exponent, with decimals,
/// whole.
const BOUNDS: [Duration; 4] = [
    Duration::from_micros(50),
    Duration::from_millis(5),
    Duration::from_secs(1),
    Duration::from_secs(300),
];

const TEXT_FORMATS: [Format; 2] = [Format::PrometheusText, Format::OpenMetrics];

fn identity() -> Identity {
    Identity::new(
        "default",
        "helloworld-go",
        "helloworld-go-00001",
        "helloworld-go-00001-deployment-8ff587cc9-7g9gc",
    )
    .unwrap()
}

fn sample() -> ReporterSample {
    ReporterSample {
        requests_per_second: 39.0,
        proxied_requests_per_second: 1.5,
        average_concurrency: 3.25,
        average_proxied_concurrency: 2.0,
        uptime_seconds: 2937.12,
    }
}

/// Every counter has a value of its own, so that a snapshot shows a swap.
fn families() -> Families<'static> {
    let histogram =
        |cumulative, sum| HistogramView::new(&BOUNDS, cumulative, sum).expect("parts that fit");
    Families {
        requests: std::array::from_fn(|index| 100 + index as u64),
        errors: std::array::from_fn(|index| 200 + index as u64),
        requests_in_flight: 14,
        connections_open: 32,
        limit: Some(LimitSample {
            slots: 10,
            slots_in_use: 9,
            queue_depth: 5,
            queue_capacity: 100,
        }),
        version: "0.1.0",
        request_duration: histogram(&[1, 20, 300, 4000, 4001], Duration::new(5000, 1)),
        queue_wait: histogram(&[7, 7, 7, 7, 7], Duration::from_nanos(70)),
        upstream_duration: histogram(&[0, 0, 0, 0, 0], Duration::ZERO),
    }
}

fn idle() -> Families<'static> {
    Families {
        requests: [0; Answer::COUNT],
        errors: [0; ProxyError::COUNT],
        requests_in_flight: 0,
        connections_open: 0,
        limit: None,
        version: "0.1.0",
        request_duration: HistogramView::EMPTY,
        queue_wait: HistogramView::EMPTY,
        upstream_duration: HistogramView::EMPTY,
    }
}

fn text(format: Format, sample: &ReporterSample, families: &Families<'_>) -> String {
    String::from_utf8(render(format, &identity(), sample, families)).unwrap()
}
