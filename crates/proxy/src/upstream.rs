//! Connections to the application. Each worker has its own; none is ever shared between workers.

mod connect;
mod http1;
mod http2;
mod pool;

pub(crate) use connect::ConnectError;
pub(crate) use http1::Http1;
pub(crate) use http2::{Http2, StreamGuard};
pub(crate) use pool::{IdleCount, Lease, Pool};
