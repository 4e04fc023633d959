//! Plimsoll and other proxies side by side, on one machine, in turns.
//!
//! - [`throughput`]: what a request costs when the proxy has all it can do: processor time, rate, memory.
//!   With [`Role::Gateway`], in front of several applications.
//! - [`latency`]: what a proxy adds at a modest, constant rate.
//! - [`memory`]: what connections cost, and what of it is given back.
//! - [`start`]: how soon it listens and answers; what it does when there is nothing to do.
//!
//! The proxy has one processor to itself and one worker; backend and load generator share another
//! ([`Setup::proxy_cpu`], [`Setup::load_cpu`]). The machine's noise changes over minutes, so nothing is
//! measured in a block: every round runs each proxy once, each second round in reverse order, and the
//! tables give the median of the rounds with the least and the greatest.
//!
//! The figure to look at is processor time per request. Requests per second depend on which of the two
//! processors is full, and that may well be the one that is not measured: see the column `busy`.
//!
//! Everything listens on 127.0.0.1 and ends by itself.

pub mod latency;
pub mod memory;
pub mod start;
pub mod throughput;

pub(crate) mod config;
pub(crate) mod machine;
mod peer;
pub(crate) mod process;
mod procfs;
pub(crate) mod scratch;
mod spread;
mod table;
pub(crate) mod window;

use std::path::{Path, PathBuf};

pub use self::config::Role;
pub use self::peer::{Kind, Peer};
pub use self::procfs::{Memory, Tree};
pub use self::spread::{Spread, show, show_median};
pub use self::table::{Report, Table};

use crate::affinity;
use crate::backend::{Backend, Running};

/// Descriptors wanted: 1,000 connections on both sides of a proxy, with room for bursts.
pub(crate) const DESCRIPTORS: u64 = 20_000;

/// Who takes part, and where.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Those found, [`Kind::Direct`] among them.
    pub peers: Vec<Peer>,
    /// Those asked for and not found.
    pub missing: Vec<Kind>,
    /// Processor of the proxy.
    pub proxy_cpu: usize,
    /// Processor of the backend, the load generator and this program.
    pub load_cpu: usize,
    /// How often everything is measured, at least 1.
    pub rounds: u32,
}

/// Called with a line about what is being done.
pub type Progress<'a> = &'a mut dyn FnMut(&str);

impl Setup {
    /// Finds the programs: each at the path `given` for its kind, or else by `path`, a list as in `PATH`.
    /// `plimsoll_extra` are further arguments for Plimsoll.
    pub fn find(
        kinds: &[Kind],
        given: impl Fn(Kind) -> Option<PathBuf>,
        path: &str,
        plimsoll_extra: &[String],
    ) -> Self {
        let mut setup = Self {
            peers: Vec::new(),
            missing: Vec::new(),
            proxy_cpu: 1,
            load_cpu: 0,
            rounds: 3,
        };
        for &kind in kinds {
            let program = match kind {
                Kind::Direct => Some(PathBuf::new()),
                _ => kind.locate(given(kind).as_deref(), path),
            };
            let extra = if kind == Kind::Plimsoll {
                plimsoll_extra.to_vec()
            } else {
                Vec::new()
            };
            match program {
                Some(program) => setup.peers.push(Peer {
                    kind,
                    program,
                    extra,
                }),
                None => setup.missing.push(kind),
            }
        }
        setup
    }

    /// The peers in the order of a round: forwards, backwards, forwards, ...
    fn order(&self, round: u32) -> Vec<&Peer> {
        let mut order: Vec<&Peer> = self.peers.iter().collect();
        if !round.is_multiple_of(2) {
            order.reverse();
        }
        order
    }

    /// Readies this process and starts the backend, on so many ports.
    fn prepare(&self, ports: usize) -> anyhow::Result<Running> {
        affinity::raise_descriptor_limit(DESCRIPTORS)?;
        affinity::pin_current_thread(self.load_cpu)?;
        let any = vec![(std::net::Ipv4Addr::LOCALHOST, 0).into(); ports];
        Ok(Backend::bind_all(&any)?.spawn(Some(self.load_cpu))?)
    }

    /// The lines every report begins with.
    fn heading(&self, what: String) -> Vec<String> {
        let mut lines = vec![
            what,
            machine::describe(),
            format!(
                "Proxy on processor {}, one worker; backend and load on processor {}.",
                self.proxy_cpu, self.load_cpu
            ),
        ];
        for peer in &self.peers {
            if let Some(version) = peer.version() {
                lines.push(format!("{} {version}", peer.kind));
            }
        }
        for kind in &self.missing {
            lines.push(format!("{kind}: missing; give its path with --{kind}"));
        }
        lines
    }
}

/// Writes a report to `file` as Markdown.
///
/// # Errors
/// Those of writing the file.
pub fn write_markdown(report: &Report, file: &Path) -> std::io::Result<()> {
    std::fs::write(file, report.markdown())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_alternate_their_order() {
        let program = |_| Some(PathBuf::from("/bin/ls"));
        let setup = Setup::find(
            &[Kind::Direct, Kind::Haproxy, Kind::Nginx],
            program,
            "",
            &[],
        );
        let order = |round| {
            setup
                .order(round)
                .iter()
                .map(|peer| peer.kind)
                .collect::<Vec<_>>()
        };
        assert_eq!(order(0), [Kind::Direct, Kind::Haproxy, Kind::Nginx]);
        assert_eq!(order(1), [Kind::Nginx, Kind::Haproxy, Kind::Direct]);
        assert_eq!(order(2), order(0));
    }

    #[test]
    fn what_is_not_there_is_reported_missing() {
        let nowhere = |_| Some(PathBuf::from("/nowhere/at/all"));
        let setup = Setup::find(&Kind::ALL, nowhere, "", &[]);
        assert_eq!(setup.peers.len(), 1);
        assert_eq!(setup.missing, Kind::ALL[1..]);
        let heading = setup.heading("x".into()).join("\n");
        assert!(
            heading.contains("envoy: missing; give its path with --envoy"),
            "{heading}"
        );
    }
}
