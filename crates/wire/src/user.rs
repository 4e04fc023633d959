//! What users read of their requests: the metrics that Knative's queue-proxy has on its port for users.
//!
//! There are two generations of names. Those of today come from OpenTelemetry's conventions (`http.server.…`,
//! `kn.serving.…`); those before Knative 1.19 begin with `revision_`. Both are written side by side from the same
//! counts, so that dashboards of either go on working.
//!
//! Some label values come from requests. Whoever counts must bound them: see [`RequestLabels`].

mod attributes;
mod text;

use std::collections::BTreeMap;

use crate::proxy_error::ProxyError;

pub use attributes::Attribute;
pub(crate) use attributes::Attributes;
#[cfg(feature = "otlp")]
pub(crate) use attributes::{of_client, of_invocation, of_server};
pub use text::render_user;

/// Nanoseconds in a millisecond.
const MILLI: u64 = 1_000_000;

/// Bounds of durations in nanoseconds, rising: those that either generation of names has.
pub const DURATION_BOUNDS: [u64; 32] = {
    let mut bounds = [
        5, 10, 20, 25, 40, 50, 60, 75, 80, 100, 150, 200, 250, 300, 350, 400, 450, 500, 600, 700,
        750, 800, 900, 1_000, 2_000, 2_500, 5_000, 7_500, 10_000, 20_000, 50_000, 100_000,
    ];
    let mut index = 0;
    while index < bounds.len() {
        bounds[index] *= MILLI;
        index += 1;
    }
    bounds
};

/// Bounds of durations in today's families, in nanoseconds: OpenTelemetry's advice for HTTP.
pub const TODAY_DURATION_BOUNDS: [u64; 14] = [
    5 * MILLI,
    10 * MILLI,
    25 * MILLI,
    50 * MILLI,
    75 * MILLI,
    100 * MILLI,
    250 * MILLI,
    500 * MILLI,
    750 * MILLI,
    1_000 * MILLI,
    2_500 * MILLI,
    5_000 * MILLI,
    7_500 * MILLI,
    10_000 * MILLI,
];

/// Bounds of durations in the older families, in milliseconds.
pub const OLDER_DURATION_BOUNDS: [u64; 26] = [
    5, 10, 20, 40, 60, 80, 100, 150, 200, 250, 300, 350, 400, 450, 500, 600, 700, 800, 900, 1_000,
    2_000, 5_000, 10_000, 20_000, 50_000, 100_000,
];

/// Bounds of sizes in bytes, rising: OpenTelemetry's default.
pub const SIZE_BOUNDS: [u64; 15] = [
    0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1_000, 2_500, 5_000, 7_500, 10_000,
];

/// Whose requests they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Revision {
    /// What the service is called in traces and metrics that are pushed; `None` is the first of the names below that
    /// there is, from the service on.
    pub service_name: Option<String>,
    /// The namespace.
    pub namespace: String,
    /// The service; empty if nobody has said.
    pub service: String,
    /// The configuration.
    pub configuration: String,
    /// The revision.
    pub revision: String,
    /// The pod, or whatever the instance is called.
    pub pod: String,
}

/// Which traffic target a request came by, as Knative's ingress says it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum RouteTag {
    /// The ingress says nothing: tags are off.
    #[default]
    Disabled,
    /// By none: the default route.
    Default,
    /// By a tag and by the default route, which contradict each other.
    Undefined,
    /// By this tag.
    Tag(String),
    /// By a tag that is not shown, because there are too many.
    Other,
}

/// The labels by which requests are told apart.
///
/// Method, version and scheme are bounded by themselves. Address and tag are what clients say; whoever counts keeps
/// a bounded number of them and calls the rest [`OTHER`] and [`RouteTag::Other`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RequestLabels {
    /// The method, [`OTHER_METHOD`] if it is not a usual one.
    pub method: &'static str,
    /// The status of the answer.
    pub status: u16,
    /// The version of HTTP: `1.0`, `1.1` or `2`.
    pub protocol_version: &'static str,
    /// Whom the client asked for: the host in `Host`, without the port.
    pub server_address: String,
    /// The port in `Host`, unless it is the scheme's own.
    pub server_port: Option<u16>,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The traffic target.
    pub route_tag: RouteTag,
    /// Why the application's part failed.
    pub error: Option<ProxyError>,
}

