//! The connections of one worker that wait for a request.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use plimsoll_meter::Tick;

use crate::config::UPSTREAM_IDLE_MAX;
use crate::tls::ClientTls;
use crate::upstream::connect::ConnectError;
use crate::upstream::{Http1, Http2};

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Pool {
    app: SocketAddr,
    tls: Option<Arc<ClientTls>>,
    idle_max: usize,
    /// The most recently used last.
    #[expect(
        clippy::vec_box,
        reason = "the box goes to a lease and back, and is not copied on the way"
    )]
    idle: RefCell<Vec<Box<Http1>>>,
    http2: RefCell<Vec<Http2>>,
    /// Held while an HTTP/2 connection is being made, so that a burst of streams shares one.
    dialling: tokio::sync::Mutex<()>,
}

/// An HTTP/1.1 connection on loan; goes back to the pool when told, and is closed otherwise.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) connection: Box<Http1>,
    pool: Rc<Pool>,
}

impl Lease {
    /// Puts the connection back if it can carry another request.
    pub(crate) fn put_back(mut self, now: Tick) {
        if self.connection.is_free() {
            self.connection.forget_task();
            self.connection.idle_since = now;
            let mut idle = self.pool.idle.borrow_mut();
            if idle.len() < self.pool.idle_max {
                idle.push(self.connection);
            }
        }
    }
}

impl Pool {
    /// A pool that keeps at most `idle_max` unused connections to `app`, made with `tls`.
    pub(crate) fn new(app: SocketAddr, tls: Option<Arc<ClientTls>>, idle_max: usize) -> Self {
        Self {
            app,
            tls,
            idle_max,
            idle: RefCell::default(),
            http2: RefCell::default(),
            dialling: tokio::sync::Mutex::new(()),
        }
    }

    /// The most recently used live connection, if there is one.
    pub(crate) fn reuse(self: &Rc<Self>, now: Tick) -> Option<Lease> {
        loop {
            let connection = self.idle.borrow_mut().pop()?;
            let unused = now.saturating_duration_since(connection.idle_since);
            if unused < UPSTREAM_IDLE_MAX && connection.is_quiet() {
                return Some(Lease {
                    connection,
                    pool: Rc::clone(self),
                });
            }
        }
    }

    /// A new connection.
    pub(crate) async fn connect(self: &Rc<Self>) -> Result<Lease, ConnectError> {
        Ok(Lease {
            connection: Http1::connect(self.app, self.tls.as_deref()).await?,
            pool: Rc::clone(self),
        })
    }

    /// A live HTTP/2 connection with room for a stream, new if need be.
    pub(crate) async fn http2(&self) -> Result<Http2, ConnectError> {
        if let Some(connection) = self.open_http2() {
            return Ok(connection);
        }
        let _dialling = self.dialling.lock().await;
        if let Some(connection) = self.open_http2() {
            return Ok(connection);
        }
        let connection = Http2::connect(self.app, self.tls.as_deref()).await?;
        self.http2.borrow_mut().push(connection.clone());
        Ok(connection)
    }

    fn open_http2(&self) -> Option<Http2> {
        let mut open = self.http2.borrow_mut();
        open.retain(|connection| !connection.is_closed());
        open.iter()
            .find(|connection| connection.has_room())
            .cloned()
    }

    /// Closes what the application has closed, and what has not been used for [`UPSTREAM_IDLE_MAX`].
    pub(crate) fn sweep(&self, now: Tick) {
        self.idle.borrow_mut().retain_mut(|connection| {
            now.saturating_duration_since(connection.idle_since) < UPSTREAM_IDLE_MAX
                && connection.is_free()
        });
        self.http2
            .borrow_mut()
            .retain(|connection| !connection.is_closed());
    }
}
