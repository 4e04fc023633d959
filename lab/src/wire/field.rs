//! The backends of one run: real ports, each with the behaviour that the scenario gives it.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::scene::Scene;
use crate::scenario::Scenario;
use crate::sim::backend::{ErrorAnswer, Reception};

/// Connections the kernel may hold before they are accepted: more than any burst of ours.
const BACKLOG: i32 = 4096;

/// The longest request head. Ours are a tenth of it, whatever a proxy adds.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// The path of health checks.
pub(super) const HEALTH_PATH: &str = "/health";

/// The path of requests, before their numbers.
pub(super) const REQUEST_PATH: &str = "/r/";

/// Backends that serve until this is dropped.
#[derive(Debug)]
pub(super) struct Field {
    /// The port of each backend.
    pub(super) ports: Vec<u16>,
    up: Vec<watch::Sender<bool>>,
    /// These hold the ports while nobody listens there, so that nobody else gets them.
    _holders: Vec<Socket>,
    listening: JoinSet<io::Result<()>>,
}

/// The head of a request.
struct Head {
    asked: Asked,
    keep_alive: bool,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// The request of a client, by its number.
    Request(u64),
    /// Whether the backend is well.
    Health,
    /// Whether there is a way to it.
    Ready,
}

impl Field {
    /// Opens a port for each backend of the scene.
    pub(super) fn open(scene: &Arc<Scene>) -> io::Result<Self> {
        let mut field = Self {
            ports: Vec::new(),
            up: Vec::new(),
            _holders: Vec::new(),
            listening: JoinSet::new(),
        };
        for backend in 0..scene.scenario.backend_count() {
            let holder = socket(0)?;
            let local = holder.local_addr()?.as_socket();
            let port = local.map_or(0, |local| local.port());
            let first = listen(port)?;
            let (up, is_up) = watch::channel(true);
            let scene = Arc::clone(scene);
            field
                .listening
                .spawn(stand(scene, backend, port, first, is_up));
            field.ports.push(port);
            field.up.push(up);
            field._holders.push(holder);
        }
        Ok(field)
    }

    /// Has a backend refuse connections and break those it has, or listen again.
    pub(super) fn set_up(&self, backend: usize, up: bool) {
        self.up[backend].send_replace(up);
    }

    /// Fails if a backend could not listen.
    pub(super) fn check(&mut self) -> io::Result<()> {
        match self.listening.try_join_next() {
            Some(Ok(ended)) => ended,
            Some(Err(panicked)) => Err(io::Error::other(panicked)),
            None => Ok(()),
        }
    }
}

/// A socket on a port of the loopback, which several may have as long as they all ask for that.
fn socket(port: u16) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_port(true)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    Ok(socket)
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = socket(port)?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Serves one backend while it is up. Ends when its field does.
async fn stand(
    scene: Arc<Scene>,
    backend: usize,
    port: u16,
    first: TcpListener,
    mut up: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut listener = first;
    let mut connections = JoinSet::new();
    let down = up.clone();
    loop {
        loop {
            tokio::select! {
                changed = up.wait_for(|up| !up) => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    break;
                }
                Ok((stream, _)) = listener.accept() => {
                    connections.spawn(carry(Arc::clone(&scene), backend, stream, down.clone()));
                }
                Some(_) = connections.join_next() => {}
            }
        }
        drop(listener);
        if up.wait_for(|up| *up).await.is_err() {
            return Ok(());
        }
        listener = listen(port)?;
    }
}

/// One connection, until its other end closes it or the backend goes down.
async fn carry(
    scene: Arc<Scene>,
    backend: usize,
    mut stream: TcpStream,
    mut up: watch::Receiver<bool>,
) {
    stream.set_nodelay(true).ok();
    let down = tokio::select! {
        // First of all: what a backend had in hand when it went down is lost, and must not be finished.
        biased;
        _ = up.wait_for(|up| !up) => true,
        // How a connection ends is the affair of who balances.
        _ = serve(&scene, backend, &mut stream) => false,
    };
    if down {
        // A reset, as from a machine that is gone, instead of an orderly end.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).ok();
    }
}

