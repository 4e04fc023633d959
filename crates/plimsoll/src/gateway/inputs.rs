//! Everything that a plan needs from files, read in one go.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use plimsoll_proxy::{ClientTls, ClientTlsConfig, Identity, TlsError, Trust};

use super::config::{self, ProcessSettings};
use super::files::{self, ListFault};
use super::plan::{PemPair, Plan, ServicePlan, UpstreamTlsPlan};
use super::upstream::Upstream;
use super::watch::{self, Stamp};

/// Where a plan comes from.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    /// Flags alone: it never changes.
    Flags,
    /// A file, and flags that win over it.
    File {
        path: PathBuf,
        flags: ProcessSettings,
    },
}

/// A plan, and what is in the files it names.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) plan: Plan,
    /// The certificate for clients.
    pub(crate) identity: Option<Identity>,
    pub(crate) lists: Lists,
    pub(crate) tls: BTreeMap<String, UpstreamTls>,
    /// Each file as it was before it was read.
    pub(crate) stamps: BTreeMap<PathBuf, Stamp>,
}

/// What the files of upstreams say, by the names of services.
pub(crate) type Lists = BTreeMap<String, Result<Vec<Upstream>, ListFault>>;

/// Why a plan cannot be used.
#[derive(Debug)]
pub(crate) struct Unusable {
    /// One line for each problem.
    pub(crate) problems: Vec<String>,
    /// Each file that matters to the plan, as it was before it was read: a change there may mend it.
    pub(crate) stamps: BTreeMap<PathBuf, Stamp>,
}

/// TLS towards the endpoints of a service, and what it was made of.
#[derive(Debug, Clone)]
pub(crate) struct UpstreamTls {
    made_of: (UpstreamTlsPlan, Vec<Stamp>),
    pub(crate) tls: Arc<ClientTls>,
}

impl Origin {
    /// Whether services may have commands, now or after a reload.
    pub(crate) fn takes_commands(&self, plan: &Plan) -> bool {
        match self {
            Self::Flags => plan.services.iter().any(|service| service.scaled.is_some()),
            Self::File { flags, .. } => flags.commands,
        }
    }

    /// The file, if there is one.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Flags => None,
            Self::File { path, .. } => Some(path.clone()),
        }
    }

    /// The file as it is now.
    pub(crate) fn stamps(&self) -> BTreeMap<PathBuf, Stamp> {
        let stamped = |path: PathBuf| {
            let stamp = watch::stamp(&path);
            (path, stamp)
        };
        self.file().into_iter().map(stamped).collect()
    }
}

impl UpstreamTls {
    /// Whether making it anew would give the same.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        self.made_of == other.made_of
    }
}

impl Inputs {
    /// Reads the plan anew where it comes from a file, and all files it names. Blocks.
    ///
    /// # Errors
    /// Why the plan cannot be used. A list of upstreams that is wrong is no reason: the one before stays in use.
    pub(crate) fn read(origin: &Origin, current: &Plan) -> Result<Self, Unusable> {
        let stamps = origin.stamps();
        let plan = match origin {
            Origin::Flags => Ok(current.clone()),
            Origin::File { path, flags } => files::read_plan(path, flags),
        };
        match plan {
            Ok(plan) => Self::of(plan, stamps),
            Err(problems) => {
                let problems = config::lines(&problems);
                Err(Unusable { problems, stamps })
            }
        }
    }

    /// Reads the files that `plan` names. `stamps` are those of files read before.
    pub(crate) fn of(plan: Plan, mut stamps: BTreeMap<PathBuf, Stamp>) -> Result<Self, Unusable> {
        for path in plan.files() {
            let stamp = watch::stamp(&path);
            stamps.insert(path, stamp);
        }
        let mut problems = Vec::new();
        let mut keep = |error: TlsError, key: String| problems.push(format!("{key}: {error}"));
        let identity = plan.process.tls.as_ref().map(read_identity).transpose();
        let identity = identity.unwrap_or_else(|error| {
            keep(error, "tls".to_owned());
            None
        });
        let lists = read_lists(&plan);
        let mut tls = BTreeMap::new();
        for service in &plan.services {
            match service.tls.as_ref().map(|plan| upstream_tls(plan, &stamps)) {
                Some(Ok(made)) => drop(tls.insert(service.name.clone(), made)),
                Some(Err(error)) => keep(error, format!("services.{}.tls", service.name)),
                None => {}
            }
        }
        if !problems.is_empty() {
            return Err(Unusable { problems, stamps });
        }
        Ok(Self {
            plan,
            identity,
            lists,
            tls,
            stamps,
        })
    }
}

/// Reads the files of upstreams. Blocks.
pub(crate) fn read_lists(plan: &Plan) -> Lists {
    let list = |service: &ServicePlan| {
        let path = service.upstream_file.as_deref()?;
        Some((service.name.clone(), files::read_upstreams(path)))
    };
    plan.services.iter().filter_map(list).collect()
}

fn read_identity(pair: &PemPair) -> Result<Identity, TlsError> {
    Identity::from_pem_files(&pair.cert, &pair.key)
}

fn upstream_tls(
    plan: &UpstreamTlsPlan,
    stamps: &BTreeMap<PathBuf, Stamp>,
) -> Result<UpstreamTls, TlsError> {
    let trust = match (&plan.ca, plan.insecure) {
        (_, true) => Trust::InsecureAnyCertificate,
        (Some(path), false) => Trust::File(path.clone()),
        (None, false) => Trust::System,
    };
    let config = ClientTlsConfig {
        trust,
        server_name: plan.server_name.clone(),
        identity: plan.client.as_ref().map(read_identity).transpose()?,
    };
    let stamps = plan.files().map(|path| stamps.get(path).copied().flatten());
    Ok(UpstreamTls {
        made_of: (plan.clone(), stamps.collect()),
        tls: Arc::new(ClientTls::new(&config)?),
    })
}
