//! Knative's own settings, under their names: of all services in `[knative]`, and of one in `[services.NAME.knative]`.
//!
//! The first has what stands in the ConfigMap `config-autoscaler`. The second has the annotations of a revision, and
//! settings of the ConfigMap for this service alone. They are checked as Knative checks them, and what it would ignore
//! is told as well: nobody else looks at a file on a desk.

use std::num::NonZeroU32;

use plimsoll_scale::ScaleConfig;
use plimsoll_scale::knative::{Annotations, CLASS, ConfigMap, KnativeError, PREFIX, resolve};

use super::section::{Entry, Section};
use crate::run::plan::MAX_DEFAULT;

/// The setting of the ConfigMap, and with [`PREFIX`] the annotation, of the most replicas.
const MAX_SCALE: &str = "max-scale";

/// What stands in the ConfigMap, for all services.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    /// Whether there is one.
    is_given: bool,
    /// Nothing if something is wrong with it.
    entries: Vec<Entry>,
}

impl Cluster {
    /// Reads `[knative]`.
    pub(super) fn read(root: &Section<'_>) -> Self {
        let Some(table) = root.table("knative") else {
            return Self::default();
        };
        let entries = table.entries();
        let annotation = entries.iter().find(|entry| is_annotation(entry));
        if let Some(entry) = annotation {
            let message = "is an annotation; write it in [services.NAME.knative]";
            table.wrong_key(&entry.name, message);
        }
        let is_right = config_map(&table, &entries).is_some() && annotation.is_none();
        Self {
            is_given: true,
            entries: if is_right { entries } else { Vec::new() },
        }
    }

    /// How a service is scaled whose replicas have so many slots, as Knative's settings say; `None` if there are none.
    ///
    /// The number of replicas has the bound of this program unless they give one: a machine is no cluster.
    pub(super) fn scale(
        &self,
        service: &Section<'_>,
        concurrency: Option<NonZeroU32>,
    ) -> Option<ScaleConfig> {
        let table = service.table("knative");
        if table.is_none() && !self.is_given {
            return None;
        }
        let section = table.as_ref().unwrap_or(service);
        let own = table.as_ref().map(Section::entries).unwrap_or_default();
        let (annotated, own): (Vec<_>, Vec<_>) = own.into_iter().partition(is_annotation);
        let is_own = |entry: &&Entry| own.iter().any(|other| other.name == entry.name);
        let general = self.entries.iter().filter(|entry| !is_own(entry)).cloned();
        let entries: Vec<Entry> = general.chain(own.iter().cloned()).collect();
        let cluster = config_map(section, &entries)?;
        let annotations = match Annotations::parse(pairs(&annotated), &cluster) {
            Ok(annotations) => annotations,
            Err(error) => {
                tell(section, &error);
                return None;
            }
        };
        check_known(section, &annotations);
        let slots = concurrency.map_or(0, NonZeroU32::get);
        let mut scale = resolve(&cluster, &annotations, slots, true);
        let names_max = |entry: &Entry| entry.name == MAX_SCALE;
        if annotations.max_scale.is_none() && !entries.iter().any(names_max) {
            let least = scale.min.max(scale.initial).max(scale.activation_scale);
            scale.max = NonZeroU32::new(MAX_DEFAULT.max(least));
        }
        Some(scale)
    }
}

fn is_annotation(entry: &Entry) -> bool {
    entry.name.starts_with(PREFIX)
}

fn pairs(entries: &[Entry]) -> impl Iterator<Item = (&str, &str)> {
    entries
        .iter()
        .map(|entry| (entry.name.as_str(), entry.value.as_str()))
}

/// The ConfigMap of these entries; `None` if something is wrong with it, which is told.
fn config_map(section: &Section<'_>, entries: &[Entry]) -> Option<ConfigMap> {
    let settings = entries
        .iter()
        .filter(|entry| !is_annotation(entry))
        .cloned();
    let settings: Vec<Entry> = settings.collect();
    match ConfigMap::parse(pairs(&settings)) {
        Ok(map) => {
            for name in &map.unknown {
                let accepted = ConfigMap::KEYS.join(", ");
                let message =
                    format!("there is no such key; accepted of config-autoscaler: {accepted}");
                section.wrong_key(name, message);
            }
            Some(map).filter(|map| map.unknown.is_empty())
        }
        Err(error) => {
            tell(section, &error);
            None
        }
    }
}

/// What Knative passes over without a word, and what is not to be had here.
fn check_known(section: &Section<'_>, annotations: &Annotations) {
    for name in &annotations.unknown {
        let accepted = Annotations::NAMES.join(", ");
        let message = format!("there is no such annotation; accepted after {PREFIX}: {accepted}");
        section.wrong_key(name, message);
    }
    if let Some(class) = annotations.class.as_deref().filter(|class| *class != CLASS) {
        let message = format!("`{class}` scales by something else than requests; write {CLASS}");
        section.wrong_value(&format!("{PREFIX}class"), message);
    }
}

/// Tells each mistake where the first of the settings stands that it is about.
fn tell(section: &Section<'_>, error: &KnativeError) {
    for mistake in error.mistakes() {
        let here = mistake.keys.iter().find(|key| section.has(key));
        match here {
            Some(key) => section.wrong_value(key, mistake.message.clone()),
            None => section.wrong(mistake.message.clone()),
        }
    }
}
