//! One measured window: load on one side, a process's account on the other.

use std::io;
use std::time::Duration;

use super::procfs::Tree;
use crate::load::{self, Observer, Options, Summary};

/// What a window has shown.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) summary: Summary,
    /// Processor time the proxy spent in it; `None` without a proxy.
    pub(crate) cpu: Option<Duration>,
}

/// Reads the account at both ends of the window.
struct Account {
    tree: Option<Tree>,
    readings: Vec<io::Result<Duration>>,
}

impl Account {
    fn read(&mut self) {
        if let Some(tree) = &self.tree {
            self.readings.push(tree.cpu_time());
        }
    }

    fn spent(self) -> anyhow::Result<Option<Duration>> {
        let mut readings = self.readings.into_iter();
        let (Some(begin), Some(end)) = (readings.next(), readings.next()) else {
            return Ok(None);
        };
        Ok(Some(end?.saturating_sub(begin?)))
    }
}

impl Observer for Account {
    fn begin(&mut self) {
        self.read();
    }

    fn end(&mut self) {
        self.read();
    }
}

impl Window {
    /// Runs `options` on processor `cpu`, accounting for the processes of `tree`.
    pub(crate) async fn run(
        options: Options,
        cpu: usize,
        tree: Option<Tree>,
    ) -> anyhow::Result<Self> {
        let work = move || {
            let mut account = Account {
                tree,
                readings: Vec::with_capacity(2),
            };
            let summary = load::run_observed(options, Some(cpu), &mut account)?;
            let cpu = account.spent()?;
            Ok(Self { summary, cpu })
        };
        tokio::task::spawn_blocking(work).await?
    }

    /// Processor time per request, in microseconds; `None` without a proxy or without requests.
    pub(crate) fn cpu_us_per_request(&self) -> Option<f64> {
        let requests = self.summary.requests;
        (requests > 0).then_some(())?;
        Some(self.cpu?.as_secs_f64() * 1e6 / requests as f64)
    }

    /// Share of one processor that the proxy used, in percent.
    pub(super) fn busy_percent(&self) -> Option<f64> {
        Some(self.cpu?.as_secs_f64() / self.summary.elapsed.as_secs_f64() * 100.0)
    }
}

/// A duration in microseconds.
pub(super) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;
    use crate::load::Target;

    #[tokio::test]
    async fn a_window_accounts_for_the_process_that_works_in_it() {
        let cpu = crate::affinity::any_processor().unwrap();
        let backend = Backend::bind("127.0.0.1:0".parse().unwrap())
            .unwrap()
            .spawn(None)
            .unwrap();
        // Generator and backend are this very process.
        let tree = Tree::alone(std::process::id());
        let options = Options {
            connections: 4,
            duration: Duration::from_millis(200),
            ..Options::new(Target::at(backend.addr(), "/bytes/64"))
        };
        let window = Window::run(options.clone(), cpu, Some(tree)).await.unwrap();
        assert!(window.cpu_us_per_request().unwrap() > 0.1, "{window:?}");
        assert!(window.busy_percent().unwrap() > 1.0, "{window:?}");

        let direct = Window::run(options, cpu, None).await.unwrap();
        assert_eq!(direct.cpu_us_per_request(), None);
        assert_eq!(direct.busy_percent(), None);
    }
}
