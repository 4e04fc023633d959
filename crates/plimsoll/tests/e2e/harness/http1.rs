//! An HTTP/1 client that hides nothing: what is sent is given byte by byte, and what comes back is told
//! with its framing and with the way it ended.

use std::net::SocketAddr;

use super::wire::Wire;

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// As its framing says.
    Whole,
    /// Before its framing says so.
    Short,
}

/// One answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The head as it came.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    pub(crate) end: End,
}

/// How the length of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    Close,
}

/// One piece of a body.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Data(Vec<u8>),
    End(Vec<(String, String)>),
    Broken,
}

/// A client on one connection.
#[derive(Debug)]
pub(crate) struct Client(pub(crate) Wire);

impl Answer {
    /// The values of a field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        fields(&self.head)
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }

    /// The only value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} more than once: {}", self.head);
        all.first().copied()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The error that `Proxy-Status` names.
    pub(crate) fn proxy_error(&self) -> Option<&str> {
        proxy_error(self.field("proxy-status")?)
    }
}

/// The error that a `Proxy-Status` names.
pub(crate) fn proxy_error(value: &str) -> Option<&str> {
    let (_, error) = value.split_once("; error=")?;
    error.split(';').next()
}

fn fields(head: &str) -> impl Iterator<Item = (&str, &str)> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name, value.trim()))
}

fn framing(request_is_head: bool, status: u16, head: &str) -> Framing {
    let field = |wanted: &str| {
        fields(head)
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value)
    };
    if request_is_head || matches!(status, 204 | 304) {
        Framing::Length(0)
    } else if field("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        Framing::Chunked
    } else if let Some(length) = field("content-length") {
        Framing::Length(length.parse().unwrap())
    } else {
        Framing::Close
    }
}

impl Client {
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        Self(Wire::connect(to).await)
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.send(bytes).await;
    }

    /// Asks for `path`, keeping the connection.
    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send(get(path)).await;
        self.answer().await
    }

    /// The status line and fields of the next message; informational ones count.
    pub(crate) async fn head(&mut self) -> (u16, String) {
        let head = self.0.head().await.expect("an answer");
        (status(&head), head)
    }

    /// The next final answer, whole.
    pub(crate) async fn answer(&mut self) -> Answer {
        self.answer_to(false).await
    }

    /// The next final answer to a HEAD request.
    pub(crate) async fn answer_to_head(&mut self) -> Answer {
        self.answer_to(true).await
    }

    async fn answer_to(&mut self, request_is_head: bool) -> Answer {
        let (mut status, mut head) = self.head().await;
        while (100..200).contains(&status) && status != 101 {
            (status, head) = self.head().await;
        }
        self.body_of(request_is_head, status, head).await
    }

    /// The rest of an answer whose head was read before.
    pub(crate) async fn body(&mut self, status: u16, head: String) -> Answer {
        self.body_of(false, status, head).await
    }

    async fn body_of(&mut self, request_is_head: bool, status: u16, head: String) -> Answer {
        let mut framing = framing(request_is_head, status, &head);
        let mut body = Vec::new();
        let (trailers, end) = loop {
            match self.piece(&mut framing).await {
                Piece::Data(data) => body.extend(data),
                Piece::End(trailers) => break (trailers, End::Whole),
                Piece::Broken => break (Vec::new(), End::Short),
            }
        };
        Answer {
            status,
            head,
            body,
            trailers,
            end,
        }
    }

    async fn piece(&mut self, framing: &mut Framing) -> Piece {
        match framing {
            Framing::Length(0) => Piece::End(Vec::new()),
            Framing::Length(left) => {
                let data = self.0.up_to((*left).min(64 * 1024)).await;
                if data.is_empty() {
                    return Piece::Broken;
                }
                *left -= data.len();
                Piece::Data(data)
            }
            Framing::Chunked => self.chunk().await,
            Framing::Close => match self.0.some().await {
                data if data.is_empty() => Piece::End(Vec::new()),
                data => Piece::Data(data),
            },
        }
    }

    async fn chunk(&mut self) -> Piece {
        let Some(line) = self.0.until(b"\r\n").await else {
            return Piece::Broken;
        };
        let size = std::str::from_utf8(&line).unwrap().trim();
        let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("chunk {size:?}"));
        if size == 0 {
            return self.trailers().await;
        }
        let mut data = self.0.up_to(size + 2).await;
        if data.len() < size + 2 {
            return Piece::Broken;
        }
        assert_eq!(data.split_off(size), b"\r\n");
        Piece::Data(data)
    }

    async fn trailers(&mut self) -> Piece {
        let mut trailers = Vec::new();
        loop {
            let Some(line) = self.0.until(b"\r\n").await else {
                return Piece::Broken;
            };
            let line = std::str::from_utf8(&line).unwrap().trim();
            match line.split_once(':') {
                Some((name, value)) => trailers.push((name.into(), value.trim().into())),
                None => return Piece::End(trailers),
            }
        }
    }
}

/// The status of a head.
pub(crate) fn status(head: &str) -> u16 {
    let code = head.split(' ').nth(1).unwrap_or_default();
    code.trim()
        .parse()
        .unwrap_or_else(|_| panic!("no status: {head:?}"))
}

/// A GET request for `path`.
pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")
}

/// A POST request with a length.
pub(crate) fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// One request on a connection of its own.
pub(crate) async fn once(to: SocketAddr, request: impl AsRef<[u8]>) -> Answer {
    let mut client = Client::connect(to).await;
    client.send(request).await;
    client.answer().await
}
