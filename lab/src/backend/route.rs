//! Paths of the backend: what a request asks it to do.

use std::time::Duration;

/// One behaviour of the backend, read from a request's path and query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `/`: 200 and a short text, for readiness checks.
    Root,
    /// `/bytes/N`: 200 with N bytes.
    Bytes(u64),
    /// `/delay/MS`: 200 with a short text after MS milliseconds.
    Delay(Duration),
    /// `/status/N`: status N with a short text.
    Status(u16),
    /// `/echo`: the request body, streamed back as it comes.
    Echo,
    /// `/trailers`: a body followed by trailers.
    Trailers,
    /// `/stream/N/MS` and `/slow-length/N/MS`: N pieces, MS milliseconds apart.
    Paced {
        /// How many pieces.
        pieces: u32,
        /// Time before every piece after the first.
        gap: Duration,
        /// Whether the length is announced (`Content-Length`) or the body is chunked.
        announced: bool,
    },
    /// `/early/N[?close=1]`: status N at once, the request body not waited for.
    Early {
        /// The status.
        status: u16,
        /// Close the connection, rather than keep it and drain the body behind the answer.
        close: bool,
    },
    /// `/lie/N`: announces N bytes, sends half of them, and closes.
    Lie(u64),
    /// `/hang`: never answers.
    Hang,
    /// `/headers`: the request's head, as JSON.
    Headers,
    /// `/hints`: 103 Early Hints, then 200.
    Hints,
    /// Anything else: 404.
    Unknown,
}

impl Route {
    /// Reads a path (with its leading slash) and the query, if there is one.
    ///
    /// A number that does not parse, or a status outside 200–599, makes the route [`Route::Unknown`]:
    /// the caller sees a 404 rather than a default it did not ask for.
    pub(super) fn parse(path: &str, query: Option<&str>) -> Self {
        let mut parts = path.strip_prefix('/').unwrap_or(path).split('/');
        let name = parts.next().unwrap_or_default();
        let (first, second) = (parts.next(), parts.next());
        if parts.next().is_some() {
            return Self::Unknown;
        }
        let route = match (name, first, second) {
            ("", None, None) => Some(Self::Root),
            ("echo", None, None) => Some(Self::Echo),
            ("trailers", None, None) => Some(Self::Trailers),
            ("hang", None, None) => Some(Self::Hang),
            ("headers", None, None) => Some(Self::Headers),
            ("hints", None, None) => Some(Self::Hints),
            ("bytes", Some(n), None) => n.parse().ok().map(Self::Bytes),
            ("lie", Some(n), None) => n.parse().ok().map(Self::Lie),
            ("delay", Some(ms), None) => millis(ms).map(Self::Delay),
            ("status", Some(n), None) => status(n).map(Self::Status),
            ("early", Some(n), None) => status(n).map(|status| Self::Early {
                status,
                close: query == Some("close=1"),
            }),
            ("stream", Some(n), Some(ms)) => paced(n, ms, false),
            ("slow-length", Some(n), Some(ms)) => paced(n, ms, true),
            _ => None,
        };
        route.unwrap_or(Self::Unknown)
    }
}

fn millis(text: &str) -> Option<Duration> {
    text.parse().ok().map(Duration::from_millis)
}

fn status(text: &str) -> Option<u16> {
    text.parse().ok().filter(|code| (200..600).contains(code))
}

fn paced(pieces: &str, gap: &str, announced: bool) -> Option<Route> {
    Some(Route::Paced {
        pieces: pieces.parse().ok()?,
        gap: millis(gap)?,
        announced,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_has_its_route() {
        let ms = Duration::from_millis;
        let paced = |pieces, gap, announced| Route::Paced {
            pieces,
            gap: ms(gap),
            announced,
        };
        let early = |status, close| Route::Early { status, close };
        let table = [
            ("/", None, Route::Root),
            ("/bytes/64", None, Route::Bytes(64)),
            ("/delay/250", None, Route::Delay(ms(250))),
            ("/status/418", None, Route::Status(418)),
            ("/echo", None, Route::Echo),
            ("/trailers", None, Route::Trailers),
            ("/stream/3/10", None, paced(3, 10, false)),
            ("/slow-length/3/10", None, paced(3, 10, true)),
            ("/early/413", None, early(413, false)),
            ("/early/413", Some("close=1"), early(413, true)),
            ("/early/413", Some("close=0"), early(413, false)),
            ("/lie/100", None, Route::Lie(100)),
            ("/hang", None, Route::Hang),
            ("/headers", Some("a=b"), Route::Headers),
            ("/hints", None, Route::Hints),
        ];
        for (path, query, route) in table {
            assert_eq!(Route::parse(path, query), route, "{path} {query:?}");
        }
    }

    #[test]
    fn what_is_not_understood_is_unknown() {
        for path in [
            "/bytes",
            "/bytes/",
            "/bytes/-1",
            "/bytes/1/2",
            "/status/99",
            "/status/600",
            "/stream/3",
            "/stream/3/10/1",
            "/nothing",
            "/echo/1",
            "//",
            "/hang/",
        ] {
            assert_eq!(Route::parse(path, None), Route::Unknown, "{path}");
        }
    }
}
