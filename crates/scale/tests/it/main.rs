//! Tests of what the crate offers, by tables and by properties.

mod windows;
