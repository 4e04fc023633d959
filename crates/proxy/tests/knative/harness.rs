//! An application that tells what it was asked, a sidecar before it, and a client that sends bytes.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use plimsoll_proxy::{Knative, Running, Sidecar, SidecarConfig, SidecarOptions, TimeLimits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What takes longer has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// Looks again and again until `look` sees what it waits for.
pub(crate) async fn eventually(what: &str, mut look: impl FnMut() -> bool) {
    soon(what, async {
        while !look() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// An application that does `serve` with each connection.
pub(crate) async fn app<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// An application whose answers are the heads that it got.
pub(crate) async fn telling() -> SocketAddr {
    app(async move |mut stream: TcpStream| {
        loop {
            let head = head(&mut stream).await;
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}",
                head.len()
            );
            if head.is_empty() || stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await
}

/// The next head, read byte by byte; empty at the end.
pub(crate) async fn head(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return String::new(),
        }
    }
    String::from_utf8(head).unwrap()
}

/// A sidecar that keeps Knative's contract.
pub(crate) fn config(app: SocketAddr) -> SidecarConfig {
    SidecarConfig {
        app,
        listen: LOOPBACK,
        concurrency: 0,
        queue_depth: None,
        limits: TimeLimits::default(),
        workers: NonZeroUsize::MIN,
        connections_max: 1_000,
        tls: None,
        tls_port: None,
        app_tls: None,
        options: SidecarOptions {
            knative: Some(Knative::default()),
            ..SidecarOptions::default()
        },
    }
}

pub(crate) fn with_knative(app: SocketAddr, knative: Knative) -> SidecarConfig {
    let mut config = config(app);
    config.options.knative = Some(knative);
    config
}

pub(crate) fn start(config: &SidecarConfig) -> (Running, SocketAddr) {
    let sidecar = Sidecar::bind(config).unwrap();
    let address = sidecar.local_addr().unwrap();
    (sidecar.start().unwrap(), address)
}

pub(crate) async fn connect(to: SocketAddr) -> TcpStream {
    soon("connect", TcpStream::connect(to)).await.unwrap()
}

/// A request without a body.
pub(crate) fn get(fields: &[(&str, &str)]) -> String {
    let mut request = "GET /p?q HTTP/1.1\r\nhost: a\r\n".to_owned();
    for (name, value) in fields {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request + "\r\n"
}

/// An answer with a length.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn has(&self, line: &str) -> bool {
        self.body
            .to_lowercase()
            .contains(&format!("\r\n{line}\r\n"))
    }

    /// The fields, sorted.
    pub(crate) fn fields(&self) -> Vec<&str> {
        let mut fields: Vec<_> = self.head.trim_end().lines().skip(1).collect();
        fields.sort_unstable();
        fields
    }
}

pub(crate) async fn answer(stream: &mut (impl AsyncReadExt + Unpin)) -> Answer {
    let head = soon("head", head(stream)).await.to_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap();
    let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    soon("body", stream.read_exact(&mut body)).await.unwrap();
    Answer {
        status: head[9..12].parse().unwrap(),
        head,
        body: String::from_utf8(body).unwrap(),
    }
}

/// The answer to `request` on a connection of its own.
pub(crate) async fn ask(to: SocketAddr, request: &str) -> Answer {
    let mut stream = connect(to).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    answer(&mut stream).await
}
