//! The ports of the demonstration: those asked for, or the usual ones, or any that are free.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context;
use plimsoll_proxy::{Sidecar, SidecarConfig};
use tokio::net::TcpListener;

use crate::admin;

/// Where the sidecar listens unless told otherwise.
const DATA_PORT_USUAL: u16 = 8012;

/// Where the metrics are unless told otherwise.
const METRICS_PORT_USUAL: u16 = 9090;

/// What is bound, and where.
#[derive(Debug)]
pub(crate) struct Ports {
    pub(crate) sidecar: Sidecar,
    pub(crate) metrics: TcpListener,
    pub(crate) addresses: Addresses,
}

/// Where a client on this machine reaches the demonstration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) data: Address,
    pub(crate) metrics: Address,
}

/// One address, and how it came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) socket: SocketAddr,
    /// The usual port, if it was taken.
    pub(crate) instead_of: Option<u16>,
}

// === impl Ports ===

impl Ports {
    /// Binds both, the metrics where asked, the sidecar as in `config` but where asked. A port that was asked for
    /// must be had; a usual one need not.
    ///
    /// # Errors
    /// If a port cannot be opened.
    pub(crate) async fn bind(
        config: &SidecarConfig,
        data: Option<SocketAddr>,
        metrics: Option<SocketAddr>,
    ) -> anyhow::Result<Self> {
        let (metrics, metrics_instead_of) =
            asked_or_usual_or_free(metrics, METRICS_PORT_USUAL, async |address| {
                let bound = admin::bind(address).await;
                bound.with_context(|| format!("cannot listen on {address} (--metrics-listen)"))
            })
            .await?;
        let (sidecar, data_instead_of) =
            asked_or_usual_or_free(data, DATA_PORT_USUAL, async |listen| {
                let config = SidecarConfig {
                    listen,
                    ..config.clone()
                };
                Sidecar::bind(&config).context("--listen")
            })
            .await?;
        let addresses = Addresses {
            data: Address::new(sidecar.local_addr()?, data_instead_of),
            metrics: Address::new(metrics.local_addr()?, metrics_instead_of),
        };
        Ok(Self {
            sidecar,
            metrics,
            addresses,
        })
    }
}

/// What `bind` makes of the address asked for, of the usual port of loopback, or of a free one. In the last case
/// with the port that could not be had.
async fn asked_or_usual_or_free<T>(
    asked: Option<SocketAddr>,
    usual: u16,
    bind: impl AsyncFn(SocketAddr) -> anyhow::Result<T>,
) -> anyhow::Result<(T, Option<u16>)> {
    let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    if let Some(address) = asked {
        return Ok((bind(address).await?, None));
    }
    match bind(loopback(usual)).await {
        Ok(bound) => Ok((bound, None)),
        Err(_) => Ok((bind(loopback(0)).await?, Some(usual))),
    }
}

// === impl Address ===

impl Address {
    fn new(mut socket: SocketAddr, instead_of: Option<u16>) -> Self {
        if socket.ip().is_unspecified() {
            socket.set_ip(match socket {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        Self { socket, instead_of }
    }

    /// The command that asks it for `path`.
    pub(crate) fn curl(&self, path: &str) -> String {
        format!("curl http://{}{path}", self.socket)
    }

    /// Why it is not the usual one, if it is not; else nothing.
    pub(crate) fn remark(&self) -> String {
        self.instead_of
            .map_or_else(String::new, |port| format!("  (port {port} is in use)"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_usual_port_that_is_taken_is_replaced_by_a_free_one_and_one_asked_for_is_not() {
        let asked = Some(SocketAddr::from(([10, 1, 2, 3], 80)));
        for (asked, taken, expected) in [
            (None, vec![], Some(("127.0.0.1:8012", None))),
            (None, vec![8012], Some(("127.0.0.1:0", Some(8012)))),
            (None, vec![8012, 0], None),
            (asked, vec![8012], Some(("10.1.2.3:80", None))),
            (asked, vec![80], None),
        ] {
            let bind = async |address: SocketAddr| {
                anyhow::ensure!(!taken.contains(&address.port()), "in use");
                Ok(address.to_string())
            };
            let had = asked_or_usual_or_free(asked, 8012, bind).await.ok();
            let expected = expected.map(|(address, port)| (address.to_owned(), port));
            assert_eq!(had, expected, "{asked:?}, taken: {taken:?}");
        }
    }

    #[test]
    fn all_interfaces_are_reached_by_loopback() {
        for (bound, expected) in [
            ("0.0.0.0:1", "curl http://127.0.0.1:1/"),
            ("[::]:1", "curl http://[::1]:1/"),
            ("10.1.2.3:1", "curl http://10.1.2.3:1/"),
        ] {
            let address = Address::new(bound.parse().expect("an address"), None);
            assert_eq!(address.curl("/"), expected);
            assert_eq!(address.remark(), "");
        }
    }
}
