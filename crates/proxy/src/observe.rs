//! Who watches requests: logs, metrics by attributes of the request, traces.
//!
//! The data path counts what has a fixed set of labels by itself. Whatever wants more of a request than that
//! implements [`Observer`]. Without one, a request pays for a comparison when it begins and one when it ends.

use std::fmt;
use std::net::SocketAddr;
use std::sync::OnceLock;

use http::{HeaderMap, Method, Request, Uri, Version};
use http_body::Body;
use plimsoll_meter::Tick;
use plimsoll_wire::{Answer, ProxyError};

use crate::body::RequestBody;
use crate::connection::ClientConnection;

/// Watches requests as they come. One observer serves all workers of a sidecar.
///
/// It runs on the worker that carries the request, between reading its head and handing it on, so it must neither
/// wait nor take a lock that another thread holds for long.
pub trait Observer: fmt::Debug + Send + Sync {
    /// A request has arrived. What is returned hears of its end; `None` is not interested in this one.
    fn arrived(&self, arrival: &mut Arrival<'_>) -> Option<Box<dyn Observed>>;
}

/// What an observer keeps of one request.
pub trait Observed: fmt::Debug {
    /// The request has ended: its answer has, or its client has gone, or it has been given up.
    fn ended(self: Box<Self>, end: &RequestEnd);
}

/// A request whose head has been read, before anything is changed in it.
#[derive(Debug)]
pub struct Arrival<'a> {
    /// The worker that carries it, counted from 0.
    pub worker: usize,
    /// When its head had been read.
    pub at: Tick,
    /// The client.
    pub remote: SocketAddr,
    /// Whether the client's bytes are encrypted.
    pub is_tls: bool,
    /// Its method.
    pub method: &'a Method,
    /// What it asks for; of HTTP/2 with the authority, of HTTP/1 as it was written.
    pub uri: &'a Uri,
    /// The version of HTTP that the client speaks.
    pub version: Version,
    /// Its fields. What is changed here goes to the application: this is where trace context is handed on.
    pub headers: &'a mut HeaderMap,
    /// How long its body is to be, in bytes; `None` if nobody has said so.
    pub content_length: Option<u64>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestEnd {
    /// Who decided its answer.
    pub answer: Answer,
    /// Why it failed, if it did.
    pub error: Option<ProxyError>,
    /// The status of its answer, also of one that broke off later: never that of an interim answer (1xx). 499 if
    /// the client left before there was one.
    pub status: u16,
    /// How much of its body was taken from the client, in bytes.
    pub request_bytes: u64,
    /// How much of the answer's body was handed to the HTTP library, in bytes. 0 of what follows a 101.
    pub response_bytes: u64,
    /// When it left the queue, or could have run at once; `None` if it never ran.
    pub running_since: Option<Tick>,
    /// When it ended.
    pub ended: Tick,
}

/// A place for the one observer, which is empty without.
#[derive(Debug, Default)]
pub(crate) struct Watch(OnceLock<std::sync::Arc<dyn Observer>>);

impl Watch {
    /// From now on `observer` is told, unless another has been before.
    pub(crate) fn begin(&self, observer: std::sync::Arc<dyn Observer>) {
        // Only a second call fails, and then the first observer stays.
        drop(self.0.set(observer));
    }

    /// Shows a request to the observer, if there is one.
    pub(crate) fn arrived(
        &self,
        connection: &ClientConnection,
        request: &mut Request<RequestBody>,
        at: Tick,
    ) -> Option<Box<dyn Observed>> {
        let observer = self.0.get()?;
        let content_length = request.body().size_hint().exact();
        let (method, uri) = (request.method().clone(), request.uri().clone());
        observer.arrived(&mut Arrival {
            worker: connection.worker().index,
            at,
            remote: connection.remote(),
            is_tls: connection.is_tls(),
            method: &method,
            uri: &uri,
            version: request.version(),
            headers: request.headers_mut(),
            content_length,
        })
    }
}
