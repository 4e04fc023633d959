//! `lab scenarios wire`.

use std::path::PathBuf;

use plimsoll_lab::compare::{Kind, Setup};
use plimsoll_lab::scenario;
use plimsoll_lab::wire::{self, Entrant, Place};

use super::compare::{kind, tell};
use super::scenarios::Choice;

/// Who takes part if nobody is named.
const ALL: [Kind; 4] = [Kind::Plimsoll, Kind::Haproxy, Kind::Nginx, Kind::Envoy];

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    choice: Choice,
    /// Take part, in this order: plimsoll, haproxy, nginx, envoy.
    #[arg(long, value_delimiter = ',', value_name = "NAMES", value_parser = kind)]
    peers: Vec<Kind>,
    /// Path of plimsoll, built with --release. Default: on PATH.
    #[arg(long, value_name = "FILE")]
    plimsoll: Option<PathBuf>,
    /// Further argument for `plimsoll gateway`. Repeatable.
    #[arg(long = "plimsoll-arg", value_name = "ARG", allow_hyphen_values = true)]
    plimsoll_args: Vec<String>,
    /// Path of haproxy. Default: on PATH, or in an sbin directory.
    #[arg(long, value_name = "FILE")]
    haproxy: Option<PathBuf>,
    /// Path of nginx. Default: on PATH, or in an sbin directory.
    #[arg(long, value_name = "FILE")]
    nginx: Option<PathBuf>,
    /// Path of envoy. Default: on PATH. Give the binary, not a script that starts it.
    #[arg(long, value_name = "FILE")]
    envoy: Option<PathBuf>,
    /// Processor of the gateways.
    #[arg(long, default_value_t = 1, value_name = "N")]
    proxy_cpu: usize,
    /// Processor of clients and backends.
    #[arg(long, default_value_t = 0, value_name = "N")]
    load_cpu: usize,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<String> {
        let scenarios = self.choice.scenarios()?;
        let setup = self.setup();
        let entrants = Entrant::all(&setup);
        anyhow::ensure!(!entrants.is_empty(), "no gateway was found: give its path");
        for missing in &setup.missing {
            tell(&format!(
                "{missing}: missing; give its path with --{missing}"
            ));
        }
        let place = Place {
            proxy_cpu: Some(self.proxy_cpu),
            load_cpu: Some(self.load_cpu),
        };
        let seed = self.choice.seed;
        let all = wire::run_all(&scenarios, &entrants, seed, place, &mut tell)?;
        if let Some(docs) = &self.choice.docs {
            wire::write_document(docs, &all, &setup, seed)?;
        }
        let tables = format!("{}\n{}", scenario::table(&all), wire::details(&all));
        Ok(tables + &self.choice.summary(&all))
    }

    fn setup(&self) -> Setup {
        let given = |kind| match kind {
            Kind::Direct => None,
            Kind::Plimsoll => self.plimsoll.clone(),
            Kind::Haproxy => self.haproxy.clone(),
            Kind::Nginx => self.nginx.clone(),
            Kind::Envoy => self.envoy.clone(),
        };
        let kinds = if self.peers.is_empty() {
            &ALL[..]
        } else {
            &self.peers
        };
        let path = std::env::var("PATH").unwrap_or_default();
        Setup {
            proxy_cpu: self.proxy_cpu,
            load_cpu: self.load_cpu,
            ..Setup::find(kinds, given, &path, &self.plimsoll_args)
        }
    }
}
