//! The five gauges of Knative's Prometheus reporter.
//!
//! Knative's queue-proxy served them from v0.5 to v1.5, and dashboards and
//! alerts still name them. Names, labels and help texts are therefore a
//! contract, also where today's naming rules would choose otherwise.

use crate::prometheus::{Descriptor, Exposition};
use crate::stat::{PodNameTooLong, Stat, check_pod_name};

const REQUESTS_PER_SECOND: Descriptor =
    Descriptor::gauge("queue_requests_per_second", "Number of requests per second");
const PROXIED_OPERATIONS_PER_SECOND: Descriptor = Descriptor::gauge(
    "queue_proxied_operations_per_second",
    "Number of proxied requests per second",
);
const AVERAGE_CONCURRENT_REQUESTS: Descriptor = Descriptor::gauge(
    "queue_average_concurrent_requests",
    "Number of requests currently being handled by this pod",
);
const AVERAGE_PROXIED_CONCURRENT_REQUESTS: Descriptor = Descriptor::gauge(
    "queue_average_proxied_concurrent_requests",
    "Number of proxied requests currently being handled by this pod",
);
const PROCESS_UPTIME: Descriptor = Descriptor::gauge(
    "process_uptime",
    "The number of seconds that the process has been up",
);

/// A part of an [`Identity`] is missing or too long.
///
/// The texts of the first four are those of Knative's reporter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The namespace is empty.
    #[error("namespace must not be empty")]
    EmptyNamespace,
    /// The configuration is empty.
    #[error("config must not be empty")]
    EmptyConfiguration,
    /// The revision is empty.
    #[error("revision must not be empty")]
    EmptyRevision,
    /// The pod is empty.
    #[error("pod must not be empty")]
    EmptyPod,
    /// The pod name would not fit into a [`Stat`].
    #[error(transparent)]
    PodNameTooLong(#[from] PodNameTooLong),
}

/// Which instance the numbers belong to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    namespace: String,
    configuration: String,
    revision: String,
    pod: String,
}

/// What the reporter shows. The default, all zero, is what an instance shows
/// before its first report.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ReporterSample {
    /// Requests that began, per second: the count of the last period over the
    /// length of that period.
    pub requests_per_second: f64,
    /// Requests that began and came through an activator, per second.
    pub proxied_requests_per_second: f64,
    /// Time-weighted mean of the requests in flight over the last period.
    pub average_concurrency: f64,
    /// The part of `average_concurrency` that came through an activator.
    pub average_proxied_concurrency: f64,
    /// Seconds since reporting began.
    pub uptime_seconds: f64,
}

// === impl Identity ===

impl Identity {
    /// Names an instance.
    ///
    /// # Errors
    ///
    /// The first part that is empty, in the order of the arguments; then a pod
    /// name longer than [`crate::stat::MAX_POD_NAME_BYTES`].
    pub fn new(
        namespace: impl Into<String>,
        configuration: impl Into<String>,
        revision: impl Into<String>,
        pod: impl Into<String>,
    ) -> Result<Self, IdentityError> {
        let identity = Self {
            namespace: namespace.into(),
            configuration: configuration.into(),
            revision: revision.into(),
            pod: pod.into(),
        };
        identity.check()?;
        Ok(identity)
    }

    fn check(&self) -> Result<(), IdentityError> {
        if self.namespace.is_empty() {
            return Err(IdentityError::EmptyNamespace);
        }
        if self.configuration.is_empty() {
            return Err(IdentityError::EmptyConfiguration);
        }
        if self.revision.is_empty() {
            return Err(IdentityError::EmptyRevision);
        }
        if self.pod.is_empty() {
            return Err(IdentityError::EmptyPod);
        }
        check_pod_name(&self.pod)?;
        Ok(())
    }

    /// The Kubernetes namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The Knative configuration.
    #[must_use]
    pub fn configuration(&self) -> &str {
        &self.configuration
    }

    /// The Knative revision.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// The pod, at most [`crate::stat::MAX_POD_NAME_BYTES`] bytes.
    #[must_use]
    pub fn pod(&self) -> &str {
        &self.pod
    }

    /// The protobuf message for this instance. It cannot fail, because the
    /// length of the pod name was checked by [`Identity::new`].
    #[must_use]
    pub fn stat(&self, sample: &ReporterSample) -> Stat {
        Stat::with_checked_name(&self.pod, sample)
    }

    fn labels(&self) -> [(&str, &str); 4] {
        [
            ("destination_namespace", &self.namespace),
            ("destination_configuration", &self.configuration),
            ("destination_revision", &self.revision),
            ("destination_pod", &self.pod),
        ]
    }
}

