//! A process group: waiting for its leader, and ending all of it.

use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{
    Pid, Signal, WaitOptions, kill_process_group, test_kill_process_group, waitpgid,
};
use tokio::process::Child;
use tokio::time::{Instant, sleep, sleep_until};

use crate::proc_fs;

/// How often it is asked whether a group is empty, at first and at last.
const POLL_MIN: Duration = Duration::from_millis(1);
const POLL_MAX: Duration = Duration::from_millis(100);

/// The leader of a process group, and with it the group. What is left of the group is killed on drop.
pub(crate) struct Process {
    child: Child,
    pid: Pid,
    status: Option<ExitStatus>,
    /// Whether it is known that nothing is left of the group.
    empty: bool,
}

impl Process {
    /// The child must have been started as the leader of a process group.
    pub(crate) fn new(child: Child, pid: Pid) -> Self {
        Self {
            child,
            pid,
            status: None,
            empty: false,
        }
    }

    /// The leader, whose number is that of the group.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits for the end of the leader. It is safe to drop this future and to call again.
    pub(crate) async fn exited(&mut self) -> ExitStatus {
        loop {
            if let Some(status) = self.status() {
                return status;
            }
            if self.child.wait().await.is_err() {
                // Only if somebody else has waited for it, which the look at its status then says too.
                sleep(POLL_MAX).await;
            }
        }
    }

    /// The status of the leader if it has ended. From then on it is no zombie any more.
    fn status(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }

    /// Asks the group to end, waits for `grace`, kills what is left. Whether something had to be killed.
    ///
    /// Returns when no process of the group runs any more. That takes longer than `grace` only if the kernel
    /// cannot end one.
    pub(crate) async fn end(&mut self, signal: Signal, grace: Duration) -> bool {
        if self.is_empty() {
            return false;
        }
        self.signal(signal);
        let deadline = Instant::now() + grace;
        if tokio::select! {
            () = self.emptied() => true,
            () = sleep_until(deadline) => self.is_empty(),
        } {
            return false;
        }
        loop {
            self.signal(Signal::KILL);
            tokio::select! {
                () = self.emptied() => return true,
                // Again, because a process may have been made while the others were killed.
                () = sleep(POLL_MAX) => {}
            }
        }
    }

    async fn emptied(&mut self) {
        let mut wait = POLL_MIN;
        self.exited().await;
        while !self.is_empty() {
            sleep(wait).await;
            wait = (wait * 2).min(POLL_MAX);
        }
    }

    /// Whether no process of the group runs any more.
    ///
    /// Those whose parent has ended and left them to us are waited for. A zombie that somebody else does not
    /// wait for is as good as gone.
    fn is_empty(&mut self) -> bool {
        if self.empty || self.status().is_none() {
            return self.empty;
        }
        while let Ok(Some(_)) = waitpgid(self.pid, WaitOptions::NOHANG) {}
        self.empty = test_kill_process_group(self.pid) == Err(rustix::io::Errno::SRCH)
            || !proc_fs::group_runs(self.pid);
        self.empty
    }

    /// Whether the last look at the group found nobody.
    pub(crate) fn is_gone(&self) -> bool {
        self.empty
    }

    fn signal(&self, signal: Signal) {
        // It fails if nobody is there any more, which is what is wanted.
        let _gone = kill_process_group(self.pid, signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.is_empty() {
            self.signal(Signal::KILL);
            // The runtime waits for the leader, so that no zombie stays.
        }
    }
}
