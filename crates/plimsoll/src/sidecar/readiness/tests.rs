//! The prober against real servers on loopback.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::*;
use crate::gateway::tasks::Task;

/// Far more than any run takes that succeeds.
const LONG: Duration = Duration::from_secs(20);

/// A server that gives scripted answers, one on each connection, and keeps what it was asked.
#[derive(Debug, Clone)]
struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// `answer` is given the number of the request, from 0.
    async fn start(answer: impl Fn(usize) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            asked: Arc::default(),
        };
        let asked = Arc::clone(&server.asked);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => break,
                    }
                }
                let number = {
                    let mut asked = asked.lock();
                    asked.push(String::from_utf8_lossy(&head).into_owned());
                    asked.len() - 1
                };
                stream.write_all(answer(number).as_bytes()).await.ok();
            }
        });
        server
    }

    async fn statuses(statuses: &'static [u16]) -> Self {
        Self::start(|number| status(*statuses.get(number).or_else(|| statuses.last()).unwrap()))
            .await
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }

    fn probe(&self, more: &str) -> String {
        format!(
            r#"{{"httpGet":{{"path":"/health","port":{}}}{more}}}"#,
            self.port
        )
    }
}

fn status(status: u16) -> String {
    format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n")
}

fn prober(text: &str, run_time_max: Duration) -> Prober {
    let probes = spec::parse(text, None).unwrap();
    Prober::with_run_time(probes, false, Handle::current(), run_time_max)
}

async fn is_ready(text: &str) -> bool {
    prober(text, LONG).is_ready().await
}

/// A port that nobody listens on.
async fn nowhere() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test]
async fn nothing_to_ask_is_ready() {
    assert!(is_ready("[null]").await);
}

