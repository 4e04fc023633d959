//! HTTP/1.1 as text: what is sent is exactly what a row says, and what comes back is looked at as it came.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The most that is read of an answer, or of a head.
const BYTES_MAX: u64 = 1024 * 1024;

/// An application that answers each request with the head that it was sent. It ends when it is dropped.
#[derive(Debug)]
pub struct App {
    address: SocketAddr,
    reached: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The fields, a line each.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl App {
    /// Listens on `address`.
    ///
    /// # Errors
    /// What the system says.
    pub async fn listen(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let reached = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&reached);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that goes away has had enough.
                tokio::spawn(serve(stream, Arc::clone(&count)));
            }
        });
        Ok(Self {
            address,
            reached,
            task,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests have reached it.
    pub(super) fn reached(&self) -> usize {
        self.reached.load(Ordering::SeqCst)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request: bodies are none of the rows'.
async fn serve(mut stream: TcpStream, reached: Arc<AtomicUsize>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && (head.len() as u64) < BYTES_MAX {
        head.push(stream.read_u8().await?);
    }
    reached.fetch_add(1, Ordering::SeqCst);
    let length = head.len();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.write_all(&head).await?;
    stream.shutdown().await
}

/// Sends a head and reads until the connection closes, as the head has to ask for.
pub(super) async fn ask(to: SocketAddr, head: &str) -> anyhow::Result<Answer> {
    let stream = TcpStream::connect(to).await;
    let mut stream = stream.with_context(|| format!("cannot connect to {to}"))?;
    stream.write_all(head.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.take(BYTES_MAX).read_to_end(&mut bytes).await?;
    let end = bytes.windows(4).position(|end| end == b"\r\n\r\n");
    let end = end.context("an answer without a head")?;
    let text = String::from_utf8_lossy(&bytes[..end + 2]).into_owned();
    let (line, head) = text
        .split_once("\r\n")
        .context("an answer without a status")?;
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let body = &bytes[end + 4..];
    let is_chunked = fields(head, "transfer-encoding") == ["chunked"];
    Ok(Answer {
        status: status.with_context(|| format!("no status in {line:?}"))?,
        head: head.to_owned(),
        body: if is_chunked {
            unchunked(body)?
        } else {
            body.to_vec()
        },
    })
}

/// The values of a field of a head, in order.
pub(super) fn fields<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let named = lines.filter(|(found, _)| found.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.trim()).collect()
}

fn unchunked(mut body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|end| end == b"\r\n");
        let end = end.context("a chunk without a size")?;
        let size = std::str::from_utf8(&body[..end])?;
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)?;
        let rest = &body[end + 2..];
        if size == 0 {
            return Ok(whole);
        }
        whole.extend_from_slice(rest.get(..size).context("a chunk that breaks off")?);
        body = rest.get(size + 2..).context("a chunk that breaks off")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_put_together() {
        assert_eq!(
            unchunked(b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n").unwrap(),
            b"abc0123456789"
        );
        for broken in [&b""[..], b"3\r\nab", b"x\r\n", b"3\r\nabc"] {
            assert!(unchunked(broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn fields_are_found_whatever_their_case() {
        let head = "GET / HTTP/1.1\r\nX-A: 1\r\nx-a:2\r\nb: c:d\r\n";
        assert_eq!(fields(head, "X-a"), ["1", "2"]);
        assert_eq!(fields(head, "B"), ["c:d"]);
        assert!(fields(head, "c").is_empty());
    }
}
