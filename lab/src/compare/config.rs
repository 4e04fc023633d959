//! The configurations the other proxies are given.
//!
//! Fair means: the same job where they can do it. One worker; keep-alive to the application; no access
//! log; timeouts that no measurement reaches; at most [`CONCURRENCY`] requests at the application and
//! up to [`QUEUE`] waiting. Everything else is left as the project ships it.
//!
//! As a [gateway](Role::Gateway) each chooses among several applications by the load it sees, and
//! there is no limit: that of one application is not that of ten.

pub(crate) mod envoy;
mod haproxy;
pub(crate) mod nginx;

use std::net::SocketAddr;
use std::path::Path;

pub(super) use self::envoy::envoy;
pub(super) use self::haproxy::haproxy;
pub(super) use self::nginx::nginx;

/// Requests the application may have at once.
pub(super) const CONCURRENCY: u32 = 100;

/// Requests that may wait for it.
pub(super) const QUEUE: u32 = 1000;

/// What a proxy is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// In front of one application, with a limit and a queue.
    Sidecar,
    /// In front of several, of which it chooses the one with the least to do.
    Gateway,
}

/// The work that all are given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work<'a> {
    pub(super) role: Role,
    /// The applications, on loopback; a sidecar has one.
    pub(super) apps: &'a [SocketAddr],
    /// HTTP/2 without TLS instead of HTTP/1.1.
    pub(super) h2c: bool,
}

impl<'a> Work<'a> {
    /// A sidecar's.
    pub(super) const fn before(app: &'a SocketAddr, h2c: bool) -> Self {
        Self {
            role: Role::Sidecar,
            apps: std::slice::from_ref(app),
            h2c,
        }
    }

    /// `line` for each application, after one another.
    fn each(&self, line: impl Fn(SocketAddr) -> String) -> String {
        self.apps.iter().map(|app| line(*app)).collect()
    }
}

/// What a configuration depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting<'a> {
    /// Port to listen on, loopback.
    pub(super) listen: u16,
    pub(super) work: Work<'a>,
    /// A directory of its own for files.
    pub(super) dir: &'a Path,
}

#[cfg(test)]
mod tests {
    use super::*;

    const APPS: [SocketAddr; 2] = [app(5678), app(6789)];

    const fn app(port: u16) -> SocketAddr {
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
    }

    fn setting(h2c: bool) -> Setting<'static> {
        Setting {
            listen: 1234,
            work: Work::before(&APPS[0], h2c),
            dir: Path::new("/tmp/x"),
        }
    }

    #[test]
    fn a_gateway_knows_every_application_and_chooses_by_load() {
        let work = Work {
            role: Role::Gateway,
            apps: &APPS,
            h2c: false,
        };
        let setting = Setting {
            work,
            ..setting(false)
        };
        let texts = [
            (haproxy(&setting), "balance leastconn"),
            (nginx(&setting), "least_conn;"),
            (envoy(&setting), "LEAST_REQUEST"),
        ];
        for (text, policy) in texts {
            assert!(text.contains(policy), "{text}");
            assert!(text.contains("5678") && text.contains("6789"), "{text}");
            assert!(!text.contains("maxconn 100\n"), "no limit: {text}");
        }
        assert!(!haproxy(&super::tests::setting(false)).contains("leastconn"));
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
