//! The app and its clients, on a thread of their own: neither the terminal nor a scrape can slow them down, and
//! painting never shows up as latency.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::demo::app::{self, Busy};
use crate::demo::load::Load;
use crate::dice::Dice;

/// What seeds the times of the app.
const SEED_APP: u64 = 1876;

/// What seeds the gaps between arrivals.
const SEED_LOAD: u64 = 1824;

/// The thread of the app and its clients. Dropping it ends them at once.
#[derive(Debug)]
pub(crate) struct Backstage {
    ebb: Option<oneshot::Sender<()>>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    busy: Arc<Busy>,
}

impl Backstage {
    /// The app begins to answer on `listener`, and the clients to send.
    ///
    /// # Errors
    /// If there can be no thread or no runtime, or the listener is not fit for it.
    pub(crate) fn start(listener: std::net::TcpListener, load: Load) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let busy = Arc::new(Busy::default());
        let app = app::serve(listener, Arc::clone(&busy), Arc::new(Dice::new(SEED_APP)));
        let (ebb, ebbed) = oneshot::channel();
        let (end, ended) = oneshot::channel::<()>();
        let thread = thread::Builder::new()
            .name("backstage".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::spawn(app);
                    tokio::spawn(async move { load.run(&Dice::new(SEED_LOAD), ebbed).await });
                    // Nothing is ever sent: it is dropped at the end.
                    let _dropped = ended.await;
                });
            })?;
        Ok(Self {
            ebb: Some(ebb),
            end: Some(end),
            thread: Some(thread),
            busy,
        })
    }

    /// No new requests from now on; the app goes on answering.
    pub(crate) fn ebb(&mut self) {
        drop(self.ebb.take());
    }

    /// The most requests the app has worked on at once, by its own count.
    pub(crate) fn most_at_once(&self) -> usize {
        self.busy.most()
    }
}

impl Drop for Backstage {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // If it has panicked, that has been told already.
            let _panicked = thread.join();
        }
    }
}
