//! Settings of the process: ports, threads, certificates, logs.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use super::section::Section;
use crate::cli::LogFormat;
use crate::cli::values::WORKERS_MAX;
use crate::cli::values::{self, DURATION_MAX};
use crate::gateway::plan::{
    ADMIN_DEFAULT, DRAIN_QUIET_DEFAULT, LISTEN_DEFAULT, PemPair, ProcessPlan,
};
use crate::run::plan::{self, RESIDENCE_DEFAULT, RoomPlan};

/// The longest stay that can be asked for; whoever waits has given up long before.
const RESIDENCE_MAX: Duration = Duration::from_secs(3_600);

/// Settings of the process as far as they were given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ProcessSettings {
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) workers: Option<NonZeroUsize>,
    pub(crate) drain_quiet: Option<Duration>,
    pub(crate) log_format: Option<LogFormat>,
    pub(crate) tls: Option<PemPair>,
    /// Bytes that all replicas together may have.
    pub(crate) replicas_memory: Option<u64>,
    /// How long a replica stays before it has to make room for others.
    pub(crate) replicas_residence: Option<Duration>,
    /// Whether services may have commands, as those of `plimsoll run` do.
    pub(crate) commands: bool,
}

impl ProcessSettings {
    /// Reads those of a file.
    ///
    /// `commands` says whether services may have commands.
    pub(super) fn read(root: &Section<'_>, folder: &Path, commands: bool) -> Self {
        let memory = commands
            .then(|| root.text("replicas-memory", memory))
            .flatten();
        let residence = commands
            .then(|| root.duration("replicas-residence", Duration::ZERO..=RESIDENCE_MAX))
            .flatten();
        let listener = |key| root.text(key, values::listener).map(|found| found.value);
        let log_format = root.text("log-format", |text| match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(format!("`{text}` is no format; write text or json")),
        });
        let workers = root.number("workers", 1..=WORKERS_MAX as u64);
        Self {
            listen: listener("listen"),
            admin: listener("admin"),
            workers: workers
                .and_then(|workers| usize::try_from(workers).ok())
                .and_then(NonZeroUsize::new),
            drain_quiet: root.duration("drain-quiet", Duration::ZERO..=DURATION_MAX),
            log_format: log_format.map(|found| found.value),
            tls: root.table("tls").and_then(|section| {
                let pair = pem_pair(&section, folder);
                if pair.is_none() {
                    section.wrong("write both cert and key, or leave the table out");
                }
                section.finish();
                pair
            }),
            replicas_memory: memory.map(|found| found.value),
            replicas_residence: residence,
            commands: false,
        }
    }

    /// These, and from `other` what is not among them.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            listen: self.listen.or(other.listen),
            admin: self.admin.or(other.admin),
            workers: self.workers.or(other.workers),
            drain_quiet: self.drain_quiet.or(other.drain_quiet),
            log_format: self.log_format.or(other.log_format),
            tls: self.tls.or(other.tls),
            replicas_memory: self.replicas_memory.or(other.replicas_memory),
            replicas_residence: self.replicas_residence.or(other.replicas_residence),
            commands: self.commands || other.commands,
        }
    }

    /// These, with the defaults for the rest.
    pub(crate) fn resolve(self) -> ProcessPlan {
        ProcessPlan {
            listen: self.listen.unwrap_or(LISTEN_DEFAULT),
            admin: self.admin.unwrap_or(ADMIN_DEFAULT),
            workers: self.workers.unwrap_or_else(plimsoll_proxy::default_workers),
            drain_quiet: self.drain_quiet.unwrap_or(if self.commands {
                plan::DRAIN_QUIET_DEFAULT
            } else {
                DRAIN_QUIET_DEFAULT
            }),
            log_format: self.log_format.unwrap_or(LogFormat::Text),
            tls: self.tls,
            room: RoomPlan {
                memory: self.replicas_memory,
                residence: self.replicas_residence.unwrap_or(RESIDENCE_DEFAULT),
            },
        }
    }
}

/// A number of bytes, of which there are some.
pub(super) fn memory(text: &str) -> Result<u64, String> {
    match values::bytes(text)? {
        0 => Err("0 bytes are none; leave it out for no limit".to_owned()),
        bytes => Ok(bytes),
    }
}

/// The files of a certificate and its key; `None` unless both are there.
pub(super) fn pem_pair(section: &Section<'_>, folder: &Path) -> Option<PemPair> {
    let file = |key| section.text(key, |text| super::path(folder, text));
    let (cert, key) = (file("cert"), file("key"));
    Some(PemPair {
        cert: cert?.value,
        key: key?.value,
    })
}
