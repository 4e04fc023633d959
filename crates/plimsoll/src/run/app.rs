//! The application that `plimsoll run` runs when it is given none: the demonstration's, as a process of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;

use crate::cli::Fault;
use crate::demo::app::{Busy, serve};
use crate::dice::Dice;
use crate::signals::Signals;

/// Serves on that port of loopback until a signal ends it.
pub(crate) fn run(port: u16) -> Result<(), Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let serving = async {
        let mut signals = Signals::listen().context("cannot listen for signals")?;
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
        // Each process has another beginning, so that replicas do not answer in step.
        let dice = Arc::new(Dice::new(u64::from(std::process::id())));
        tokio::select! {
            served = serve(listener, Arc::new(Busy::default()), dice) => {
                served.context("cannot serve")
            }
            _ = signals.next() => Ok(()),
        }
    };
    runtime.block_on(serving).map_err(Fault::from)
}
