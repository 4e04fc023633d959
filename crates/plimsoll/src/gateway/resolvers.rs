//! Keeps the names of a service looked up: one task for each name.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::dns;
use super::endpoints::Endpoints;
use super::plan::DnsPlan;
use super::tasks::Task;
use crate::dice::Dice;

/// How far from the set time a question may be: a tenth, up or down, so that many names do not ask in step.
const JITTER: f64 = 0.1;

/// The tasks of one service.
#[derive(Debug)]
pub(crate) struct Resolvers {
    endpoints: Arc<Endpoints>,
    following: Mutex<Following>,
    dice: Arc<Dice>,
}

#[derive(Debug)]
struct Following {
    plan: DnsPlan,
    names: BTreeMap<String, Task>,
}

impl Resolvers {
    pub(crate) fn new(endpoints: Arc<Endpoints>, dice: Arc<Dice>) -> Self {
        Self {
            endpoints,
            following: Mutex::new(Following {
                plan: DnsPlan::DEFAULT,
                names: BTreeMap::new(),
            }),
            dice,
        }
    }

    /// Looks up from now on what the endpoints need, and nothing else. A name that is followed already is not
    /// asked anew, unless it is to be asked in another way.
    pub(crate) fn follow(&self, plan: DnsPlan) {
        let wanted = self.endpoints.names();
        let mut following = self.following.lock();
        if following.plan != plan {
            following.names.clear();
            following.plan = plan;
        }
        following.names.retain(|name, _| wanted.contains(name));
        for name in wanted {
            let start = || self.start(name.clone(), plan);
            following.names.entry(name.clone()).or_insert_with(start);
        }
    }

    fn start(&self, name: String, plan: DnsPlan) -> Task {
        let endpoints = Arc::clone(&self.endpoints);
        let dice = Arc::clone(&self.dice);
        Task::spawn(async move {
            loop {
                let outcome = dns::lookup(&name, plan.family).await;
                endpoints.answered(&name, outcome);
                let factor = 1.0 + JITTER * (2.0 * dice.unit() - 1.0);
                tokio::time::sleep(plan.refresh.mul_f64(factor)).await;
            }
        })
    }
}
