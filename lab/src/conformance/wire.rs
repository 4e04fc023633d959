//! HTTP/1.1 as text: what is sent is exactly what a row says, and what comes back is looked at as it came.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The most that is read of an answer, or of a head.
pub(super) const BYTES_MAX: u64 = 1024 * 1024;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The fields, a line each.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Whether the body breaks off before its end.
    pub(crate) is_broken: bool,
}

/// Sends a head and reads until the connection closes, as the head has to ask for.
pub(crate) async fn ask(to: SocketAddr, head: &str) -> anyhow::Result<Answer> {
    let stream = TcpStream::connect(to).await;
    let mut stream = stream.with_context(|| format!("cannot connect to {to}"))?;
    stream.write_all(head.as_bytes()).await?;
    let mut bytes = Vec::new();
    // A connection that is reset has said what it had to say.
    let ended = stream.take(BYTES_MAX).read_to_end(&mut bytes).await;
    if bytes.is_empty() {
        ended?;
    }
    parse(&bytes, head.starts_with("HEAD "))
}

/// The final answer in `bytes`; to a request for a head it has no body.
fn parse(mut bytes: &[u8], is_to_head: bool) -> anyhow::Result<Answer> {
    loop {
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
        let status = status.with_context(|| format!("no status in {line:?}"))?;
        bytes = &bytes[end + 4..];
        // Interim answers; 101 is the last of its protocol.
        if (100..200).contains(&status) && status != 101 {
            continue;
        }
        let length = fields(head, "content-length");
        let length = length.first().and_then(|length| length.parse().ok());
        let (body, is_broken) = if fields(head, "transfer-encoding") == ["chunked"] {
            unchunked(bytes)?
        } else {
            let is_short = length.is_some_and(|length: usize| bytes.len() < length);
            (bytes.to_vec(), is_short && !is_to_head)
        };
        return Ok(Answer {
            status,
            head: head.to_owned(),
            body,
            is_broken,
        });
    }
}

/// The values of a field of a head, in order.
pub(super) fn fields<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let named = lines.filter(|(found, _)| found.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.trim()).collect()
}

/// What is in the chunks, and whether the last one is missing.
fn unchunked(mut body: &[u8]) -> anyhow::Result<(Vec<u8>, bool)> {
    let mut whole = Vec::new();
    loop {
        let Some(end) = body.windows(2).position(|end| end == b"\r\n") else {
            return Ok((whole, true));
        };
        let size = std::str::from_utf8(&body[..end])?;
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)?;
        let rest = &body[end + 2..];
        if size == 0 {
            return Ok((whole, false));
        }
        whole.extend_from_slice(rest.get(..size).unwrap_or(rest));
        match rest.get(size + 2..) {
            Some(next) => body = next,
            None => return Ok((whole, true)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_put_together_as_far_as_they_have_come() {
        for (body, expected, is_broken) in [
            (
                &b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n"[..],
                &b"abc0123456789"[..],
                false,
            ),
            (b"", b"", true),
            (b"3\r\nab", b"ab", true),
            (b"3\r\nabc\r\n", b"abc", true),
        ] {
            let found = unchunked(body).unwrap();
            assert_eq!(found, (expected.to_vec(), is_broken), "{body:?}");
        }
        assert!(unchunked(b"x\r\n").is_err());
    }

    #[test]
    fn the_final_answer_is_found_behind_interim_ones() {
        let bytes =
            b"HTTP/1.1 103 X\r\na: b\r\n\r\nHTTP/1.1 404 X\r\ncontent-length: 4\r\n\r\nbody";
        let answer = parse(bytes, false).unwrap();
        assert_eq!((answer.status, &*answer.body), (404, &b"body"[..]));
        assert!(!answer.is_broken);
        assert!(parse(&bytes[..bytes.len() - 1], false).unwrap().is_broken);
        assert!(!parse(&bytes[..bytes.len() - 4], true).unwrap().is_broken);
        assert!(parse(b"HTTP/1.1 103 X\r\n\r\n", false).is_err());
        assert!(parse(b"nonsense\r\n\r\n", false).is_err());
    }

    #[test]
    fn fields_are_found_whatever_their_case() {
        let head = "GET / HTTP/1.1\r\nX-A: 1\r\nx-a:2\r\nb: c:d\r\n";
        assert_eq!(fields(head, "X-a"), ["1", "2"]);
        assert_eq!(fields(head, "B"), ["c:d"]);
        assert!(fields(head, "c").is_empty());
    }
}
