//! SIGTERM and SIGINT: the first asks to drain, the second ends the process at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Exit code after a second signal: nothing was waited for.
const EXIT_AT_ONCE: i32 = 1;

/// Waits for signals that end the process.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on these signals come here instead of ending the process.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The name of the next one.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Ends the process at the next one.
    #[expect(
        clippy::disallowed_methods,
        clippy::print_stderr,
        reason = "whoever asks twice does not want anything waited for"
    )]
    pub(crate) async fn exit_at_next(mut self) {
        let name = self.next().await;
        // Not through the log: its thread would not come to write it any more.
        eprintln!("plimsoll: second signal ({name}): exiting at once");
        std::process::exit(EXIT_AT_ONCE);
    }
}
