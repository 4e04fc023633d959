//! Takes over what has changed on disk, while everything goes on.
//!
//! A changed file, or SIGHUP, leads to one thing: the plan is read anew, with everything it names. If it cannot
//! be used as a whole, what is in use stays in use, and why is in the log, in the status and in the metrics.

use std::path::PathBuf;
use std::sync::Arc;

use plimsoll_proxy::{RoutesHandle, ServerTls};
use tokio::signal::unix::Signal;
use tokio::time::MissedTickBehavior;

use super::inputs::{self, Inputs, Origin, Unusable};
use super::plan::Plan;
use super::services::Services;
use super::status::Status;
use super::watch::{self, LOOK_PERIOD, Watch};

/// What a reload needs.
#[derive(Debug)]
pub(crate) struct Reloader {
    pub(crate) origin: Origin,
    /// The plan in use.
    pub(crate) plan: Plan,
    pub(crate) services: Arc<Services>,
    pub(crate) routes: RoutesHandle,
    pub(crate) tls: Option<Arc<ServerTls>>,
    pub(crate) status: Arc<Status>,
    pub(crate) watch: Watch,
}

impl Reloader {
    /// Reloads whenever there is a reason, for as long as it is polled.
    pub(crate) async fn keep_reloading(mut self, mut hangups: Signal) {
        let mut ticks = tokio::time::interval(LOOK_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(()) = hangups.recv() => {
                    tracing::info!("SIGHUP: reading the configuration again");
                    self.reload(true).await;
                }
                _ = ticks.tick() => {
                    let found = watch::look(self.watch.paths()).await;
                    let changed = self.watch.looked(&found);
                    if !changed.is_empty() {
                        let only_lists = self.are_lists(&changed);
                        self.reload(!only_lists).await;
                    }
                }
            }
        }
    }

    /// Whether these are lists of upstreams, all of them.
    fn are_lists(&self, paths: &[PathBuf]) -> bool {
        let is_list = |path: &PathBuf| {
            let services = &self.plan.services;
            services
                .iter()
                .any(|service| service.upstream_file.as_ref() == Some(path))
        };
        paths.iter().all(is_list)
    }

    /// Reads everything again; if not `whole`, the lists of upstreams alone.
    async fn reload(&mut self, whole: bool) {
        let (origin, plan) = (self.origin.clone(), self.plan.clone());
        if whole {
            let read = tokio::task::spawn_blocking(move || Inputs::read(&origin, &plan));
            match read.await {
                Ok(Ok(inputs)) => self.take_over(inputs),
                Ok(Err(unusable)) => self.refuse(unusable),
                Err(_the_runtime_is_ending) => {}
            }
        } else {
            let read = tokio::task::spawn_blocking(move || inputs::read_lists(&plan));
            if let Ok(lists) = read.await {
                self.services.take_lists(lists);
            }
        }
    }

    fn take_over(&mut self, mut inputs: Inputs) {
        let routes = match self.services.take_over(&mut inputs) {
            Ok(routes) => routes,
            Err(error) => {
                return self.refuse(Unusable {
                    problems: vec![format!("{error:#}")],
                    stamps: inputs.stamps,
                });
            }
        };
        self.routes.set(routes);
        if let (Some(tls), Some(identity)) = (&self.tls, &inputs.identity) {
            tls.replace(identity);
        }
        let waiting = self.plan.fixed_settings_changed(&inputs.plan);
        if !waiting.is_empty() {
            tracing::warn!("only a restart can change {}", waiting.join(", "));
        }
        // What the process runs with stays known, so that the difference is told again next time.
        inputs.plan.process = self.plan.process.clone();
        self.watch.set(inputs.stamps);
        self.plan = inputs.plan;
        self.status.loaded(waiting);
        tracing::info!(
            services = self.plan.services.len(),
            "the configuration is in use"
        );
    }

    /// What is in use stays. What could mend the refused one is watched, besides what is in use.
    fn refuse(&mut self, unusable: Unusable) {
        let Unusable { problems, stamps } = unusable;
        tracing::error!(
            "the configuration is not taken over: {}",
            problems.join("; ")
        );
        self.status.refused(problems);
        let in_use = self.origin.file().into_iter().chain(self.plan.files());
        // These are watched already: what is known of them stays.
        let in_use = in_use.map(|path| (path, None));
        self.watch.set(in_use.chain(stamps));
    }
}
