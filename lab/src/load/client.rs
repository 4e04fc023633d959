//! One lane of load: sends a request, waits for the whole response.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::http1::Http1;
use super::http2::{Connection, Http2};
use super::{Error, Options, Protocol};

/// Why a request got no whole response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// No connection could be made.
    Connect,
    /// The connection, or the HTTP/2 stream, ended before the response did.
    Closed,
    /// The response was not HTTP.
    Protocol,
    /// Open loop: the arrival found the queue of waiting arrivals full, and was never sent.
    Unsent,
}

/// A lane: what one task drives, one request at a time.
pub(super) enum Client {
    Http1(Http1),
    Http2(Http2),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Closed => "closed",
            Self::Protocol => "protocol",
            Self::Unsent => "unsent",
        })
    }
}

impl Client {
    /// Opens every connection of a run and returns its lanes: `connections`, times the streams of HTTP/2.
    pub(super) async fn open_all(options: &Options) -> Result<Vec<Self>, Error> {
        let refused = |source| Error::Connect {
            addr: options.target.addr,
            source,
        };
        let mut lanes = Vec::new();
        match options.protocol {
            Protocol::Http1 => {
                let request = super::http1::serialize(options);
                for _ in 0..options.connections {
                    let lane = Http1::open(options.target.addr, request.clone()).await;
                    lanes.push(Self::Http1(lane.map_err(refused)?));
                }
            }
            Protocol::H2c { streams } => {
                let request = super::http2::template(options)?;
                for _ in 0..options.connections {
                    let connection = Connection::open(options.target.addr).await;
                    let connection = Arc::new(connection.map_err(refused)?);
                    for _ in 0..streams {
                        let lane = Http2::new(Arc::clone(&connection), request.clone());
                        lanes.push(Self::Http2(lane));
                    }
                }
            }
        }
        Ok(lanes)
    }

    /// Sends one request and reads the whole response; returns its status. Opens the connection
    /// again if the one before has ended.
    pub(super) async fn call(&mut self) -> Result<u16, Failure> {
        match self {
            Self::Http1(lane) => lane.call().await,
            Self::Http2(lane) => lane.call().await,
        }
    }
}
