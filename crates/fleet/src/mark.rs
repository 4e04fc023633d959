//! The mark that every process of a replica carries in its environment, and how they are found by it.
//!
//! A process group is left with one call, and a process whose parent has ended
//! belongs to nobody. The environment goes from parent to child whatever they
//! do, and anybody who may end a process may read it. So what has to end is what
//! belongs to the group or has the mark. Jenkins finds what builds leave behind
//! by a variable in the same way.
//!
//! Not found is what has left its group and wiped the variable or overwritten
//! its environment (some servers write their title there), or runs as another
//! user.
//!
//! A replica may be one of us itself, with replicas of its own. So the variable
//! is a list, outermost first: who ends the outer one finds the inner ones too.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid,
};

use crate::event::ReplicaId;
use crate::proc_fs::{self, Stat};

/// The variable of the environment by which all processes of a replica are known.
pub const MARK_VARIABLE: &str = "PLIMSOLL_REPLICA";

/// Bytes of an environment that are read: what the kernel takes for arguments and environment together, usually.
const ENVIRONMENT_BYTES_MAX: u64 = 2 << 20;

/// The mark of a host. No other host of this machine has the same, until it is started anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark(String);

impl Mark {
    /// A mark for a host within this process.
    pub(crate) fn new() -> Self {
        static HOSTS: AtomicU32 = AtomicU32::new(0);
        let number = HOSTS.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let own = i32::try_from(pid).ok().and_then(proc_fs::process);
        // A number of a process comes again some day; with the time of its start it does not.
        let started = own.map_or(0, |stat| stat.started);
        Self(format!("{pid}.{started}.{number}"))
    }

    /// As it was given to another process.
    pub(crate) fn given(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The mark of one replica.
    pub(crate) fn of_replica(&self, id: ReplicaId) -> Self {
        Self(format!("{self}/{id}"))
    }

    /// What the variable has to be for those who carry this mark, and what this process carries already.
    pub(crate) fn value(&self) -> String {
        match std::env::var(MARK_VARIABLE) {
            Ok(outer) if !outer.is_empty() => format!("{outer},{self}"),
            _ => self.0.clone(),
        }
    }

    /// Whether this mark, or that of a replica of this host, is in the value of the variable.
    fn is_in(&self, value: &str) -> bool {
        let mut marks = value.split(',');
        marks.any(|mark| {
            mark.strip_prefix(&self.0)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// Whether the process carries it.
    pub(crate) fn is_on(&self, pid: i32) -> bool {
        let Ok(file) = File::open(format!("/proc/{pid}/environ")) else {
            return false;
        };
        let mut environment = Vec::new();
        if file
            .take(ENVIRONMENT_BYTES_MAX)
            .read_to_end(&mut environment)
            .is_err()
        {
            return false;
        }
        let name = format!("{MARK_VARIABLE}=");
        let mut variables = environment.split(|byte| *byte == 0);
        let value = variables.find_map(|variable| variable.strip_prefix(name.as_bytes()));
        value.is_some_and(|value| self.is_in(&String::from_utf8_lossy(value)))
    }

    /// Kills all that carry it, until there is none. Reads the environment of every process each time.
    pub(crate) fn kill_all(&self) {
        /// Each time, all are killed that there are; more times are needed only if they make others meanwhile.
        const TIMES_MAX: usize = 100;
        for _ in 0..TIMES_MAX {
            let found: Vec<Stat> = proc_fs::processes()
                .filter(|stat| stat.runs() && self.is_on(stat.pid))
                .collect();
            if found.is_empty() {
                return;
            }
            for stat in &found {
                send(stat, Signal::KILL);
            }
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Sends a signal to this process and to no other that has got its number since.
pub(crate) fn send(stat: &Stat, signal: Signal) {
    let Some(pid) = Pid::from_raw(stat.pid) else {
        return;
    };
    let Ok(exact) = pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    let same = proc_fs::process(stat.pid).is_some_and(|now| now.started == stat.started);
    // It fails if the process has ended, which is what is wanted, or may not be ended by us.
    if same && pidfd_send_signal(&exact, signal).is_ok() && signal == Signal::KILL {
        // If its parent has ended before it and this process takes its place, nobody else waits for it.
        let _not_ours = waitpid(Some(pid), WaitOptions::NOHANG);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_alone_and_in_a_list_and_only_as_a_whole() {
        let mark = Mark::given("12.345.0");
        for (value, found) in [
            ("12.345.0", true),
            ("12.345.0/7", true),
            ("1.1.1/1,12.345.0/7", true),
            ("12.345.0/7,1.1.1/1", true),
            ("", false),
            ("12.345.01", false),
            ("112.345.0/7", false),
            ("1.1.1/12.345.0", false),
        ] {
            assert_eq!(mark.is_in(value), found, "{value}");
        }
        let replica = mark.of_replica(ReplicaId(7));
        assert!(replica.is_in("12.345.0/7"));
        assert!(!replica.is_in("12.345.0/71") && !replica.is_in("12.345.0"));
    }

    #[test]
    fn each_host_has_a_mark_of_its_own_and_this_process_has_none() {
        let (one, other) = (Mark::new(), Mark::new());
        assert_ne!(one, other);
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(!one.is_on(own));
        assert!(one.value().ends_with(&one.to_string()));
    }
}
