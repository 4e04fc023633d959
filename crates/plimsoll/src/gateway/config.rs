//! The configuration file: TOML in, a [`Plan`] out, or every mistake with its line.
//!
//! Nothing here reads a file or looks up a name, so any text can be tried. The keys are read in [`process`] and
//! [`service`]; [`section`] is how, and [`problem`] is how mistakes are told. What one key cannot know, such as
//! whether two services want the same route, is checked here at the end.

mod balancing;
mod knative;
mod problem;
mod process;
mod scaled;
mod section;
mod service;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

pub(crate) use balancing::{QUEUE_DEPTH_MAX, policy};
pub(crate) use problem::{Place, Problem, lines, told};
pub(crate) use process::ProcessSettings;
pub(crate) use scaled::{for_replicas, scale_default};
pub(crate) use service::{only_name, path_prefix, word};

use super::plan::Plan;

use knative::Cluster;
use problem::Problems;
use section::Section;
use service::{ReadService, Surroundings};

/// The most bytes of a configuration file.
pub(crate) const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The most services of one gateway.
pub(crate) const SERVICES_MAX: usize = 1_000;

/// Reads a configuration. `file` is its name as a person gave it, `text` what is in it; `flags` are the settings
/// of the process that were given beside it, and win.
///
/// # Errors
/// Everything that is wrong, in the order of the file.
pub(crate) fn parse(file: &str, text: &str, flags: &ProcessSettings) -> Result<Plan, Vec<Problem>> {
    let problems = Problems::new(file, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // What follows a broken line would be read wrongly, so only the breaks are told.
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            problems.add(&span, "", error.message());
        }
        return Err(problems.into_found());
    }
    let root = Section::root(&document, &problems);
    let folder = Path::new(file).parent().unwrap_or_else(|| Path::new(""));
    let settings = ProcessSettings::read(&root, folder, flags.commands);
    let commands = flags.commands;
    let around = Surroundings {
        folder,
        commands,
        replicas_memory: settings.replicas_memory,
        cluster: if commands {
            Cluster::read(&root)
        } else {
            Cluster::default()
        },
    };
    let services: Vec<ReadService> = root
        .named_tables("services")
        .into_iter()
        .map(|(name, section)| service::read(&name, section, &around))
        .collect();
    if services.is_empty() {
        let message = "there is no service; write [services.NAME] with upstreams = [\"HOST:PORT\"]";
        problems.add_whole("services", message);
    }
    if services.len() > SERVICES_MAX {
        problems.add_whole("services", format!("there are more than {SERVICES_MAX}"));
    }
    root.finish();
    check_routes(&services, &problems);
    let process = flags.clone().or(settings).resolve();
    let found = problems.into_found();
    if !found.is_empty() {
        return Err(found);
    }
    let mut services: Vec<_> = services.into_iter().map(|service| service.plan).collect();
    services.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Plan { process, services })
}

/// No two services may want the same requests.
fn check_routes(services: &[ReadService], problems: &Problems<'_>) {
    let mut taken: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for service in services {
        for (route, place) in service.plan.routes.iter().zip(&service.route_places) {
            let any = route.hosts.is_empty().then_some(("*", &place.path));
            let hosts = route.hosts.iter().map(String::as_str).zip(&place.hosts);
            for (host, span) in hosts.chain(any) {
                let name = service.plan.name.as_str();
                if let Some(other) = taken.insert((host, &route.path), name) {
                    let message = format!(
                        "host {host} with path {} leads to service {other} already; say other hosts or another path",
                        route.path
                    );
                    problems.add(span, &format!("services.{name}.routes"), message);
                }
            }
        }
    }
}

/// A path of the file, from the folder of the configuration if it is relative.
fn path(folder: &Path, text: &str) -> Result<PathBuf, String> {
    if text.is_empty() || text.contains('\0') {
        Err("write the name of a file".to_owned())
    } else {
        Ok(folder.join(text))
    }
}

#[cfg(test)]
mod messages;
#[cfg(test)]
mod tests;
