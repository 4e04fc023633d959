//! An application that says when its process began and when it listened, for whoever measures how long that took.
//!
//! | path | answer |
//! | --- | --- |
//! | `/delay/MS` | a [`Testimony`], after MS milliseconds |
//! | `/echo` | a WebSocket that says again what it is told |
//! | other | a [`Testimony`] |
//!
//! Both moments are readings of the monotonic clock, which all processes of a machine share.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use rustix::time::{ClockId, clock_gettime};
use tokio::net::TcpListener;

use super::{Body, WebSocket, serve, text, web_socket};

/// What a witness says of itself: three numbers in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Testimony {
    /// The number of its process.
    pub pid: u32,
    /// When its process did its first instruction of its own.
    pub began: Duration,
    /// When it could be connected to.
    pub listened: Duration,
}

/// The monotonic clock: the time since some moment that is the same for all processes of this machine.
pub fn monotonic() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    // Neither is negative: the clock begins at 0 when the machine does.
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Serves for ever, as a process that began at `began`.
///
/// # Errors
///
/// It cannot listen.
pub async fn run(listen: SocketAddr, began: Duration) -> std::io::Result<()> {
    let (listener, testimony) = begin(listen, began).await?;
    serve(listener, move |request| answer(request, testimony)).await
}

/// Listens and says so, and no more.
///
/// # Errors
///
/// It cannot listen.
pub async fn tell(listen: SocketAddr, began: Duration) -> std::io::Result<Testimony> {
    Ok(begin(listen, began).await?.1)
}

async fn begin(listen: SocketAddr, began: Duration) -> std::io::Result<(TcpListener, Testimony)> {
    let listener = TcpListener::bind(listen).await?;
    let testimony = Testimony {
        pid: std::process::id(),
        began,
        listened: monotonic(),
    };
    Ok((listener, testimony))
}

async fn answer(request: Request<Incoming>, testimony: Testimony) -> Response<Body> {
    let path = request.uri().path();
    if path == "/echo" {
        return web_socket(request, echo);
    }
    let delay = path.strip_prefix("/delay/").map(str::parse);
    if let Some(Ok(millis)) = delay {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
    text(StatusCode::OK, "text/plain", testimony.to_string())
}

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.next().await {
        let is_words = message.is_text() || message.is_binary();
        if is_words && socket.send(message).await.is_err() {
            return;
        }
    }
}

impl Testimony {
    /// Reads what [`Display`](fmt::Display) writes; `None` if it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let testimony = Self {
            pid: words.next()?.parse().ok()?,
            began: Duration::from_nanos(words.next()?.parse().ok()?),
            listened: Duration::from_nanos(words.next()?.parse().ok()?),
        };
        words.next().is_none().then_some(testimony)
    }
}

impl fmt::Display for Testimony {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (began, listened) = (self.began.as_nanos(), self.listened.as_nanos());
        writeln!(f, "{} {began} {listened}", self.pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_can_be_read() {
        let testimony = Testimony {
            pid: 7,
            began: Duration::from_nanos(1_000_000_007),
            listened: Duration::from_millis(2_000),
        };
        assert_eq!(testimony.to_string(), "7 1000000007 2000000000\n");
        assert_eq!(Testimony::parse(&testimony.to_string()), Some(testimony));
        for bad in ["", "7 1", "7 1 x", "7 1 2 3"] {
            assert_eq!(Testimony::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_clock_does_not_go_back() {
        let earlier = monotonic();
        assert!(earlier > Duration::ZERO && monotonic() >= earlier);
    }
}
