//! Applications behind the sidecar: the lab's, and scripts for what no good application does.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use plimsoll_lab::backend::{Backend, Running};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::wire::Wire;

/// The lab's backend, on a thread of its own.
pub(crate) fn lab() -> Running {
    Backend::bind(([127, 0, 0, 1], 0).into())
        .and_then(|backend| backend.spawn(None))
        .expect("a loopback port and a thread are to be had")
}

/// An application that plays a script on each connection. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl App {
    /// Plays `script` on each connection; it is told how many came before.
    pub(crate) async fn scripted<F>(script: impl Fn(Wire, usize) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::on(free_listener().await, script)
    }

    /// The same on a listener of one's own.
    pub(crate) fn on<F>(
        listener: TcpListener,
        script: impl Fn(Wire, usize) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let addr = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            let mut conversations = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = count.fetch_add(1, Ordering::Relaxed);
                conversations.spawn(script(Wire::new(stream), number));
            }
        });
        Self {
            addr,
            connections,
            task,
        }
    }

    /// Answers every request of every connection, whatever it is, with these bytes.
    pub(crate) async fn answering(answer: &'static str) -> Self {
        Self::scripted(move |mut wire, _| async move {
            while request(&mut wire).await.is_some() {
                wire.send(answer).await;
            }
        })
        .await
    }

    /// Answers 200 to each request once `gate` has a permit for it.
    pub(crate) async fn gated(gate: &Arc<Semaphore>) -> Self {
        let gate = Arc::clone(gate);
        Self::scripted(move |mut wire, _| {
            let gate = Arc::clone(&gate);
            async move {
                while request(&mut wire).await.is_some() {
                    gate.acquire().await.unwrap().forget();
                    if wire.try_send(OK).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The shortest answer with a body.
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n";

/// A whole request: head and body as `Content-Length` says; `None` when the client has ended.
pub(crate) async fn request(wire: &mut Wire) -> Option<(String, Vec<u8>)> {
    let head = wire.head().await?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.trim().parse().unwrap());
    let body = wire.up_to(length).await;
    (body.len() == length).then_some((head, body))
}

pub(crate) async fn free_listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// An address where nothing listens, and nothing of another test ever will: its host is this call's own.
pub(crate) async fn nowhere() -> SocketAddr {
    static CALLS: AtomicUsize = AtomicUsize::new(1);
    let [.., high, low] = CALLS.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let listener = TcpListener::bind((Ipv4Addr::new(127, 1, high, low), 0)).await;
    listener.unwrap().local_addr().unwrap()
}
