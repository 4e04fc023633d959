//! How to know that a replica can take requests.
//!
//! Whoever waits for a replica waits for this too, so it is asked often: every
//! [`INTERVAL_MIN`] at first, then in steps of a fiftieth of the time that has
//! gone by, up to [`INTERVAL_MAX`]. One that took 100 ms to start waits 2 ms
//! more at most, one that took a minute 4 ms. A refused connection on the
//! loopback interface costs some 20 µs. When many replicas start at once the
//! interval grows with their number, which bounds what all of them cost.
//!
//! Both loopback addresses are tried, because `localhost` is `::1` to some
//! servers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use regex_lite::Regex;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::command::SpecError;

/// How often readiness is asked at first.
pub const INTERVAL_MIN: Duration = Duration::from_millis(1);

/// How often readiness is asked at least, while few replicas start.
pub const INTERVAL_MAX: Duration = Duration::from_millis(4);

/// Up to so many replicas may start at once before each is asked less often.
pub const STARTING_FEW: u32 = 16;

/// A step of the interval is this part of the time since the start.
const INTERVAL_PART: u32 = 50;

/// How long a connection may take to be accepted.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(1);

/// How long an answer to the question may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// Bytes of a pattern that is looked for in the output, at most.
const PATTERN_BYTES_MAX: usize = 1_024;

/// How this library names itself to those it asks.
const AGENT: &str = concat!("plimsoll/", env!("CARGO_PKG_VERSION"), " (readiness)");

/// How to know that a replica is ready.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Readiness {
    /// It accepts a TCP connection on its port.
    Tcp,
    /// It answers a GET request for this path, which begins with `/`, with a status from 200 to 399.
    Http(String),
    /// It writes a line, to either output, in which this is found.
    LogLine(LinePattern),
}

/// What came of asking a replica that is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unready {
    /// Nobody accepts connections on its port.
    NoConnection,
    /// A connection was accepted, and the request not answered.
    NoAnswer,
    /// The request was answered with this status.
    Status(StatusCode),
}

/// A regular expression for a line of output.
#[derive(Clone, Debug)]
pub struct LinePattern(Regex);

impl Readiness {
    pub(crate) fn validate(&self) -> Result<(), SpecError> {
        let Self::Http(path) = self else {
            return Ok(());
        };
        if path.starts_with('/') && path.parse::<Uri>().is_ok() {
            return Ok(());
        }
        let problem = format!("`{path}` is no path; it begins with `/`, as in `/healthz`");
        Err(SpecError::new("readiness", problem))
    }
}

impl PartialEq for Readiness {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp, Self::Tcp) => true,
            (Self::Http(one), Self::Http(other)) => one == other,
            (Self::LogLine(one), Self::LogLine(other)) => one.as_str() == other.as_str(),
            _ => false,
        }
    }
}

impl LinePattern {
    /// The syntax is that of the crate `regex-lite`: Perl's, without look-around, classes are ASCII.
    ///
    /// # Errors
    ///
    /// What is wrong with the expression.
    pub fn new(pattern: &str) -> Result<Self, SpecError> {
        if pattern.is_empty() || pattern.len() > PATTERN_BYTES_MAX {
            let problem = format!("a pattern has 1 to {PATTERN_BYTES_MAX} bytes");
            return Err(SpecError::new("readiness", problem));
        }
        let regex = Regex::new(pattern).map_err(|error| {
            SpecError::new(
                "readiness",
                format!("`{pattern}` is no regular expression: {error}"),
            )
        })?;
        Ok(Self(regex))
    }

    /// The expression, as it was written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub(crate) fn is_in(&self, line: &str) -> bool {
        self.0.is_match(line)
    }
}

/// How long to wait before asking again, a time after the start, with so many replicas starting.
pub(crate) fn interval(since_start: Duration, starting: u32) -> Duration {
    let step = (since_start / INTERVAL_PART).clamp(INTERVAL_MIN, INTERVAL_MAX);
    step * (starting / STARTING_FEW + 1)
}

/// Asks once. The address at which the replica answers, if it is ready.
///
/// `path` is asked for, if there is one; else it is enough that a connection is accepted.
pub(crate) async fn ask(port: u16, path: Option<&str>) -> Result<SocketAddr, Unready> {
    for address in [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ] {
        let address = SocketAddr::new(address, port);
        let connecting = timeout(CONNECT_TIME_MAX, TcpStream::connect(address));
        let Ok(Ok(stream)) = connecting.await else {
            continue;
        };
        let Some(path) = path else {
            return Ok(address);
        };
        let asked = timeout(ANSWER_TIME_MAX, status(stream, address, path));
        let status = asked.await.ok().flatten().ok_or(Unready::NoAnswer)?;
        return if status.is_success() || status.is_redirection() {
            Ok(address)
        } else {
            Err(Unready::Status(status))
        };
    }
    Err(Unready::NoConnection)
}

/// The status of the answer to a GET request, if there is an answer.
async fn status(stream: TcpStream, address: SocketAddr, path: &str) -> Option<StatusCode> {
    let request = Request::get(path)
        .header(HOST, address.to_string())
        .header(USER_AGENT, AGENT)
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new());
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.ok()?;
    let answer = sender.send_request(request.ok()?);
    tokio::pin!(connection, answer);
    let response = tokio::select! {
        response = &mut answer => response,
        // The connection carries the answer, and may end in the same poll in which that arrives.
        _ = &mut connection => answer.await,
    };
    response.ok().map(|response| response.status())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_begins_with_a_slash_and_a_pattern_can_be_read() {
        for good in ["/", "/healthz", "/a?b=c"] {
            assert_eq!(Readiness::Http(good.to_owned()).validate(), Ok(()));
        }
        for bad in ["", "healthz", "http://a/", "/a b"] {
            let error = Readiness::Http(bad.to_owned()).validate();
            assert_eq!(error.expect_err(bad).key, "readiness");
        }
        for bad in ["", "(", "[a", &"a".repeat(PATTERN_BYTES_MAX + 1)] {
            assert_eq!(LinePattern::new(bad).expect_err(bad).key, "readiness");
        }
        let pattern = LinePattern::new(r"(?i)listening on .*:\d+").unwrap();
        assert!(pattern.is_in("INFO Listening on 127.0.0.1:80"));
        assert!(!pattern.is_in("loading"));
    }

    #[test]
    fn the_interval_grows_with_time_and_with_the_number_that_start() {
        for (since_start, starting, expected) in [
            (0, 0, 1_000),
            (0, 1, 1_000),
            (50, 1, 1_000),
            (100, 1, 2_000),
            (60_000, 15, 4_000),
            (60_000, 16, 8_000),
            (60_000, 1_000, 252_000),
        ] {
            let actual = interval(Duration::from_millis(since_start), starting);
            assert_eq!(
                actual,
                Duration::from_micros(expected),
                "{since_start} ms, {starting} starting"
            );
        }
    }
}
