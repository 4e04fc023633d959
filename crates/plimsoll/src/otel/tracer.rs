//! Which requests are traced, and what is kept of them until they are sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Method, Version};
use plimsoll_meter::Tick;
use plimsoll_proxy::{Arrival, RequestEnd};
use tokio::sync::mpsc::Sender;

use super::context::{self, Context, Passed};
use super::ids::Ids;

/// The longest path, host or agent that is told, in bytes; the rest is cut off.
const TEXT_BYTES_MAX: usize = 256;

/// Which traces are recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Sampling {
    /// All, whatever clients say.
    Always,
    /// None, whatever clients say.
    Never,
    /// As the client's span is; of those without one, this share.
    Share(f64),
}

/// Decides about requests, and hands on those that have ended.
#[derive(Debug)]
pub(crate) struct Tracer {
    sampling: Sampling,
    has_queue: bool,
    ids: Ids,
    sender: Sender<Finished>,
    dropped: Arc<AtomicU64>,
}

/// A request that is traced.
#[derive(Debug, Clone)]
pub(crate) struct Begun {
    pub(super) trace_id: [u8; 16],
    pub(super) parent: Option<[u8; 8]>,
    pub(super) state: String,
    /// The spans: the whole, what this process does, the wait for a slot, the application's part.
    pub(super) server: [u8; 8],
    pub(super) proxy: [u8; 8],
    pub(super) wait: Option<[u8; 8]>,
    pub(super) client: [u8; 8],
    pub(super) began: Tick,
    pub(super) method: Method,
    pub(super) is_tls: bool,
    pub(super) version: Version,
    pub(super) remote: SocketAddr,
    pub(super) path: String,
    pub(super) host: String,
    pub(super) agent: String,
}

/// A traced request that has ended.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) begun: Box<Begun>,
    pub(super) end: RequestEnd,
}

impl Sampling {
    /// Knative's `samplingRate`: 1 and more is all, 0 and less is none.
    pub(crate) fn of_rate(rate: f64) -> Self {
        if rate >= 1.0 {
            Self::Always
        } else if rate > 0.0 {
            Self::Share(rate)
        } else {
            Self::Never
        }
    }

    fn takes(self, context: Option<&Context>, trace_id: [u8; 16]) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Share(share) => match context.and_then(|context| context.is_sampled) {
                Some(is_sampled) => is_sampled,
                None => is_in_share(trace_id, share),
            },
        }
    }
}

/// OpenTelemetry's rule, by which everybody with the same share takes the same traces.
fn is_in_share(trace_id: [u8; 16], share: f64) -> bool {
    let [.., a, b, c, d, e, f, g, h] = trace_id;
    let bits = u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1;
    (bits as f64) < share * (1_u64 << 63) as f64
}

impl Tracer {
    pub(super) fn new(sampling: Sampling, has_queue: bool, sender: Sender<Finished>) -> Self {
        Self {
            sampling,
            has_queue,
            ids: Ids::new(),
            sender,
            dropped: Arc::default(),
        }
    }

    /// Requests that were traced for nothing, because too many waited to be sent.
    pub(super) fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }

    /// A request has arrived. The application is told the trace in any case, so that it decides as we do.
    pub(crate) fn arrived(&self, arrival: &mut Arrival<'_>) -> Option<Box<Begun>> {
        let context = Context::of(arrival.headers);
        let trace_id = (context.as_ref()).map_or_else(|| self.ids.trace(), |known| known.trace_id);
        let is_sampled = self.sampling.takes(context.as_ref(), trace_id);
        let (client, proxy) = (self.ids.span(), self.ids.span());
        let passed = Passed {
            trace_id,
            span: client,
            parent: proxy,
            is_sampled,
        };
        context::pass_on(arrival.headers, &passed);
        is_sampled.then(|| {
            let field = |name| {
                arrival
                    .headers
                    .get(name)
                    .map_or(&b""[..], |value| value.as_bytes())
            };
            let host = arrival
                .uri
                .authority()
                .map(|authority| authority.as_str().as_bytes());
            Box::new(Begun {
                trace_id,
                parent: context.map(|context| context.parent),
                state: context::state(arrival.headers),
                server: self.ids.span(),
                proxy,
                wait: self.has_queue.then(|| self.ids.span()),
                client,
                began: arrival.at,
                method: arrival.method.clone(),
                is_tls: arrival.is_tls,
                version: arrival.version,
                remote: arrival.remote,
                path: told(arrival.uri.path().as_bytes()),
                host: told(host.unwrap_or_else(|| field(http::header::HOST))),
                agent: told(field(http::header::USER_AGENT)),
            })
        })
    }

    /// It has ended. Never waits.
    pub(crate) fn ended(&self, begun: Box<Begun>, end: &RequestEnd) {
        let finished = Finished { begun, end: *end };
        if self.sender.try_send(finished).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// As much of a text as is told.
fn told(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(TEXT_BYTES_MAX)]);
    text.into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_knatives() {
        for (rate, expected) in [
            (-1.0, Sampling::Never),
            (0.0, Sampling::Never),
            (0.1, Sampling::Share(0.1)),
            (1.0, Sampling::Always),
            (7.0, Sampling::Always),
            (f64::NAN, Sampling::Never),
        ] {
            assert_eq!(Sampling::of_rate(rate), expected, "{rate}");
        }
    }

    #[test]
    fn the_clients_decision_counts_unless_all_or_none_are_wanted() {
        let context = |is_sampled| {
            Some(Context {
                trace_id: [1; 16],
                parent: [1; 8],
                is_sampled,
            })
        };
        // The last eight bytes decide: 0x01… is in the first hundredth, 0xff… is not.
        let (low, high) = ([1; 16], [255; 16]);
        for (sampling, context, trace_id, expected) in [
            (Sampling::Always, context(Some(false)), high, true),
            (Sampling::Never, context(Some(true)), low, false),
            (Sampling::Share(0.5), context(Some(true)), high, true),
            (Sampling::Share(0.5), context(Some(false)), low, false),
            (Sampling::Share(0.5), context(None), low, true),
            (Sampling::Share(0.5), None, low, true),
            (Sampling::Share(0.5), None, high, false),
        ] {
            let taken = sampling.takes(context.as_ref(), trace_id);
            assert_eq!(taken, expected, "{sampling:?} {context:?}");
        }
    }

    #[test]
    fn about_the_share_of_new_traces_is_taken() {
        let ids = Ids::new();
        let taken = (0..20_000)
            .filter(|_| is_in_share(ids.trace(), 0.25))
            .count();
        assert!((4_500..5_500).contains(&taken), "{taken}");
    }
}
