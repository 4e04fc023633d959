//! The certificate in a mounted directory: found at the start, read again whenever it changes.
//!
//! Kubernetes renews a mounted secret by swapping a symbolic link, so both files change in one step. What changes is
//! read once it has been the same for two looks. Handshakes that begin afterwards use the new certificate; open
//! connections do not notice. What cannot be used is told, and the old one stays.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use plimsoll_proxy::{Identity, ServerTls, TlsError};
use tokio::time::MissedTickBehavior;

use crate::gateway::watch::{Stamp, Watch, stamp};

/// How often the files are looked at. A look is two system calls.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// The certificate chain and the private key, as Kubernetes names them in a secret of type `kubernetes.io/tls`.
const FILES: [&str; 2] = ["tls.crt", "tls.key"];

/// Where a certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CertificateFiles {
    certificate: PathBuf,
    key: PathBuf,
}

/// What of the files there is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Both(CertificateFiles),
    Neither,
    /// One of them is missing: this one.
    Half(PathBuf),
}

impl CertificateFiles {
    pub(crate) fn new(certificate: PathBuf, key: PathBuf) -> Self {
        Self { certificate, key }
    }

    /// Looks for both files in `directory`.
    ///
    /// # Errors
    /// If it cannot be told whether they are there.
    pub(crate) fn find(directory: &Path) -> Result<Found, String> {
        let [certificate, key] = FILES.map(|name| directory.join(name));
        let found = |path: &Path| match std::fs::metadata(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(format!("cannot look at {}: {error}", path.display())),
        };
        Ok(match (found(&certificate)?, found(&key)?) {
            (true, true) => Found::Both(Self { certificate, key }),
            (false, false) => Found::Neither,
            (false, true) => Found::Half(certificate),
            (true, false) => Found::Half(key),
        })
    }

    /// Reads both. Blocks.
    pub(crate) fn read(&self) -> Result<Identity, TlsError> {
        Identity::from_pem_files(&self.certificate, &self.key)
    }

    fn stamps(&self) -> Vec<(PathBuf, Stamp)> {
        let stamped = |path: &PathBuf| (path.clone(), stamp(path));
        [&self.certificate, &self.key].map(stamped).into()
    }

    /// Gives `tls` the certificate anew whenever the files change, for as long as it is polled. `known` are the files
    /// as they were before they were read.
    ///
    /// The files are looked at on the calling thread: what Kubernetes mounts is in memory, and a thread for it would
    /// cost more than it could ever save.
    pub(crate) async fn keep_current(self, known: Vec<(PathBuf, Stamp)>, tls: Arc<ServerTls>) {
        let mut watch = Watch::default();
        watch.set(known);
        let mut ticks = tokio::time::interval(LOOK_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if watch.looked(&self.stamps()).is_empty() {
                continue;
            }
            match self.read() {
                Ok(identity) => {
                    tls.replace(&identity);
                    tracing::info!(file = %self.certificate.display(), "the certificate has been replaced");
                }
                Err(error) => {
                    tracing::error!(%error, "the new certificate cannot be used; the old one stays");
                }
            }
        }
    }

    /// The files as they are now, to be given to [`CertificateFiles::keep_current`] later.
    pub(crate) fn known(&self) -> Vec<(PathBuf, Stamp)> {
        self.stamps()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_must_be_there() {
        let folder = std::env::temp_dir().join(format!("plimsoll-tls-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let find = || CertificateFiles::find(&folder).unwrap();
        assert_eq!(find(), Found::Neither);
        std::fs::write(folder.join("tls.crt"), "").unwrap();
        assert_eq!(find(), Found::Half(folder.join("tls.key")));
        std::fs::write(folder.join("tls.key"), "").unwrap();
        let Found::Both(files) = find() else {
            panic!("both are there");
        };
        assert!(files.read().is_err(), "and of no use");
        assert_eq!(files.known().len(), 2);
        std::fs::remove_file(folder.join("tls.crt")).unwrap();
        assert_eq!(find(), Found::Half(folder.join("tls.crt")));
        // A link that leads nowhere is no file.
        std::os::unix::fs::symlink("nowhere", folder.join("tls.crt")).unwrap();
        assert_eq!(find(), Found::Half(folder.join("tls.crt")));
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(find(), Found::Neither);
        // Below a file there is no directory, so nothing can be told.
        std::fs::write(&folder, "").unwrap();
        assert!(CertificateFiles::find(&folder).is_err());
        std::fs::remove_file(&folder).unwrap();
    }
}
