//! `lab scenarios`.

use std::path::PathBuf;
use std::thread::available_parallelism;

use anyhow::bail;
use plimsoll_lab::scenario::{self, Outcomes, Scenario};
use plimsoll_lab::sim::{self, Player};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only scenarios whose file name begins so, such as s04. Repeatable, or separated by commas.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Only these policies, or kratos: its weights with nothing around them. Default: all, the default policy first.
    #[arg(long, value_name = "POLICY", value_delimiter = ',')]
    policy: Vec<Player>,
    /// Seed of everything that is left to chance.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// The folder with the scenarios.
    #[arg(long, default_value = Scenario::folder().as_os_str(), value_name = "FOLDER")]
    folder: PathBuf,
    /// Write the table into balancing.md of this folder, between its marks, and the pictures beside it.
    #[arg(long, value_name = "FOLDER")]
    docs: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<String> {
        let scenarios = self.scenarios()?;
        let players = self.players();
        let threads = available_parallelism()?.get();
        let all = sim::run_all(&scenarios, &players, self.seed, threads)?;
        if let Some(docs) = &self.docs {
            let how = format!("Seed {}. Bold: the goal is reached.", self.seed);
            scenario::write_document(docs, "simulation", &all, &how)?;
        }
        let mut report = scenario::table(&all);
        report.push_str(&self.summary(&all));
        Ok(report)
    }

    fn scenarios(&self) -> anyhow::Result<Vec<Scenario>> {
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

    fn players(&self) -> Vec<Player> {
        if self.policy.is_empty() {
            Player::all()
        } else {
            self.policy.clone()
        }
    }

    fn summary(&self, all: &[Outcomes]) -> String {
        let goals: usize = all.iter().map(|one| one.scenario.goals.len()).sum();
        let missed: usize = all.iter().map(|one| one.missed().len()).sum();
        format!(
            "\n{} of {goals} goals reached by the first policy; seed {}",
            goals - missed,
            self.seed
        )
    }
}
