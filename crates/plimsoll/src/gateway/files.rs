//! Files the gateway reads: its configuration, and lists of upstreams.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::config::{self, Place, Problem, ProcessSettings};
use super::plan::{PemPair, Plan, ServicePlan, UpstreamTlsPlan};
use super::upstream::{self, Upstream};

/// Why a list of upstreams could not be taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ListFault {
    /// It cannot be read: it is not there yet, or not ours.
    Unreadable(String),
    /// What it says is wrong.
    Wrong(Vec<Problem>),
}

impl ListFault {
    /// One line for each problem.
    pub(crate) fn lines(&self) -> Vec<String> {
        match self {
            Self::Unreadable(message) => vec![message.clone()],
            Self::Wrong(problems) => config::lines(problems),
        }
    }
}

/// Reads a configuration file.
///
/// # Errors
/// All that is wrong with it.
pub(crate) fn read_plan(path: &Path, flags: &ProcessSettings) -> Result<Plan, Vec<Problem>> {
    let name = path.display().to_string();
    match read(path, config::FILE_BYTES_MAX) {
        Ok(text) => config::parse(&name, &text, flags),
        Err(message) => Err(vec![Problem {
            file: name,
            place: Place::File,
            key: String::new(),
            message,
        }]),
    }
}

/// Reads a list of upstreams.
pub(crate) fn read_upstreams(path: &Path) -> Result<Vec<Upstream>, ListFault> {
    let name = path.display().to_string();
    let text = read(path, upstream::FILE_BYTES_MAX)
        .map_err(|message| ListFault::Unreadable(format!("{name}: {message}")))?;
    upstream::parse_file(&text).map_err(|problems| {
        let problem = |found: upstream::LineProblem| Problem {
            file: name.clone(),
            place: Place::Line(found.line),
            key: String::new(),
            message: found.message,
        };
        ListFault::Wrong(problems.into_iter().map(problem).collect())
    })
}

/// Finds mistakes in the lists of upstreams before anything is served. One that cannot be read is none: it may
/// come later, and is told while running.
pub(crate) fn check_upstream_files(plan: &Plan) -> Result<(), Vec<Problem>> {
    let mut found = Vec::new();
    for path in plan
        .services
        .iter()
        .filter_map(|service| service.upstream_file.as_deref())
    {
        if let Err(ListFault::Wrong(problems)) = read_upstreams(path) {
            found.extend(problems);
        }
    }
    if found.is_empty() { Ok(()) } else { Err(found) }
}

impl Plan {
    /// Every file that matters to a plan, besides the one it comes from.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let own = self.process.tls.iter().flat_map(PemPair::files);
        let services = self.services.iter().flat_map(ServicePlan::files);
        own.chain(services).cloned().collect()
    }
}

impl PemPair {
    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.cert, &self.key].into_iter()
    }
}

impl UpstreamTlsPlan {
    /// Every file it names, in a fixed order.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let client = self.client.iter().flat_map(PemPair::files);
        self.ca.iter().chain(client)
    }
}

impl ServicePlan {
    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let tls = self.tls.iter().flat_map(UpstreamTlsPlan::files);
        self.upstream_file.iter().chain(tls)
    }
}

/// The text of a file that is not longer than `most` bytes.
fn read(path: &Path, most: u64) -> Result<String, String> {
    let told = |error: io::Error| format!("cannot be read: {error}");
    let file = std::fs::File::open(path).map_err(told)?;
    let mut text = String::new();
    let length = file
        .take(most + 1)
        .read_to_string(&mut text)
        .map_err(told)?;
    if length as u64 > most {
        return Err(format!("is longer than {most} bytes"));
    }
    Ok(text)
}
