//! What the tests are made of: the program, applications behind it, clients in front of it.

pub(crate) mod app;
pub(crate) mod browser;
pub(crate) mod gateway;
pub(crate) mod h2c;
pub(crate) mod http1;
pub(crate) mod metrics;
pub(crate) mod program;
pub(crate) mod sidecar;
pub(crate) mod wire;

use std::future::Future;
use std::time::Duration;

/// How long anything may take that takes no time. A test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How often a condition is looked at that nobody can announce.
const LOOK_PERIOD: Duration = Duration::from_millis(5);

/// A number of kibibytes in the status of a process (proc_pid_status(5)), as `VmRSS`.
pub(crate) fn status_kib(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mut fields = status.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(name, _)| *name == field).unwrap();
    value.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

/// What `future` gives, unless it takes longer than [`PATIENCE`].
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// Looks until `look` gives a value.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    soon(what, async {
        loop {
            if let Some(value) = look().await {
                return value;
            }
            tokio::time::sleep(LOOK_PERIOD).await;
        }
    })
    .await
}
