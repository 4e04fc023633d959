//! Replicas as real processes.

mod life;
mod support;
