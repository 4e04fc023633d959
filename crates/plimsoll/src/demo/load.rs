//! The clients of the demonstration: requests arrive when they are due, whatever has become of those before.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{HOST, USER_AGENT};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::demo::wave;
use crate::dice::Dice;

/// Arrivals further behind than this are let go: after a pause of the whole process there is no flood.
const LAG_MAX: Duration = Duration::from_millis(500);

/// Requests on their way beyond slots and queue: those that are being refused.
const CONNECTIONS_SPARE: usize = 32;

/// What the clients do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// The sidecar.
    pub(crate) target: SocketAddr,
    /// What the app can answer, in requests per second.
    pub(crate) capacity: f64,
    /// The most connections open at once. When all are in use, an arrival is let go.
    pub(crate) connections_max: usize,
}

type Connection = SendRequest<Empty<Bytes>>;

impl Load {
    /// Clients enough to fill `room` (slots and queue) and to be refused.
    pub(crate) fn new(target: SocketAddr, capacity: f64, room: usize) -> Self {
        Self {
            target,
            capacity,
            connections_max: room + CONNECTIONS_SPARE,
        }
    }

    /// Sends until told to stop, then waits for the answers still to come.
    pub(crate) async fn run(self, dice: &Dice, mut stop: oneshot::Receiver<()>) {
        let began = Instant::now();
        let mut due = began;
        let mut idle: Vec<Connection> = Vec::new();
        let mut busy: JoinSet<Option<Connection>> = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                _ = &mut stop => break,
                Some(returned) = busy.join_next() => {
                    // A connection that broke is not used again.
                    idle.extend(returned.ok().flatten());
                }
                () = tokio::time::sleep_until(due) => {
                    let now = Instant::now();
                    due = due.max(now.checked_sub(LAG_MAX).unwrap_or(now));
                    let rate = wave::arrival_rate(due - began, self.capacity);
                    due += Duration::from_secs_f64(dice.exponential() / rate);
                    if busy.len() < self.connections_max {
                        busy.spawn(request(self.target, idle.pop()));
                    }
                }
            }
        }
        drop(idle);
        while busy.join_next().await.is_some() {}
    }
}

/// One request, on `connection` if it still stands; the connection comes back if it can be used again.
async fn request(target: SocketAddr, connection: Option<Connection>) -> Option<Connection> {
    let mut connection = match still_standing(connection).await {
        Some(connection) => connection,
        None => connect(target).await?,
    };
    let request = Request::get("/")
        .header(HOST, target.to_string())
        .header(USER_AGENT, "plimsoll-demo")
        .body(Empty::new())
        .ok()?;
    let response = connection.send_request(request).await.ok()?;
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        frame.ok()?;
    }
    Some(connection)
}

async fn still_standing(connection: Option<Connection>) -> Option<Connection> {
    let mut connection = connection?;
    connection.ready().await.ok()?;
    Some(connection)
}

async fn connect(target: SocketAddr) -> Option<Connection> {
    let stream = TcpStream::connect(target).await.ok()?;
    stream.set_nodelay(true).ok()?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    Some(sender)
}
