//! Metrics and traces as collectors take them: the messages of OTLP 1.x, and how they travel.
//!
//! The messages are written by hand with `prost`'s field tags, as [`crate::Stat`] is: they are frozen, and of their
//! hundreds of fields some sixty are used. Rejected: the exporter of OpenTelemetry's SDK. It wants metrics counted by its
//! own instruments, a second time, brings its own client for HTTP or gRPC, and adds megabytes to the program. Tests read
//! everything with the decoders that collectors are built from.

mod message;
mod metrics;
mod trace;

pub use metrics::metrics_request;
pub use trace::{Span, SpanKind, trace_request};

use prost::Message as _;

use self::message::PartialSuccessOf;

/// The media type of OTLP over HTTP.
pub const CONTENT_TYPE: &str = "application/x-protobuf";

/// The path of metrics over HTTP, unless an endpoint has one of its own.
pub const METRICS_PATH: &str = "/v1/metrics";

/// The path of traces over HTTP, unless an endpoint has one of its own.
pub const TRACES_PATH: &str = "/v1/traces";

/// The method of metrics over gRPC.
pub const METRICS_METHOD: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// The method of traces over gRPC.
pub const TRACES_METHOD: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// What a collector did not take of a request that it accepted otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialSuccess {
    /// How many spans or data points.
    pub rejected: i64,
    /// Why, in the collector's words.
    pub message: String,
}

/// Reads a collector's answer to either kind of request; `None` if it took everything, or if it is not readable, which
/// is no reason to send again.
#[must_use]
pub fn partial_success(answer: &[u8]) -> Option<PartialSuccess> {
    let answer = PartialSuccessOf::decode(answer).ok()?;
    let partial = answer.partial_success?;
    (partial.rejected > 0 || !partial.error_message.is_empty()).then_some(PartialSuccess {
        rejected: partial.rejected,
        message: partial.error_message,
    })
}

/// A message as gRPC frames it: not compressed, its length, itself.
#[must_use]
pub fn grpc_frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a batch is bounded far below 4 GiB");
    let mut frame = Vec::with_capacity(5 + message.len());
    frame.push(0);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(message);
    frame
}

/// The message in a frame of gRPC; `None` if it is not whole or compressed.
#[must_use]
pub fn grpc_message(frame: &[u8]) -> Option<&[u8]> {
    let (head, message) = frame.split_first_chunk::<5>()?;
    let [0, length @ ..] = head else { return None };
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    message.get(..length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_grpc_read_back_and_halves_do_not() {
        let frame = grpc_frame(b"abc");
        assert_eq!(frame, b"\0\0\0\0\x03abc");
        assert_eq!(grpc_message(&frame), Some(&b"abc"[..]));
        for wrong in [&frame[..7], &frame[..4], b"\x01\0\0\0\0", b""] {
            assert_eq!(grpc_message(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_collector_that_took_everything_has_nothing_to_say() {
        for whole in [&b""[..], b"\x0a\x00", b"\xff\xff"] {
            assert_eq!(partial_success(whole), None, "{whole:?}");
        }
        let expected = PartialSuccess {
            rejected: 3,
            message: "no".to_owned(),
        };
        assert_eq!(
            partial_success(b"\x0a\x06\x08\x03\x12\x02no"),
            Some(expected)
        );
    }
}
