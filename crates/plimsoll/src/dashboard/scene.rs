//! What there is to be shown, in plain values.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_balance::BalancerView;
use plimsoll_proxy::Service;

/// What a dashboard shows.
pub(crate) trait Source: Send + Sync + 'static {
    /// The process as a whole.
    fn head(&self) -> Head;

    /// All services, in the order of their names. Asked once a second, also when nobody looks: it must cost little.
    fn services(&self) -> Vec<Watched>;

    /// One service in full; `None` if there is none of this name.
    fn detail(&self, name: &str) -> Option<Detail>;
}

/// The process as a whole.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    /// What runs: `gateway` or `run`.
    pub(crate) mode: &'static str,
    pub(crate) version: &'static str,
    /// `serving` or `draining`.
    pub(crate) state: &'static str,
    pub(crate) uptime: Duration,
    /// What somebody should look at. Empty is good.
    pub(crate) problems: Vec<String>,
}

/// A service, as far as it is looked at each second.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    /// What carries its requests, and counts them.
    pub(crate) service: Arc<Service>,
    /// What is decided about it, if something starts and stops its replicas.
    pub(crate) scaling: Option<Scaling>,
}

/// How many replicas there are, and how many there should be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Scaling {
    pub(crate) desired: u32,
    pub(crate) starting: u32,
    pub(crate) ready: u32,
    pub(crate) draining: u32,
}

/// One service in full.
#[derive(Debug, Clone)]
pub(crate) struct Detail {
    /// Where its requests come from, in words.
    pub(crate) routes: Vec<String>,
    pub(crate) balancer: BalancerView,
    /// In words, what was decided last, if something starts and stops its replicas.
    pub(crate) why: Option<String>,
    /// The replicas as processes, if something starts and stops them.
    pub(crate) replicas: Vec<Replica>,
    /// What has happened, the newest first.
    pub(crate) told: Vec<Told>,
}

/// One replica as a process.
#[derive(Debug, Clone)]
pub(crate) struct Replica {
    /// What an operator can look for: the identity of the process.
    pub(crate) pid: Option<u32>,
    pub(crate) address: String,
    /// One lower-case word.
    pub(crate) state: &'static str,
    pub(crate) age: Duration,
    /// Bytes of memory, if they are measured.
    pub(crate) memory: Option<u64>,
    /// The last line that it has written.
    pub(crate) said: Option<String>,
}

/// Something that has happened, or was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    /// How long ago.
    pub(crate) age: Duration,
    /// One lower-case word: what kind of event.
    pub(crate) what: &'static str,
    /// The whole of it, in a sentence.
    pub(crate) text: String,
}
