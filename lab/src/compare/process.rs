//! A proxy that runs.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::config::{Setting, Work};
use super::peer::{Kind, Peer};
use super::procfs::Tree;
use super::scratch::Scratch;
use crate::affinity;
use crate::load::{self, Options, Protocol, Target};

/// How long a proxy may take from its start to its first answer.
const START_LIMIT: Duration = Duration::from_secs(15);

/// Pause between two attempts to connect where nobody measures the start.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// How long it may take to stop before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A running proxy, or the direct way. Asked to stop when dropped; [`Proxy::stop`] also waits.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Where clients connect.
    pub(crate) addr: SocketAddr,
    child: Option<Child>,
    scratch: Scratch,
    name: &'static str,
    started: Instant,
}

impl Proxy {
    /// Starts `peer` on processor `cpu`. It may not be listening yet.
    pub(super) fn spawn(peer: &Peer, work: Work<'_>, cpu: usize) -> anyhow::Result<Self> {
        let scratch = Scratch::new()?;
        let name = peer.kind.name();
        let started = Instant::now();
        if peer.kind == Kind::Direct {
            return Ok(Self {
                addr: work.apps[0],
                child: None,
                scratch,
                name,
                started,
            });
        }
        let [listen, metrics] = free_ports()?;
        let setting = Setting {
            listen,
            work,
            dir: scratch.path(),
        };
        let mut config = scratch.path().to_owned();
        if let Some((file, text)) = peer.config(&setting) {
            config.push(file);
            std::fs::write(&config, text)?;
        }
        let arguments = peer.arguments(&setting, &config, metrics);
        Self::launch(peer, &arguments, scratch, listen, Some(cpu))
    }

    /// Starts the program of `peer` with these arguments, which have it listen on the loopback port `listen`; on
    /// processor `cpu` if given. Its output goes to a file in `scratch`.
    pub(crate) fn launch(
        peer: &Peer,
        arguments: &[String],
        scratch: Scratch,
        listen: u16,
        cpu: Option<usize>,
    ) -> anyhow::Result<Self> {
        let name = peer.kind.name();
        let log = File::create(scratch.path().join("log"))?;
        let mut command = Command::new(&peer.program);
        command
            .args(arguments)
            .stdin(std::process::Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let started = Instant::now();
        let child = match cpu {
            Some(cpu) => affinity::while_pinned(cpu, || command.spawn())?,
            None => command.spawn(),
        }
        .with_context(|| format!("starting {}", peer.program.display()))?;
        let addr = (Ipv4Addr::LOCALHOST, listen).into();
        Ok(Self {
            addr,
            child: Some(child),
            scratch,
            name,
            started,
        })
    }

    /// Starts it and waits until it answers.
    pub(super) async fn start(peer: &Peer, work: Work<'_>, cpu: usize) -> anyhow::Result<Self> {
        let mut proxy = Self::spawn(peer, work, cpu)?;
        proxy.until_listening()?;
        proxy.until_serving(work.h2c).await?;
        Ok(proxy)
    }

    /// Returns the time from the start to the first connection accepted. Asks without pause: it
    /// has its own processor, and so has the proxy.
    pub(super) fn until_listening(&mut self) -> anyhow::Result<Duration> {
        while TcpStream::connect(self.addr).is_err() {
            self.check()?;
        }
        Ok(self.started.elapsed())
    }

    /// Waits until a connection is accepted, asking now and then. To ask without pause is not only impolite where
    /// others use the processor: sooner or later the kernel gives such a connection the very port that it goes to as
    /// its own, it is connected to itself, and the proxy finds its port taken.
    pub(crate) async fn until_open(&mut self) -> anyhow::Result<()> {
        while tokio::net::TcpStream::connect(self.addr).await.is_err() {
            self.check()?;
            tokio::time::sleep(ASK_AGAIN).await;
        }
        Ok(())
    }

    /// Returns the time from the start to the first answer with status 200.
    pub(crate) async fn until_serving(&mut self, h2c: bool) -> anyhow::Result<Duration> {
        loop {
            self.check()?;
            let once = Options {
                protocol: if h2c {
                    Protocol::H2c { streams: 1 }
                } else {
                    Protocol::Http1
                },
                requests: Some(1),
                ..Options::new(Target::at(self.addr, "/"))
            };
            if load::run(once).await.is_ok_and(|summary| summary.ok > 0) {
                return Ok(self.started.elapsed());
            }
        }
    }

    /// Its processes; `None` for the direct way.
    pub(super) fn tree(&self) -> anyhow::Result<Option<Tree>> {
        let pid = self.child.as_ref().and_then(Child::id);
        Ok(pid.map(Tree::of).transpose()?)
    }

    /// Fails if it has ended, or has taken too long, with what it has said.
    fn check(&mut self) -> anyhow::Result<()> {
        let ended = match &mut self.child {
            Some(child) => child.try_wait()?,
            None => None,
        };
        if ended.is_none() && self.started.elapsed() < START_LIMIT {
            return Ok(());
        }
        let why = ended.map_or_else(
            || "does not answer".into(),
            |status| format!("ended: {status}"),
        );
        bail!("{} {why}\n{}", self.name, self.said())
    }

    /// What it has written to its output so far.
    fn said(&self) -> String {
        std::fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default()
    }

    /// Has it end, and waits. Fails if it had already ended, with what it has said: what was measured
    /// until now may then be the work of nobody.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(child) = &mut self.child
            && let Some(status) = child.try_wait()?
        {
            bail!(
                "{} ended while it was measured: {status}\n{}",
                self.name,
                self.said()
            );
        }
        self.terminate();
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        if tokio::time::timeout(STOP_LIMIT, child.wait())
            .await
            .is_err()
        {
            child.kill().await?;
        }
        Ok(())
    }

