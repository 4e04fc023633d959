//! What the application gets to see.

use crate::harness::{ask, config, get, start, telling};

/// Fields of a request; lines that the application sees then; text that it does not see.
type Row = (
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
    &'static [&'static str],
);

const ROWS: [Row; 9] = [
    (
        &[("k-original-host", "b.example")],
        &["host: b.example"],
        &["k-original-host", "host: a\r"],
    ),
    (
        &[
            ("knative-serving-revision", "r"),
            ("knative-serving-namespace", "n"),
        ],
        &["host: a"],
        &["knative-serving"],
    ),
    (
        &[("x-forwarded-for", "10.0.0.1")],
        &[
            "x-forwarded-for: 10.0.0.1, 127.0.0.1",
            "forwarded: for=10.0.0.1",
        ],
        &[],
    ),
    (
        &[
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-for", "10.0.0.2"),
        ],
        &[
            "x-forwarded-for: 10.0.0.1, 10.0.0.2, 127.0.0.1",
            "forwarded: for=10.0.0.1",
        ],
        &[],
    ),
    (
        &[],
        &["x-forwarded-for: 127.0.0.1"],
        &[
            "\nforwarded:",
            "x-forwarded-host",
            "x-forwarded-proto",
            "user-agent",
            "accept-encoding",
        ],
    ),
    (
        &[("x-forwarded-host", "h"), ("x-forwarded-proto", "https")],
        &[
            "forwarded: host=h;proto=https",
            "x-forwarded-host: h",
            "x-forwarded-proto: https",
        ],
        &[],
    ),
    (
        &[("forwarded", "for=a"), ("x-forwarded-for", "10.0.0.1")],
        &["forwarded: for=a"],
        &["for=10.0.0.1"],
    ),
    (
        &[
            ("te", "trailers"),
            ("proxy-authorization", "secret"),
            ("keep-alive", "5"),
        ],
        &["te: trailers"],
        &["secret", "keep-alive"],
    ),
    (
        &[("traceparent", "00-1-2-01"), ("user-agent", "u")],
        &["traceparent: 00-1-2-01", "user-agent: u"],
        &[],
    ),
];

#[tokio::test]
async fn each_row_of_the_table_of_header_fields() {
    let (_running, address) = start(&config(telling().await));
    let mark = "x-mark: 1";
    for (fields, present, absent) in ROWS {
        let told = ask(address, &get(&[fields, &[("x-mark", "1")]].concat())).await;
        for line in present.iter().chain([&mark]) {
            assert!(told.has(line), "{fields:?} without {line}: {told:?}");
        }
        for text in absent {
            assert!(
                !told.body.contains(text),
                "{fields:?} with {text}: {told:?}"
            );
        }
    }
}

/// Applications may read them, so they are left to them.
#[tokio::test]
async fn f17_other_fields_of_knative_reach_the_application() {
    let (_running, address) = start(&config(telling().await));
    let fields = [
        ("k-proxy-request", "activator"),
        ("k-network-hash", "h"),
        ("k-passthrough-lb", "true"),
        ("knative-serving-tag", "t"),
        ("knative-serving-default-route", "true"),
    ];
    let told = ask(address, &get(&fields)).await;
    for (name, value) in fields {
        assert!(told.has(&format!("{name}: {value}")), "{name}: {told:?}");
    }
}
