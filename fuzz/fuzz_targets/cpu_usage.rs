//! The trailers `cpu_usage` and `grpc-status` of a stranger.
//!
//! Any bytes are nothing or a load within bounds, and a load that is written reads as itself. Only one
//! text is the code of success.

#![no_main]

use libfuzzer_sys::fuzz_target;
use plimsoll_wire::{cpu_usage, grpc_status};

fuzz_target!(|input: &[u8]| {
    // The seeds are files of text, and end as such do.
    let input = input.strip_suffix(b"\n").unwrap_or(input);
    if let Some(load) = cpu_usage::read(input) {
        assert!(load > 0.0 && load <= cpu_usage::PERMILLE_MAX as f64 / 1_000.0);
        let text = cpu_usage::write(load).expect("a load above 0 is written");
        assert_eq!(cpu_usage::read(text.as_bytes()), Some(load));
    }
    let code = grpc_status::read(input);
    assert!(code <= grpc_status::CODE_MAX);
    assert_eq!(code == grpc_status::OK, input == b"0");
});
