//! The endpoints of one service, put together from what the configuration, a file, the resolver and the API say.
//!
//! Each of these changes alone, and each change gives the balancer the whole set anew. The balancer keeps what it
//! has learned about every address that stays or comes back. What the API has set belongs to an address too: it
//! outlives reloads and changes of the list, until the API takes it back, or the address has been gone for as
//! long as the balancer remembers it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use plimsoll_balance::{Balancer, EndpointSpec};
use plimsoll_meter::{Clock, Tick};
use plimsoll_proxy::MonotonicClock;
use plimsoll_wire::gateway::DiscoverySample;

use super::dns::{Answer, Change, State};
use super::files::ListFault;
use super::plan::ServicePlan;
use super::upstream::{Host, UPSTREAMS_MAX, Upstream};

/// The endpoints of one service.
#[derive(Debug)]
pub(crate) struct Endpoints {
    service: String,
    balancer: Balancer,
    clock: MonotonicClock,
    sources: Mutex<Sources>,
    /// The set of this moment, for those who only want the addresses.
    addresses: ArcSwap<Vec<Arc<str>>>,
}

/// What is said about the endpoints, and by whom.
#[derive(Debug, Default)]
struct Sources {
    /// The upstreams of the configuration.
    fixed: Vec<Upstream>,
    /// Those of the file.
    listed: Vec<Upstream>,
    /// Replicas that are local processes.
    replicas: Vec<Upstream>,
    /// Whether changes of the set are told by somebody else.
    is_quiet: bool,
    file: Option<FileState>,
    answers: BTreeMap<String, Answer>,
    set_by_api: BTreeMap<Arc<str>, SetByApi>,
    retention: Duration,
    /// What could not be used of the last set.
    conflicts: Vec<String>,
    /// Look-ups and readings of the file that gave something, and that did not.
    attempts: DiscoverySample,
    /// Whether nobody checks, so that what checks have found before does not hold.
    unchecked: bool,
}

/// The file of upstreams, and how reading it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileState {
    pub(crate) path: PathBuf,
    /// Why its content is not in use; what it said before is.
    pub(crate) fault: Option<ListFault>,
}

/// What the API has set of an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SetByApi {
    pub(crate) weight: Option<u32>,
    pub(crate) draining: bool,
    /// Since when the address is in no list.
    gone_since: Option<Tick>,
}

/// The API named an address that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoSuchEndpoint;

/// Where endpoints come from, and how it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourcesView {
    pub(crate) fixed: usize,
    pub(crate) listed: usize,
    pub(crate) file: Option<FileState>,
    pub(crate) names: Vec<(String, Answer)>,
    pub(crate) conflicts: Vec<String>,
}

/// The set that follows from all sources.
#[derive(Debug, Default, PartialEq, Eq)]
struct Composed {
    specs: Vec<EndpointSpec>,
    conflicts: Vec<String>,
}

impl Sources {
    fn upstreams(&self) -> impl Iterator<Item = &Upstream> {
        self.fixed.iter().chain(&self.listed).chain(&self.replicas)
    }

    fn names(&self) -> BTreeSet<String> {
        let name = |upstream: &Upstream| match &upstream.host {
            Host::Name(name) => Some(name.clone()),
            Host::Ip(_) => None,
        };
        self.upstreams().filter_map(name).collect()
    }

    /// Every address once, as the first upstream that leads to it says.
    fn compose(&self) -> Composed {
        let mut composed = Composed::default();
        let mut first: BTreeMap<SocketAddr, &Upstream> = BTreeMap::new();
        for upstream in self.upstreams() {
            let resolved;
            let ips: &[IpAddr] = match &upstream.host {
                Host::Ip(ip) => std::slice::from_ref(ip),
                Host::Name(name) => {
                    resolved = self.answers.get(name).map(|answer| &answer.addresses);
                    resolved.map_or(&[], Vec::as_slice)
                }
            };
            for ip in ips {
                let address = SocketAddr::new(*ip, upstream.port);
                if let Some(other) = first.get(&address) {
                    let message =
                        format!("{address} is of both {other} and {upstream}; the first holds");
                    composed.conflicts.push(message);
                } else if first.len() == UPSTREAMS_MAX {
                    let message =
                        format!("more than {UPSTREAMS_MAX} endpoints; the others are not used");
                    composed.conflicts.push(message);
                    return composed;
                } else {
                    first.insert(address, upstream);
                    composed.specs.push(self.spec(address, upstream));
                }
            }
        }
        composed
    }

