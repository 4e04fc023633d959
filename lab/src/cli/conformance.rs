//! `lab conformance`: what is typed.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args as ClapArgs;
use plimsoll_lab::conformance::{self, App, READY_PATH, Setup, Targets};

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// The data port of the implementation, such as http://127.0.0.1:8012
    #[arg(long, value_name = "URL", required_unless_present = "environment")]
    url: Option<String>,

    /// Where the implementation expects its application: the suite listens there
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8080")]
    app: SocketAddr,

    /// Its port for statistics, such as http://127.0.0.1:9090; without it some rows are left out
    #[arg(long, value_name = "URL")]
    metrics: Option<String>,

    /// Its port of /wait-for-drain, such as http://127.0.0.1:8022; without it some rows are left out
    #[arg(long, value_name = "URL")]
    admin: Option<String>,

    /// The concurrency limit that it was told; 0 leaves out the rows that need one
    #[arg(long, value_name = "N", default_value_t = 2)]
    concurrency: usize,

    /// The total time limit that it was told, in seconds; 0 leaves out rows, here and below
    #[arg(long, value_name = "SECONDS", default_value_t = 4)]
    total: u64,

    /// The limit of the beginning of an answer
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    start: u64,

    /// The limit of silence
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    idle: u64,

    /// It was not told to ask whether the application is ready
    #[arg(long)]
    without_readiness: bool,

    /// Print the variables that tell it all of this, for a shell, and end
    #[arg(long)]
    environment: bool,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<String> {
        if self.environment {
            return Ok(self.variables());
        }
        let url = self.url.as_deref().context("--url is missing")?;
        let targets = Targets {
            data: address(url)?,
            metrics: self.metrics.as_deref().map(address).transpose()?,
            admin: self.admin.as_deref().map(address).transpose()?,
            setup: self.setup(),
        };
        let runtime = tokio::runtime::Runtime::new()?;
        let outcomes = runtime.block_on(async {
            let app = App::listen(self.app).await;
            let app = app.with_context(|| format!("cannot listen on {} (--app)", self.app))?;
            conformance::run(&targets, &app).await
        })?;
        match outcomes.failed() {
            0 => Ok(outcomes.to_string()),
            failed => {
                println!("{outcomes}");
                bail!("{failed} rows have failed");
            }
        }
    }

    fn setup(&self) -> Setup {
        let limit = |seconds| (seconds > 0).then(|| Duration::from_secs(seconds));
        Setup {
            concurrency: (self.concurrency > 0).then_some(self.concurrency),
            total: limit(self.total),
            start: limit(self.start),
            idle: limit(self.idle),
            readiness: !self.without_readiness,
        }
    }

    /// What Knative's controller would set, a line each.
    fn variables(&self) -> String {
        let port = self.app.port();
        let probe = format!(
            r#"{{"httpGet":{{"path":"{READY_PATH}","port":{port}}},"periodSeconds":1,"timeoutSeconds":5}}"#
        );
        let mut variables = vec![
            ("USER_PORT", port.to_string()),
            ("QUEUE_SERVING_PORT", "8012".to_owned()),
            ("QUEUE_SERVING_TLS_PORT", "8112".to_owned()),
            ("CONTAINER_CONCURRENCY", self.concurrency.to_string()),
            ("REVISION_TIMEOUT_SECONDS", self.total.to_string()),
            (
                "REVISION_RESPONSE_START_TIMEOUT_SECONDS",
                self.start.to_string(),
            ),
            ("REVISION_IDLE_TIMEOUT_SECONDS", self.idle.to_string()),
            ("SERVING_NAMESPACE", "default".to_owned()),
            ("SERVING_CONFIGURATION", "hello".to_owned()),
            ("SERVING_REVISION", "hello-00001".to_owned()),
            ("SERVING_POD", "hello-00001-deployment-abc".to_owned()),
            ("SERVING_POD_IP", "127.0.0.1".to_owned()),
            ("SERVING_LOGGING_CONFIG", String::new()),
            ("SERVING_LOGGING_LEVEL", String::new()),
        ];
        if !self.without_readiness {
            variables.push(("SERVING_READINESS_PROBE", probe));
        }
        let lines = variables.iter();
        let lines = lines.map(|(name, value)| format!("export {name}='{value}'"));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// The address in a URL of plain HTTP.
fn address(url: &str) -> anyhow::Result<SocketAddr> {
    let bare = url.strip_prefix("http://").unwrap_or(url);
    let bare = bare.trim_end_matches('/');
    bare.parse()
        .with_context(|| format!("{url:?}: write http://IP:PORT, such as http://127.0.0.1:8012"))
}
