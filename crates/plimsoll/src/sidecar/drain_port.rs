//! The port where the other containers of a pod wait for the drain, so that the application is told to end only when no
//! more requests come: their `preStop` hooks ask `/wait-for-drain`, over plain HTTP always.

use std::io;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::any;
use plimsoll_proxy::DrainHook;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long those who have waited have to take their answer when the process ends.
const LAST_WORDS_TIME_MAX: Duration = Duration::from_secs(1);

/// The port at work.
#[derive(Debug)]
pub(super) struct DrainPort {
    close: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
}

impl DrainPort {
    pub(super) fn open(listener: TcpListener, hook: DrainHook) -> Self {
        let router = Router::new()
            .route("/wait-for-drain", any(wait))
            .fallback(async || (StatusCode::NOT_FOUND, "there is /wait-for-drain\n"))
            .with_state(hook);
        let (close, closing) = oneshot::channel();
        let closed = async {
            // It is dropped with the process at the latest.
            let _either_way = closing.await;
        };
        let serving = axum::serve(listener, router).with_graceful_shutdown(closed);
        Self {
            close,
            task: tokio::spawn(async { serving.await }),
        }
    }

    /// Closes the port. Whoever has waited gets the answer first.
    pub(super) async fn close(self) {
        // If it has ended by itself, there is nobody left.
        let _ended = self.close.send(());
        let _late = tokio::time::timeout(LAST_WORDS_TIME_MAX, self.task).await;
    }
}

async fn wait(State(hook): State<DrainHook>) {
    tracing::info!("a container of the pod waits for the drain");
    hook.wait().await;
}
