//! An application, a sidecar before it, and connections to either.

use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroUsize;

use plimsoll_proxy::{Running, Sidecar, SidecarConfig, SidecarOptions, TimeLimits};
use tokio::net::{TcpListener, TcpStream};

use crate::common::{LOOPBACK, soon};

/// An application that does `serve` with each connection.
pub(crate) async fn app<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // What follows an answer must not wait until the answer is acknowledged.
            stream.set_nodelay(true).unwrap();
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// A sidecar without limits.
pub(crate) fn config(app: SocketAddr) -> SidecarConfig {
    SidecarConfig {
        app,
        listen: LOOPBACK,
        concurrency: 0,
        queue_depth: None,
        limits: TimeLimits::default(),
        workers: NonZeroUsize::MIN,
        connections_max: 1_000,
        tls: None,
        tls_port: None,
        app_tls: None,
        options: SidecarOptions::default(),
    }
}

pub(crate) fn start(config: &SidecarConfig) -> (Running, SocketAddr) {
    let sidecar = Sidecar::bind(config).unwrap();
    let address = sidecar.local_addr().unwrap();
    (sidecar.start().unwrap(), address)
}

pub(crate) async fn connect(to: SocketAddr) -> TcpStream {
    soon("connect", TcpStream::connect(to)).await.unwrap()
}