/// Counts of observations by size: one to each bound, and one for what is above them all. Not cumulative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// The counts.
    pub counts: Vec<u64>,
    /// The sum of all observations, in the unit of the bounds.
    pub sum: u64,
}

/// The requests with one set of labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestSeries {
    /// Their labels.
    pub labels: RequestLabels,
    /// From arrival to the end of the answer, by [`DURATION_BOUNDS`].
    pub duration: Distribution,
    /// From leaving the queue to the end of the answer, of those that ran, by [`DURATION_BOUNDS`].
    pub app_duration: Distribution,
    /// Bodies of requests, by [`SIZE_BOUNDS`].
    pub request_size: Distribution,
    /// Bodies of requests that ran, by [`SIZE_BOUNDS`].
    pub app_request_size: Distribution,
    /// Bodies of answers, by [`SIZE_BOUNDS`].
    pub response_size: Distribution,
}

/// One reading of everything that users see.
#[derive(Debug, Clone, Copy)]
pub struct UserSample<'a> {
    /// Whose requests they are.
    pub revision: &'a Revision,
    /// The version of the program.
    pub version: &'a str,
    /// Requests that run or wait; `None` without a concurrency limit.
    pub queue_depth: Option<u64>,
    /// Where the application listens: address and port.
    pub app: (&'a str, u16),
    /// The requests that have ended, each set of labels once.
    pub requests: &'a [RequestSeries],
    /// What the system says of the process; `None` if it says nothing, or if it is not wanted.
    pub process: Option<ProcessSample>,
}

/// What the system says of the process, by the names of Prometheus's client libraries (`process_…`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProcessSample {
    /// Processor time since the start, of user and system, in seconds.
    pub cpu_seconds: f64,
    /// Memory that is in use, in bytes.
    pub resident_bytes: u64,
    /// Addresses that are in use, in bytes.
    pub virtual_bytes: u64,
    /// File descriptors that are open.
    pub open_descriptors: u64,
    /// File descriptors that may be open; `None` is no limit.
    pub descriptors_max: Option<u64>,
    /// When it was started, in seconds since 1970.
    pub started_at_seconds: f64,
}

/// What an address is called when there are too many.
pub const OTHER: &str = "other";

/// What OpenTelemetry calls a method that is none of the usual ones.
pub const OTHER_METHOD: &str = "_OTHER";

/// What Knative calls the container of the sidecar.
pub const CONTAINER: &str = "queue-proxy";

// === impl RouteTag ===

impl RouteTag {
    /// The value of `kn.route.tag`.
    #[must_use]
    pub fn today(&self) -> &str {
        match self {
            Self::Disabled => "kn:disabled",
            Self::Default => "kn:default",
            Self::Undefined => "kn:undefined",
            Self::Tag(tag) => tag,
            Self::Other => "kn:other",
        }
    }

    /// The value of `route_tag` in the older families.
    #[must_use]
    pub fn older(&self) -> &str {
        match self {
            Self::Disabled => "DISABLED",
            Self::Default => "DEFAULT",
            Self::Undefined => "UNDEFINED",
            Self::Tag(tag) => tag,
            Self::Other => "OTHER",
        }
    }
}

// === impl Distribution ===

impl Distribution {
    /// Nothing has been observed, by as many bounds.
    #[must_use]
    pub fn empty(bounds: usize) -> Self {
        Self {
            counts: vec![0; bounds + 1],
            sum: 0,
        }
    }

