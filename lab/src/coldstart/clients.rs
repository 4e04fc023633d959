//! Clients that ask again and again, and count what failed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinSet;

use crate::load::http1::{Http1, serialize};
use crate::load::{Options, Target};

/// Clients that ask until they are stopped, each on a connection of its own.
#[derive(Debug)]
pub(super) struct Clients {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Count>,
}

/// What came of their requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Count {
    pub(super) requests: u64,
    pub(super) failed: u64,
    /// The first failure, in a word.
    pub(super) why: Option<String>,
}

impl Clients {
    /// Begins to ask for `path`, so many at once, each as soon as it has its answer.
    pub(super) fn start(at: SocketAddr, path: &str, count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let request = serialize(&Options::new(Target::at(at, path)));
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            let (stop, request) = (Arc::clone(&stop), request.clone());
            tasks.spawn(async move {
                let mut count = Count::default();
                let mut lane = match Http1::open(at, request).await {
                    Ok(lane) => lane,
                    Err(refused) => {
                        count.add(Err(refused.to_string()));
                        return count;
                    }
                };
                while !stop.load(Ordering::Relaxed) {
                    count.add(match lane.call().await {
                        Ok(200) => Ok(()),
                        Ok(status) => Err(format!("status {status}")),
                        Err(why) => Err(why.to_string()),
                    });
                }
                count
            });
        }
        Self { stop, tasks }
    }

    /// Has them end with the answers that they wait for.
    pub(super) async fn stop(self) -> Count {
        self.stop.store(true, Ordering::Relaxed);
        let mut sum = Count::default();
        for count in self.tasks.join_all().await {
            sum.requests += count.requests;
            sum.failed += count.failed;
            sum.why = sum.why.or(count.why);
        }
        sum
    }
}

impl Count {
    fn add(&mut self, came: Result<(), String>) {
        self.requests += 1;
        if let Err(why) = came {
            self.failed += 1;
            self.why.get_or_insert(why);
        }
    }

    /// In words.
    pub(super) fn said(&self) -> String {
        let why = self.why.iter().map(|why| format!(" (first: {why})"));
        format!("of {}{}", self.requests, why.collect::<String>())
    }
}
