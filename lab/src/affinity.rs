//! Which processor a thread runs on, and how many descriptors the process may open.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Restricts the calling thread to processor `cpu` (counted from 0).
/// Threads and processes it starts from then on inherit the restriction.
///
/// # Errors
/// `EINVAL` if there is no such processor, or the process may not use it.
pub fn pin_current_thread(cpu: usize) -> io::Result<()> {
    if cpu >= CpuSet::MAX_CPU {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

/// Runs `work` with the calling thread restricted to processor `cpu`, and lifts the restriction
/// afterwards.
///
/// This is how a child process is pinned: it inherits the affinity of the thread that starts it.
/// A hook between fork and exec would do it too, but only with `unsafe`.
///
/// # Errors
/// Those of [`pin_current_thread`] and of restoring the former affinity.
pub fn while_pinned<T>(cpu: usize, work: impl FnOnce() -> T) -> io::Result<T> {
    let former = sched_getaffinity(None)?;
    pin_current_thread(cpu)?;
    let result = work();
    sched_setaffinity(None, &former)?;
    Ok(result)
}

/// The first processor the calling thread may run on; `None` if the kernel does not say.
pub fn any_processor() -> Option<usize> {
    let set = sched_getaffinity(None).ok()?;
    (0..CpuSet::MAX_CPU).find(|&cpu| set.is_set(cpu))
}

/// Raises the soft limit on open descriptors to `wanted`, or to the hard limit if that is lower,
/// and returns what it then is. Never lowers it. Child processes inherit it.
///
/// # Errors
/// Those of `setrlimit`.
pub fn raise_descriptor_limit(wanted: u64) -> io::Result<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let target = wanted.min(maximum.unwrap_or(u64::MAX));
    match current {
        Some(now) if now < target => {
            let current = Some(target);
            setrlimit(Resource::Nofile, Rlimit { current, maximum })?;
            Ok(target)
        }
        Some(now) => Ok(now),
        None => Ok(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_affinity_returns_after_the_work() {
        let before = sched_getaffinity(None).unwrap();
        let cpu = (0..CpuSet::MAX_CPU)
            .find(|&cpu| before.is_set(cpu))
            .unwrap();
        let count = while_pinned(cpu, || sched_getaffinity(None).unwrap().count()).unwrap();
        assert_eq!(count, 1);
        assert_eq!(sched_getaffinity(None).unwrap(), before);
    }

    #[test]
    fn a_processor_that_does_not_exist_is_refused() {
        assert!(pin_current_thread(CpuSet::MAX_CPU).is_err());
    }

    #[test]
    fn the_descriptor_limit_is_never_lowered() {
        let now = raise_descriptor_limit(1).unwrap();
        assert!(now > 1);
        assert_eq!(raise_descriptor_limit(now).unwrap(), now);
    }
}
