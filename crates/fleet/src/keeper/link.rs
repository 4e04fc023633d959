//! This process's end of the pipe to the keeper.

use std::collections::BTreeSet;
use std::io::{self, PipeWriter, Write};
use std::process::Stdio;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::Pid;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use super::{ARGUMENT, Keeper};
use crate::mark::Mark;

/// How long to wait before a keeper that has died is started again.
const RESTART_AFTER: Duration = Duration::from_millis(100);

/// The way to the keeper, and what it has to know.
pub(crate) struct Link {
    keeper: Keeper,
    mark: Mark,
    state: Mutex<State>,
}

struct State {
    groups: BTreeSet<i32>,
    /// `None` while there is no keeper.
    pipe: Option<PipeWriter>,
}

/// A process group that the keeper knows until this is dropped.
pub(crate) struct Known {
    link: Arc<Link>,
    group: i32,
}

impl Link {
    /// Starts the keeper. Must be called within a runtime.
    pub(crate) fn new(keeper: Keeper, mark: Mark) -> io::Result<Arc<Self>> {
        let state = State {
            groups: BTreeSet::new(),
            pipe: None,
        };
        let link = Arc::new(Self {
            keeper,
            mark,
            state: Mutex::new(state),
        });
        let child = link.start()?;
        drop(tokio::spawn(watch(Arc::downgrade(&link), child)));
        Ok(link)
    }

    /// Lets the keeper know of a process group.
    pub(crate) fn tell(self: &Arc<Self>, group: Pid) -> Known {
        let group = group.as_raw_nonzero().get();
        let mut state = self.state.lock();
        state.groups.insert(group);
        state.write(&format!("+{group}\n"));
        Known {
            link: Arc::clone(self),
            group,
        }
    }

    fn start(&self) -> io::Result<Child> {
        let (reader, writer) = io::pipe()?;
        // A keeper that does not read must not hold up this process.
        fcntl_setfl(&writer, OFlags::NONBLOCK)?;
        let child = Command::new(&self.keeper.program)
            .arg(ARGUMENT)
            .arg(self.mark.to_string())
            .stdin(reader)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let mut state = self.state.lock();
        let all: String = state
            .groups
            .iter()
            .map(|group| format!("+{group}\n"))
            .collect();
        state.pipe = Some(writer);
        state.write(&all);
        Ok(child)
    }
}

impl State {
    fn write(&mut self, text: &str) {
        let Some(pipe) = &mut self.pipe else {
            return;
        };
        // It fails if the keeper has died, or has not read for thousands of starts. The mark remains in either case,
        // and a new keeper is told all.
        let _unread = pipe.write_all(text.as_bytes());
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        let mut state = self.link.state.lock();
        state.groups.remove(&self.group);
        state.write(&format!("-{}\n", self.group));
    }
}

/// Starts the keeper again whenever it has died.
async fn watch(link: Weak<Link>, mut child: Child) {
    loop {
        let _status = child.wait().await;
        sleep(RESTART_AFTER).await;
        let Some(link) = link.upgrade() else {
            return;
        };
        child = loop {
            match link.start() {
                Ok(child) => break child,
                Err(_) => sleep(RESTART_AFTER * 10).await,
            }
        };
    }
}
