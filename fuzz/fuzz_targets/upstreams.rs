//! `--upstream` and files of upstreams, from any text.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| plimsoll::fuzzing::upstreams(input));
