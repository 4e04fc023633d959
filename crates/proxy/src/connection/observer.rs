//! What a client's connection sees of the bytes that pass, and its answer to a malformed head.

use std::rc::Rc;

use bytes::Bytes;
use plimsoll_meter::Clock;
use plimsoll_wire::Answer;

use crate::connection::{ClientConnection, Usage};
use crate::headers;
use crate::io::WireObserver;
use crate::refusal::Refusal;

/// The connection's eyes on its socket.
#[derive(Debug)]
pub(super) struct Observer(pub(super) Rc<ClientConnection>);

impl WireObserver for Observer {
    fn on_read(&self) {
        self.0.usage.set(Usage::Used);
        if self.0.in_flight.get() == 0 {
            self.0.head_begun.set(true);
        }
    }

    fn on_own_answer(&self, bytes: &[u8]) -> Option<Bytes> {
        self.0.own_answer(bytes)
    }

    fn on_flush(&self) {
        if self.0.in_flight.get() == 0 {
            self.0.unflushed.set(false);
        }
    }
}

impl ClientConnection {
    /// What is sent in place of the HTTP library's own answer to a malformed head.
    fn own_answer(&self, bytes: &[u8]) -> Option<Bytes> {
        let idle = self.in_flight.get() == 0 && !self.unflushed.get() && !self.is_http2();
        if !idle {
            return None;
        }
        let (status, reason, cause) = match bytes.get(..12)? {
            b"HTTP/1.1 400" => (400, "Bad Request", "malformed HTTP request"),
            b"HTTP/1.1 414" => (414, "URI Too Long", "the request target is too long"),
            b"HTTP/1.1 431" => (
                431,
                "Request Header Fields Too Large",
                headers::HEAD_TOO_LARGE,
            ),
            _ => return None,
        };
        let refusal = Refusal::bad_request(http::StatusCode::from_u16(status).ok()?, cause);
        self.worker.stats().count_request(Answer::InvalidRequest);
        self.worker.stats().count_error(refusal.error);
        let now = self.worker.shared.clock.now();
        self.log_failure(refusal.answer, refusal.error, cause, now);
        let proxy_status = refusal.proxy_status();
        let proxy_status = proxy_status.to_str().unwrap_or_default();
        Some(Bytes::from(format!(
            "HTTP/1.1 {status} {reason}\r\ncontent-type: text/plain; charset=utf-8\r\nx-content-type-options: nosniff\r\n\
             content-length: {}\r\nproxy-status: {proxy_status}\r\nconnection: close\r\n\r\n{}",
            refusal.text.len(),
            refusal.text
        )))
    }
}
