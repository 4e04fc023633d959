//! The one primitive the crate shares between threads, from loom when the
//! tests are built with `--cfg loom` and from the standard library otherwise.

#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};
#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, MutexGuard};
