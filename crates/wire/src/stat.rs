//! The protobuf message that Knative's autoscaler scrapes from every instance.
//!
//! Knative calls it `metrics.Stat`. The message is small and frozen, so the
//! struct is written by hand with `prost`'s field tags. A build script and a
//! copy of the `.proto` file would add a step and say nothing more.

use prost::Message;

use crate::reporter::ReporterSample;

/// The media type of an encoded [`Stat`].
///
/// The autoscaler compares the header with `!=`, so a parameter such as
/// `; charset=utf-8` would make it refuse the answer.
pub const CONTENT_TYPE: &str = "application/protobuf";

/// Longest pod name accepted, in bytes: the limit of a DNS subdomain, which is
/// what Kubernetes allows for the name of a pod.
pub const MAX_POD_NAME_BYTES: usize = 253;

/// How much of an answer the autoscaler reads, in bytes.
///
/// It reads no further and then decodes what it has, so a longer message is
/// lost. A [`Stat`] made by [`Stat::new`] always fits.
pub const MAX_STAT_BYTES: usize = 336;

/// The pod name is longer than [`MAX_POD_NAME_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("pod name is {bytes} bytes long, at most {MAX_POD_NAME_BYTES} are accepted")]
pub struct PodNameTooLong {
    /// The length that was refused, in bytes.
    pub bytes: usize,
}

/// What one instance measured over its last period, as Knative reads it.
///
/// It is a proto3 message: a field that is zero is left out of the encoding.
/// An instance that has not reported yet is therefore a pod name alone.
#[derive(Clone, PartialEq, Message)]
pub struct Stat {
    /// Name of the pod that measured.
    #[prost(string, tag = "1")]
    pub pod_name: String,
    /// Time-weighted mean of the requests in flight, queued ones included.
    #[prost(double, tag = "2")]
    pub average_concurrent_requests: f64,
    /// The part of `average_concurrent_requests` that came through an activator.
    #[prost(double, tag = "3")]
    pub average_proxied_concurrent_requests: f64,
    /// Requests that began, per second.
    #[prost(double, tag = "4")]
    pub request_count: f64,
    /// The part of `request_count` that came through an activator.
    #[prost(double, tag = "5")]
    pub proxied_request_count: f64,
    /// Seconds since the instance began to report.
    #[prost(double, tag = "6")]
    pub process_uptime: f64,
    /// Seconds since the Unix epoch. An instance never sets it: the autoscaler
    /// stamps what it receives. It is here so that a decoder keeps it.
    #[prost(int64, tag = "7")]
    pub timestamp: i64,
}

impl Stat {
    /// Builds the message for one instance.
    ///
    /// # Errors
    ///
    /// [`PodNameTooLong`] if `pod_name` is over [`MAX_POD_NAME_BYTES`]: the
    /// autoscaler would cut the message and fail to decode it.
    pub fn new(pod_name: &str, sample: &ReporterSample) -> Result<Self, PodNameTooLong> {
        check_pod_name(pod_name)?;
        Ok(Self::with_checked_name(pod_name, sample))
    }

    /// Builds the message from a name whose length was checked before.
    pub(crate) fn with_checked_name(pod_name: &str, sample: &ReporterSample) -> Self {
        Self {
            pod_name: pod_name.to_owned(),
            average_concurrent_requests: sample.average_concurrency,
            average_proxied_concurrent_requests: sample.average_proxied_concurrency,
            request_count: sample.requests_per_second,
            proxied_request_count: sample.proxied_requests_per_second,
            process_uptime: sample.uptime_seconds,
            timestamp: 0,
        }
    }

    /// The bytes that go on the wire, at most [`MAX_STAT_BYTES`] of them if
    /// the message was made by [`Stat::new`].
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    /// Reads a message back. Unknown fields are skipped.
    ///
    /// # Errors
    ///
    /// [`prost::DecodeError`] if the bytes are not a whole `Stat`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, prost::DecodeError> {
        Self::decode(bytes)
    }
}

