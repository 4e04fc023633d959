//! Replicas as real processes.

mod life;
mod room;
mod support;
