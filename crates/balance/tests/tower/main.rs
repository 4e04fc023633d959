//! What the `tower` service promises, in virtual time; and a real gRPC client over real servers.
//!
//! - `calls`: the way of a request: choosing, waiting, ending, and being given up.
//! - `changes`: endpoints that come and go.
//! - `answers`: what answers over HTTP teach, to the end of their bodies.
//! - `tonic`: the example, played.
#![cfg(not(loom))]

mod answers;
mod calls;
mod changes;
mod tonic;
mod world;
