//! The configurations the other proxies are given.
//!
//! Fair means: the same job where they can do it. One worker; keep-alive to the application; no access
//! log; timeouts that no measurement reaches; at most [`CONCURRENCY`] requests at the application and
//! up to [`QUEUE`] waiting. Everything else is left as the project ships it.

mod envoy;
mod haproxy;
mod nginx;

use std::path::Path;

pub(super) use self::envoy::envoy;
pub(super) use self::haproxy::haproxy;
pub(super) use self::nginx::nginx;

/// Requests the application may have at once.
pub(super) const CONCURRENCY: u32 = 100;

/// Requests that may wait for it.
pub(super) const QUEUE: u32 = 1000;

/// What a configuration depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting<'a> {
    /// Port to listen on, loopback.
    pub(super) listen: u16,
    /// Port of the application, loopback.
    pub(super) app: u16,
    /// HTTP/2 without TLS instead of HTTP/1.1.
    pub(super) h2c: bool,
    /// A directory of its own for files.
    pub(super) dir: &'a Path,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(h2c: bool) -> Setting<'static> {
        Setting {
            listen: 1234,
            app: 5678,
            h2c,
            dir: Path::new("/tmp/x"),
        }
    }

    #[test]
    fn every_configuration_names_its_ports_on_loopback_only() {
        for h2c in [false, true] {
            for text in [
                haproxy(&setting(h2c)),
                nginx(&setting(h2c)),
                envoy(&setting(h2c)),
            ] {
                assert!(text.contains("1234") && text.contains("5678"), "{text}");
                assert!(!text.contains("0.0.0.0"), "{text}");
            }
        }
    }

    #[test]
    fn limits_are_set_where_there_is_a_way() {
        assert!(haproxy(&setting(false)).contains("maxconn 100"));
        assert!(envoy(&setting(false)).contains("max_connections: 100"));
        assert!(envoy(&setting(true)).contains("max_concurrent_streams: 100"));
    }

    #[test]
    fn http2_is_spoken_only_when_asked_for() {
        for (h2c, count) in [(false, 0), (true, 2)] {
            assert_eq!(haproxy(&setting(h2c)).matches("proto h2").count(), count);
            assert_eq!(nginx(&setting(h2c)).matches(" http2").count(), count / 2);
            assert_eq!(envoy(&setting(h2c)).contains("HTTP2"), h2c);
        }
    }
}
