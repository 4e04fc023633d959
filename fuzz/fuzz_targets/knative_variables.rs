//! The variables by which Knative's controller configures the sidecar.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| plimsoll::fuzzing::knative_variables(text));
