//! Just enough HTTP/1.1 to know where a response ends.
//!
//! The load generator shares a processor with the backend, so what it spends is taken from the
//! capacity it measures. It looks at the status line and three fields, and steps over the rest.

/// What the generator needs to know of a response head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The status code.
    pub(super) status: u16,
    /// Bytes of the head, the empty line included.
    pub(super) len: usize,
    /// Where the body ends.
    pub(super) body: BodyEnd,
    /// Whether the connection may carry another request.
    pub(super) keep_alive: bool,
}

/// Where a response body ends (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyEnd {
    /// After so many bytes.
    Length(u64),
    /// After the last chunk and the trailers.
    Chunked,
    /// When the connection closes.
    Close,
}

/// The response is not HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Steps over a chunked body.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Chunks {
    /// In a chunk-size line; the number so far, and whether it has ended (extensions follow).
    #[default]
    Start,
    Size {
        size: u64,
        ended: bool,
    },
    /// In chunk data, so many bytes (the CR LF behind it included) left.
    Data(u64),
    /// In the trailers; whether the current line has any character.
    Trailers {
        empty: bool,
    },
}

/// Reads a head from the start of `bytes`; `None` if it is not complete yet. Linear in its length.
pub(super) fn head(bytes: &[u8]) -> Result<Option<Head>, Malformed> {
    let Some(len) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let mut lines = bytes[..len].split(|&b| b == b'\n').map(<[u8]>::trim_ascii);
    let status = status(lines.next().unwrap_or_default())?;
    let mut head = Head {
        status,
        len: len + 4,
        body: BodyEnd::Close,
        keep_alive: !bytes.starts_with(b"HTTP/1.0"),
    };
    for line in lines {
        field(line, &mut head)?;
    }
    if status < 200 || status == 204 || status == 304 {
        head.body = BodyEnd::Length(0);
    }
    if head.body == BodyEnd::Close {
        head.keep_alive = false;
    }
    Ok(Some(head))
}

fn status(line: &[u8]) -> Result<u16, Malformed> {
    match line {
        [
            b'H',
            b'T',
            b'T',
            b'P',
            b'/',
            b'1',
            b'.',
            _,
            b' ',
            a @ b'1'..=b'9',
            b @ b'0'..=b'9',
            c @ b'0'..=b'9',
            ..,
        ] => {
            let digit = |d: &u8| u16::from(d - b'0');
            Ok(digit(a) * 100 + digit(b) * 10 + digit(c))
        }
        _ => Err(Malformed),
    }
}

fn field(line: &[u8], head: &mut Head) -> Result<(), Malformed> {
    // A look at the first letter spares most fields the comparison.
    if !matches!(line.first(), Some(b'c' | b'C' | b't' | b'T')) {
        return Ok(());
    }
    let Some(colon) = line.iter().position(|&b| b == b':') else {
        return Err(Malformed);
    };
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    if name.eq_ignore_ascii_case(b"content-length") {
        if head.body != BodyEnd::Chunked {
            head.body = BodyEnd::Length(number(value).ok_or(Malformed)?);
        }
    } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
        head.body = BodyEnd::Chunked;
    } else if name.eq_ignore_ascii_case(b"connection") && value.eq_ignore_ascii_case(b"close") {
        head.keep_alive = false;
    }
    Ok(())
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

