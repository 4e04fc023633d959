//! The HTTP/1.1 client: bytes serialized once, responses stepped over.
//!
//! hyper's client would do, at several times the cost per request, and the cost of the generator is
//! taken from the backend on the same processor.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Options;
use super::client::Failure;
use super::parse::{self, BodyEnd, Chunks, Head};

/// Room for a response head, and the size of one read. A head that does not fit is a failure.
const BUFFER_BYTES: usize = 16 * 1024;

/// One connection and the request it repeats.
pub(crate) struct Http1 {
    addr: SocketAddr,
    request: Bytes,
    stream: Option<TcpStream>,
    buffer: Box<[u8]>,
    /// When the head of the last response was there.
    head_at: Option<Instant>,
}

/// The request as it goes over the wire.
pub(crate) fn serialize(options: &Options) -> Bytes {
    let target = &options.target;
    let mut bytes = Vec::with_capacity(256 + options.body.len());
    bytes.extend(
        format!(
            "{} {} HTTP/1.1\r\nhost: {}\r\n",
            options.method, target.path, target.authority
        )
        .bytes(),
    );
    for (name, value) in &options.headers {
        bytes.extend_from_slice(name.as_ref());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    if !options.body.is_empty() {
        bytes.extend(format!("content-length: {}\r\n", options.body.len()).bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&options.body);
    bytes.into()
}

impl Http1 {
    pub(crate) async fn open(addr: SocketAddr, request: Bytes) -> io::Result<Self> {
        let stream = connect(addr).await?;
        Ok(Self {
            addr,
            request,
            stream: Some(stream),
            buffer: vec![0; BUFFER_BYTES].into(),
            head_at: None,
        })
    }

    /// Changes the request that is sent from now on.
    pub(crate) fn repeat(&mut self, request: Bytes) {
        self.request = request;
    }

    pub(crate) async fn call(&mut self) -> Result<u16, Failure> {
        self.send().await?;
        self.receive().await
    }

    /// When the head of the response to the last request was there, if it came.
    pub(crate) fn head_at(&self) -> Option<Instant> {
        self.head_at
    }

    /// Sends the request without waiting for the response.
    pub(crate) async fn send(&mut self) -> Result<(), Failure> {
        self.head_at = None;
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(self.addr).await.map_err(|_| Failure::Connect)?,
        };
        stream
            .write_all(&self.request)
            .await
            .map_err(|_| Failure::Closed)?;
        self.stream = Some(stream);
        Ok(())
    }

    /// Reads the response to a request that was sent.
    pub(crate) async fn receive(&mut self) -> Result<u16, Failure> {
        // Taken, and put back only after a whole response that allows another: neither a failure
        // nor a dropped future can leave half a response for the next request to find.
        let mut stream = self.stream.take().ok_or(Failure::Closed)?;
        let (head, filled) = self.receive_head(&mut stream).await?;
        self.skip_body(&mut stream, head, filled).await?;
        if head.keep_alive {
            self.stream = Some(stream);
        }
        Ok(head.status)
    }

    /// Reads up to the end of the final head; returns it and how much the buffer holds.
    async fn receive_head(&mut self, stream: &mut TcpStream) -> Result<(Head, usize), Failure> {
        let mut filled = 0;
        loop {
            if filled == self.buffer.len() {
                return Err(Failure::Protocol);
            }
            let read = stream.read(&mut self.buffer[filled..]).await;
            let n = read.map_err(|_| Failure::Closed)?;
            if n == 0 {
                return Err(Failure::Closed);
            }
            filled += n;
            while let Some(head) =
                parse::head(&self.buffer[..filled]).map_err(|_| Failure::Protocol)?
            {
                if head.status >= 200 {
                    self.head_at = Some(Instant::now());
                    return Ok((head, filled));
                }
                // An informational response: the final one follows it.
                self.buffer.copy_within(head.len..filled, 0);
                filled -= head.len;
            }
        }
    }

    async fn skip_body(
        &mut self,
        stream: &mut TcpStream,
        head: Head,
        filled: usize,
    ) -> Result<(), Failure> {
        let early = filled - head.len;
        match head.body {
            BodyEnd::Length(len) => {
                // More than announced is the start of a response nobody asked for.
                let mut left = len.checked_sub(early as u64).ok_or(Failure::Protocol)?;
                while left > 0 {
                    let n = self.read_some(stream).await?;
                    left = left.checked_sub(n as u64).ok_or(Failure::Protocol)?;
                }
                Ok(())
            }
            BodyEnd::Chunked => {
                let mut chunks = Chunks::default();
                let mut range = head.len..filled;
                loop {
                    let bytes = &self.buffer[range];
                    let fed = chunks.feed(bytes).map_err(|_| Failure::Protocol)?;
                    match fed {
                        (true, used) if used == bytes.len() => return Ok(()),
                        (true, _) => return Err(Failure::Protocol),
                        (false, _) => range = 0..self.read_some(stream).await?,
                    }
                }
            }
            BodyEnd::Close => loop {
                match stream.read(&mut self.buffer).await {
                    Ok(0) => return Ok(()),
                    Ok(_) => {}
                    Err(_) => return Err(Failure::Closed),
                }
            },
        }
    }

    /// Reads over the buffer; the end of the stream is a failure.
    async fn read_some(&mut self, stream: &mut TcpStream) -> Result<usize, Failure> {
        match stream.read(&mut self.buffer).await {
            Ok(0) | Err(_) => Err(Failure::Closed),
            Ok(n) => Ok(n),
        }
    }
}

async fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Method};

    use super::*;
    use crate::load::Target;

    #[test]
    fn requests_are_serialized() {
        let target = Target::at("127.0.0.1:80".parse().unwrap(), "/a?b");
        let mut options = Options::new(target);
        assert_eq!(
            serialize(&options),
            "GET /a?b HTTP/1.1\r\nhost: 127.0.0.1:80\r\n\r\n"
        );
        options.method = Method::POST;
        options.body = Bytes::from_static(b"xyz");
        options.headers.insert("x-a", HeaderValue::from_static("1"));
        assert_eq!(
            serialize(&options),
            "POST /a?b HTTP/1.1\r\nhost: 127.0.0.1:80\r\nx-a: 1\r\ncontent-length: 3\r\n\r\nxyz"
        );
    }
}