    fn spec(&self, address: SocketAddr, upstream: &Upstream) -> EndpointSpec {
        let address: Arc<str> = address.to_string().into();
        let set = self.set_by_api.get(&address);
        EndpointSpec {
            weight: set.and_then(|set| set.weight).unwrap_or(upstream.weight),
            concurrency: upstream.concurrency,
            address,
        }
    }
}

impl Endpoints {
    pub(crate) fn new(service: String, balancer: Balancer, clock: MonotonicClock) -> Self {
        Self {
            service,
            balancer,
            clock,
            sources: Mutex::default(),
            addresses: ArcSwap::default(),
        }
    }

    /// The addresses of this moment.
    pub(crate) fn addresses(&self) -> Arc<Vec<Arc<str>>> {
        self.addresses.load_full()
    }

    /// The names that have to be looked up.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.sources.lock().names()
    }

    /// Takes over what the configuration says, and what its file said when it was read.
    pub(crate) fn configure(
        &self,
        plan: &ServicePlan,
        listed: Option<Result<Vec<Upstream>, ListFault>>,
    ) {
        let mut sources = self.sources.lock();
        sources.fixed.clone_from(&plan.upstreams);
        sources.retention = plan.balancer.retention;
        let path_before = sources.file.take().map(|file| file.path);
        if path_before != plan.upstream_file {
            sources.listed.clear();
        }
        sources.file = plan
            .upstream_file
            .clone()
            .map(|path| FileState { path, fault: None });
        if let Some(read) = listed {
            self.take_list(&mut sources, read);
        }
        self.apply(&mut sources);
    }

    /// Takes over what the file says now. What is wrong with it is told, and the old list stays.
    pub(crate) fn list(&self, read: Result<Vec<Upstream>, ListFault>) {
        let mut sources = self.sources.lock();
        self.take_list(&mut sources, read);
        self.apply(&mut sources);
    }

    fn take_list(&self, sources: &mut Sources, read: Result<Vec<Upstream>, ListFault>) {
        let fault = match read {
            Ok(upstreams) => {
                sources.listed = upstreams;
                sources.attempts.successes += 1;
                None
            }
            Err(fault) => {
                tracing::error!(
                    service = self.service,
                    kept = sources.listed.len(),
                    "the file of upstreams is not taken over: {}",
                    fault.lines().join("; ")
                );
                sources.attempts.failures += 1;
                Some(fault)
            }
        };
        if let Some(file) = &mut sources.file {
            file.fault = fault;
        }
    }

    /// Takes over which replicas there are.
    pub(crate) fn set_replicas(&self, addresses: Vec<SocketAddr>) {
        let mut sources = self.sources.lock();
        sources.replicas = addresses.into_iter().map(Upstream::at).collect();
        // Whoever starts and stops them says so.
        sources.is_quiet = true;
        self.apply(&mut sources);
    }

    /// Takes in the outcome of a look-up.
    pub(crate) fn answered(&self, name: &str, outcome: Result<Vec<IpAddr>, String>) {
        let mut sources = self.sources.lock();
        match outcome {
            Ok(_) => sources.attempts.successes += 1,
            Err(_) => sources.attempts.failures += 1,
        }
        let answer = sources.answers.entry(name.to_owned()).or_default();
        let change = answer.update(outcome);
        let (state, kept) = (answer.state.clone(), answer.addresses.len());
        let service = &self.service;
        match (change, state) {
            (Change::Failed, State::Failing(why)) => {
                tracing::warn!(
                    service,
                    name,
                    kept,
                    "the name does not resolve: {why}; its last addresses are kept"
                );
            }
            (Change::Recovered, _) => {
                tracing::info!(service, name, kept, "the name resolves again");
            }
            (Change::Addresses, _) => {
                tracing::info!(service, name, addresses = kept, "the name has resolved");
                self.apply(&mut sources);
            }
            _ => {}
        }
    }

    /// Whether each name has had its first answer, good or bad.
    pub(crate) fn has_asked_all(&self) -> bool {
        let sources = self.sources.lock();
        let names = sources.names();
        names.iter().all(|name| {
            let answer = sources.answers.get(name);
            answer.is_some_and(|answer| answer.state != State::Asking)
        })
    }

    /// From now on nobody checks: what checks have found does not hold any more.
    pub(crate) fn trust_all(&self) {
        let mut sources = self.sources.lock();
        sources.unchecked = true;
        self.trust(&self.addresses());
    }

    /// From now on somebody checks.
    pub(crate) fn trust_checks(&self) {
        self.sources.lock().unchecked = false;
    }

    fn trust(&self, addresses: &[Arc<str>]) {
        let now = self.clock.now();
        for address in addresses {
            self.balancer.set_health(now, address, true);
        }
    }

    /// How often names were looked up and the file was read; `None` if the endpoints need neither.
    pub(crate) fn discovery(&self) -> Option<DiscoverySample> {
        let sources = self.sources.lock();
        let needed = sources.file.is_some() || !sources.names().is_empty();
        needed.then_some(sources.attempts)
    }

    /// Gives the balancer the set that follows from all sources.
    fn apply(&self, sources: &mut Sources) {
        let names = sources.names();
        sources.answers.retain(|name, _| names.contains(name));
        let now = self.clock.now();
        let mut returned = 0;
        let Composed { specs, conflicts } = sources.compose();
        if conflicts != sources.conflicts {
            for conflict in &conflicts {
                tracing::warn!(service = self.service, "{conflict}");
            }
            sources.conflicts = conflicts;
        }
        match self.balancer.set_endpoints(now, &specs) {
            Ok(change) => {
                returned = change.returned;
                if change.added + change.returned + change.removed > 0 && !sources.is_quiet {
                    tracing::info!(
                        service = self.service,
                        endpoints = specs.len(),
                        added = change.added,
                        returned = change.returned,
                        removed = change.removed,
                        "endpoints"
                    );
                }
            }
            // Composed so that none of the errors can be; still, what is refused has to be heard of.
            Err(error) => {
                tracing::error!(service = self.service, %error, "the endpoints stay as they were");
            }
        }
        let addresses: Vec<Arc<str>> = specs.into_iter().map(|spec| spec.address).collect();
        if sources.unchecked && returned > 0 {
            self.trust(&addresses);
        }
        if returned > 0 {
            // The balancer remembers an address for longer while requests are there, and that it was draining.
            let given_back = |address: &&Arc<str>| !sources.set_by_api.contains_key(*address);
            for address in addresses.iter().filter(given_back) {
                self.balancer.set_draining(now, address, false);
            }
        }
        let present: BTreeSet<&Arc<str>> = addresses.iter().collect();
        for (address, set) in &mut sources.set_by_api {
            if present.contains(address) {
                set.gone_since = None;
                // The balancer knows an endpoint that is new to it only by its address and weight.
                self.balancer.set_draining(now, address, set.draining);
            } else {
                set.gone_since.get_or_insert(now);
            }
        }
        self.addresses.store(Arc::new(addresses));
    }

    /// Forgets what the API has set of addresses that have been gone for long.
    pub(crate) fn expire(&self, now: Tick) {
        let mut sources = self.sources.lock();
        let retention = sources.retention;
        sources.set_by_api.retain(|_, set| {
            set.gone_since
                .is_none_or(|since| now.saturating_duration_since(since) < retention)
        });
    }

    /// Lets an endpoint drain, or takes it back into service.
    pub(crate) fn set_draining(&self, address: &str, draining: bool) -> Result<(), NoSuchEndpoint> {
        self.set(address, |set| set.draining = draining)
    }

    /// Sets the weight of an endpoint; `None` is what its upstream says.
    pub(crate) fn set_weight(
        &self,
        address: &str,
        weight: Option<u32>,
    ) -> Result<(), NoSuchEndpoint> {
        self.set(address, |set| set.weight = weight)
    }

    fn set(&self, address: &str, change: impl FnOnce(&mut SetByApi)) -> Result<(), NoSuchEndpoint> {
        let mut sources = self.sources.lock();
        let addresses = self.addresses();
        let known = addresses
            .iter()
            .find(|known| known.as_ref() == address)
            .ok_or(NoSuchEndpoint)?;
        let set = sources.set_by_api.entry(Arc::clone(known)).or_default();
        change(set);
        self.apply(&mut sources);
        sources
            .set_by_api
            .retain(|_, set| set.draining || set.weight.is_some());
        Ok(())
    }

    /// What the API has set of an endpoint.
    pub(crate) fn set_by_api(&self) -> BTreeMap<Arc<str>, SetByApi> {
        self.sources.lock().set_by_api.clone()
    }

    /// Where the endpoints come from, and how it goes.
    pub(crate) fn sources(&self) -> SourcesView {
        let sources = self.sources.lock();
        let answer = |name: String| {
            let answer = sources.answers.get(&name).cloned().unwrap_or_default();
            (name, answer)
        };
        SourcesView {
            fixed: sources.fixed.len(),
            listed: sources.listed.len(),
            file: sources.file.clone(),
            names: sources.names().into_iter().map(answer).collect(),
            conflicts: sources.conflicts.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_balance::BalancerConfig;

    fn endpoints(upstreams: &[&str]) -> Endpoints {
        let balancer = Balancer::new(BalancerConfig::default()).unwrap();
        let endpoints = Endpoints::new("a".to_owned(), balancer, MonotonicClock::start());
        endpoints.configure(&plan(upstreams), None);
        endpoints
    }

    fn plan(upstreams: &[&str]) -> ServicePlan {
        ServicePlan {
            upstreams: upstreams.iter().map(|text| text.parse().unwrap()).collect(),
            ..ServicePlan::new("a".to_owned())
        }
    }

    /// Each address with its weight, as the balancer has it, and `d` if it drains.
    fn shown(endpoints: &Endpoints) -> Vec<String> {
        let view = endpoints.balancer.view(endpoints.clock.now());
        let show = |endpoint: plimsoll_balance::EndpointView| {
            let drains = endpoint.state == plimsoll_balance::EndpointState::Draining;
            let mark = if drains { " d" } else { "" };
            format!("{} {}{mark}", endpoint.address, endpoint.weight)
        };
        view.endpoints.into_iter().map(show).collect()
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_name_stands_for_all_its_addresses_and_keeps_them() {
        let endpoints = endpoints(&["app:80,weight=3", "10.0.0.9:81"]);
        assert_eq!(shown(&endpoints), ["10.0.0.9:81 1"]);
        assert!(!endpoints.has_asked_all());
        endpoints.answered("app", Ok(ips(&["10.0.0.1", "::1"])));
        assert!(endpoints.has_asked_all());
        let all = ["10.0.0.1:80 3", "[::1]:80 3", "10.0.0.9:81 1"];
        assert_eq!(shown(&endpoints), all);
        endpoints.answered("app", Err("down".to_owned()));
        assert_eq!(shown(&endpoints), all);
        endpoints.answered("app", Ok(ips(&["10.0.0.2"])));
        assert_eq!(shown(&endpoints), ["10.0.0.2:80 3", "10.0.0.9:81 1"]);
    }

    #[test]
    fn two_ways_to_one_address_are_told_and_the_first_holds() {
        let endpoints = endpoints(&["10.0.0.1:80,weight=2", "app:80"]);
        endpoints.answered("app", Ok(ips(&["10.0.0.1", "10.0.0.2"])));
        assert_eq!(shown(&endpoints), ["10.0.0.1:80 2", "10.0.0.2:80 1"]);
        let conflicts = endpoints.sources().conflicts;
        assert_eq!(
            conflicts,
            ["10.0.0.1:80 is of both 10.0.0.1:80,weight=2 and app:80; the first holds"]
        );
    }

    #[test]
    fn a_file_that_is_wrong_keeps_the_old_list() {
        let endpoints = endpoints(&[]);
        let plan = ServicePlan {
            upstream_file: Some("list".into()),
            ..plan(&["10.0.0.1:1"])
        };
        endpoints.configure(&plan, Some(Ok(vec!["10.0.0.2:2".parse().unwrap()])));
        let both = ["10.0.0.1:1 1", "10.0.0.2:2 1"];
        assert_eq!(shown(&endpoints), both);
        endpoints.list(Err(ListFault::Unreadable("gone".to_owned())));
        assert_eq!(shown(&endpoints), both);
        assert!(
            endpoints
                .sources()
                .file
                .is_some_and(|file| file.fault.is_some())
        );
        // A reload that fails to read it keeps it too, unless it is another file.
        endpoints.configure(&plan, Some(Err(ListFault::Unreadable("gone".to_owned()))));
        assert_eq!(shown(&endpoints), both);
        endpoints.list(Ok(vec![]));
        assert_eq!(shown(&endpoints), ["10.0.0.1:1 1"]);
        assert!(
            endpoints
                .sources()
                .file
                .is_some_and(|file| file.fault.is_none())
        );
    }

    #[test]
    fn what_the_api_has_set_outlives_reloads_and_flaps() {
        let endpoints = endpoints(&["10.0.0.1:1", "10.0.0.2:2,weight=5"]);
        assert_eq!(
            endpoints.set_weight("10.0.0.3:3", Some(1)),
            Err(NoSuchEndpoint)
        );
        endpoints.set_weight("10.0.0.1:1", Some(7)).unwrap();
        endpoints.set_draining("10.0.0.2:2", true).unwrap();
        let set = ["10.0.0.1:1 7", "10.0.0.2:2 5 d"];
        assert_eq!(shown(&endpoints), set);
        // Gone and back.
        endpoints.configure(&plan(&["10.0.0.1:1"]), None);
        endpoints.configure(&plan(&["10.0.0.1:1", "10.0.0.2:2,weight=5"]), None);
        assert_eq!(shown(&endpoints), set);
        endpoints.set_weight("10.0.0.1:1", None).unwrap();
        endpoints.set_draining("10.0.0.2:2", false).unwrap();
        assert_eq!(shown(&endpoints), ["10.0.0.1:1 1", "10.0.0.2:2 5"]);
        assert!(endpoints.set_by_api().is_empty());
    }

    #[test]
    fn what_the_api_has_forgotten_the_balancer_has_forgotten_too() {
        let endpoints = endpoints(&["10.0.0.1:1"]);
        let now = endpoints.clock.now();
        // A request that outlives the memory of the API keeps the balancer's alive.
        let Ok(plimsoll_balance::Entry::Running(pick)) = endpoints.balancer.enter(now, 0) else {
            panic!("there is an endpoint without limits");
        };
        endpoints.set_draining("10.0.0.1:1", true).unwrap();
        endpoints.configure(&plan(&[]), None);
        let later = endpoints.clock.now();
        let later = later.saturating_add(BalancerConfig::default().retention);
        endpoints.balancer.advance(later);
        endpoints.expire(later);
        endpoints.configure(&plan(&["10.0.0.1:1"]), None);
        assert_eq!(endpoints.balancer.view(later).endpoints[0].in_flight, 1);
        assert_eq!(shown(&endpoints), ["10.0.0.1:1 1"]);
        drop(pick);
    }

    #[test]
    fn what_the_api_has_set_is_forgotten_with_the_address() {
        let endpoints = endpoints(&["10.0.0.1:1"]);
        endpoints.set_draining("10.0.0.1:1", true).unwrap();
        endpoints.configure(&plan(&[]), None);
        let retention = BalancerConfig::default().retention;
        let gone = endpoints.clock.now();
        endpoints.expire(gone);
        assert_eq!(endpoints.set_by_api().len(), 1);
        endpoints.expire(gone.saturating_add(retention));
        assert_eq!(endpoints.set_by_api().len(), 0);
    }
}
