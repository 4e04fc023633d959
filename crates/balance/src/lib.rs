//! Chooses the endpoint that will answer best.
