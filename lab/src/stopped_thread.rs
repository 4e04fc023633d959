//! Stops one thread of another process: a debugger's call, for which Rust has no safe function, so Python makes it.

use std::process::Stdio;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// What Python does, for as long as its standard input is open.
const SCRIPT: &str = include_str!("stopped_thread.py");

/// A thread that stands still until this is dropped or [`go_on`](Self::go_on) is called.
#[derive(Debug)]
pub struct StoppedThread(Child);

impl StoppedThread {
    /// Stops the main thread of the process `pid`; the others go on. `None` if that is not permitted here.
    ///
    /// # Errors
    ///
    /// `python3` cannot be started, or says nothing.
    pub async fn main_of(pid: u32) -> anyhow::Result<Option<Self>> {
        let mut stopper = Command::new("python3")
            .args(["-c", SCRIPT, &pid.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting python3")?;
        let output = stopper.stdout.take().context("no output of python3")?;
        let mut told = String::new();
        BufReader::new(output).read_line(&mut told).await?;
        Ok((told.trim() == "stopped").then_some(Self(stopper)))
    }

    /// Lets it go on.
    ///
    /// # Errors
    ///
    /// Python cannot be waited for.
    pub async fn go_on(mut self) -> anyhow::Result<()> {
        drop(self.0.stdin.take());
        self.0.wait().await?;
        Ok(())
    }
}
