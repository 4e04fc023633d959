//! `lab backend`.

use std::net::SocketAddr;

use plimsoll_lab::affinity;
use plimsoll_lab::backend::Backend;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address to listen on; port 0 lets the kernel choose.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR")]
    listen: SocketAddr,
    /// Processor to stay on.
    #[arg(long, value_name = "N")]
    cpu: Option<usize>,
}

impl Args {
    #[allow(
        clippy::print_stdout,
        reason = "scripts wait for this line, before the program ends"
    )]
    pub(crate) fn run(self) -> anyhow::Result<String> {
        affinity::raise_descriptor_limit(20_000)?;
        if let Some(cpu) = self.cpu {
            affinity::pin_current_thread(cpu)?;
        }
        let backend = Backend::bind(self.listen)?;
        println!("listening on {}", backend.local_addr()?);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(backend.serve(async {
            // An error means that there is no signal handler: then the signal itself ends us.
            tokio::signal::ctrl_c().await.ok();
        }))?;
        Ok("stopped".into())
    }
}
