//! Tests of what the crate offers, by tables and by properties.

mod engine;
mod goals;
mod knative;
mod properties;
mod windows;
