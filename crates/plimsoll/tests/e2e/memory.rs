//! Bodies of any size pass through little memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use plimsoll_lab::backend::Running;
use tokio::task::JoinHandle;

use crate::harness::app::{self, App};
use crate::harness::http1::{self, Client};
use crate::harness::sidecar::Sidecar;
use crate::harness::{h2c, soon, status_kib};

/// How much passes, in bytes. `PLIMSOLL_E2E_FULL` asks for more than a test that is run often should take.
fn total() -> usize {
    let full = std::env::var_os("PLIMSOLL_E2E_FULL").is_some();
    if full { 1 << 30 } else { 1 << 27 }
}

/// The most that the process may have occupied besides the program itself, in KiB.
pub(crate) const PEAK_KIB_MAX: u64 = 10_000;

/// What one connection that waits may cost besides, in KiB: the buffers of both its sides.
const WAITING_KIB_MAX: u64 = 150;

/// The most memory of its own that a process has occupied since it is watched: without the pages of the program and its
/// libraries, which are many times larger in a build for tests than in what ships.
pub(crate) struct Peak {
    pid: u32,
    kib: Arc<AtomicU64>,
    watching: JoinHandle<()>,
}

impl Peak {
    /// The kernel keeps the greatest of all resident pages together only, so it is looked at often.
    pub(crate) fn watch(pid: u32) -> Self {
        const PERIOD: Duration = Duration::from_millis(2);
        let kib = Arc::new(AtomicU64::new(own_kib(pid)));
        let seen = Arc::clone(&kib);
        let watching = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(PERIOD);
            loop {
                ticks.tick().await;
                seen.fetch_max(own_kib(pid), Ordering::Relaxed);
            }
        });
        Self { pid, kib, watching }
    }

    /// So far, in KiB.
    pub(crate) fn kib(&self) -> u64 {
        own_kib(self.pid).max(self.kib.load(Ordering::Relaxed))
    }
}

impl Drop for Peak {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

/// What a process occupies besides files, in KiB.
fn own_kib(pid: u32) -> u64 {
    status_kib(pid, "RssAnon")
}

async fn download(sidecar: &Sidecar) {
    let mut client = Client::connect(sidecar.data).await;
    client
        .send(http1::get(&format!("/bytes/{}", total())))
        .await;
    assert_eq!(client.head().await.0, 200);
    let (mut stream, mut left) = (client.0, total());
    while left > 0 {
        let part = stream.some().await;
        assert!(!part.is_empty(), "{left} bytes are missing");
        left -= part.len();
    }
}

async fn download_over_h2c(sidecar: &Sidecar) {
    let mut client = h2c::Client::connect(sidecar.data).await;
    let request = h2c::request("GET", &format!("/bytes/{}", total()));
    let pending = client.begin(request, true).await.unwrap();
    let mut stream = soon("the head", pending.response)
        .await
        .unwrap()
        .into_body();
    let mut left = total();
    while left > 0 {
        let part = h2c::part(&mut stream).await;
        left -= part.expect("more is to come").unwrap().len();
    }
}

#[tokio::test]
async fn what_is_downloaded_passes_through_little_memory() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &[]).await;
    let peak = Peak::watch(sidecar.pid());
    download(&sidecar).await;
    download_over_h2c(&sidecar).await;
    let peak = peak.kib();
    assert!(peak < PEAK_KIB_MAX, "{peak} KiB");
}

#[tokio::test]
async fn what_is_uploaded_passes_through_little_memory() {
    let app = App::scripted(|mut wire, _| async move {
        wire.head().await.unwrap();
        let mut left = total();
        while left > 0 {
            let part = wire.some().await;
            assert!(!part.is_empty(), "{left} bytes are missing");
            left -= part.len();
        }
        wire.send(app::OK).await;
    })
    .await;
    let sidecar = Sidecar::start(app.addr, &[]).await;
    let peak = Peak::watch(sidecar.pid());
    let mut client = Client::connect(sidecar.data).await;
    let length = total();
    client
        .send(format!(
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n"
        ))
        .await;
    // Parts of an odd size meet every edge of the buffers.
    let part = vec![b'u'; 100_003];
    let mut left = length;
    while left > 0 {
        let now = left.min(part.len());
        client.send(&part[..now]).await;
        left -= now;
    }
    assert_eq!(client.answer().await.text(), "ok\n");
    let peak = peak.kib();
    assert!(peak < PEAK_KIB_MAX, "{peak} KiB");
}

/// Clients that ask for much and read nothing.
async fn waiting(sidecar: &Sidecar, app: &Running, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = Client::connect(sidecar.data).await;
        client.send(http1::get("/bytes/1000000000")).await;
        clients.push(client);
    }
    crate::harness::eventually("all are asked", async || {
        (app.requests() == count as u64).then_some(())
    })
    .await;
    clients
}

#[tokio::test]
async fn clients_that_do_not_read_cost_their_buffers_and_no_more() {
    const WAITING: usize = 40;
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &[]).await;
    let peak = Peak::watch(sidecar.pid());
    let clients = waiting(&sidecar, &app, WAITING).await;
    // By the time that this has passed, the others have long filled what they fill.
    download(&sidecar).await;
    let peak = peak.kib();
    let limit = PEAK_KIB_MAX + WAITING as u64 * WAITING_KIB_MAX;
    assert!(peak < limit, "{peak} KiB of {limit}");
    assert_eq!(sidecar.scrape().await.in_flight(), WAITING as f64);
    drop(clients);
}
