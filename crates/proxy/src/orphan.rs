//! Requests that outlive their clients, if that is asked for.
//!
//! When a client goes away, its request ends, and so does its connection to the application. But many an application
//! goes on with it and notices nothing, so that it works on more requests than it may. With
//! [`SidecarOptions::hold_cancelled`](crate::SidecarOptions) the connection stays, and the slot is held until the
//! application has answered or closed: at most until the total time limit of the request, if there is one.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};

use http::Request;
use http_body::Body;
use hyper::body::Incoming;
use plimsoll_limit::Slot;
use plimsoll_meter::{Clock, Tick};
use tokio::sync::{mpsc, oneshot};

use crate::body::RequestBody;
use crate::clock::MonotonicClock;
use crate::deadline::Limit;
use crate::forward::{Answered, Carrier, NoAnswer, forward};
use crate::refusal::Refusal;
use crate::upstream::Pool;
use crate::worker::Worker;

/// A slot that is held as long as anything of its request goes on.
#[derive(Debug, Clone)]
pub(crate) struct SharedSlot {
    _slot: Rc<Slot>,
    clock: MonotonicClock,
    /// When the request ends in any case.
    until: Option<Tick>,
    orphanage: Orphanage,
}

/// An answer without a client.
#[derive(Debug)]
struct Orphan {
    incoming: Incoming,
    carrier: Carrier,
    slot: SharedSlot,
}

/// Where a worker takes answers that have lost their clients. There are never more of them than slots.
///
/// A task receives them, because they are sent when a body is dropped, which may be when no task can be begun any more.
#[derive(Debug, Clone)]
pub(crate) struct Orphanage(mpsc::UnboundedSender<Orphan>);

impl Orphanage {
    /// Must be called on the runtime of a worker.
    pub(crate) fn open() -> Self {
        let (sender, mut orphans) = mpsc::unbounded_channel();
        tokio::task::spawn_local(async move {
            while let Some(orphan) = orphans.recv().await {
                tokio::task::spawn_local(Orphan::finish(orphan));
            }
        });
        Self(sender)
    }

    /// Holds `slot` for a request, at most until `until`.
    pub(crate) fn share(
        &self,
        slot: Slot,
        clock: MonotonicClock,
        until: Option<Tick>,
    ) -> SharedSlot {
        SharedSlot {
            _slot: Rc::new(slot),
            clock,
            until,
            orphanage: self.clone(),
        }
    }
}

impl SharedSlot {
    /// What comes of `work`; `None` if it takes too long.
    async fn within<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        match self.until {
            None => Some(work.await),
            Some(until) => {
                let until = self.clock.instant(until);
                tokio::time::timeout_at(until, work).await.ok()
            }
        }
    }

    /// Sends a request as [`forward`] does, and goes on with it when the future is dropped.
    pub(crate) async fn forward(
        self,
        worker: &Rc<Worker>,
        pool: &Rc<Pool>,
        outgoing: &mut Option<Request<RequestBody>>,
        now: Tick,
    ) -> Result<Answered, NoAnswer> {
        let (sender, receiver) = oneshot::channel();
        let (worker, pool) = (Rc::clone(worker), Rc::clone(pool));
        let mut outgoing = outgoing.take();
        tokio::task::spawn_local(async move {
            let going = Box::pin(forward(&worker, &pool, &mut outgoing, now));
            let Some(came) = self.within(going).await else {
                return;
            };
            // Back comes what nobody waits for any more.
            if let Err(Ok((response, carrier))) = sender.send(came) {
                let orphan = Orphan {
                    incoming: response.into_body(),
                    carrier,
                    slot: self,
                };
                orphan.finish().await;
            }
        });
        receiver.await.unwrap_or_else(|_given_up| {
            let refusal = Refusal::timeout(Limit::Total.as_str());
            Err(NoAnswer::from(refusal))
        })
    }

    /// The client of an answer has gone before its end.
    pub(crate) fn adopt(self, incoming: Incoming, carrier: Carrier) {
        let orphanage = self.orphanage.clone();
        // The worker is ending if nobody receives it.
        let _ending = orphanage.0.send(Orphan {
            incoming,
            carrier,
            slot: self,
        });
    }
}

impl Orphan {
    /// Takes the rest of the answer.
    async fn finish(mut self) {
        let (incoming, carrier) = (&mut self.incoming, &mut self.carrier);
        let rest = std::future::poll_fn(|cx| {
            loop {
                let mut incoming = Pin::new(&mut *incoming);
                let frame = match carrier {
                    Carrier::Inline { lease, .. } => lease
                        .connection
                        .drive(cx, |cx| incoming.as_mut().poll_frame(cx)),
                    _ => incoming.poll_frame(cx),
                };
                match ready!(frame) {
                    Some(Ok(_)) => {}
                    Some(Err(_)) => return Poll::Ready(false),
                    None => return Poll::Ready(true),
                }
            }
        });
        let is_whole = self.slot.within(rest).await;
        if let (Some(true), Carrier::Inline { lease, .. }) = (is_whole, self.carrier) {
            lease.put_back(self.slot.clock.now());
        }
    }
}
