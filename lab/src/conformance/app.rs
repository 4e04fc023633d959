//! The application behind the implementation that is asked.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::script::{FIELD, Orders, PART};
use super::wire::{BYTES_MAX, fields};

/// Where it is asked whether it is ready.
pub const READY_PATH: &str = "/ready";

/// An application that answers each request with the head that it was sent, unless the request says otherwise. It ends
/// when it is dropped.
#[derive(Debug)]
pub struct App {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    reached: AtomicUsize,
    is_ready: AtomicBool,
    /// The head of the last question whether it is ready.
    asked: Mutex<String>,
    /// How many requests are held.
    held: watch::Sender<usize>,
    /// The most that were held at once.
    held_most: AtomicUsize,
    /// Whether requests that are to be held are held.
    is_holding: watch::Sender<bool>,
}

impl App {
    /// Listens on `address`.
    ///
    /// # Errors
    /// What the system says.
    pub async fn listen(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            reached: AtomicUsize::new(0),
            is_ready: AtomicBool::new(true),
            asked: Mutex::default(),
            held: watch::Sender::new(0),
            held_most: AtomicUsize::new(0),
            is_holding: watch::Sender::new(false),
        });
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that goes away has had enough.
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Ok(Self {
            address,
            state,
            task,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests have reached it. Questions whether it is ready are none.
    pub(super) fn reached(&self) -> usize {
        self.state.reached.load(Ordering::SeqCst)
    }

    /// Says from now on whether it is ready.
    pub(super) fn set_ready(&self, is_ready: bool) {
        self.state.is_ready.store(is_ready, Ordering::SeqCst);
    }

    /// The head of the last question whether it is ready.
    pub(super) fn asked(&self) -> String {
        self.state.asked.lock().clone()
    }

    /// Holds requests that are to be held, from now on.
    pub(super) fn hold(&self) {
        self.state.held_most.store(0, Ordering::SeqCst);
        self.state.is_holding.send_replace(true);
    }

    /// Lets all requests go that it holds, and holds no more. Gives the most that it held at once.
    pub(super) fn let_go(&self) -> usize {
        self.state.is_holding.send_replace(false);
        self.state.held_most.load(Ordering::SeqCst)
    }

    /// Waits until it holds `count` requests.
    pub(super) async fn holds(&self, count: usize) {
        let mut held = self.state.held.subscribe();
        // The sender is in the state, which is still there.
        drop(held.wait_for(|held| *held >= count).await);
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request: bodies are none of the rows'.
async fn serve(mut stream: TcpStream, state: Arc<State>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && (head.len() as u64) < BYTES_MAX {
        head.push(stream.read_u8().await?);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    if text.split(' ').nth(1) == Some(READY_PATH) {
        let is_ready = state.is_ready.load(Ordering::SeqCst);
        *state.asked.lock() = text;
        let status = if is_ready { 200 } else { 503 };
        return whole(&mut stream, status, b"").await;
    }
    state.reached.fetch_add(1, Ordering::SeqCst);
    let Some(orders) = fields(&text, FIELD).first().copied() else {
        return whole(&mut stream, 200, &head).await;
    };
    let orders = match Orders::parse(orders) {
        Ok(orders) => orders,
        Err(error) => return whole(&mut stream, 500, error.to_string().as_bytes()).await,
    };
    obey(&mut stream, orders, &state).await
}

async fn obey(stream: &mut TcpStream, orders: Orders, state: &State) -> io::Result<()> {
    if orders.interim {
        let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
        stream.write_all(hint.as_bytes()).await?;
    }
    sleep(orders.wait).await;
    let status = orders.status.unwrap_or(200);
    if orders.parts == 0 {
        return whole(stream, status, b"done").await;
    }
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    for number in 0..orders.parts {
        if number > 0 {
            if orders.hold {
                state.be_held().await;
            }
            sleep(orders.pause).await;
        }
        let chunk = format!("{:x}\r\n{PART}\r\n", PART.len());
        stream.write_all(chunk.as_bytes()).await?;
    }
    stream.write_all(b"0\r\n\r\n").await?;
    stream.shutdown().await
}

async fn whole(stream: &mut TcpStream, status: u16, body: &[u8]) -> io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    stream.shutdown().await
}

impl State {
    /// Waits until all requests are let go.
    async fn be_held(&self) {
        let mut is_holding = self.is_holding.subscribe();
        self.held.send_modify(|held| *held += 1);
        let held = *self.held.borrow();
        self.held_most.fetch_max(held, Ordering::SeqCst);
        // The sender is in here.
        drop(is_holding.wait_for(|is_holding| !is_holding).await);
        self.held.send_modify(|held| *held -= 1);
    }
}
