//! The gateway's configuration file, from any text.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| plimsoll::fuzzing::gateway_config(input));
