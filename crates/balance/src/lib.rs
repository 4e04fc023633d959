//! Chooses the endpoint that will answer best.

#[allow(dead_code, reason = "the policies that select by weight come next")]
mod schedule;