    /// All observations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds the observations of `other`, which has the same bounds. The sum wraps, as counters do.
    pub fn add(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(&other.counts) {
            *sum += count;
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// The same observations by fewer bounds: those of `few`, each of which is one of `bounds`.
    #[must_use]
    pub fn by(&self, bounds: &[u64], few: &[u64]) -> Self {
        let mut by_few = Self::empty(few.len());
        by_few.sum = self.sum;
        for (index, count) in self.counts.iter().enumerate() {
            let at = (bounds.get(index)).map_or(few.len(), |bound| {
                few.partition_point(|larger| larger < bound)
            });
            by_few.counts[at] += count;
        }
        by_few
    }

    /// Counts up to each bound, the last of all.
    #[must_use]
    pub fn cumulative(&self) -> Vec<u64> {
        let running = self.counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        running.collect()
    }
}

// === impl RequestSeries ===

impl RequestSeries {
    /// No request with these labels has ended.
    #[must_use]
    pub fn empty(labels: RequestLabels) -> Self {
        let durations = Distribution::empty(DURATION_BOUNDS.len());
        let sizes = Distribution::empty(SIZE_BOUNDS.len());
        Self {
            labels,
            duration: durations.clone(),
            app_duration: durations,
            request_size: sizes.clone(),
            app_request_size: sizes.clone(),
            response_size: sizes,
        }
    }

    /// Adds other requests to these, whatever their labels.
    pub fn add(&mut self, other: &Self) {
        self.duration.add(&other.duration);
        self.app_duration.add(&other.app_duration);
        self.request_size.add(&other.request_size);
        self.app_request_size.add(&other.app_request_size);
        self.response_size.add(&other.response_size);
    }
}

// === impl UserSample ===

impl UserSample<'_> {
    /// The requests as `key` tells them apart, in the order of the keys. Linear in series.
    pub(crate) fn grouped<K: Ord>(
        &self,
        key: impl Fn(&RequestLabels) -> K,
    ) -> BTreeMap<K, RequestSeries> {
        let mut groups = BTreeMap::new();
        for series in self.requests {
            groups
                .entry(key(&series.labels))
                .and_modify(|group: &mut RequestSeries| group.add(series))
                .or_insert_with(|| series.clone());
        }
        groups
    }

    /// Facts about the instance by OpenTelemetry's names; those that nobody has said are left out.
    pub(crate) fn resource(&self) -> Attributes {
        self.revision.resource(self.version)
    }
}

// === impl Revision ===

impl Revision {
    /// Facts about the instance, which runs `version`, by OpenTelemetry's names; those that nobody has said are left out.
    #[must_use]
    pub fn resource(&self, version: &str) -> Vec<(&'static str, Attribute)> {
        let Self {
            service_name,
            namespace,
            service,
            configuration,
            revision,
            pod,
        } = self;
        let names = [service, configuration, revision, pod].into_iter();
        let mut names = service_name.iter().chain(names);
        let name = names.find(|name| !name.is_empty());
        let all = [
            ("service.name", name.map_or("", String::as_str)),
            ("service.instance.id", pod),
            ("service.version", version),
            ("container.name", CONTAINER),
            ("k8s.namespace.name", namespace),
            ("k8s.pod.name", pod),
            ("kn.service.name", service),
            ("kn.configuration.name", configuration),
            ("kn.revision.name", revision),
        ];
        let told = all.into_iter().filter(|(_, value)| !value.is_empty());
        told.map(|(name, value)| (name, value.into())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_generations_bounds_are_among_those_of_the_counts() {
        assert!(DURATION_BOUNDS.is_sorted_by(|left, right| left < right));
        for bound in TODAY_DURATION_BOUNDS {
            assert!(DURATION_BOUNDS.contains(&bound), "{bound}");
        }
        for bound in OLDER_DURATION_BOUNDS {
            assert!(DURATION_BOUNDS.contains(&(bound * MILLI)), "{bound}");
        }
    }

    #[test]
    fn fewer_bounds_keep_every_observation_at_or_above_its_place() {
        let many = Distribution {
            counts: vec![1, 2, 4, 8],
            sum: 77,
        };
        let few = many.by(&[10, 20, 30], &[20]);
        assert_eq!(few.counts, [3, 12]);
        assert_eq!(few.sum, 77);
        assert_eq!(few.cumulative(), [3, 15]);
        assert_eq!(few.count(), many.count());
        assert_eq!(many.by(&[10, 20, 30], &[10, 20, 30]), many);
    }

    #[test]
    fn route_tags_have_the_words_of_either_generation() {
        let tag = RouteTag::Tag("blue".to_owned());
        for (tag, today, older) in [
            (RouteTag::Disabled, "kn:disabled", "DISABLED"),
            (RouteTag::Default, "kn:default", "DEFAULT"),
            (RouteTag::Undefined, "kn:undefined", "UNDEFINED"),
            (tag, "blue", "blue"),
            (RouteTag::Other, "kn:other", "OTHER"),
        ] {
            assert_eq!((tag.today(), tag.older()), (today, older));
        }
    }
}
