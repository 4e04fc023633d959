//! The ports beside the data ports, bound before anything is served: a mistake in any ends the start.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::net::TcpListener;

use super::settings::SidecarSettings;
use crate::admin;

/// Bound, not yet served.
#[derive(Debug)]
pub(super) struct Ports {
    pub(super) metrics: TcpListener,
    pub(super) drain: Option<TcpListener>,
    pub(super) user_metrics: Option<TcpListener>,
    pub(super) profiling: Option<TcpListener>,
}

/// Where they are, with the real ports if 0 was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addresses {
    pub(super) metrics: SocketAddr,
    pub(super) drain: Option<SocketAddr>,
    pub(super) user_metrics: Option<SocketAddr>,
    pub(super) profiling: Option<SocketAddr>,
}

impl Ports {
    pub(super) async fn bind(settings: &SidecarSettings) -> anyhow::Result<Self> {
        Ok(Self {
            metrics: bind(settings.metrics_listen, "--metrics-listen").await?,
            drain: bind_if(settings.drain_listen, "--drain-listen").await?,
            user_metrics: user_metrics(settings.user_metrics_listen).await,
            profiling: bind_if(settings.profiling_listen, "--profiling-listen").await?,
        })
    }

    pub(super) fn addresses(&self) -> std::io::Result<Addresses> {
        let address =
            |port: &Option<TcpListener>| port.as_ref().map(TcpListener::local_addr).transpose();
        Ok(Addresses {
            metrics: self.metrics.local_addr()?,
            drain: address(&self.drain)?,
            user_metrics: address(&self.user_metrics)?,
            profiling: address(&self.profiling)?,
        })
    }
}

async fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    let bound = admin::bind(address).await;
    bound.with_context(|| format!("cannot listen on {address} ({flag})"))
}

async fn bind_if(address: Option<SocketAddr>, flag: &str) -> anyhow::Result<Option<TcpListener>> {
    match address {
        Some(address) => bind(address, flag).await.map(Some),
        None => Ok(None),
    }
}

/// The containers of a pod share its ports. Where one of them has this one, the pod goes on without it, as with
/// queue-proxy.
async fn user_metrics(address: Option<SocketAddr>) -> Option<TcpListener> {
    match bind_if(address, "--user-metrics-listen").await {
        Ok(bound) => bound,
        Err(error) => {
            tracing::error!("{error:#}: there are no metrics for users");
            None
        }
    }
}
