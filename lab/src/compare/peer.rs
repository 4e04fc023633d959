//! Who takes part.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::config::{self, CONCURRENCY, QUEUE, Role, Setting};

/// A way from the client to the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// No proxy.
    Direct,
    /// `plimsoll sidecar`, or `plimsoll gateway`.
    Plimsoll,
    /// HAProxy.
    Haproxy,
    /// nginx.
    Nginx,
    /// Envoy.
    Envoy,
}

/// A proxy that was found on this machine.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Which.
    pub kind: Kind,
    /// Its program; empty for [`Kind::Direct`].
    pub program: PathBuf,
    /// Further arguments, after ours.
    pub extra: Vec<String>,
}

impl Kind {
    /// Every kind, in the order of the tables.
    pub const ALL: [Self; 5] = [
        Self::Direct,
        Self::Plimsoll,
        Self::Haproxy,
        Self::Nginx,
        Self::Envoy,
    ];

    /// The name in tables and of the program.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Plimsoll => "plimsoll",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
        }
    }

    /// Its program: `given` if there is one, else the first of its name in `path` (a list as in `PATH`)
    /// and then in the `sbin` directories, where Debian puts two of them. `None` if there is no such file.
    pub fn locate(self, given: Option<&Path>, path: &str) -> Option<PathBuf> {
        if let Some(given) = given {
            return given.is_file().then(|| given.to_owned());
        }
        std::env::split_paths(path)
            .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
            .map(|dir| dir.join(self.name()))
            .find(|program| program.is_file())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Peer {
    /// The version the program tells; `None` if it does not.
    pub fn version(&self) -> Option<String> {
        let flag = match self.kind {
            Kind::Direct => return None,
            Kind::Haproxy | Kind::Nginx => "-v",
            Kind::Plimsoll | Kind::Envoy => "--version",
        };
        let output = Command::new(&self.program).arg(flag).output().ok()?;
        // nginx tells it on standard error.
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        version_in(&text).map(str::to_owned)
    }

    /// The name and the text of its configuration file, if it has one.
    pub(super) fn config(&self, setting: &Setting<'_>) -> Option<(&'static str, String)> {
        match self.kind {
            Kind::Direct | Kind::Plimsoll => None,
            Kind::Haproxy => Some(("haproxy.cfg", config::haproxy(setting))),
            Kind::Nginx => Some(("nginx.conf", config::nginx(setting))),
            Kind::Envoy => Some(("envoy.yaml", config::envoy(setting))),
        }
    }

    /// Its arguments: in the foreground, one worker, the configuration at `config`, and for Plimsoll,
    /// which has none, everything on and `metrics` as the port of its reports.
    pub(super) fn arguments(
        &self,
        setting: &Setting<'_>,
        config: &Path,
        metrics: u16,
    ) -> Vec<String> {
        let config = config.display().to_string();
        let mut list: Vec<String> = match self.kind {
            Kind::Direct => Vec::new(),
            Kind::Plimsoll => ours(setting, metrics),
            Kind::Haproxy => vec!["-db".into(), "-f".into(), config],
            Kind::Nginx => vec![
                "-p".into(),
                setting.dir.display().to_string(),
                // Errors before the configuration is read go to a path of the distribution otherwise.
                "-e".into(),
                "stderr".into(),
                "-c".into(),
                config,
            ],
            Kind::Envoy => vec![
                "-c".into(),
                config,
                "--concurrency".into(),
                "1".into(),
                "--log-level".into(),
                "error".into(),
                "--disable-hot-restart".into(),
            ],
        };
        list.extend(self.extra.iter().cloned());
        list
    }
}

/// Plimsoll's arguments.
fn ours(setting: &Setting<'_>, metrics: u16) -> Vec<String> {
    let listen = format!("--listen=127.0.0.1:{}", setting.listen);
    let apps = setting.work.apps.iter();
    let mut list = match setting.work.role {
        Role::Sidecar => {
            let mut list = vec!["sidecar".into()];
            list.extend(apps.map(|app| format!("--app={app}")));
            list.extend([
                listen,
                format!("--metrics-listen=127.0.0.1:{metrics}"),
                format!("--concurrency={CONCURRENCY}"),
                format!("--queue={QUEUE}"),
            ]);
            list
        }
        Role::Gateway => {
            let mut list = vec!["gateway".into()];
            list.extend(apps.map(|app| format!("--upstream={app}")));
            list.extend([listen, format!("--admin=127.0.0.1:{metrics}")]);
            list
        }
    };
    list.extend([
        "--workers=1".into(),
        // Nobody sends after the end of a measurement: nothing to be quiet for.
        "--drain-quiet=0s".into(),
    ]);
    list
}

/// The first word that looks like a version: digits, a dot, digits, and whatever follows.
fn version_in(text: &str) -> Option<&str> {
    let separator = |c: char| c.is_whitespace() || matches!(c, '/' | ',' | '(' | ')');
    text.split(separator).find(|word| {
        let Some((major, rest)) = word.split_once('.') else {
            return false;
        };
        let digits = !major.is_empty() && major.bytes().all(|b| b.is_ascii_digit());
        digits && rest.starts_with(|c: char| c.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_flag_or_on_the_path() {
        let dir = crate::compare::scratch::Scratch::new().unwrap();
        let program = dir.path().join("plimsoll");
        std::fs::write(&program, "").unwrap();
        let path = format!("/nowhere:{}", dir.path().display());
        assert_eq!(Kind::Plimsoll.locate(None, &path), Some(program.clone()));
        assert_eq!(
            Kind::Plimsoll.locate(Some(&program), ""),
            Some(program.clone())
        );
        assert_eq!(Kind::Plimsoll.locate(None, "/nowhere"), None);
        let wrong = dir.path().join("other");
        assert_eq!(
            Kind::Plimsoll.locate(Some(&wrong), &path),
            None,
            "a wrong flag is not ignored"
        );
    }

    #[test]
    fn versions_are_found_in_what_each_program_says() {
        let table = [
            (
                "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://x.org/",
                "2.6.12-1+deb12u4",
            ),
            ("nginx version: nginx/1.22.1", "1.22.1"),
            (
                "/lib/python3.11/_bin/envoy  version: 9e55/1.40.0/Clean/RELEASE/x",
                "1.40.0",
            ),
            ("plimsoll 0.1.0", "0.1.0"),
        ];
        for (text, version) in table {
            assert_eq!(version_in(text), Some(version), "{text}");
        }
        assert_eq!(version_in("no version. None"), None);
    }

    #[test]
    fn plimsoll_gets_its_limits_and_extra_arguments() {
        let peer = Peer {
            kind: Kind::Plimsoll,
            program: "plimsoll".into(),
            extra: vec!["--more".into()],
        };
        let app = (std::net::Ipv4Addr::LOCALHOST, 2).into();
        let setting = Setting {
            listen: 1,
            work: config::Work::before(&app, false),
            dir: Path::new("/tmp"),
        };
        let arguments = peer.arguments(&setting, Path::new(""), 3).join(" ");
        assert_eq!(
            arguments,
            "sidecar --app=127.0.0.1:2 --listen=127.0.0.1:1 --metrics-listen=127.0.0.1:3 \
             --concurrency=100 --queue=1000 --workers=1 --drain-quiet=0s --more"
        );
        assert!(peer.config(&setting).is_none());
        let work = config::Work {
            role: Role::Gateway,
            apps: &[app, app],
            h2c: false,
        };
        let setting = Setting { work, ..setting };
        let arguments = peer.arguments(&setting, Path::new(""), 3).join(" ");
        assert_eq!(
            arguments,
            "gateway --upstream=127.0.0.1:2 --upstream=127.0.0.1:2 --listen=127.0.0.1:1 \
             --admin=127.0.0.1:3 --workers=1 --drain-quiet=0s --more"
        );
    }
}
