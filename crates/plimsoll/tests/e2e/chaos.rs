//! Many clients that do whatever clients do, all at once: in the end nothing is held.

use std::time::Duration;

use crate::harness::app;
use crate::harness::http1::{self, Client};
use crate::harness::sidecar::Sidecar;
use crate::harness::{h2c, soon};

/// What a client asks for. Each answers in its own way, or not at all.
const PATHS: [&str; 10] = [
    "/",
    "/bytes/300000",
    "/bytes/50000000",
    "/delay/20",
    "/stream/20/5",
    "/early/503",
    "/early/404?close=1",
    "/lie/5000",
    "/hang",
    "/trailers",
];

/// A sequence of numbers that is the same in every run (Marsaglia's xorshift).
#[derive(Debug, Clone, Copy)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }
}

/// Asks once over HTTP/1 and leaves in one of many ways.
async fn http1_client(sidecar: std::net::SocketAddr, mut dice: Dice) {
    let mut client = Client::connect(sidecar).await;
    let path = PATHS[dice.below(PATHS.len())];
    let request = match dice.below(4) {
        0 => http1::get(path),
        1 => http1::post(path, "body"),
        2 => http1::post(path, &"b".repeat(dice.below(2_000_000))),
        _ => format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\npart"),
    };
    let patience = Duration::from_millis(dice.below(60) as u64);
    let asked = async {
        // The sidecar may have answered and gone before all is sent.
        if client.0.try_send(request).await.is_ok() {
            while !client.0.some().await.is_empty() {}
        }
    };
    let gave_up = tokio::time::timeout(patience, asked).await.is_err();
    if gave_up && dice.below(2) == 0 {
        client.0.reset();
    }
}

/// Asks a few times at once over HTTP/2 and resets what is not there in time.
async fn h2c_client(sidecar: std::net::SocketAddr, mut dice: Dice) {
    let mut client = h2c::Client::connect(sidecar).await;
    let mut streams = tokio::task::JoinSet::new();
    for _ in 0..=dice.below(5) {
        let request = h2c::request("POST", PATHS[dice.below(PATHS.len())]);
        let Ok(pending) = client.begin(request, dice.below(2) == 0).await else {
            return;
        };
        let patience = Duration::from_millis(dice.below(60) as u64);
        streams.spawn(async move {
            // However it ends, both halves are dropped here.
            let h2c::Pending { response, body } = pending;
            let answer = tokio::time::timeout(patience, h2c::answer(response)).await;
            drop((answer.is_ok(), body));
        });
    }
    if dice.below(3) > 0 {
        while streams.join_next().await.is_some() {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_clients_do_nothing_is_held_in_the_end() {
    let app = app::lab();
    let limits = ["--concurrency", "20", "--queue", "50", "--timeout", "5s"];
    let sidecar = Sidecar::start(app.addr(), &[&limits[..], &["--workers", "2"]].concat()).await;
    for round in 0..10 {
        let mut clients = tokio::task::JoinSet::new();
        for number in 0..40 {
            let dice = Dice(0x9E37_79B9_7F4A_7C15 ^ (round * 1_000 + number + 1));
            clients.spawn(http1_client(sidecar.data, dice));
            if number % 4 == 0 {
                clients.spawn(h2c_client(sidecar.data, dice));
            }
        }
        while let Some(client) = soon("all clients leave", clients.join_next()).await {
            client.unwrap();
        }
    }
    let metrics = sidecar
        .scraped("nothing is held", |metrics| {
            metrics.in_flight() == 0.0 && metrics.value("plimsoll_connections_open") == 0.0
        })
        .await;
    assert_eq!(metrics.value("plimsoll_slots_in_use"), 0.0);
    assert_eq!(metrics.value("plimsoll_queue_depth"), 0.0);
    assert_eq!(metrics.requests("5xx", "internal_error"), 0.0);
    let counted = metrics.value("plimsoll_request_duration_seconds_count");
    // A head that is malformed is no request with a duration; nobody here sends one.
    assert_eq!(counted, metrics.requests_total());
    assert!(counted > 200.0, "{counted} requests");
    let mut client = Client::connect(sidecar.data).await;
    assert_eq!(client.get("/bytes/1").await.text(), "x");
}
