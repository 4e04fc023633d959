//! An application that tells what it was asked, a sidecar before it, and a client that sends bytes.

use std::net::SocketAddr;

use plimsoll_proxy::{Knative, SidecarConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) use crate::common::{LOOPBACK, eventually, head, soon};
use crate::sidecar;
pub(crate) use crate::sidecar::{app, connect, start};

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

/// A sidecar that keeps Knative's contract.
pub(crate) fn config(app: SocketAddr) -> SidecarConfig {
    with_knative(app, Knative::default())
}

pub(crate) fn with_knative(app: SocketAddr, knative: Knative) -> SidecarConfig {
    let mut config = sidecar::config(app);
    config.options.knative = Some(knative);
    config
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

pub(crate) async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> Answer {
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
