//! Connections held open, for measuring what they cost.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;

use super::client::Failure;
use super::http1::Http1;
use super::{Error, Options, Target};

/// HTTP/1.1 keep-alive connections, closed when dropped. Lives on the runtime that opened it.
pub struct Held {
    addr: SocketAddr,
    lanes: Vec<Http1>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held")
            .field("addr", &self.addr)
            .field("connections", &self.lanes.len())
            .finish()
    }
}

impl Held {
    /// Opens `count` connections, each having carried one GET request for the target's path.
    ///
    /// # Errors
    /// [`Error::Connect`] if one cannot be opened or its request gets no whole response.
    pub async fn open(target: &Target, count: usize) -> Result<Self, Error> {
        let options = Options::new(target.clone());
        let request = super::http1::serialize(&options);
        let addr = target.addr;
        let failed = |source| Error::Connect { addr, source };
        let mut lanes = Vec::with_capacity(count);
        for _ in 0..count {
            let mut lane = Http1::open(addr, request.clone()).await.map_err(failed)?;
            let reply = lane.call().await;
            reply.map_err(|why| failed(io::Error::other(why.to_string())))?;
            lanes.push(lane);
        }
        Ok(Self { addr, lanes })
    }

    /// Sends a GET request for `path` on every connection, without waiting for the responses.
    ///
    /// # Errors
    /// The first failure; requests before it stay sent.
    pub async fn send_all(&mut self, path: &str) -> Result<(), Failure> {
        let options = Options::new(Target::at(self.addr, path));
        let request: Bytes = super::http1::serialize(&options);
        for lane in &mut self.lanes {
            lane.repeat(request.clone());
            lane.send().await?;
        }
        Ok(())
    }

    /// Waits for the responses to [`Held::send_all`]; returns how many had a 2xx status.
    pub async fn receive_all(&mut self) -> usize {
        let mut ok = 0;
        for lane in &mut self.lanes {
            ok += usize::from(matches!(lane.receive().await, Ok(200..300)));
        }
        ok
    }
}
