//! `lab chat`, `lab model` and `lab witness`.

use std::net::{Ipv4Addr, SocketAddr};

use humantime::Duration;
use plimsoll_lab::apps::{chat, model, witness};

#[derive(Debug, clap::Args)]
pub(crate) struct ChatArgs {
    /// Port of the loopback interface to listen on.
    #[arg(long, env = "PORT", value_name = "PORT")]
    port: u16,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ModelArgs {
    /// Port of the loopback interface to listen on.
    #[arg(long, env = "PORT", value_name = "PORT")]
    port: u16,
    /// How long it takes to load.
    #[arg(long, default_value = "3s", value_name = "TIME")]
    load: Duration,
    /// Memory that it keeps, in MiB.
    #[arg(long, default_value_t = 64, value_name = "MIB")]
    memory: usize,
    /// Time between two words of an answer.
    #[arg(long, default_value = "50ms", value_name = "TIME")]
    word: Duration,
    /// Listen while it loads, and answer 503.
    #[arg(long)]
    listen_while_loading: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct WitnessArgs {
    /// Port of the loopback interface to listen on.
    #[arg(long, env = "PORT", value_name = "PORT")]
    port: u16,
    /// Say it on standard output, and end.
    #[arg(long)]
    tell: bool,
}

impl WitnessArgs {
    /// The process has begun at `began`.
    pub(crate) fn run(self, began: std::time::Duration) -> anyhow::Result<String> {
        let listen = loopback(self.port);
        if self.tell {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let told = runtime
                .enable_all()
                .build()?
                .block_on(witness::tell(listen, began))?;
            return Ok(told.to_string());
        }
        block_on(witness::run(listen, began))
    }
}

impl ChatArgs {
    pub(crate) fn run(self) -> anyhow::Result<String> {
        block_on(chat::run(loopback(self.port)))
    }
}

impl ModelArgs {
    pub(crate) fn run(self) -> anyhow::Result<String> {
        block_on(model::run(model::Settings {
            listen: loopback(self.port),
            load: self.load.into(),
            memory: self.memory << 20,
            word: self.word.into(),
            listen_while_loading: self.listen_while_loading,
        }))
    }
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Until the program is asked to end.
fn block_on(serving: impl Future<Output = std::io::Result<()>>) -> anyhow::Result<String> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build()?.block_on(serving)?;
    Ok("stopped".into())
}