impl Chunks {
    /// Takes in the next bytes of the body. Returns whether the body has ended, and how many bytes
    /// belonged to it. Linear in framing, constant in chunk data.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(bool, usize), Malformed> {
        let mut at = 0;
        while at < bytes.len() {
            if let Self::Data(left) = self {
                let step = (bytes.len() - at).min(usize::try_from(*left).unwrap_or(usize::MAX));
                at += step;
                *left -= step as u64;
                if *left == 0 {
                    *self = Self::Start;
                }
                continue;
            }
            let ended = self.framing(bytes[at])?;
            at += 1;
            if ended {
                return Ok((true, at));
            }
        }
        Ok((false, at))
    }

    /// Takes in one byte outside chunk data; true after the last.
    fn framing(&mut self, byte: u8) -> Result<bool, Malformed> {
        *self = match (*self, byte) {
            (Self::Start, _) => Self::Size {
                size: hex(byte).ok_or(Malformed)?,
                ended: false,
            },
            // The data and the CR LF behind it; no data: the trailers.
            (Self::Size { size: 0, .. }, b'\n') => Self::Trailers { empty: true },
            (Self::Size { size, .. }, b'\n') => Self::Data(size.checked_add(2).ok_or(Malformed)?),
            (Self::Size { size, ended: false }, _) => match hex(byte) {
                Some(digit) => Self::Size {
                    size: size.checked_mul(16).ok_or(Malformed)? + digit,
                    ended: false,
                },
                None if matches!(byte, b'\r' | b';' | b' ' | b'\t') => {
                    Self::Size { size, ended: true }
                }
                None => return Err(Malformed),
            },
            (Self::Trailers { empty: true }, b'\n') => return Ok(true),
            (Self::Trailers { .. }, b'\n') => Self::Trailers { empty: true },
            (Self::Trailers { .. }, b'\r') | (Self::Size { .. } | Self::Data(_), _) => {
                return Ok(false);
            }
            (Self::Trailers { .. }, _) => Self::Trailers { empty: false },
        };
        Ok(false)
    }
}

fn hex(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn heads_are_read() {
        use BodyEnd::{Chunked, Close, Length};
        let table: [(&str, u16, BodyEnd, bool); 9] = [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n",
                200,
                Length(12),
                true,
            ),
            (
                "HTTP/1.1 503 Busy\r\ndate: now\r\ncontent-length:0\r\n",
                503,
                Length(0),
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n",
                200,
                Chunked,
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n",
                200,
                Chunked,
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 1\r\nConnection: Close\r\n",
                200,
                Length(1),
                false,
            ),
            ("HTTP/1.1 200\r\n", 200, Close, false),
            ("HTTP/1.1 204 No Content\r\n", 204, Length(0), true),
            (
                "HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n",
                103,
                Length(0),
                true,
            ),
            (
                "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n",
                200,
                Length(1),
                false,
            ),
        ];
        for (text, status, body, keep_alive) in table {
            let text = format!("{text}\r\n");
            let expected = Head {
                status,
                len: text.len(),
                body,
                keep_alive,
            };
            assert_eq!(head(text.as_bytes()), Ok(Some(expected)), "{text}");
            for cut in 0..text.len() {
                assert_eq!(
                    head(&text.as_bytes()[..cut]),
                    Ok(None),
                    "{text} cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn what_is_not_http1_is_malformed() {
        for text in [
            "SSH-2.0\r\n\r\n",
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1 20\r\n\r\n",
            "HTTP/1.1 200\r\ncontent-length: x\r\n\r\n",
        ] {
            assert_eq!(head(text.as_bytes()), Err(Malformed), "{text}");
        }
    }

    proptest! {
        #[test]
        fn chunked_bodies_end_where_they_end(
            chunks in prop::collection::vec(1_usize..300, 0..8),
            trailers in prop::collection::vec("[a-z]{1,5}: [a-z]{0,5}", 0..3),
            extension in prop::sample::select(vec!["", ";a=b", " ; x"]),
            read in 1_usize..64,
        ) {
            let mut body = Vec::new();
            for len in chunks {
                body.extend(format!("{len:x}{extension}\r\n").bytes());
                body.extend(std::iter::repeat_n(b'\n', len));
                body.extend(b"\r\n");
            }
            body.extend(b"0\r\n");
            for line in trailers {
                body.extend(format!("{line}\r\n").bytes());
            }
            body.extend(b"\r\n");
            let end = body.len();
            body.extend(b"HTTP/1.1 200 OK");

            let mut state = Chunks::default();
            let mut taken = 0;
            for piece in body.chunks(read) {
                let (ended, used) = state.feed(piece).unwrap();
                taken += used;
                if ended {
                    break;
                }
                prop_assert_eq!(used, piece.len());
            }
            prop_assert_eq!(taken, end);
        }
    }

    #[test]
    fn broken_chunks_are_malformed() {
        for text in ["x\r\n", "\r\n", "1g\r\n", "ffffffffffffffffff\r\n"] {
            assert_eq!(
                Chunks::default().feed(text.as_bytes()),
                Err(Malformed),
                "{text}"
            );
        }
    }
}
