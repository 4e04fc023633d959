//! The `Accept` header of a scrape, one line of the input for each header line.
//!
//! Any bytes give an answer, and two rules hold for all of them: the order of the lines does not
//! matter, and a line that asks for Knative's protobuf is heard, whatever the other lines are.

#![no_main]

use libfuzzer_sys::fuzz_target;
use plimsoll_wire::{Format, negotiate};

fuzz_target!(|input: &[u8]| {
    let mut lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
    let answer = negotiate(lines.iter().copied());

    lines.reverse();
    assert_eq!(
        answer,
        negotiate(lines.iter().copied()),
        "the order of the lines matters"
    );

    lines.push(b"application/protobuf");
    assert_eq!(
        Format::KnativeStat,
        negotiate(lines),
        "the autoscaler is not heard"
    );
});
