//! A small process of its own that ends all replicas if this one dies, however it dies.
//!
//! It is this program again, started with an argument. It holds the reading end
//! of a pipe, whose other end is here: when that closes, this process is gone,
//! by `kill -9` or for want of memory too. Then it asks what is left of the
//! replicas to end, and kills after [`KEEPER_GRACE`] what has not. It knows their
//! process groups, which are told through the pipe, and their mark ([`crate::mark`]),
//! which covers the moment between the start of a replica and its telling.
//! It is the leader of a process group of its own, so that Ctrl-C does not reach
//! it, and it passes over `SIGTERM`, `SIGINT` and `SIGHUP`. If it dies it is
//! started again, and told all groups.
//!
//! Rejected: `PR_SET_PDEATHSIG`. It reaches the child and not its children, is
//! sent when the *thread* ends that started the child, and can be set only
//! between fork and exec, which needs unsafe code or one more program for each
//! replica. Rejected: that process as the parent of all replicas. Their output
//! and their ends would have to be handed over, and its own death would be as
//! bad as ours.

mod link;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use crate::mark::{self, Mark};
use crate::proc_fs::{self, Stat};

pub(crate) use link::Link;

/// How long what is left has to end by itself when the host has died.
pub const KEEPER_GRACE: Duration = Duration::from_secs(2);

/// How often it looks what is left.
const PERIOD: Duration = Duration::from_millis(20);

/// After so long the kernel cannot end what is left.
const TIME_MAX: Duration = Duration::from_secs(60);

/// The argument by which a program knows that it shall be the keeper.
const ARGUMENT: &str = "--keep-fleet";

/// How to start the keeper: a program whose `main` begins with [`keep_if_asked`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeper {
    program: PathBuf,
}

impl Keeper {
    /// This program, as it runs: a newer version in its place is not used.
    pub fn this_program() -> Self {
        Self {
            program: PathBuf::from("/proc/self/exe"),
        }
    }
}

/// What a program does first of all if it starts [`Keeper::this_program`].
///
/// `None` if it was not started as the keeper: it goes on then. Otherwise this returns when the keeper has done its
/// work, and the program ends. The arguments are those of the process, with its own name.
pub fn keep_if_asked(arguments: impl IntoIterator<Item = OsString>) -> Option<io::Result<()>> {
    let mut arguments = arguments.into_iter().skip(1);
    if arguments.next()? != ARGUMENT {
        return None;
    }
    let mark = Mark::given(arguments.next()?.to_str()?);
    Some(keep(&mark))
}

fn keep(mark: &Mark) -> io::Result<()> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build()?;
    runtime.block_on(async {
        for kind in [
            SignalKind::terminate(),
            SignalKind::interrupt(),
            SignalKind::hangup(),
        ] {
            // A signal once asked for does not end the process any more.
            drop(signal(kind)?);
        }
        let pipe = pipe::Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)?;
        let mut lines = BufReader::new(pipe).lines();
        let mut groups = BTreeSet::new();
        // A pipe that cannot be read is as good as closed.
        while let Ok(Some(line)) = lines.next_line().await {
            note(&mut groups, &line);
        }
        end_all(&groups, mark).await;
        Ok(())
    })
}

/// `+12` is a process group that has begun, `-12` one of which nothing is left.
fn note(groups: &mut BTreeSet<i32>, line: &str) {
    if let Some(group) = line.strip_prefix('+').and_then(|group| group.parse().ok()) {
        groups.insert(group);
    } else if let Some(group) = line.strip_prefix('-').and_then(|group| group.parse().ok()) {
        groups.remove(&group);
    }
}

async fn end_all(groups: &BTreeSet<i32>, mark: &Mark) {
    let began = Instant::now();
    let mut first = true;
    while began.elapsed() < TIME_MAX {
        let theirs =
            |stat: &Stat| stat.runs() && (groups.contains(&stat.group) || mark.is_on(stat.pid));
        let left: Vec<Stat> = proc_fs::processes().filter(theirs).collect();
        if left.is_empty() {
            return;
        }
        let kill = began.elapsed() >= KEEPER_GRACE;
        for stat in left.iter().filter(|_| first || kill) {
            mark::send(stat, if kill { Signal::KILL } else { Signal::TERM });
        }
        first = false;
        sleep(PERIOD).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_noted_and_struck_out() {
        let mut groups = BTreeSet::new();
        for line in ["+1", "+2", "", "x", "-1", "+x", "-3", "+4"] {
            note(&mut groups, line);
        }
        assert_eq!(groups.into_iter().collect::<Vec<_>>(), [2, 4]);
    }

    #[test]
    fn only_who_is_asked_is_the_keeper() {
        let asked =
            |arguments: &[&str]| keep_if_asked(arguments.iter().map(OsString::from)).is_some();
        assert!(!asked(&[]) && !asked(&["plimsoll"]) && !asked(&["plimsoll", "run"]));
        assert!(
            !asked(&["plimsoll", ARGUMENT]),
            "without a mark it could not know what to end"
        );
    }
}
