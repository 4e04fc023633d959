//! The rows of Knative's own tests for its request statistics: the present ones
//! (knative.dev/networking, `pkg/http/stats`) and those of the channel-based
//! statistics before them (knative.dev/serving, `pkg/queue`, to v0.15).
#![cfg(not(loom))]

use std::num::NonZeroUsize;
use std::sync::Arc;

use plimsoll_meter::{ConcurrencyMeter, Source, Tick};

use Source::{Direct, Proxied};
use Step::{In, Out, Report};

#[derive(Clone, Copy)]
enum Step {
    /// A request of this source begins at this millisecond.
    In(Source, u64),
    /// One ends.
    Out(Source, u64),
    /// A report at this millisecond, and what it must say.
    Report(u64, Expected),
}

/// Average concurrency, average proxied concurrency, requests, proxied requests.
type Expected = (f64, f64, u64, u64);

fn at_milli(milli: u64) -> Tick {
    Tick::from_nanos(milli * 1_000_000)
}

/// Plays each case on a meter with one shard, and on one where every event of a
/// source has the next shard: the answers must be the same to the last bit.
fn check(cases: &[(&str, &[Step])]) {
    for (name, steps) in cases {
        play(name, steps, 1);
        play(name, steps, 3);
    }
}

fn play(name: &str, steps: &[Step], shards: usize) {
    let count = NonZeroUsize::new(shards).expect("one or three");
    let meter = Arc::new(ConcurrencyMeter::new(count));
    let mut reporter = meter.reporter(Tick::ZERO);
    let (mut ins, mut outs) = (0, 0);
    for step in steps {
        match *step {
            In(source, milli) => {
                meter.enter(ins, source, at_milli(milli));
                ins += 1;
            }
            Out(source, milli) => {
                meter.leave(outs, source, at_milli(milli));
                outs += 1;
            }
            Report(milli, expected) => {
                let report = reporter.report(at_milli(milli));
                let got: Expected = (
                    report.average_concurrency,
                    report.average_proxied_concurrency,
                    report.requests,
                    report.proxied_requests,
                );
                assert_eq!(got, expected, "{name}, {shards} shards, at {milli} ms");
            }
        }
    }
}

#[test]
fn rows_of_the_present_statistics() {
    check(&[
        ("no requests", &[Report(1000, (0.0, 0.0, 0, 0))]),
        (
            "whole time",
            &[
                In(Direct, 0),
                Out(Direct, 1000),
                Report(1000, (1.0, 0.0, 1, 0)),
            ],
        ),
        (
            "half of the time",
            &[
                In(Direct, 0),
                Out(Direct, 3000),
                Report(6000, (0.5, 0.0, 1, 0)),
            ],
        ),
        (
            "very short",
            &[
                In(Direct, 0),
                Out(Direct, 1),
                Report(1000, (0.001, 0.0, 1, 0)),
            ],
        ),
        (
            "three back to back",
            &[
                In(Direct, 0),
                Out(Direct, 300),
                In(Direct, 300),
                Out(Direct, 600),
                In(Direct, 600),
                Out(Direct, 1000),
                Report(1000, (1.0, 0.0, 3, 0)),
            ],
        ),
        (
            "interleaved",
            &[
                In(Direct, 0),
                In(Direct, 100),
                Out(Direct, 600),
                Out(Direct, 1000),
                Report(1000, (1.5, 0.0, 2, 0)),
            ],
        ),
    ]);
}

#[test]
fn rows_that_span_reports() {
    check(&[
        (
            "across a report",
            &[
                In(Direct, 0),
                Report(1000, (1.0, 0.0, 1, 0)),
                Out(Direct, 1500),
                Report(2000, (0.5, 0.0, 0, 0)),
            ],
        ),
        (
            "across four reports",
            &[
                In(Direct, 0),
                Report(1000, (1.0, 0.0, 1, 0)),
                Report(2000, (1.0, 0.0, 0, 0)),
                Report(3000, (1.0, 0.0, 0, 0)),
                Out(Direct, 3500),
                Report(4000, (0.5, 0.0, 0, 0)),
            ],
        ),
    ]);
}

#[test]
fn rows_with_proxied_requests() {
    check(&[
        (
            "proxied, whole time",
            &[
                In(Proxied, 0),
                Out(Proxied, 1000),
                Report(1000, (1.0, 1.0, 1, 1)),
            ],
        ),
        (
            "proxied, half of the time",
            &[
                In(Proxied, 0),
                Out(Proxied, 500),
                Report(1000, (0.5, 0.5, 1, 1)),
            ],
        ),
        (
            "proxied and direct",
            &[
                In(Proxied, 0),
                In(Direct, 0),
                Out(Proxied, 500),
                Out(Direct, 1000),
                Report(1000, (1.5, 0.5, 2, 1)),
            ],
        ),
    ]);
}

/// Knative moves an event that comes after a later one to the time of that one.
/// Its published row has two such shifts that cancel out. Ours has no shifts, so
/// it agrees there, and differs in the two rows of ours below.
#[test]
fn rows_with_times_out_of_order() {
    check(&[
        (
            "out-of-order times, Knative's row",
            &[
                In(Direct, 500),
                In(Direct, 499),
                Out(Direct, 1000),
                Out(Direct, 999),
                Report(1000, (1.0, 0.0, 2, 0)),
            ],
        ),
        (
            "late entry: 500 + 600 ms; Knative would say 1.0",
            &[
                In(Direct, 500),
                In(Direct, 400),
                Out(Direct, 1000),
                Out(Direct, 1000),
                Report(1000, (1.1, 0.0, 2, 0)),
            ],
        ),
        (
            "late exit: 1000 + 700 ms; Knative would say 2.0",
            &[
                In(Direct, 0),
                In(Direct, 0),
                Out(Direct, 1000),
                Out(Direct, 700),
                Report(1000, (1.7, 0.0, 2, 0)),
            ],
        ),
    ]);
}

#[test]
fn rows_of_the_channel_statistics() {
    check(&[
        ("no data", &[Report(0, (0.0, 0.0, 0, 0))]),
        (
            "half of the time",
            &[
                In(Direct, 0),
                Out(Direct, 1000),
                Report(2000, (0.5, 0.0, 1, 0)),
            ],
        ),
        (
            "very short-lived",
            &[
                In(Direct, 0),
                Out(Direct, 10),
                Report(1000, (0.01, 0.0, 1, 0)),
            ],
        ),
        (
            "one proxied, not ended",
            &[In(Proxied, 0), Report(1000, (1.0, 1.0, 1, 1))],
        ),
        (
            "two requests, one proxied",
            &[
                In(Proxied, 0),
                Out(Proxied, 500),
                In(Direct, 500),
                Report(1000, (1.0, 0.5, 2, 1)),
            ],
        ),
    ]);
}
