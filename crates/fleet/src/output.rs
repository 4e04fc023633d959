//! What replicas write: cut into lines, passed on, and the last of it kept.
//!
//! A replica may write anything: no line ends, lines without end, bytes that are
//! no text. All of it is bounded: a line by [`LINE_BYTES_MAX`], what is kept by
//! a number of lines and [`KEPT_BYTES_MAX`].

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::Notify;

use crate::event::ReplicaId;
use crate::readiness::LinePattern;

/// Bytes of a line that are passed on; the rest of it is left out, and `…` says so.
pub const LINE_BYTES_MAX: usize = 4_096;

/// Bytes of output kept of each replica, at most.
pub const KEPT_BYTES_MAX: usize = 16_384;

/// Bytes read at once. After each, others have their turn.
const READ_BYTES: usize = 8_192;

/// Where a replica wrote a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Error,
}

/// A line that a replica wrote. Its [`Display`](std::fmt::Display) is `chat.3 | the text`.
#[derive(Clone, Copy, Debug)]
pub struct OutputLine<'a> {
    /// The service it belongs to.
    pub service: &'a str,
    /// The replica.
    pub replica: ReplicaId,
    /// Where it was written.
    pub stream: Stream,
    /// The line without its end. Bytes that are no UTF-8 are replaced.
    pub text: &'a str,
}

/// Takes each line that replicas write. It is called while the output is read, so it must not wait.
pub type OutputSink = Arc<dyn Fn(OutputLine<'_>) + Send + Sync>;

/// The output of one replica.
pub(crate) struct Output {
    service: Arc<str>,
    replica: ReplicaId,
    sink: Option<OutputSink>,
    kept: Mutex<Kept>,
    /// What is looked for until it has been found.
    ready_line: Option<LinePattern>,
    pub(crate) ready: Notify,
}

/// The last lines.
#[derive(Debug)]
struct Kept {
    lines: VecDeque<Box<str>>,
    bytes: usize,
    lines_max: usize,
    found: bool,
}

/// Cuts a stream of bytes into lines.
#[derive(Debug, Default)]
struct Lines {
    begun: Vec<u8>,
    /// Whether the line is longer than what is kept of it.
    cut: bool,
}

impl std::fmt::Display for OutputLine<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{} | {}", self.service, self.replica, self.text)
    }
}

impl Output {
    pub(crate) fn new(
        service: Arc<str>,
        replica: ReplicaId,
        lines_max: usize,
        ready_line: Option<LinePattern>,
        sink: Option<OutputSink>,
    ) -> Self {
        let kept = Kept {
            lines: VecDeque::new(),
            bytes: 0,
            lines_max,
            found: false,
        };
        Self {
            service,
            replica,
            sink,
            kept: Mutex::new(kept),
            ready_line,
            ready: Notify::new(),
        }
    }

    /// The last lines, oldest first.
    pub(crate) fn last_lines(&self) -> Vec<String> {
        let kept = self.kept.lock();
        kept.lines.iter().map(|line| line.to_string()).collect()
    }

    /// Reads to the end.
    pub(crate) async fn read(&self, mut from: impl AsyncRead + Unpin, stream: Stream) {
        let mut lines = Lines::default();
        let mut buffer = vec![0; READ_BYTES];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            lines.push(&buffer[..count], |line| self.line(stream, line));
            tokio::task::yield_now().await;
        }
        lines.end(|line| self.line(stream, line));
    }

    fn line(&self, stream: Stream, text: &str) {
        if let Some(sink) = &self.sink {
            sink(OutputLine {
                service: &self.service,
                replica: self.replica,
                stream,
                text,
            });
        }
        let mut kept = self.kept.lock();
        kept.push(text);
        if let Some(pattern) = &self.ready_line
            && !kept.found
            && pattern.is_in(text)
        {
            kept.found = true;
            self.ready.notify_one();
        }
    }
}