async fn serve(scene: &Scene, backend: usize, stream: &mut TcpStream) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(HEAD_BYTES_MAX);
    while let Some(head) = receive(stream, &mut buffer).await? {
        match head.asked {
            Asked::Ready => say(stream, "200 OK", "").await?,
            Asked::Health => health(scene, backend, stream).await?,
            Asked::Request(number) => {
                if !work(scene, backend, number, stream).await? {
                    return Ok(());
                }
            }
        }
        if !head.keep_alive {
            return stream.shutdown().await;
        }
    }
    Ok(())
}

/// The next head; `None` at the end of the connection.
async fn receive(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Head>> {
    buffer.clear();
    loop {
        if buffer.ends_with(b"\r\n\r\n") {
            return Head::parse(buffer).map(Some);
        }
        if buffer.len() >= HEAD_BYTES_MAX {
            return Err(io::Error::other("the head is too long"));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

/// Does what the scenario says with one attempt. False if the connection is of no more use.
async fn work(
    scene: &Scene,
    backend: usize,
    number: u64,
    stream: &mut TcpStream,
) -> io::Result<bool> {
    let received = scene.receive(backend, number);
    match received.reception {
        Reception::Begins => {}
        Reception::Fails(after, failure) => {
            scene.pass(after).await;
            let Some(answer) = failure.answer else {
                return Ok(false);
            };
            refuse(stream, &answer).await?;
            return Ok(true);
        }
        Reception::Silent => {
            closed(stream).await;
            return Ok(false);
        }
        Reception::Waits => {
            let granted = tokio::select! {
                biased;
                granted = received.slot => granted.is_ok(),
                () = closed(stream) => false,
            };
            if !granted {
                scene.abandon(backend, received.attempt);
                return Ok(false);
            }
        }
    }
    let draws = Scenario::draws(scene.seed, number);
    let condition = scene.scenario.condition(backend, scene.now());
    scene
        .pass(scene.scenario.service_time(&condition, &draws))
        .await;
    let body = scene.scenario.body_time(&draws);
    let streamed = if body.is_zero() {
        Ok(())
    } else {
        // Two bytes are to come: the head must not wait for them on the way.
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-accel-buffering: no\r\n\r\n";
        let sent = stream.write_all(head).await;
        scene.pass(body).await;
        sent
    };
    // Even if nobody listens any more: the work was done.
    scene.finish(backend, received.attempt);
    streamed?;
    if body.is_zero() {
        say(stream, "200 OK", "").await?;
    } else {
        stream.write_all(b"ok").await?;
    }
    Ok(true)
}

/// Answers a health check as the backend is: a fault that hits some requests hits some checks.
async fn health(scene: &Scene, backend: usize, stream: &mut TcpStream) -> io::Result<()> {
    let condition = scene.scenario.condition(backend, scene.now());
    if condition.stalled {
        closed(stream).await;
        return Err(io::ErrorKind::TimedOut.into());
    }
    match condition.status {
        Some(fault) if fault.share >= 1.0 => {
            let answer = ErrorAnswer {
                code: fault.code,
                retry_after: None,
            };
            refuse(stream, &answer).await
        }
        Some(_) | None => say(stream, "200 OK", "").await,
    }
}

async fn refuse(stream: &mut TcpStream, answer: &ErrorAnswer) -> io::Result<()> {
    let field = answer.retry_after.map_or(String::new(), |time| {
        format!("retry-after: {:.0}\r\n", time.as_secs_f64())
    });
    say(stream, &format!("{} No", answer.code), &field).await
}

/// An answer with a body of two bytes.
async fn say(stream: &mut TcpStream, status: &str, fields: &str) -> io::Result<()> {
    let answer = format!("HTTP/1.1 {status}\r\n{fields}content-length: 2\r\n\r\nok");
    stream.write_all(answer.as_bytes()).await
}

/// Returns when the other end has closed the connection. Never, if it has sent more.
async fn closed(stream: &TcpStream) {
    if let Ok(1..) = stream.peek(&mut [0]).await {
        std::future::pending::<()>().await;
    }
}

impl Head {
    fn parse(bytes: &[u8]) -> io::Result<Self> {
        let text = std::str::from_utf8(bytes).map_err(io::Error::other)?;
        let mut lines = text.lines();
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (path, version) = (words.nth(1), words.next());
        let asked = match path {
            Some(HEALTH_PATH) => Some(Asked::Health),
            Some("/") => Some(Asked::Ready),
            Some(path) => path
                .strip_prefix(REQUEST_PATH)
                .and_then(|number| number.parse().ok())
                .map(Asked::Request),
            None => None,
        };
        let closes = lines.any(|line| line.eq_ignore_ascii_case("connection: close"));
        Ok(Self {
            asked: asked.ok_or_else(|| io::Error::other("no such path"))?,
            keep_alive: version == Some("HTTP/1.1") && !closes,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::scenario::{Metric, example};
    use crate::wire::alarms::Alarms;

    const SERVICE: Duration = Duration::from_millis(20);

    /// A field of one backend with one slot, on which time has begun.
    fn open(fault: &str) -> (Arc<Scene>, Field) {
        let backends = "{ count = 1, slots = 1, service = { fixed_ms = 20 } }";
        let scenario = example(backends, fault);
        let scene = Arc::new(Scene::new(scenario, 1, Alarms::start().unwrap()));
        let field = Field::open(&scene).unwrap();
        scene.begin();
        (scene, field)
    }

    async fn connect(field: &Field) -> io::Result<TcpStream> {
        TcpStream::connect((Ipv4Addr::LOCALHOST, field.ports[0])).await
    }

    async fn ask(field: &Field, path: &str) -> TcpStream {
        let mut stream = connect(field).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn hear(mut stream: TcpStream) -> io::Result<String> {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn a_slot_is_taken_by_one_and_who_goes_away_does_not_get_it() {
        let (scene, field) = open("");
        let begin = Instant::now();
        let first = ask(&field, "/r/0").await;
        while scene.score().figure(Metric::Together) != Some(1.0) {
            tokio::task::yield_now().await;
        }
        let second = ask(&field, "/r/1").await;
        while scene.score().figure(Metric::Together) != Some(2.0) {
            tokio::task::yield_now().await;
        }
        drop(second);
        let third = ask(&field, "/r/2").await;
        let (first, third) = (hear(first).await.unwrap(), hear(third).await.unwrap());
        assert!(first.starts_with("HTTP/1.1 200 OK\r\n"), "{first}");
        assert!(third.ends_with("\r\n\r\nok"), "{third}");
        // One after the other.
        assert!(begin.elapsed() >= 2 * SERVICE);
        assert_eq!(hear(ask(&field, "/r/3").await).await.unwrap(), first);
    }

    #[tokio::test]
    async fn a_backend_that_goes_breaks_what_it_has_and_can_come_back() {
        let (scene, field) = open(r#"{ first = 0, count = 1, from = 0, to = 9, what = "stall" }"#);
        let stalled = ask(&field, "/r/0").await;
        while scene.score().figure(Metric::Together) != Some(1.0) {
            tokio::task::yield_now().await;
        }
        field.set_up(0, false);
        scene.reset(0);
        let broken = hear(stalled).await.unwrap_err();
        assert_eq!(broken.kind(), io::ErrorKind::ConnectionReset);
        let refused = loop {
            // It may be accepted as long as the listener has not heard of it.
            match connect(&field).await {
                Ok(_) => tokio::task::yield_now().await,
                Err(refused) => break refused,
            }
        };
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        field.set_up(0, true);
        while connect(&field).await.is_err() {
            tokio::task::yield_now().await;
        }
        let ready = hear(ask(&field, "/").await).await.unwrap();
        assert!(ready.starts_with("HTTP/1.1 200 OK"), "{ready}");
    }

    #[tokio::test]
    async fn errors_and_checks_are_as_the_scenario_says() {
        let what = "{ status = { code = 503, after_ms = 1, retry_after = 5 } }";
        let fault = format!("{{ first = 0, count = 1, from = 0, to = 9, what = {what} }}");
        let (_scene, field) = open(&fault);
        let answer = hear(ask(&field, "/r/0").await).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("\r\nretry-after: 5\r\n"), "{answer}");
        let check = hear(ask(&field, HEALTH_PATH).await).await.unwrap();
        assert!(check.starts_with("HTTP/1.1 503 "), "{check}");
        let ready = hear(ask(&field, "/").await).await.unwrap();
        assert!(ready.starts_with("HTTP/1.1 200 OK"), "{ready}");
    }
}
