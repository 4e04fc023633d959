//! The code that ends a gRPC call.
//!
//! It stands in the trailer `grpc-status`, or in the header of an answer that
//! has no body. The status of the HTTP answer is 200 in any case, so only this
//! tells whether a call succeeded.

/// The name of the trailer.
pub const HEADER: &str = "grpc-status";

/// The code of success.
pub const OK: u32 = 0;

/// The code that stands for any other that is not known.
pub const UNKNOWN: u32 = 2;

/// The highest code that gRPC defines, `UNAUTHENTICATED`.
pub const CODE_MAX: u32 = 16;

/// Reads the code. The value is a decimal number without sign or leading zeros.
///
/// What is no such number, or a code that gRPC does not define, is
/// [`UNKNOWN`]: the specification has clients read it so, and a failure must
/// not look like a success.
///
/// ```
/// use plimsoll_wire::grpc_status;
///
/// assert_eq!(grpc_status::read(b"14"), 14);
/// assert_eq!(grpc_status::read(b"fourteen"), grpc_status::UNKNOWN);
/// ```
#[must_use]
pub const fn read(value: &[u8]) -> u32 {
    match value {
        [digit @ b'0'..=b'9'] => (*digit - b'0') as u32,
        [b'1', digit @ b'0'..=b'6'] => 10 + (*digit - b'0') as u32,
        _ => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_code_reads_as_itself() {
        for code in OK..=CODE_MAX {
            assert_eq!(read(code.to_string().as_bytes()), code);
        }
    }

    #[test]
    fn everything_else_is_unknown() {
        for value in [
            "", "17", "20", "99", "100", "00", "01", "-1", "+1", " 0", "0 ", "0,0", "OK", "1a",
        ] {
            assert_eq!(read(value.as_bytes()), UNKNOWN, "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_but_0_is_a_success(value in prop::collection::vec(any::<u8>(), 0..4)) {
            prop_assert_eq!(read(&value) == OK, value == b"0");
        }
    }
}
