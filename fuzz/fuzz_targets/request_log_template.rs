//! Templates of the request log, from any text.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| plimsoll::fuzzing::request_log_template(input));
