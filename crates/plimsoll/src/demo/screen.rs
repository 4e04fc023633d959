//! The terminal while the live view is on it.
//!
//! Plain control sequences (ECMA-48, and three private modes that every terminal since the VT220 and xterm knows)
//! are enough: nothing is read from the terminal, so it stays in its ordinary mode, and Ctrl-C stays a signal.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Signal, getpid, kill_process};

/// The other screen, no cursor, no wrapping at the right edge.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";

/// Everything as it was.
const LEAVE: &str = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";

/// Lines of a terminal that does not tell.
const ROWS_DEFAULT: usize = 24;

/// The terminal on standard output. Dropping it, or a panic, leaves everything as it was.
#[derive(Debug)]
pub(crate) struct Screen {
    /// Whether it is taken over. It must be left once only: leaving puts the cursor back to where it was, which would
    /// then be in the middle of what has been written since.
    taken: Arc<AtomicBool>,
}

impl Screen {
    /// Takes the screen over.
    ///
    /// # Errors
    /// If the terminal takes no output.
    pub(crate) fn open() -> io::Result<Self> {
        let taken = Arc::new(AtomicBool::new(false));
        let at_panic = Arc::clone(&taken);
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // The message must not go down with the other screen.
            let _gone = leave(&at_panic);
            before(panic);
        }));
        let mut screen = Self { taken };
        screen.enter()?;
        Ok(screen)
    }

    /// Paints a view over the last one: as many lines as the terminal has.
    ///
    /// # Errors
    /// If the terminal takes no output.
    pub(crate) fn show(&mut self, view: &str) -> io::Result<()> {
        write(&frame(view, rows()))
    }

    /// Lets the shell have the terminal back, as Ctrl-Z asks, until the process is continued.
    ///
    /// # Errors
    /// If the terminal takes no output, or the process cannot stop.
    pub(crate) fn suspend(&mut self) -> io::Result<()> {
        leave(&self.taken)?;
        kill_process(getpid(), Signal::STOP)?;
        self.enter()
    }

    fn enter(&mut self) -> io::Result<()> {
        self.taken.store(true, Ordering::Relaxed);
        write(ENTER)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // If the terminal has gone there is nothing to leave.
        let _gone = leave(&self.taken);
    }
}

/// Puts everything back, unless that has been done.
fn leave(taken: &AtomicBool) -> io::Result<()> {
    if taken.swap(false, Ordering::Relaxed) {
        write(LEAVE)
    } else {
        Ok(())
    }
}

/// From the upper left corner, each line to its end, and nothing below. No newline after the last: it would scroll
/// a screen that is just as high.
fn frame(view: &str, rows: usize) -> String {
    let lines: Vec<&str> = view.lines().take(rows).collect();
    format!("\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\r\n"))
}

/// How many lines the terminal has now; it may have been resized.
fn rows() -> usize {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_row > 0 => usize::from(size.ws_row),
        _ => ROWS_DEFAULT,
    }
}

/// All at once, so that no half of a frame is seen.
fn write(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_begins_in_the_corner_and_clears_what_it_does_not_cover() {
        assert_eq!(
            frame("a\n\nb\n", 24),
            "\x1b[Ha\x1b[K\r\n\x1b[K\r\nb\x1b[K\x1b[J"
        );
    }

    #[test]
    fn a_frame_is_never_higher_than_the_terminal() {
        assert_eq!(frame("a\nb\nc\n", 2), "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
    }
}
