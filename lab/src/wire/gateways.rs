//! The gateways of one run: processes in front of its backends.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::Entrant;
use super::config::{Listed, Setting};
use super::scene::Scene;
use crate::compare::Kind;
use crate::compare::process::{Proxy, free_ports};
use crate::compare::scratch::Scratch;

/// How often a gateway is started before that is given up.
const START_TRIES: u32 = 3;

/// All gateways of one run. They are asked to stop when this is dropped.
#[derive(Debug)]
pub(super) struct Gateways {
    entrant: Entrant,
    all: Vec<Gateway>,
}

#[derive(Debug)]
struct Gateway {
    proxy: Proxy,
    /// The numbers and ports of its backends.
    backends: Vec<(usize, u16)>,
}

impl Gateways {
    /// Starts them, one after the other, and waits until each answers.
    pub(super) async fn start(
        entrant: &Entrant,
        scene: &Scene,
        ports: &[u16],
        cpu: Option<usize>,
    ) -> anyhow::Result<Self> {
        let mut gateways = Self {
            entrant: entrant.clone(),
            all: Vec::new(),
        };
        for number in 0..scene.scenario.gateways {
            let range = scene.backends_of(number);
            let backends: Vec<_> = range.map(|backend| (backend, ports[backend])).collect();
            let mut tries = 1;
            let gateway = loop {
                match gateways.start_one(scene, &backends, cpu).await {
                    Ok(gateway) => break gateway,
                    // Its port may have been taken in between.
                    Err(_) if tries < START_TRIES => tries += 1,
                    Err(failed) => return Err(failed),
                }
            };
            gateways.all.push(gateway);
        }
        Ok(gateways)
    }

    async fn start_one(
        &self,
        scene: &Scene,
        backends: &[(usize, u16)],
        cpu: Option<usize>,
    ) -> anyhow::Result<Gateway> {
        let scratch = Scratch::new()?;
        let [listen, _] = free_ports()?;
        let listed = listed(scene, backends);
        let setting = Setting {
            scenario: &scene.scenario,
            tuning: self.entrant.tuning,
            listen,
            backends: &listed,
            dir: scratch.path(),
        };
        let kind = self.entrant.peer.kind;
        for file in setting.files(kind) {
            std::fs::write(scratch.path().join(file.name), file.text)?;
        }
        let mut arguments = setting.arguments(kind);
        arguments.extend(self.entrant.peer.extra.iter().cloned());
        let peer = &self.entrant.peer;
        let mut proxy = Proxy::launch(peer, &arguments, scratch, listen, cpu)?;
        proxy.until_open().await?;
        proxy.until_serving(false).await?;
        Ok(Gateway {
            proxy,
            backends: backends.to_vec(),
        })
    }

    /// Where clients connect.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.all.iter().map(|gateway| gateway.proxy.addr).collect()
    }

    /// Tells each which of its backends are there now.
    pub(super) async fn list(&self, scene: &Scene) -> anyhow::Result<()> {
        let kind = self.entrant.peer.kind;
        for gateway in &self.all {
            let backends = listed(scene, &gateway.backends);
            let setting = Setting {
                scenario: &scene.scenario,
                tuning: self.entrant.tuning,
                listen: gateway.proxy.addr.port(),
                backends: &backends,
                dir: gateway.proxy.folder(),
            };
            match setting.list(kind) {
                Some((path, text)) => replace(&path, &text)?,
                None => {
                    let (socket, words) = setting.words();
                    say(&socket, &words)
                        .await
                        .with_context(|| format!("telling {kind} of its backends"))?;
                }
            }
            if kind == Kind::Nginx {
                gateway.proxy.hang_up();
            }
        }
        Ok(())
    }

    /// Ends them. Fails if one had ended before.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        for gateway in self.all {
            gateway.proxy.stop().await?;
        }
        Ok(())
    }
}

fn listed(scene: &Scene, backends: &[(usize, u16)]) -> Vec<Listed> {
    let now = scene.now();
    let listed = |&(number, port): &(usize, u16)| Listed {
        number,
        port,
        present: !scene.scenario.condition(number, now).absent,
    };
    backends.iter().map(listed).collect()
}

/// Replaces a file at one moment: nobody reads half of it. Envoy looks for such a move.
fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, text)?;
    Ok(std::fs::rename(new, path)?)
}

async fn say(socket: &Path, words: &str) -> anyhow::Result<()> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(words.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    anyhow::ensure!(answer.trim().is_empty(), "{}", answer.trim());
    Ok(())
}
