//! The clients of one run: requests when they are due, and what became of each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::field::REQUEST_PATH;
use super::scene::Scene;
use crate::load::Failure;
use crate::load::http1::Http1;
use crate::scenario::{Arrivals, Fate};

/// How much longer a client waits than its requests may take, so that gateways can say so themselves.
const GRACE: Duration = Duration::from_millis(250);

/// What gateways answer when an endpoint was not in time.
const GATEWAY_TIMEOUT: u16 = 504;

/// Connections to one gateway. Those that are free are used again, the last one first.
struct Pool {
    addr: SocketAddr,
    free: Mutex<Vec<Http1>>,
}

/// All there is to send a request.
struct Clients {
    scene: Arc<Scene>,
    pools: Vec<Pool>,
    /// Requests of a closed loop that have been sent.
    sent: AtomicUsize,
}

/// What a client has heard, and when.
struct Heard {
    result: Result<u16, Failure>,
    at: Instant,
}

/// Sends the requests of the scene to its gateways, and returns when the last of them is over.
pub(super) async fn play(scene: &Arc<Scene>, gateways: &[SocketAddr]) {
    let clients = Arc::new(Clients {
        scene: Arc::clone(scene),
        pools: gateways.iter().copied().map(Pool::new).collect(),
        sent: AtomicUsize::new(0),
    });
    let mut tasks = JoinSet::new();
    if let Arrivals::Closed { clients: count, .. } = scene.scenario.arrivals {
        for client in 0..count {
            tasks.spawn(Arc::clone(&clients).keep_sending(client % gateways.len()));
        }
    } else {
        let moments = scene
            .scenario
            .arrivals
            .moments(scene.scenario.seconds, scene.seed);
        for (number, second) in (0..).zip(moments) {
            let due = scene.moment(second);
            scene.until(due).await;
            tasks.spawn(Arc::clone(&clients).send(scene.gateway(number), number, due));
            while tasks.try_join_next().is_some() {}
        }
    }
    while tasks.join_next().await.is_some() {}
}

impl Clients {
    /// A client of a closed loop.
    async fn keep_sending(self: Arc<Self>, gateway: usize) {
        let Arrivals::Closed { requests, .. } = self.scene.scenario.arrivals else {
            return;
        };
        while self.scene.now() < self.scene.scenario.seconds {
            let number = self.sent.fetch_add(1, Ordering::Relaxed);
            if number >= requests {
                return;
            }
            let due = Instant::now();
            Arc::clone(&self).send(gateway, number as u64, due).await;
        }
    }

    /// One request that was due at a moment. Latency counts from there, whatever this process was late by.
    async fn send(self: Arc<Self>, gateway: usize, number: u64, due: Instant) {
        self.scene.sent(gateway);
        let seconds = self.scene.scenario.client.timeout_ms / 1000.0;
        let limit = self.scene.real(Duration::from_secs_f64(seconds));
        let answer = self.pools[gateway].call(number);
        let heard = tokio::time::timeout_at((due + limit + GRACE).into(), answer).await;
        let (fate, at) = match heard {
            Err(_) => (Fate::TimedOut, due + limit),
            Ok(heard) => (heard.fate(due + limit), heard.at),
        };
        self.scene.ended(gateway, number, due, at, fate);
    }
}

impl Heard {
    fn fate(&self, latest: Instant) -> Fate {
        match self.result {
            Ok(GATEWAY_TIMEOUT) => Fate::TimedOut,
            Ok(200..300) if self.at <= latest => Fate::Answered,
            Ok(200..300) => Fate::TimedOut,
            Ok(_) | Err(_) => Fate::Failed,
        }
    }
}

impl Pool {
    fn new(addr: SocketAddr) -> Self {
        Self {
            addr,
            free: Mutex::default(),
        }
    }

    async fn call(&self, number: u64) -> Heard {
        let request = format!("GET {REQUEST_PATH}{number} HTTP/1.1\r\nhost: lab\r\n\r\n");
        let request = Bytes::from(request);
        // Not in the `match`: a guard there would live through the await.
        let free = self.free.lock().pop();
        if let Some(mut lane) = free {
            lane.repeat(request.clone());
            let heard = self.call_on(lane).await;
            // The gateway may have closed it just before: then nobody has seen the request, and every client sends
            // it again (RFC 9112, section 9.3.1).
            if !matches!(heard.result, Err(Failure::Closed)) {
                return heard;
            }
        }
        match Http1::open(self.addr, request).await {
            Ok(lane) => self.call_on(lane).await,
            Err(_) => Heard {
                result: Err(Failure::Connect),
                at: Instant::now(),
            },
        }
    }

    async fn call_on(&self, mut lane: Http1) -> Heard {
        let result = lane.call().await;
        let at = lane.head_at().unwrap_or_else(Instant::now);
        let result = match result {
            // What has begun and breaks off is not sent again.
            Err(Failure::Closed) if lane.head_at().is_some() => Err(Failure::Protocol),
            other => other,
        };
        if result.is_ok() {
            self.free.lock().push(lane);
        }
        Heard { result, at }
    }
}
