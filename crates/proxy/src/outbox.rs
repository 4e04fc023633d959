//! Writes that wait for the end of the turn.
//!
//! One turn of a worker's runtime handles all connections on which something has arrived. If each of them wrote
//! at once, every write would find its reader asleep and pay for waking it, and would push the other
//! connections' work out of the processor's caches. So short messages are put into one outbox per worker, and a
//! task that runs behind all others of the turn sends them in one go. Nothing waits for more to come: a turn
//! with one message sends it as soon as its task has returned.
//!
//! The bytes lie in one buffer that is used again every turn, so a connection has no write buffer of its own
//! unless its peer does not keep up.

use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll, Waker};

use crate::io::PlainStream;
use crate::waker;

/// The longest message that goes through the outbox, in bytes. Copying a longer one costs more than is gained.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// The most bytes in the outbox; beyond, messages are written at once.
const OUTBOX_BYTES_MAX: usize = 256 * 1024;

thread_local! {
    /// The worker's outbox: a worker is a thread.
    static OUTBOX: RefCell<Outbox> = const { RefCell::new(Outbox::new()) };
}

/// See the module documentation.
struct Outbox {
    bytes: Vec<u8>,
    messages: Vec<Message>,
    /// Sockets whose peer does not take what has been sent.
    blocked: Vec<PlainStream>,
    /// The task that sends; `None` outside a worker.
    sender: Option<Waker>,
}

/// One socket's part of the buffer: up to `end`, from where the one before it ends.
struct Message {
    socket: PlainStream,
    end: usize,
}

impl Outbox {
    const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            messages: Vec::new(),
            blocked: Vec::new(),
            sender: None,
        }
    }
}

/// Takes a message for `socket`, if there is an outbox and it has room. The parts are sent in order.
pub(crate) fn put<'a>(
    socket: &PlainStream,
    parts: impl Iterator<Item = &'a [u8]>,
    total: usize,
) -> bool {
    OUTBOX.with_borrow_mut(|outbox| {
        let Some(sender) = &outbox.sender else {
            return false;
        };
        if total > MESSAGE_BYTES_MAX || outbox.bytes.len() + total > OUTBOX_BYTES_MAX {
            return false;
        }
        if outbox.messages.is_empty() {
            // Puts the sending task behind all that are ready now.
            sender.wake_by_ref();
        }
        for part in parts {
            outbox.bytes.extend_from_slice(part);
        }
        outbox.messages.push(Message {
            socket: socket.clone(),
            end: outbox.bytes.len(),
        });
        true
    })
}

/// Sends everything now, so that what follows on one of the sockets stays behind it.
pub(crate) fn send_now() {
    OUTBOX.with_borrow_mut(|outbox| {
        if let Some(sender) = outbox.sender.clone() {
            outbox.send(&mut Context::from_waker(&sender));
        }
    });
}

/// Sends what is put into this thread's outbox, for as long as it is polled.
pub(crate) async fn send_each_turn() {
    let sending = std::future::poll_fn(|cx| {
        OUTBOX.with_borrow_mut(|outbox| {
            waker::remember(&mut outbox.sender, cx);
            outbox.send(cx);
        });
        Poll::<()>::Pending
    });
    // The outbox ends with the task: nobody may put anything where nobody sends.
    let _end = End;
    tokio::task::unconstrained(sending).await;
}

struct End;

impl Drop for End {
    fn drop(&mut self) {
        // Also run while the thread's own storage is being torn down, when there is no outbox any more.
        let _torn_down = OUTBOX.try_with(|outbox| *outbox.borrow_mut() = Outbox::new());
    }
}

impl Outbox {
    fn send(&mut self, cx: &mut Context<'_>) {
        // A socket that nobody else has any more closes: its connection was given up, and waiting for such peers
        // would let them use up the descriptors.
        self.blocked
            .retain(|socket| socket.is_used() && socket.poll_send_rest(cx).is_pending());
        let mut begin = 0;
        for Message { socket, end } in self.messages.drain(..) {
            if socket.poll_send(cx, &self.bytes[begin..end]).is_pending() {
                self.blocked.push(socket);
            }
            begin = end;
        }
        self.bytes.clear();
    }
}

/// What a socket has taken from the outbox and not been able to send.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// Messages in the outbox.
    pub(crate) queued: u32,
    /// Bytes that the peer has not taken yet.
    pub(crate) bytes: Vec<u8>,
    /// Why sending has failed.
    pub(crate) failed: Option<io::ErrorKind>,
    /// Who wants to write more.
    pub(crate) writer: Option<Waker>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    /// Runs `test` where an outbox is, as on a worker.
    fn on_a_worker(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build_local(tokio::runtime::LocalOptions::default())
            .unwrap()
            .block_on(async {
                tokio::task::spawn_local(send_each_turn());
                tokio::task::yield_now().await;
                test.await;
            });
    }

    async fn pair() -> (PlainStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap());
        let (accepted, peer) = tokio::join!(listener.accept(), peer);
        (PlainStream::new(accepted.unwrap().0), peer.unwrap())
    }

    /// Writes short messages of `byte` until the socket takes no more; returns how many bytes it took.
    async fn fill(socket: &PlainStream, byte: u8) -> usize {
        let message = [byte; MESSAGE_BYTES_MAX];
        let mut taken = 0;
        loop {
            let mut cx = Context::from_waker(Waker::noop());
            match socket.poll_write(&mut cx, &message) {
                Poll::Ready(written) => taken += written.unwrap(),
                Poll::Pending => return taken,
            }
            if OUTBOX.with_borrow(|outbox| outbox.bytes.len()) > OUTBOX_BYTES_MAX / 2 {
                send_now();
            }
        }
    }

    fn blocked() -> usize {
        OUTBOX.with_borrow(|outbox| outbox.blocked.len())
    }

    #[test]
    fn a_socket_whose_connection_was_given_up_closes_though_its_peer_reads_nothing() {
        on_a_worker(async {
            let (socket, mut peer) = pair().await;
            let taken = fill(&socket, b'x').await;
            assert_eq!(blocked(), 1);
            drop(socket);
            send_now();
            assert_eq!(blocked(), 0);
            let mut read = Vec::new();
            peer.read_to_end(&mut read).await.unwrap();
            assert!(read.len() < taken, "what was held back is gone");
        });
    }

    #[test]
    fn what_waits_for_a_peer_arrives_in_order_before_what_is_written_later() {
        on_a_worker(async {
            let (socket, mut peer) = pair().await;
            let short = fill(&socket, b'x').await;
            let long = vec![b'y'; 8 * MESSAGE_BYTES_MAX];
            let write = async {
                let mut rest = &long[..];
                while !rest.is_empty() {
                    let written = std::future::poll_fn(|cx| socket.poll_write(cx, rest)).await;
                    rest = &rest[written.unwrap()..];
                }
                std::future::poll_fn(|cx| socket.poll_shutdown(cx))
                    .await
                    .unwrap();
            };
            let mut read = Vec::new();
            let (_, end) = tokio::join!(write, peer.read_to_end(&mut read));
            end.unwrap();
            assert_eq!(read.len(), short + long.len());
            assert!(read[..short].iter().all(|byte| *byte == b'x'));
            assert!(read[short..].iter().all(|byte| *byte == b'y'));
        });
    }
}
