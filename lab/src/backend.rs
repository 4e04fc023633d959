//! A backend whose every answer is asked for in the path.
//!
//! | path | answer |
//! | --- | --- |
//! | `/` | 200, a short text |
//! | `/bytes/N` | 200, N bytes, `Content-Length` |
//! | `/delay/MS` | 200 after MS milliseconds |
//! | `/status/N` | status N (200–599) |
//! | `/echo` | the request body, streamed back as it comes, trailers too |
//! | `/trailers` | a body, then the trailers `x-lab-trailer` and `grpc-status` |
//! | `/stream/N/MS` | N pieces of 64 bytes, MS milliseconds apart, chunked |
//! | `/slow-length/N/MS` | the same with `Content-Length` |
//! | `/early/N[?close=1]` | status N at once; the request body is drained behind it, or the connection closed |
//! | `/lie/N` | `Content-Length: N`, half of it, then the connection closes (HTTP/2: the stream is reset) |
//! | `/hang` | nothing, ever |
//! | `/headers` | the request head as JSON: method, uri, path, query, version, headers as `[name, value]` pairs |
//! | `/hints` | 103 Early Hints, then 200 (HTTP/1.1; over HTTP/2 a 501) |
//! | other | 404 |
//!
//! HTTP/1.1 and HTTP/2 with prior knowledge share the port. Header names are reported in lower
//! case and in order of first appearance: hyper keeps no more.
//!
//! ```
//! use plimsoll_lab::backend::Backend;
//!
//! let backend = Backend::bind("127.0.0.1:0".parse()?)?.spawn(None)?;
//! let reply = std::net::TcpStream::connect(backend.addr()).and_then(|mut stream| {
//!     use std::io::{Read, Write};
//!     stream.write_all(b"GET /bytes/3 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")?;
//!     let mut reply = String::new();
//!     stream.read_to_string(&mut reply)?;
//!     Ok(reply)
//! })?;
//! assert!(reply.ends_with("\r\n\r\nxxx"));
//! assert_eq!(backend.requests(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod answer;
mod body;
mod hints;
mod route;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use self::hints::{HintIo, HintSwitch};

/// Connections the kernel may hold for us before we accept them: more than any burst of ours.
const BACKLOG: i32 = 4096;

/// A backend that is bound but not yet serving.
#[derive(Debug)]
pub struct Backend {
    listeners: Vec<TcpListener>,
    counts: Arc<Counts>,
}

/// A backend that serves on a thread of its own, until it is dropped.
#[derive(Debug)]
pub struct Running {
    addrs: Vec<SocketAddr>,
    counts: Arc<Counts>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    requests: AtomicU64,
}

