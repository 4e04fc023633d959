//! Results as tables.

use super::{Goal, Scenario, Score};

/// What became of one scenario.
#[derive(Clone, Debug)]
pub struct Outcomes {
    /// The scenario.
    pub scenario: Scenario,
    /// Who took part; the first is ours.
    pub contenders: Vec<Contender>,
    /// The omniscient balancer, where there is one.
    pub oracle: Option<Score>,
    /// A model of Prequal, where that is compared.
    pub prequal: Option<Score>,
}

/// One balancer's run of a scenario.
#[derive(Clone, Debug)]
pub struct Contender {
    /// Its name.
    pub name: String,
    /// Its figures.
    pub score: Score,
}

impl Outcomes {
    /// The goals that the first contender does not reach.
    #[must_use]
    pub fn missed(&self) -> Vec<Goal> {
        let Some(ours) = self.contenders.first() else {
            return self.scenario.goals.clone();
        };
        let met = |goal: &&Goal| !goal.met_by(ours.score.figure(goal.metric));
        self.scenario.goals.iter().filter(met).copied().collect()
    }
}

/// One row for each goal, one column for each contender; Markdown. What meets the goal is bold.
#[must_use]
pub fn table(all: &[Outcomes]) -> String {
    let mut text = String::from("| scenario | goal |");
    let names = all.first().map_or(&[][..], |first| &first.contenders);
    for contender in names {
        text.push_str(&format!(" {} |", contender.name));
    }
    text.push_str("\n| --- | --- |");
    text.push_str(&" ---: |".repeat(names.len()));
    text.push('\n');
    for outcomes in all {
        for goal in &outcomes.scenario.goals {
            text.push_str(&format!("| {} | {goal} |", outcomes.scenario.id));
            for contender in &outcomes.contenders {
                text.push_str(&format!(" {} |", cell(goal, &contender.score)));
            }
            text.push('\n');
        }
    }
    text
}

fn cell(goal: &Goal, score: &Score) -> String {
    let figure = score.figure(goal.metric);
    let Some(known) = figure else {
        return "never".to_owned();
    };
    let written = goal.metric.written(known);
    if goal.met_by(figure) {
        format!("**{written}**")
    } else {
        written
    }
}
