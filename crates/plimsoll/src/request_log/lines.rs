//! Lines on their way to a slow reader.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

/// The most bytes of lines that wait to be written; more lines are dropped.
pub(super) const PENDING_BYTES_MAX: usize = 1024 * 1024;

/// What a line costs beside its bytes, about.
const LINE_BYTES: usize = 64;

/// Writes lines from a thread of its own, which ends with the last of the lines.
#[derive(Debug)]
pub(crate) struct Lines {
    sender: Sender<Message>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// What the lines that wait occupy.
    pending: AtomicUsize,
    /// Lines that were dropped and not told of yet.
    dropped: AtomicU64,
}

#[derive(Debug)]
enum Message {
    Line(String),
    /// Tell when all before it is written.
    Flush(Sender<()>),
}

impl Lines {
    /// Begins to write to `out`.
    ///
    /// # Errors
    /// If there can be no thread.
    pub(crate) fn to(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let counts = Arc::new(Counts::default());
        let of_writer = Arc::clone(&counts);
        std::thread::Builder::new()
            .name("request-log".to_owned())
            .spawn(move || write_all(&receiver, &of_writer, out))?;
        Ok(Self { sender, counts })
    }

    /// Gives a line to the writer, or drops it if too much is waiting. Never waits.
    pub(crate) fn send(&self, line: String) {
        let bytes = line.len() + LINE_BYTES;
        let pending = self.counts.pending.fetch_add(bytes, Ordering::Relaxed);
        let is_sent =
            pending + bytes <= PENDING_BYTES_MAX && self.sender.send(Message::Line(line)).is_ok();
        if !is_sent {
            self.counts.pending.fetch_sub(bytes, Ordering::Relaxed);
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what was sent before is written, at most `patience`.
    pub(crate) fn flush(&self, patience: Duration) {
        let (done, is_done) = mpsc::channel();
        if self.sender.send(Message::Flush(done)).is_ok() {
            // Whether it was written or the time has passed: there is nothing left to do.
            let _either = is_done.recv_timeout(patience);
        }
    }
}

/// Writes what comes, in as few calls as there are pauses.
fn write_all(receiver: &Receiver<Message>, counts: &Counts, out: impl Write) {
    let mut out = io::BufWriter::new(out);
    while let Ok(first) = receiver.recv() {
        let mut written = Ok(());
        for message in std::iter::once(first).chain(receiver.try_iter()) {
            match message {
                Message::Line(line) => {
                    written = written.and_then(|()| out.write_all(line.as_bytes()));
                    counts
                        .pending
                        .fetch_sub(line.len() + LINE_BYTES, Ordering::Relaxed);
                }
                Message::Flush(done) => {
                    written = written.and_then(|()| out.flush());
                    // Who asked may have lost patience.
                    let _gone = done.send(());
                }
            }
        }
        if let Err(cause) = written.and_then(|()| out.flush()) {
            tracing::error!(%cause, "the request log cannot be written and ends");
            return;
        }
        let dropped = counts.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            tracing::warn!(
                dropped,
                "lines of the request log were dropped: nobody read them in time"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Takes nothing until the test lets it.
    struct Slow {
        gate: Arc<Mutex<()>>,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            drop(self.gate.lock().unwrap());
            self.taken.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stops_costs_lines_and_never_time_or_memory() {
        let (gate, taken) = (
            Arc::<Mutex<()>>::default(),
            Arc::<Mutex<Vec<u8>>>::default(),
        );
        let lines = Lines::to(Slow {
            gate: Arc::clone(&gate),
            taken: Arc::clone(&taken),
        })
        .unwrap();
        let closed = gate.lock().unwrap();
        let line = "x".repeat(1_000) + "\n";
        let sent = 3 * PENDING_BYTES_MAX / line.len();
        for _ in 0..sent {
            lines.send(line.clone());
        }
        assert!(lines.counts.pending.load(Ordering::Relaxed) <= PENDING_BYTES_MAX);
        let dropped = lines.counts.dropped.load(Ordering::Relaxed);
        assert!(dropped > 0);
        lines.flush(Duration::from_millis(1));
        drop(closed);
        lines.flush(Duration::from_secs(20));
        let taken = taken.lock().unwrap();
        let written = taken.len() / line.len();
        assert_eq!(taken.len() % line.len(), 0, "whole lines only");
        assert_eq!(written as u64 + dropped, sent as u64);
        assert_eq!(lines.counts.pending.load(Ordering::Relaxed), 0);
    }

    /// Fails like a pipe that nobody reads any more.
    struct Broken;

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn after_the_reader_has_gone_lines_are_dropped_at_once() {
        let lines = Lines::to(Broken).unwrap();
        lines.send("a\n".to_owned());
        // Ends when the writer has ended: nobody answers then.
        lines.flush(Duration::from_secs(20));
        let (done, _) = mpsc::channel();
        while lines.sender.send(Message::Flush(done.clone())).is_ok() {
            std::thread::yield_now();
        }
        let before = lines.counts.dropped.load(Ordering::Relaxed);
        lines.send("b\n".to_owned());
        assert_eq!(lines.counts.dropped.load(Ordering::Relaxed), before + 1);
    }
}
