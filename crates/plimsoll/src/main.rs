//! The program `plimsoll`. Everything is in the library of the same name, where tests and fuzzers reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    plimsoll::main()
}
