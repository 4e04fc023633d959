//! Which programs are compared, and where they run.

use std::path::PathBuf;

use plimsoll_lab::compare::{Kind, Setup};

#[derive(Debug, clap::Args)]
pub(super) struct Programs {
    /// Path of plimsoll, built with --release. Default: on PATH.
    #[arg(long, global = true, value_name = "FILE")]
    plimsoll: Option<PathBuf>,
    /// Further argument for Plimsoll's command. Repeatable.
    #[arg(
        long = "plimsoll-arg",
        global = true,
        value_name = "ARG",
        allow_hyphen_values = true
    )]
    plimsoll_args: Vec<String>,
    /// Path of haproxy. Default: on PATH, or in an sbin directory.
    #[arg(long, global = true, value_name = "FILE")]
    haproxy: Option<PathBuf>,
    /// Path of nginx. Default: on PATH, or in an sbin directory.
    #[arg(long, global = true, value_name = "FILE")]
    nginx: Option<PathBuf>,
    /// Path of envoy. Default: on PATH. Give the binary, not a script that starts it.
    #[arg(long, global = true, value_name = "FILE")]
    envoy: Option<PathBuf>,
    /// Processor of the proxies.
    #[arg(long, global = true, default_value_t = 1, value_name = "N")]
    proxy_cpu: usize,
    /// Processor of backends and load.
    #[arg(long, global = true, default_value_t = 0, value_name = "N")]
    load_cpu: usize,
}

impl Programs {
    /// Those of `named` that are found, or if none is named, of `all`.
    pub(super) fn find(&self, named: &[Kind], all: &[Kind]) -> Setup {
        let given = |kind| match kind {
            Kind::Direct => None,
            Kind::Plimsoll => self.plimsoll.clone(),
            Kind::Haproxy => self.haproxy.clone(),
            Kind::Nginx => self.nginx.clone(),
            Kind::Envoy => self.envoy.clone(),
        };
        let kinds = if named.is_empty() { all } else { named };
        let path = std::env::var("PATH").unwrap_or_default();
        Setup {
            proxy_cpu: self.proxy_cpu,
            load_cpu: self.load_cpu,
            ..Setup::find(kinds, given, &path, &self.plimsoll_args)
        }
    }
}

/// The kind of that name.
pub(super) fn kind(name: &str) -> Result<Kind, String> {
    let known = Kind::ALL.into_iter().find(|kind| kind.name() == name);
    known.ok_or_else(|| "one of direct, plimsoll, haproxy, nginx, envoy".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_named() {
        assert_eq!(kind("nginx"), Ok(Kind::Nginx));
        assert!(kind("apache").is_err());
    }
}