#[tokio::test]
async fn a_single_attempt_is_judged_by_its_status() {
    for (code, expected) in [
        (199, false),
        (200, true),
        (302, true),
        (399, true),
        (400, false),
        (503, false),
    ] {
        let server = Server::start(move |_| status(code)).await;
        // A final answer below 200 does not exist; what is not HTTP is not ready either.
        assert_eq!(
            is_ready(&server.probe(r#","periodSeconds":1"#)).await,
            expected,
            "{code}"
        );
        assert_eq!(server.asked().len(), 1, "{code}");
    }
}

#[tokio::test]
async fn a_closed_port_is_not_ready_and_an_open_one_is() {
    let closed = nowhere().await;
    let once = format!(r#"{{"tcpSocket":{{"port":{closed}}},"periodSeconds":1}}"#);
    assert!(!is_ready(&once).await);
    let eager = format!(r#"{{"tcpSocket":{{"port":{closed}}}}}"#);
    assert!(!prober(&eager, Duration::from_millis(150)).is_ready().await);
    let open = Server::statuses(&[200]).await.port;
    for more in [
        "",
        r#","successThreshold":3"#,
        r#","periodSeconds":1,"timeoutSeconds":2"#,
    ] {
        let probe = format!(r#"{{"tcpSocket":{{"port":{open}}}{more}}}"#);
        assert!(is_ready(&probe).await, "{more}");
    }
}

#[tokio::test]
async fn a_port_that_opens_during_a_run_is_noticed() {
    let port = nowhere().await;
    let prober = prober(&format!(r#"{{"tcpSocket":{{"port":{port}}}}}"#), LONG);
    let ready = tokio::spawn(async move { prober.is_ready().await });
    tokio::task::yield_now().await;
    let _listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    assert!(ready.await.unwrap());
}

/// In time that the test moves: it stands still while anything can be done, so what is measured is pauses alone.
#[tokio::test(start_paused = true)]
async fn a_port_that_opens_in_the_first_second_is_noticed_within_50_ms() {
    for opens_at in [1, 24, 25, 26, 49, 130, 333, 500, 740, 949, 999] {
        let port = nowhere().await;
        let prober = prober(&format!(r#"{{"tcpSocket":{{"port":{port}}}}}"#), LONG);
        let began = Instant::now();
        let ready = tokio::spawn(async move { prober.is_ready().await });
        tokio::time::sleep(Duration::from_millis(opens_at)).await;
        let _listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        assert!(ready.await.unwrap());
        let late = began.elapsed() - Duration::from_millis(opens_at);
        assert!(
            late <= Duration::from_millis(50),
            "{opens_at} ms: {late:?} late"
        );
    }
}

#[tokio::test]
async fn an_eager_probe_goes_on_until_it_has_succeeded_often_enough_in_a_row() {
    for (statuses, threshold, least) in [
        (&[500, 500, 500, 200][..], 1, 4),
        (&[400, 200], 1, 2),
        (&[200], 3, 3),
        (&[200, 500, 200], 3, 5),
    ] {
        let server = Server::statuses(statuses).await;
        let probe = server.probe(&format!(r#","successThreshold":{threshold}"#));
        assert!(is_ready(&probe).await, "{statuses:?}");
        assert_eq!(server.asked().len(), least, "{statuses:?}");
    }
}

#[tokio::test]
async fn all_probes_of_an_array_must_succeed() {
    for (first, second, expected) in [(200, 200, true), (500, 200, false), (200, 500, false)] {
        let servers = [
            Server::start(move |_| status(first)).await,
            Server::start(move |_| status(second)).await,
        ];
        let [one, two] = servers.map(|server| server.probe(r#","periodSeconds":1"#));
        assert_eq!(
            is_ready(&format!("[{one},null,{two}]")).await,
            expected,
            "{first} {second}"
        );
    }
}

#[tokio::test]
async fn callers_share_one_run_and_the_next_begins_another() {
    let asked = Arc::new(AtomicUsize::new(0));
    let go = Arc::new(Notify::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (count, answer) = (Arc::clone(&asked), Arc::clone(&go));
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            answer.notified().await;
            stream.write_all(status(200).as_bytes()).await.unwrap();
        }
    });
    let text = format!(r#"{{"httpGet":{{"port":{port}}},"periodSeconds":1,"timeoutSeconds":20}}"#);
    let prober = prober(&text, LONG);
    // Three callers, of whom one gives up before the answer comes.
    let mut gone = Box::pin(prober.is_ready());
    let (mut one, mut two) = (Box::pin(prober.is_ready()), Box::pin(prober.is_ready()));
    tokio::select! {
        biased;
        _ = &mut gone => panic!("not yet"),
        _ = &mut one => panic!("not yet"),
        _ = &mut two => panic!("not yet"),
        () = tokio::task::yield_now() => {}
    }
    drop(gone);
    go.notify_one();
    assert!(one.await && two.await);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    go.notify_one();
    assert!(prober.is_ready().await);
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn an_application_that_hangs_is_not_ready() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let once = format!(r#"{{"httpGet":{{"port":{port}}},"periodSeconds":1,"timeoutSeconds":1}}"#);
    assert!(!is_ready(&once).await);
    let eager = format!(r#"{{"httpGet":{{"port":{port}}}}}"#);
    assert!(!prober(&eager, Duration::from_millis(50)).is_ready().await);
}

#[tokio::test]
async fn path_query_and_headers_reach_the_application() {
    let server = Server::statuses(&[200]).await;
    let port = server.port;
    for (headers, expected) in [
        (
            "",
            vec![
                format!("host: 127.0.0.1:{port}"),
                "user-agent: kube-probe/".to_owned(),
            ],
        ),
        (
            r#"{"name":"Host","value":"a.example"},{"name":"User-Agent","value":"me"},{"name":"X-A","value":"1"}"#,
            vec![
                "host: a.example".to_owned(),
                "user-agent: me".to_owned(),
                "x-a: 1".to_owned(),
            ],
        ),
    ] {
        let text = format!(
            r#"{{"httpGet":{{"path":"health?foo=bar","port":{port},"httpHeaders":[{headers}]}},"periodSeconds":1}}"#
        );
        assert!(is_ready(&text).await);
        let asked = server.asked().pop().unwrap();
        assert!(
            asked.starts_with("GET /health?foo=bar HTTP/1.1\r\n"),
            "{asked}"
        );
        assert!(asked.contains("connection: close\r\n"), "{asked}");
        for line in expected {
            assert!(asked.contains(&line), "{line}: {asked}");
        }
    }
}

#[tokio::test]
async fn f10_redirects_are_judged_as_the_kubelet_judges_them() {
    let to = |location: &'static str, then: u16| {
        Server::start(move |number| match number {
            0 => format!("HTTP/1.1 302 X\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"),
            _ => status(then),
        })
    };
    let once = r#","periodSeconds":1"#;
    for (location, then, expected, asked) in [
        ("/there", 200, true, 2),
        ("/there", 500, false, 2),
        // Elsewhere: not followed, and answered.
        ("http://elsewhere.example/", 500, true, 1),
        ("ftp://127.0.0.1/", 500, false, 1),
    ] {
        let server = to(location, then).await;
        assert_eq!(is_ready(&server.probe(once)).await, expected, "{location}");
        assert_eq!(server.asked().len(), asked, "{location}");
    }
    let circle = Server::start(|_| {
        "HTTP/1.1 302 X\r\nlocation: /health\r\ncontent-length: 0\r\n\r\n".to_owned()
    })
    .await;
    assert!(!is_ready(&circle.probe(once)).await);
    assert_eq!(circle.asked().len(), 11);
}

#[tokio::test]
async fn f10_a_certificate_is_not_verified() {
    let app = Server::statuses(&[200, 500]).await;
    let made = rcgen::generate_simple_self_signed(["elsewhere".to_owned()]).unwrap();
    let folder = std::env::temp_dir().join(format!("plimsoll-readiness-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (cert, key) = (folder.join("tls.crt"), folder.join("tls.key"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let identity = plimsoll_proxy::Identity::from_pem_files(&cert, &key).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let tls = plimsoll_proxy::ServerTls::new(&identity).unwrap();
    let sidecar = crate::sidecar::tests::in_front_of(app.port, Some(Arc::new(tls)));
    let port = sidecar.local_addr().unwrap().port();
    let _running = sidecar.start().unwrap();
    for host in ["127.0.0.1", "localhost"] {
        let text = format!(
            r#"{{"httpGet":{{"port":{port},"scheme":"HTTPS","host":"{host}"}},"periodSeconds":1,"timeoutSeconds":20}}"#
        );
        assert_eq!(is_ready(&text).await, host == "127.0.0.1", "{host}");
    }
    assert_eq!(app.asked().len(), 2, "both got through");
}

#[tokio::test]
async fn grpc_services_are_asked_for_their_health() {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter
        .set_service_status("sick", tonic_health::ServingStatus::NotServing)
        .await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let router = tonic::transport::Server::builder().add_service(health);
    let _server = Task::spawn(async { router.serve_with_incoming(incoming).await.unwrap() });
    for (service, expected) in [("", true), ("sick", false), ("unknown", false)] {
        let text = format!(
            r#"{{"grpc":{{"port":{port},"service":"{service}"}},"periodSeconds":1,"timeoutSeconds":20}}"#
        );
        assert_eq!(is_ready(&text).await, expected, "{service}");
    }
    // Not gRPC at all.
    let other = Server::statuses(&[200]).await.port;
    let text = format!(r#"{{"grpc":{{"port":{other}}},"periodSeconds":1}}"#);
    assert!(!is_ready(&text).await);
}

/// An application that speaks HTTP/2 only and answers with `code`.
async fn http2_only(code: u16) -> (u16, Arc<AtomicUsize>, Task) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let task = Task::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(stream).await;
            while let Ok(open) = &mut connection {
                let Some(Ok((_, mut respond))) = open.accept().await else {
                    break;
                };
                count.fetch_add(1, Ordering::Relaxed);
                let response = ::http::Response::builder().status(code).body(()).unwrap();
                respond.send_response(response, true).unwrap();
            }
        }
    });
    (port, asked, task)
}

#[tokio::test]
async fn the_protocol_is_found_out_and_kept() {
    let detect = |port: u16| {
        let text =
            format!(r#"{{"httpGet":{{"port":{port}}},"periodSeconds":1,"timeoutSeconds":20}}"#);
        Prober::with_run_time(
            spec::parse(&text, None).unwrap(),
            true,
            Handle::current(),
            LONG,
        )
    };
    let (port, asked, _task) = http2_only(200).await;
    let prober = detect(port);
    assert!(prober.is_ready().await && prober.is_ready().await);
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    let (port, _, _task) = http2_only(503).await;
    assert!(!detect(port).is_ready().await);
    // HTTP/1 only: asked in HTTP/2 once, and never again while it is well.
    let server = Server::start(|number| match number {
        0 => "HTTP/1.1 400 X\r\ncontent-length: 0\r\n\r\n".to_owned(),
        3 => status(503),
        _ => status(200),
    })
    .await;
    let prober = detect(server.port);
    assert!(prober.is_ready().await && prober.is_ready().await);
    let is_http2: Vec<bool> = server
        .asked()
        .iter()
        .map(|head| head.starts_with("PRI "))
        .collect();
    assert_eq!(is_http2, [true, false, false]);
    // After a failure it is found out anew.
    assert!(!prober.is_ready().await);
    assert!(prober.is_ready().await);
    let asked = server.asked();
    assert_eq!(
        asked.iter().filter(|head| head.starts_with("PRI ")).count(),
        2,
        "{asked:?}"
    );
}

#[test]
fn pauses_are_short_for_a_second_and_then_a_twentieth_of_the_time_so_far() {
    for (failing_for, chance, expected) in [
        (0, 0.0, 25),
        (999, 0.9, 25),
        (1_000, 0.0, 50),
        (1_000, 1.0, 40),
        (4_000, 0.0, 200),
        (60_000, 0.0, 500),
        (60_000, 0.5, 450),
    ] {
        let found = pause(Duration::from_millis(failing_for), chance);
        assert_eq!(
            found,
            Duration::from_millis(expected),
            "{failing_for} ms, {chance}"
        );
    }
    // A port that opens in the first second is noticed within this, and the time of one refusal.
    assert!(PAUSE_FIRST < Duration::from_millis(50));
}
