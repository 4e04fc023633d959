//! `lab scenarios wire`.

use plimsoll_lab::compare::Kind;
use plimsoll_lab::scenario;
use plimsoll_lab::wire::{self, Entrant, Place};

use super::compare::tell;
use super::programs::{Programs, kind};
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
    #[command(flatten)]
    programs: Programs,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<String> {
        let scenarios = self.choice.scenarios()?;
        let setup = self.programs.find(&self.peers, &ALL);
        let entrants = Entrant::all(&setup);
        anyhow::ensure!(!entrants.is_empty(), "no gateway was found: give its path");
        for missing in &setup.missing {
            tell(&format!(
                "{missing}: missing; give its path with --{missing}"
            ));
        }
        let place = Place {
            proxy_cpu: Some(setup.proxy_cpu),
            load_cpu: Some(setup.load_cpu),
        };
        let seed = self.choice.seed;
        let all = wire::run_all(&scenarios, &entrants, seed, place, &mut tell)?;
        if let Some(docs) = &self.choice.docs {
            wire::write_document(docs, &all, &setup, seed)?;
        }
        let tables = format!("{}\n{}", scenario::table(&all), wire::details(&all));
        Ok(tables + &self.choice.summary(&all))
    }
}