    /// The folder of its files.
    pub(crate) fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// Has it read its configuration again, if it is one that does so on SIGHUP.
    pub(crate) fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().and_then(Child::id);
        if let Some(pid) = pid.and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            // It may have ended by itself; it is still ours, as nobody has waited for it.
            kill_process(pid, signal).ok();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.terminate();
    }
}

/// Two loopback ports that were free a moment ago. Another process may take one before the proxy
/// does; then the start fails and says so.
pub(crate) fn free_ports() -> std::io::Result<[u16; 2]> {
    let any = (Ipv4Addr::LOCALHOST, 0);
    let (first, second) = (TcpListener::bind(any)?, TcpListener::bind(any)?);
    Ok([first.local_addr()?.port(), second.local_addr()?.port()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(kind: Kind, program: &str) -> Peer {
        Peer {
            kind,
            program: program.into(),
            extra: Vec::new(),
        }
    }

    #[tokio::test]
    async fn a_program_that_ends_at_once_is_reported_with_its_words() {
        let peer = peer(Kind::Envoy, "/bin/ls");
        let app = "127.0.0.1:1".parse().unwrap();
        let cpu = crate::affinity::any_processor().unwrap();
        let failed = Proxy::start(&peer, Work::before(&app, false), cpu)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            failed.starts_with("envoy ended: exit status: 2"),
            "{failed}"
        );
        assert!(failed.contains("ls: "), "{failed}");
    }

    #[tokio::test]
    async fn a_program_that_ended_before_it_was_stopped_is_an_error() {
        let peer = peer(Kind::Envoy, "/bin/ls");
        let app = "127.0.0.1:1".parse().unwrap();
        let cpu = crate::affinity::any_processor().unwrap();
        let mut proxy = Proxy::spawn(&peer, Work::before(&app, false), cpu).unwrap();
        proxy.child.as_mut().unwrap().wait().await.unwrap();
        let failed = proxy.stop().await.unwrap_err().to_string();
        assert!(
            failed.starts_with("envoy ended while it was measured"),
            "{failed}"
        );
    }

    #[tokio::test]
    async fn the_direct_way_is_the_application() {
        let peer = peer(Kind::Direct, "");
        let app = "127.0.0.1:1".parse().unwrap();
        let proxy = Proxy::spawn(&peer, Work::before(&app, false), 0).unwrap();
        assert_eq!(proxy.addr, app);
        assert!(proxy.tree().unwrap().is_none());
        proxy.stop().await.unwrap();
    }
}