impl Kept {
    fn push(&mut self, text: &str) {
        if self.lines_max == 0 {
            return;
        }
        self.bytes += text.len();
        self.lines.push_back(text.into());
        while self.lines.len() > self.lines_max || self.bytes > KEPT_BYTES_MAX {
            let Some(oldest) = self.lines.pop_front() else {
                break;
            };
            self.bytes -= oldest.len();
        }
    }
}

impl Lines {
    fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(&str)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.extend(&bytes[..end]);
            self.take(&mut line);
            bytes = &bytes[end + 1..];
        }
        self.extend(bytes);
    }

    /// The last line, if it has no end.
    fn end(&mut self, mut line: impl FnMut(&str)) {
        if !self.begun.is_empty() {
            self.take(&mut line);
        }
    }

    fn extend(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES_MAX - self.begun.len();
        self.cut |= bytes.len() > room;
        self.begun.extend(bytes.iter().take(room));
    }

    fn take(&mut self, line: &mut impl FnMut(&str)) {
        if self.begun.last() == Some(&b'\r') {
            self.begun.pop();
        }
        let text = String::from_utf8_lossy(&self.begun);
        if self.cut {
            line(&format!("{text}…"));
        } else {
            line(&text);
        }
        self.begun.clear();
        self.cut = false;
    }
}

/// A line as one can show it within another: without control characters and not too long.
pub(crate) fn quoted(line: &str) -> String {
    const CHARS_MAX: usize = 200;
    let shown: String = line
        .chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .take(CHARS_MAX)
        .collect();
    if line.chars().nth(CHARS_MAX).is_some() {
        format!("{}…", shown.trim())
    } else {
        shown.trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(parts: &[&[u8]]) -> Vec<String> {
        let mut found = Vec::new();
        let mut lines = Lines::default();
        for part in parts {
            lines.push(part, |line| found.push(line.to_owned()));
        }
        lines.end(|line| found.push(line.to_owned()));
        found
    }

    #[test]
    fn bytes_become_lines() {
        assert_eq!(
            cut(&[b"a\nb\r\n", b"c", b"d\n\n", b"e"]),
            ["a", "b", "cd", "", "e"]
        );
        assert_eq!(cut(&[b"a\xff\n"]), ["a\u{fffd}"]);
        assert_eq!(cut(&[]), [""; 0]);
        let long = "x".repeat(LINE_BYTES_MAX);
        assert_eq!(
            cut(&[long.as_bytes(), b"\ny\n"]),
            [long.clone(), "y".to_owned()]
        );
        assert_eq!(
            cut(&[long.as_bytes(), b"xx", b"xx\ny"]),
            [format!("{long}…"), "y".to_owned()]
        );
    }

    #[test]
    fn the_last_lines_are_kept_within_both_bounds() {
        let output = Output::new("s".into(), ReplicaId(1), 3, None, None);
        for text in ["1", "2", "3", "4"] {
            output.line(Stream::Out, text);
        }
        assert_eq!(output.last_lines(), ["2", "3", "4"]);
        let output = Output::new("s".into(), ReplicaId(1), 1_000, None, None);
        for _ in 0..100 {
            output.line(Stream::Error, &"x".repeat(1_000));
        }
        assert_eq!(output.last_lines().len(), KEPT_BYTES_MAX / 1_000);
        let output = Output::new("s".into(), ReplicaId(1), 0, None, None);
        output.line(Stream::Out, "nothing is kept");
        assert_eq!(output.last_lines(), [""; 0]);
    }

    #[test]
    fn a_quoted_line_is_short_and_has_no_control_characters() {
        assert_eq!(quoted("\x1b[31mred\x1b[0m\t"), "[31mred [0m");
        assert_eq!(quoted(&"ä".repeat(201)), format!("{}…", "ä".repeat(200)));
    }

    proptest! {
        #[test]
        fn where_the_bytes_are_cut_does_not_matter(
            bytes in prop::collection::vec(prop::sample::select(b"ab\n\r\xff".to_vec()), 0..200),
            at in 0_usize..200,
        ) {
            let (one, two) = bytes.split_at(at.min(bytes.len()));
            prop_assert_eq!(cut(&[one, two]), cut(&[&bytes]));
        }
    }
}