impl Backend {
    /// Binds a listener; port 0 lets the kernel choose.
    ///
    /// # Errors
    /// Those of the socket calls: address in use, no permission.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        Self::bind_all(&[addr])
    }

    /// Binds a listener for each address: one backend that looks like several.
    ///
    /// # Errors
    /// Those of the socket calls, and `InvalidInput` for no address at all.
    pub fn bind_all(addrs: &[SocketAddr]) -> io::Result<Self> {
        if addrs.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no address"));
        }
        let listeners = addrs.iter().map(|addr| Self::listen(*addr));
        Ok(Self {
            listeners: listeners.collect::<io::Result<_>>()?,
            counts: Arc::default(),
        })
    }

    fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    }

    /// The address it is bound to; the first of several.
    ///
    /// # Errors
    /// Those of `getsockname`.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listeners[0].local_addr()
    }

    /// Serves until `stop` is ready. Open connections are then left to the runtime.
    ///
    /// # Errors
    /// If the listener cannot be registered with the runtime.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        // Ends the tasks when it is dropped.
        let mut accepting = tokio::task::JoinSet::new();
        for listener in self.listeners {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            accepting.spawn(accept(listener, Arc::clone(&self.counts)));
        }
        stop.await;
        Ok(())
    }

    /// Serves on a new thread with a single-threaded runtime, pinned to processor `cpu` if given.
    ///
    /// # Errors
    /// If the thread or its runtime cannot be made.
    pub fn spawn(self, cpu: Option<usize>) -> io::Result<Running> {
        let addrs = self.listeners.iter().map(TcpListener::local_addr);
        let addrs = addrs.collect::<io::Result<_>>()?;
        let counts = Arc::clone(&self.counts);
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = move || {
            if let Some(cpu) = cpu {
                crate::affinity::pin_current_thread(cpu)?;
            }
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(self.serve(async {
                // Ready when told to stop, and when nobody is left to tell us.
                stopped.await.ok();
            }))
        };
        let thread = std::thread::Builder::new()
            .name("lab-backend".into())
            .spawn(serve)?;
        Ok(Running {
            addrs,
            counts,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Running {
    /// The address it listens on; the first of several.
    pub fn addr(&self) -> SocketAddr {
        self.addrs[0]
    }

    /// All addresses it listens on.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// Requests whose head has arrived so far.
    pub fn requests(&self) -> u64 {
        self.counts.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Running {
    /// Stops the thread and waits for it: the port is free afterwards and connections are closed.
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Its result was of interest only while it served.
            drop(thread.join());
        }
    }
}

async fn accept(listener: tokio::net::TcpListener, counts: Arc<Counts>) {
    loop {
        // A failed accept concerns one connection, or a shortage of descriptors that ends
        // when a connection closes: neither is a reason to stop.
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve_connection(stream, Arc::clone(&counts)));
            }
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

async fn serve_connection(stream: TcpStream, counts: Arc<Counts>) {
    counts.connections.fetch_add(1, Ordering::Relaxed);
    // Without it a delay of up to 40 ms may stand before the last piece of a response.
    stream.set_nodelay(true).ok();
    let hints = HintSwitch::default();
    let io = TokioIo::new(HintIo::new(stream, hints.clone()));
    let service = service_fn(move |request| {
        counts.requests.fetch_add(1, Ordering::Relaxed);
        answer::answer(request, hints.clone())
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http2()
        // Never the bottleneck: no stream waits for another's window or for a slot.
        .max_concurrent_streams(10_000)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(16 << 20);
    // A broken connection is the client's to report; here it is half of the tests.
    builder.serve_connection(io, service).await.ok();
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    fn raw(backend: &Running, request: &str) -> String {
        let mut stream = TcpStream::connect(backend.addr()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).unwrap();
        String::from_utf8(reply).unwrap()
    }

    fn get(backend: &Running, path: &str) -> String {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: a\r\nX-Two: 2\r\nte: trailers\r\nconnection: close\r\n\r\n"
        );
        raw(backend, &request)
    }

    fn start() -> Running {
        let any = "127.0.0.1:0".parse().unwrap();
        Backend::bind(any).unwrap().spawn(None).unwrap()
    }

    #[test]
    fn answers_what_the_path_asks_for() {
        let backend = start();
        let table = [
            ("/", "200 OK", "\r\nplimsoll-lab\n"),
            ("/bytes/5", "200 OK", "\r\n\r\nxxxxx"),
            ("/bytes/0", "200 OK", "\r\n\r\n"),
            ("/delay/1", "200 OK", "late\n"),
            ("/status/503", "503 Service Unavailable", "503\n"),
            ("/status/204", "204 No Content", "\r\n\r\n"),
            ("/stream/2/1", "200 OK", "\r\n0\r\n\r\n"),
            (
                "/trailers",
                "200 OK",
                "\r\n0\r\nx-lab-trailer: after-the-body\r\ngrpc-status: 0\r\n\r\n",
            ),
            ("/none", "404 Not Found", "no such path\n"),
        ];
        for (path, status, end) in table {
            let reply = get(&backend, path);
            assert!(
                reply.starts_with(&format!("HTTP/1.1 {status}\r\n")),
                "{path}: {reply}"
            );
            assert!(reply.ends_with(end), "{path}: {reply:?}");
        }
        assert_eq!(backend.requests(), table.len() as u64);
        assert_eq!(backend.connections(), table.len() as u64);
    }

    #[test]
    fn a_slow_body_with_a_length_is_not_chunked() {
        let reply = get(&start(), "/slow-length/2/1").to_lowercase();
        assert!(reply.contains("content-length: 128\r\n"), "{reply}");
        assert!(!reply.contains("chunked"), "{reply}");
    }

    #[test]
    fn a_lie_closes_half_way() {
        let reply = get(&start(), "/lie/100");
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        assert!(
            head.to_lowercase().contains("content-length: 100"),
            "{head}"
        );
        assert_eq!(body.len(), 50);
    }

    #[test]
    fn hints_come_before_the_final_response() {
        let reply = get(&start(), "/hints");
        let (first, rest) = reply.split_once("\r\n\r\n").unwrap();
        assert!(first.starts_with("HTTP/1.1 103 Early Hints"), "{first}");
        assert!(rest.starts_with("HTTP/1.1 200 OK"), "{rest}");
    }

    #[test]
    fn headers_are_told_in_order() {
        let reply = get(&start(), "/headers?q=1");
        let (_, body) = reply.split_once("\r\n\r\n").unwrap();
        let seen: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(seen["version"], "HTTP/1.1");
        assert_eq!(seen["query"], "q=1");
        assert_eq!(seen["headers"][0][0], "host");
        assert_eq!(seen["headers"][1], serde_json::json!(["x-two", "2"]));
    }

    #[test]
    fn echo_returns_the_body() {
        let reply = raw(
            &start(),
            "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello",
        );
        assert!(reply.ends_with("\r\n\r\nhello"), "{reply}");
    }

    #[test]
    fn an_early_answer_keeps_the_connection_or_closes_it() {
        let backend = start();
        // The body arrives after the answer, and a second request after the body.
        let mut stream = TcpStream::connect(backend.addr()).unwrap();
        stream
            .write_all(b"POST /early/413 HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n")
            .unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 413");
        stream
            .write_all(b"abcGET /bytes/1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert!(rest.ends_with("\r\n\r\nx"), "{rest}");

        let closed = raw(
            &backend,
            "POST /early/413?close=1 HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n",
        );
        assert!(
            closed.to_lowercase().contains("connection: close"),
            "{closed}"
        );
    }
}
