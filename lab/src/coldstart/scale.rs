//! Up and down under load: nothing is cut short.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::clients::Clients;
use super::program::Program;
use super::{Promise, Setup};
use crate::compare::Progress;

/// Replicas of each cycle: up to so many, and down to one.
const REPLICAS: u64 = 3;

/// Clients that ask all the time.
const CLIENTS: usize = 8;

/// WebSockets of each cycle: enough that each replica has some.
const SOCKETS: usize = 6;

/// How often each of them speaks while replicas go, and the pause between.
const WORDS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(10);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// So many times up and down.
pub(super) async fn measure(
    setup: &Setup,
    cycles: u32,
    progress: Progress<'_>,
) -> anyhow::Result<Vec<Promise>> {
    let config = super::app(setup, "concurrency = 20\n");
    let program = Program::start(setup, "run", &config, &[], None).await?;
    program.set_replicas("app", 1).await?;
    program.until_ready("app", 1).await?;
    let clients = Clients::start(program.data, "/delay/5", CLIENTS);
    let (mut sockets, mut cut, mut kept) = (0, 0, 0);
    for cycle in 0..cycles {
        if cycle % 20 == 0 {
            progress(&format!("cycle {cycle} of {cycles}"));
        }
        program.set_replicas("app", REPLICAS).await?;
        program.until_ready("app", REPLICAS).await?;
        let mut open = Vec::with_capacity(SOCKETS);
        for _ in 0..SOCKETS {
            let (socket, _) = connect_async(format!("ws://{}/echo", program.data)).await?;
            open.push(socket);
        }
        program.set_replicas("app", 1).await?;
        let mut alive = vec![true; SOCKETS];
        for word in 0..WORDS {
            tokio::time::sleep(PAUSE).await;
            for (socket, alive) in open.iter_mut().zip(&mut alive) {
                *alive &= answers(socket, word).await;
            }
        }
        let scale = program.scale("app").await?;
        kept += u64::from(scale.draining() > 0);
        sockets += SOCKETS as u64;
        cut += alive.iter().filter(|alive| !**alive).count() as u64;
        for mut socket in open {
            // One that was cut is closed already, and counted.
            socket.close(None).await.ok();
        }
        program.until_ready("app", 1).await?;
    }
    let count = clients.stop().await;
    program.stop().await?;
    Ok(vec![
        Promise::never(
            &format!("{cycles} times up to {REPLICAS} and down to 1 under load: failed requests"),
            count.failed,
            &count.said(),
        ),
        Promise::never(
            "… cut WebSockets",
            cut,
            &format!("of {sockets}; a replica stayed for them in {kept} of {cycles}"),
        ),
    ])
}

/// Whether the other end says again what it is told.
async fn answers(socket: &mut Socket, word: u32) -> bool {
    let word = word.to_string();
    if socket.send(Message::text(word.clone())).await.is_err() {
        return false;
    }
    matches!(socket.next().await, Some(Ok(Message::Text(said))) if said.as_str() == word)
}