/// Writes the five gauges.
pub(crate) fn write(text: &mut Exposition, identity: &Identity, sample: &ReporterSample) {
    let labels = identity.labels();
    let gauges = [
        (&REQUESTS_PER_SECOND, sample.requests_per_second),
        (
            &PROXIED_OPERATIONS_PER_SECOND,
            sample.proxied_requests_per_second,
        ),
        (&AVERAGE_CONCURRENT_REQUESTS, sample.average_concurrency),
        (
            &AVERAGE_PROXIED_CONCURRENT_REQUESTS,
            sample.average_proxied_concurrency,
        ),
        (&PROCESS_UPTIME, sample.uptime_seconds),
    ];
    for (descriptor, value) in gauges {
        text.family(descriptor).number(&labels, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prometheus::TextFormat;

    fn identity() -> Identity {
        Identity::new(
            "default",
            "helloworld-go",
            "helloworld-go-00001",
            "helloworld-go-00001-deployment-8ff587cc9-7g9gc",
        )
        .unwrap()
    }

    fn text(sample: &ReporterSample) -> String {
        let mut text = Exposition::new(TextFormat::Prometheus);
        write(&mut text, &identity(), sample);
        text.finish().unwrap()
    }

    #[test]
    fn each_empty_part_has_its_own_error_in_order() {
        for (parts, expected) in [
            (["", "", "", ""], "namespace must not be empty"),
            (["n", "", "", ""], "config must not be empty"),
            (["n", "c", "", ""], "revision must not be empty"),
            (["n", "c", "r", ""], "pod must not be empty"),
        ] {
            let [namespace, configuration, revision, pod] = parts;
            let error = Identity::new(namespace, configuration, revision, pod).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
        let long = Identity::new("n", "c", "r", "p".repeat(254)).unwrap_err();
        assert_eq!(
            long,
            IdentityError::PodNameTooLong(PodNameTooLong { bytes: 254 })
        );
    }

    #[test]
    fn both_reporters_show_the_same_sample() {
        // requests/s, proxied/s, average, proxied average
        for (requests, proxied, average, proxied_average) in [
            (39.0, 0.0, 3.0, 0.0),
            (3.9, 1.5, 3.0, 2.0),
            (19.5, 7.5, 3.0, 2.0),
            (39.0, 15.0, 3.0, 2.0),
        ] {
            assert_both_reporters_show(&ReporterSample {
                requests_per_second: requests,
                proxied_requests_per_second: proxied,
                average_concurrency: average,
                average_proxied_concurrency: proxied_average,
                uptime_seconds: 5.25,
            });
        }
    }

    /// Asserts that the text and the protobuf message have the sample's values.
    fn assert_both_reporters_show(sample: &ReporterSample) {
        let text = text(sample);
        let stat = identity().stat(sample);
        for (name, value, in_stat) in [
            (
                "queue_requests_per_second",
                sample.requests_per_second,
                stat.request_count,
            ),
            (
                "queue_proxied_operations_per_second",
                sample.proxied_requests_per_second,
                stat.proxied_request_count,
            ),
            (
                "queue_average_concurrent_requests",
                sample.average_concurrency,
                stat.average_concurrent_requests,
            ),
            (
                "queue_average_proxied_concurrent_requests",
                sample.average_proxied_concurrency,
                stat.average_proxied_concurrent_requests,
            ),
            ("process_uptime", sample.uptime_seconds, stat.process_uptime),
        ] {
            assert_eq!(in_stat, value, "{name}");
            let line = text
                .lines()
                .find(|line| line.starts_with(&format!("{name}{{")))
                .unwrap();
            let (_, shown) = line.rsplit_once(' ').unwrap();
            assert_eq!(shown.parse::<f64>().unwrap(), value, "{name}");
        }
    }

    #[test]
    fn all_gauges_are_zero_before_the_first_report() {
        let labels = "{destination_namespace=\"default\",\
            destination_configuration=\"helloworld-go\",\
            destination_revision=\"helloworld-go-00001\",\
            destination_pod=\"helloworld-go-00001-deployment-8ff587cc9-7g9gc\"}";
        let text = text(&ReporterSample::default());
        assert_eq!(text.matches(labels).count(), 5);
        insta::assert_snapshot!(text.replace(labels, "{}"), @r"
        # HELP queue_requests_per_second Number of requests per second
        # TYPE queue_requests_per_second gauge
        queue_requests_per_second{} 0
        # HELP queue_proxied_operations_per_second Number of proxied requests per second
        # TYPE queue_proxied_operations_per_second gauge
        queue_proxied_operations_per_second{} 0
        # HELP queue_average_concurrent_requests Number of requests currently being handled by this pod
        # TYPE queue_average_concurrent_requests gauge
        queue_average_concurrent_requests{} 0
        # HELP queue_average_proxied_concurrent_requests Number of proxied requests currently being handled by this pod
        # TYPE queue_average_proxied_concurrent_requests gauge
        queue_average_proxied_concurrent_requests{} 0
        # HELP process_uptime The number of seconds that the process has been up
        # TYPE process_uptime gauge
        process_uptime{} 0
        ");
    }
}
