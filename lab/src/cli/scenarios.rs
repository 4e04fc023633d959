//! `lab scenarios`.

use std::path::PathBuf;
use std::thread::available_parallelism;

use anyhow::bail;
use plimsoll_lab::scenario::{self, Outcomes, Scenario};
use plimsoll_lab::sim::{self, Player};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    how: Option<How>,
    #[command(flatten)]
    virtual_time: VirtualTime,
}

#[derive(Debug, clap::Subcommand)]
enum How {
    /// With real processes: Plimsoll's gateway, HAProxy, nginx and Envoy over the same backends.
    Wire(super::wire::Args),
}

#[derive(Debug, clap::Args)]
struct VirtualTime {
    #[command(flatten)]
    choice: Choice,
    /// Only these policies, or kratos: its weights with nothing around them. Default: all, the default policy first.
    #[arg(long, value_name = "POLICY", value_delimiter = ',')]
    policy: Vec<Player>,
}

/// Which scenarios, and what becomes of the results.
#[derive(Debug, clap::Args)]
pub(super) struct Choice {
    /// Only scenarios whose file name begins so, such as s04. Repeatable, or separated by commas.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Seed of everything that is left to chance.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(super) seed: u64,
    /// The folder with the scenarios.
    #[arg(long, default_value = Scenario::folder().as_os_str(), value_name = "FOLDER")]
    folder: PathBuf,
    /// Write the table into balancing.md of this folder, between its marks, and the pictures beside it.
    #[arg(long, value_name = "FOLDER")]
    pub(super) docs: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<String> {
        match self.how {
            Some(How::Wire(args)) => args.run(),
            None => self.virtual_time.run(),
        }
    }
}

impl VirtualTime {
    fn run(self) -> anyhow::Result<String> {
        let scenarios = self.choice.scenarios()?;
        let players = self.players();
        let threads = available_parallelism()?.get();
        let all = sim::run_all(&scenarios, &players, self.choice.seed, threads)?;
        if let Some(docs) = &self.choice.docs {
            let how = format!("Seed {}. Bold: the goal is reached.", self.choice.seed);
            scenario::write_document(docs, "simulation", &all, &how)?;
        }
        let mut report = scenario::table(&all);
        report.push_str(&self.choice.summary(&all));
        Ok(report)
    }

    fn players(&self) -> Vec<Player> {
        if self.policy.is_empty() {
            Player::all()
        } else {
            self.policy.clone()
        }
    }
}

impl Choice {
    /// Those that were asked for.
    pub(super) fn scenarios(&self) -> anyhow::Result<Vec<Scenario>> {
        let mut scenarios = Scenario::load_all(&self.folder)?;
        let wanted = |scenario: &Scenario| {
            let mut names = self.only.iter();
            self.only.is_empty() || names.any(|name| scenario.name.starts_with(name))
        };
        scenarios.retain(wanted);
        if scenarios.is_empty() {
            bail!("no scenario in {} is called so", self.folder.display());
        }
        Ok(scenarios)
    }

    /// How many goals the first contender has reached.
    pub(super) fn summary(&self, all: &[Outcomes]) -> String {
        let goals: usize = all.iter().map(|one| one.scenario.goals.len()).sum();
        let missed: usize = all.iter().map(|one| one.missed().len()).sum();
        let first = all.first().and_then(|one| one.contenders.first());
        format!(
            "\n{} of {goals} goals reached by {}; seed {}",
            goals - missed,
            first.map_or("nobody", |first| &first.name),
            self.seed
        )
    }
}
