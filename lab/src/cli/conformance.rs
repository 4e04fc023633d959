//! `lab conformance`: what is typed.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use clap::Args as ClapArgs;
use plimsoll_lab::conformance::{self, App, Targets};

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// The data port of the implementation, such as http://127.0.0.1:8012
    #[arg(long, value_name = "URL")]
    url: String,

    /// Where the implementation expects its application: the suite listens there
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8080")]
    app: SocketAddr,

    /// Its port for statistics, such as http://127.0.0.1:9090; without it some rows are left out
    #[arg(long, value_name = "URL")]
    metrics: Option<String>,

    /// Its port of /wait-for-drain, such as http://127.0.0.1:8022; without it some rows are left out
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<String> {
        let targets = Targets {
            data: address(&self.url)?,
            metrics: self.metrics.as_deref().map(address).transpose()?,
            admin: self.admin.as_deref().map(address).transpose()?,
        };
        let runtime = tokio::runtime::Runtime::new()?;
        let outcomes = runtime.block_on(async {
            let app = App::listen(self.app).await;
            let app = app.with_context(|| format!("cannot listen on {} (--app)", self.app))?;
            conformance::run(&targets, &app).await
        })?;
        if outcomes.failed() > 0 {
            bail!("\n{outcomes}");
        }
        Ok(outcomes.to_string())
    }
}

/// The address in a URL of plain HTTP.
fn address(url: &str) -> anyhow::Result<SocketAddr> {
    let bare = url.strip_prefix("http://").unwrap_or(url);
    let bare = bare.trim_end_matches('/');
    bare.parse()
        .with_context(|| format!("{url:?}: write http://IP:PORT, such as http://127.0.0.1:8012"))
}
