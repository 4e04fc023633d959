//! What is kept of traced requests until they are sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Method, Version};
use plimsoll_meter::Tick;
use plimsoll_proxy::{Arrival, RequestEnd};
use tokio::sync::mpsc::Sender;

use super::context::{self, Context, Passed};
use super::ids::Ids;
use super::sampling::Sampling;

/// The longest path, host or agent that is told, in bytes; the rest is cut off.
const TEXT_BYTES_MAX: usize = 256;

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
