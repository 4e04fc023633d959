//! What to send, how, and for how long.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Uri};

use super::Error;

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The socket address.
    pub addr: SocketAddr,
    /// The `Host` field or `:authority`.
    pub authority: String,
    /// Path and query.
    pub path: String,
}

/// How requests are carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 with keep-alive: one request at a time on a connection.
    Http1,
    /// HTTP/2 without TLS, prior knowledge: `streams` requests at a time on a connection.
    H2c {
        /// Concurrent streams per connection, at least 1.
        streams: usize,
    },
}

/// When requests are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Closed loop: the next request follows the response before it. Measures capacity; its
    /// latencies say little, since a slow server is asked less often.
    Closed,
    /// Open loop at a constant rate, in requests per second.
    Constant(f64),
    /// Open loop, exponential gaps (a Poisson process) from a seed: same seed, same arrivals.
    Poisson {
        /// Mean rate, in requests per second.
        per_second: f64,
        /// Seed of the generator.
        seed: u64,
    },
}

/// One run of load. Build it with [`Options::new`] and change what should differ.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where requests go.
    pub target: Target,
    /// How requests are carried.
    pub protocol: Protocol,
    /// When requests are sent.
    pub pace: Pace,
    /// Connections, at least 1. In an open loop they (times the streams of HTTP/2) bound the requests in
    /// flight; an arrival that finds none free waits, and its latency counts from its arrival.
    pub connections: usize,
    /// Request method.
    pub method: Method,
    /// Header fields besides `host` and `content-length`, which are added.
    pub headers: HeaderMap,
    /// Request body; empty for none.
    pub body: Bytes,
    /// Load before the measured window.
    pub warm_up: Duration,
    /// The measured window.
    pub duration: Duration,
    /// Ends the window early after so many measured requests.
    pub requests: Option<u64>,
    /// How long requests in flight may take after the window, before they are given up and
    /// counted as unfinished.
    pub grace: Duration,
}

impl Target {
    /// Reads `http://host[:port][/path[?query]]`, resolving the host by the system's resolver.
    ///
    /// # Errors
    /// [`Error::Target`] if it is not such a URL or the host has no address.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let bad = |why: &str| Error::Target {
            url: url.to_owned(),
            why: why.to_owned(),
        };
        let uri: Uri = url.parse().map_err(|_| bad("not a URL"))?;
        if uri.scheme_str() != Some("http") {
            return Err(bad("the scheme must be http"));
        }
        let authority = uri.authority().ok_or_else(|| bad("no host"))?;
        let port = authority.port_u16().unwrap_or(80);
        let host = authority.host().trim_matches(['[', ']']);
        let addr = (host, port)
            .to_socket_addrs()
            .ok()
            .and_then(|mut addrs| addrs.next())
            .ok_or_else(|| bad("the host has no address"))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            addr,
            authority: authority.to_string(),
            path: path.to_owned(),
        })
    }

    /// A path at an address, the address being the authority.
    pub fn at(addr: SocketAddr, path: &str) -> Self {
        Self {
            addr,
            authority: addr.to_string(),
            path: path.to_owned(),
        }
    }
}

impl Options {
    /// GET requests over HTTP/1.1, closed loop, on one connection, for one second without a warm-up;
    /// five seconds of grace.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            protocol: Protocol::Http1,
            pace: Pace::Closed,
            connections: 1,
            method: Method::GET,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            warm_up: Duration::ZERO,
            duration: Duration::from_secs(1),
            requests: None,
            grace: Duration::from_secs(5),
        }
    }

    /// Refuses what cannot be run.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.connections == 0 {
            return Err(Error::Options("connections must be at least 1"));
        }
        if self.protocol == (Protocol::H2c { streams: 0 }) {
            return Err(Error::Options("streams must be at least 1"));
        }
        match self.pace {
            Pace::Constant(rate)
            | Pace::Poisson {
                per_second: rate, ..
            } if !(rate.is_finite() && rate > 0.0) => {
                Err(Error::Options("the rate must be above 0"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let target = Target::parse("http://127.0.0.1:8012/bytes/64?a=b").unwrap();
        assert_eq!(target.addr, "127.0.0.1:8012".parse().unwrap());
        assert_eq!(target.authority, "127.0.0.1:8012");
        assert_eq!(target.path, "/bytes/64?a=b");
        assert_eq!(Target::parse("http://127.0.0.1").unwrap().addr.port(), 80);
        assert_eq!(
            Target::parse("http://[::1]:81/").unwrap().addr,
            "[::1]:81".parse().unwrap()
        );
        assert_eq!(Target::parse("http://127.0.0.1:81").unwrap().path, "/");
    }

    #[test]
    fn what_is_no_http_url_is_refused() {
        for url in ["https://127.0.0.1/", "127.0.0.1:80", "/path", "", "http://"] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn impossible_options_are_refused() {
        let good = Options::new(Target::at("127.0.0.1:1".parse().unwrap(), "/"));
        assert!(good.check().is_ok());
        let none = Options {
            connections: 0,
            ..good.clone()
        };
        let streamless = Options {
            protocol: Protocol::H2c { streams: 0 },
            ..good.clone()
        };
        let still = Options {
            pace: Pace::Constant(0.0),
            ..good.clone()
        };
        let nan = Options {
            pace: Pace::Poisson {
                per_second: f64::NAN,
                seed: 1,
            },
            ..good
        };
        for bad in [none, streamless, still, nan] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