/// Checks that a [`Stat`] with this name fits into [`MAX_STAT_BYTES`].
pub(crate) const fn check_pod_name(pod_name: &str) -> Result<(), PodNameTooLong> {
    let bytes = pod_name.len();
    if bytes > MAX_POD_NAME_BYTES {
        return Err(PodNameTooLong { bytes });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POD: &str = "helloworld-go-00001-deployment-8ff587cc9-7g9gc";

    fn bytes_of(sample: &ReporterSample) -> Vec<u8> {
        Stat::new(POD, sample).unwrap().to_bytes()
    }

    fn expected(parts: &[(u8, f64)]) -> Vec<u8> {
        let mut bytes = vec![0x0a, 0x2e];
        bytes.extend_from_slice(POD.as_bytes());
        for (tag, value) in parts {
            bytes.push(*tag);
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn before_the_first_report_only_the_name_is_sent() {
        assert_eq!(bytes_of(&ReporterSample::default()), expected(&[]));
    }

    #[test]
    fn an_idle_instance_is_57_bytes() {
        let idle = ReporterSample {
            uptime_seconds: 12.5,
            ..ReporterSample::default()
        };
        let bytes = bytes_of(&idle);
        assert_eq!(bytes, expected(&[(0x31, 12.5)]));
        assert_eq!(bytes.len(), 57);
    }

    #[test]
    fn every_field_has_its_own_tag_in_order() {
        let busy = ReporterSample {
            requests_per_second: 5.0,
            proxied_requests_per_second: 4.0,
            average_concurrency: 3.0,
            average_proxied_concurrency: 2.0,
            uptime_seconds: 2937.12,
        };
        assert_eq!(
            bytes_of(&busy),
            expected(&[
                (0x11, 3.0),
                (0x19, 2.0),
                (0x21, 5.0),
                (0x29, 4.0),
                (0x31, 2937.12),
            ])
        );
    }

    #[test]
    fn the_scrape_client_gets_the_same_stat_back() {
        let sent = Stat {
            pod_name: "test-revision-1234".to_owned(),
            average_concurrent_requests: 3.0,
            average_proxied_concurrent_requests: 2.0,
            request_count: 5.0,
            proxied_request_count: 4.0,
            process_uptime: 2937.12,
            timestamp: 0,
        };
        assert_eq!(read_as_autoscaler(&sent.to_bytes()).unwrap(), sent);
    }

    #[test]
    fn a_name_of_600_bytes_would_be_cut_and_is_refused() {
        let name = "a".repeat(600);
        let by_hand = Stat {
            pod_name: name.clone(),
            ..Stat::default()
        };
        assert!(read_as_autoscaler(&by_hand.to_bytes()).is_err());
        let refused = Stat::new(&name, &ReporterSample::default()).unwrap_err();
        assert_eq!(refused, PodNameTooLong { bytes: 600 });
        assert_eq!(
            refused.to_string(),
            "pod name is 600 bytes long, at most 253 are accepted"
        );
    }

    #[test]
    fn the_longest_legal_name_is_accepted_and_one_more_is_not() {
        let sample = ReporterSample::default();
        assert!(Stat::new(&"a".repeat(253), &sample).is_ok());
        assert!(Stat::new(&"a".repeat(254), &sample).is_err());
    }

    #[test]
    fn the_name_does_not_change_from_report_to_report() {
        for (count, proxied) in [(10.0, 1.0), (20.0, 2.0), (30.0, 3.0)] {
            let sample = ReporterSample {
                requests_per_second: count,
                proxied_requests_per_second: proxied,
                ..ReporterSample::default()
            };
            let stat = Stat::from_bytes(&bytes_of(&sample)).unwrap();
            assert_eq!(stat.pod_name, POD);
            assert_eq!(stat.request_count, count);
            assert_eq!(stat.proxied_request_count, proxied);
        }
    }

    /// The autoscaler's reader: no more than `MAX_STAT_BYTES`, then decode.
    fn read_as_autoscaler(body: &[u8]) -> Result<Stat, prost::DecodeError> {
        Stat::from_bytes(&body[..body.len().min(MAX_STAT_BYTES)])
    }

    proptest! {
        #[test]
        fn every_stat_fits_and_survives_the_round_trip(
            name in "[a-z0-9.-]{0,253}",
            values in prop::array::uniform5(prop::num::f64::ANY),
        ) {
            let sample = ReporterSample {
                requests_per_second: values[0],
                proxied_requests_per_second: values[1],
                average_concurrency: values[2],
                average_proxied_concurrency: values[3],
                uptime_seconds: values[4],
            };
            let stat = Stat::new(&name, &sample).unwrap();
            let bytes = stat.to_bytes();
            prop_assert!(bytes.len() <= MAX_STAT_BYTES);
            let read = read_as_autoscaler(&bytes).unwrap();
            prop_assert_eq!(read.timestamp, 0);
            // Compared as bytes, because NaN differs from itself.
            prop_assert_eq!(read.to_bytes(), bytes);
        }

        #[test]
        fn a_name_over_the_limit_is_refused(extra in 1_usize..1000) {
            let name = "a".repeat(MAX_POD_NAME_BYTES + extra);
            let refused = Stat::new(&name, &ReporterSample::default());
            prop_assert_eq!(refused, Err(PodNameTooLong { bytes: name.len() }));
        }
    }
}
