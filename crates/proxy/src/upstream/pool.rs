//! The connections of one worker that wait for a request.

use std::cell::{Cell, RefCell};
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
    /// Those of all pools of the worker.
    idle_all: Rc<IdleCount>,
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

/// How many unused connections the pools of a worker have together.
#[derive(Debug)]
pub(crate) struct IdleCount {
    count: Cell<usize>,
    max: usize,
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
            if idle.len() < self.pool.idle_max && self.pool.idle_all.enter() {
                idle.push(self.connection);
            }
        }
    }
}

impl IdleCount {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            count: Cell::new(0),
            max,
        }
    }

    /// Counts one in, if there is room.
    fn enter(&self) -> bool {
        let has_room = self.count.get() < self.max;
        if has_room {
            self.count.set(self.count.get() + 1);
        }
        has_room
    }

    fn leave(&self, count: usize) {
        self.count.set(self.count.get() - count);
    }
}

impl Pool {
    /// A pool that keeps at most `idle_max` unused connections to `app`, made with `tls`, and not more than
    /// `idle_all` allows.
    pub(crate) fn new(
        app: SocketAddr,
        tls: Option<Arc<ClientTls>>,
        idle_max: usize,
        idle_all: Rc<IdleCount>,
    ) -> Self {
        Self {
            app,
            tls,
            idle_max,
            idle_all,
            idle: RefCell::default(),
            http2: RefCell::default(),
            dialling: tokio::sync::Mutex::new(()),
        }
    }

    /// The most recently used live connection, if there is one.
    pub(crate) fn reuse(self: &Rc<Self>, now: Tick) -> Option<Lease> {
        loop {
            let connection = self.idle.borrow_mut().pop()?;
            self.idle_all.leave(1);
            let unused = now.saturating_duration_since(connection.idle_since);
            if unused < UPSTREAM_IDLE_MAX && connection.is_quiet(unused) {
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

    /// A live HTTP/2 connection with room for a stream, new if need be. Those that carry gRPC carry nothing else.
    pub(crate) async fn http2(&self, is_grpc: bool) -> Result<Http2, ConnectError> {
        if let Some(connection) = self.open_http2(is_grpc) {
            return Ok(connection);
        }
        let _dialling = self.dialling.lock().await;
        if let Some(connection) = self.open_http2(is_grpc) {
            return Ok(connection);
        }
        let connection = Http2::connect(self.app, self.tls.as_deref(), is_grpc).await?;
        self.http2.borrow_mut().push(connection.clone());
        Ok(connection)
    }

    fn open_http2(&self, is_grpc: bool) -> Option<Http2> {
        let mut open = self.http2.borrow_mut();
        open.retain(|connection| !connection.is_closed());
        open.iter()
            .find(|connection| connection.has_room(is_grpc))
            .cloned()
    }

    /// Closes what the application has closed, and what has not been used for [`UPSTREAM_IDLE_MAX`].
    pub(crate) fn sweep(&self, now: Tick) {
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain_mut(|connection| {
            now.saturating_duration_since(connection.idle_since) < UPSTREAM_IDLE_MAX
                && connection.is_free()
        });
        self.idle_all.leave(before - idle.len());
        self.http2
            .borrow_mut()
            .retain(|connection| connection.sweep(now));
    }

    /// Closes every unused connection, and gives no shared one to further requests.
    pub(crate) fn close_idle(&self) {
        let idle = self.idle.take();
        self.idle_all.leave(idle.len());
        self.http2.borrow_mut().clear();
    }

    /// Whether there is a connection to look after.
    pub(crate) fn has_connections(&self) -> bool {
        !self.idle.borrow().is_empty() || !self.http2.borrow().is_empty()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.idle_all.leave(self.idle.get_mut().len());
    }
}
