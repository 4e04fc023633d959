//! Started, ready, stopped; and what goes wrong on the way.

use std::time::Duration;

use plimsoll_fleet::{
    CommandSpec, EndCause, HostConfig, LinePattern, Phase, Readiness, ReplicaEvent, StartError,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Service, runs, server, shell};

async fn get(address: std::net::SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it is ready");
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.expect("it reads");
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer).await;
    read.expect("it answers");
    answer
}

#[tokio::test]
async fn a_server_is_started_answers_and_is_stopped() {
    let mut service = Service::new(server(""));
    let id = service.set.start().unwrap();
    let ReplicaEvent::Started { pid, port, .. } = service.next().await else {
        panic!("it is told first that it has started");
    };
    let address = service.ready(id).await;
    assert_eq!(address.port(), port);
    let answer = get(address).await;
    assert!(answer.ends_with(&format!("\r\n\r\n{port}")), "{answer}");
    let view = &service.set.view()[0];
    assert_eq!((view.id, view.pid, view.phase), (id, pid, Phase::Ready));
    assert!(view.start_up.unwrap() <= view.age);

    assert!(service.set.stop(id));
    assert!(!service.set.stop(id), "it is ending already");
    let end = service.ended(id).await;
    assert!(matches!(end.cause, EndCause::Stopped), "{end}");
    service.gone(id).await;
    assert!(!runs(pid));
    assert_eq!(service.set.view(), []);
    service.set.emptied().await;
    assert_eq!(
        (service.host.replicas(), service.host.ports_in_use()),
        (0, 0)
    );
}

#[tokio::test]
async fn readiness_by_http_waits_for_a_good_status() {
    let unwell = r#"
first = []
def do_GET(self):
    first.append(self.path)
    self.send_response(503 if len(first) < 4 else 204); self.end_headers()
Handler.do_GET = do_GET
"#;
    let mut spec = server(unwell);
    spec.readiness = Readiness::Http("/healthz".to_owned());
    let mut service = Service::new(spec);
    let id = service.set.start().unwrap();
    service.ready(id).await;
    service.host.shutdown().await;
    assert!(matches!(service.set.start(), Err(StartError::Closed)));
}

#[tokio::test]
async fn readiness_by_a_line_of_either_output() {
    for redirect in ["", ">&2"] {
        let mut spec = shell(&format!(
            "echo loading; echo 'serving on 0.0.0.0' {redirect}; sleep 60"
        ));
        let pattern = LinePattern::new("^serving on ").unwrap();
        spec.readiness = Readiness::LogLine(pattern);
        let mut service = Service::new(spec);
        let id = service.set.start().unwrap();
        service.ready(id).await;
        service.set.stop(id);
        let end = service.ended(id).await;
        assert!(end.last_lines.contains(&"loading".to_owned()), "{end:?}");
    }
}

#[tokio::test]
async fn one_that_exits_at_once_says_so_with_its_last_output_and_the_next_start_waits() {
    let mut service = Service::new(shell("echo 'Address already in use' >&2; exit 3"));
    let id = service.set.start().unwrap();
    let end = service.ended(id).await;
    let text = end.to_string();
    assert!(
        text.starts_with("ended by itself (exit status: 3) after ")
            && text.ends_with(" ms, before it was ready; its last output: Address already in use"),
        "{text}"
    );
    assert_eq!(end.retry_after, Duration::from_millis(500));
    service.gone(id).await;
    let refused = service.set.start().expect_err("it has to wait");
    assert!(refused.retry_after().unwrap() <= end.retry_after);
    let text = refused.to_string();
    assert!(
        text.contains("after 1 failures in a row; the last: ended by itself"),
        "{text}"
    );
    service.set.forget_failures();
    service.set.start().unwrap();
}

#[tokio::test]
async fn one_that_never_listens_is_given_up_after_its_time() {
    let mut spec = shell("echo thinking; sleep 60");
    spec.start_timeout = Duration::from_millis(300);
    let mut service = Service::new(spec);
    let id = service.set.start().unwrap();
    let text = service.ended(id).await.to_string();
    let words = "was not ready within 300ms: nothing accepts connections on 127.0.0.1:";
    assert!(text.starts_with(words), "{text}");
    assert!(text.ends_with("its last output: thinking"), "{text}");
    service.gone(id).await;
}

#[tokio::test]
async fn one_that_listens_on_another_port_is_told_where_it_should() {
    let mut spec = server("port = 0");
    spec.start_timeout = Duration::from_secs(5);
    let mut service = Service::new(spec);
    let id = service.set.start().unwrap();
    let ReplicaEvent::Started { port, .. } = service.next().await else {
        panic!("it has started");
    };
    let ReplicaEvent::NotReadyYet { hint, .. } = service.next().await else {
        panic!("it is told before its time is over");
    };
    let text = service.ended(id).await.to_string();
    assert!(
        text.starts_with("was not ready within 5s: it listens on 127.0.0.1:"),
        "{text}"
    );
    assert!(
        text.contains(&format!(
            " and not on 127.0.0.1:{port}, the port it was given (as {{port}} in"
        )),
        "{text}"
    );
    assert!(text.contains(&hint), "{hint}");
}

#[tokio::test]
async fn one_that_is_never_well_is_told_its_status() {
    let unwell = "
def do_GET(self):
    self.send_response(503); self.end_headers()
Handler.do_GET = do_GET
";
    let mut spec = server(unwell);
    spec.readiness = Readiness::Http("/healthz".to_owned());
    spec.start_timeout = Duration::from_secs(5);
    let mut service = Service::new(spec);
    let id = service.set.start().unwrap();
    let text = service.ended(id).await.to_string();
    assert!(
        text.starts_with("was not ready within 5s: GET /healthz was answered with 503"),
        "{text}"
    );
}

#[tokio::test]
async fn one_that_ignores_its_signal_is_killed_after_its_grace() {
    let ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN)";
    let mut spec = server(ignore);
    spec.stop_grace = Duration::from_millis(200);
    let mut service = Service::new(spec);
    let id = service.set.start().unwrap();
    service.ready(id).await;
    service.set.stop(id);
    let text = service.ended(id).await.to_string();
    assert!(
        text.starts_with("ignored SIGTERM for 200ms and was killed"),
        "{text}"
    );
    assert!(service.set.back_off().is_none(), "somebody asked for it");
}

#[tokio::test]
async fn children_of_a_replica_end_with_it() {
    let child = "
child = subprocess.Popen(['sh', '-c', 'trap \"\" TERM; sleep 60 & wait; sleep 60'])
print('child', child.pid)
";
    let mut spec = server(child);
    spec.stop_grace = Duration::from_millis(200);
    let mut service = Service::new(spec);
    let id = service.set.start().unwrap();
    service.ready(id).await;
    let child: u32 = service.line("child ").await.parse().unwrap();
    assert!(runs(child));
    service.set.stop(id);
    service.gone(id).await;
    assert!(!runs(child));
}

#[tokio::test]
async fn what_cannot_be_started_is_said_in_one_line() {
    let folder = std::env::temp_dir().join(format!("plimsoll-fleet-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let script = folder.join("script");
    std::fs::write(&script, "#!/no/such/interpreter -x\n").unwrap();
    let script = script.to_str().unwrap();
    let plain = folder.join("plain");
    std::fs::write(&plain, "#!/bin/sh\n").unwrap();
    let plain = plain.to_str().unwrap();
    chmod(script, 0o755);
    let bare = |program: &str| CommandSpec::new(program, [""; 0]);
    let within = |directory: &str| CommandSpec {
        directory: Some(directory.into()),
        ..bare("true")
    };
    for (spec, word, text) in [
        (
            bare("no-such-command"),
            "not_found",
            "command not found: `no-such-command` (it is in no folder of PATH)",
        ),
        (
            bare("./no/such"),
            "not_found",
            "command not found: `./no/such` (there is no file `./no/such`)",
        ),
        (
            bare(plain),
            "not_executable",
            "permission denied; `chmod +x` allows it",
        ),
        (
            bare("/"),
            "not_executable",
            "`/` may not be executed: it is a directory",
        ),
        (
            bare(script),
            "not_executable",
            "is a script for `/no/such/interpreter`, which is not there",
        ),
        (
            within("/no/such"),
            "directory",
            "the directory `/no/such` is not there",
        ),
        (within(plain), "directory", "is no directory"),
    ] {
        let service = Service::new(spec.clone());
        let error = service.set.start().expect_err(text);
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!(error.as_str(), word, "{error}");
        let checked = spec.check().expect_err(text);
        assert_eq!(checked.to_string(), error.to_string());
        assert!(matches!(
            service.set.start(),
            Err(StartError::BackingOff(_))
        ));
        assert_eq!(
            (service.host.replicas(), service.host.ports_in_use()),
            (0, 0)
        );
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn what_is_used_up_is_refused_and_what_runs_stays() {
    let config = HostConfig {
        replicas_max: 2,
        ..HostConfig::default()
    };
    let service = Service::with(config, shell("sleep 60"));
    let kept = [service.set.start().unwrap(), service.set.start().unwrap()];
    let refused = service.set.start().expect_err("two are enough");
    assert_eq!(
        refused.to_string(),
        "2 replicas are there already, and no more may be"
    );
    assert_eq!(
        service
            .set
            .view()
            .iter()
            .map(|view| view.id)
            .collect::<Vec<_>>(),
        kept
    );
    service.host.shutdown().await;

    // The port that another program has is the only one.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = HostConfig {
        ports: port..=port,
        ..HostConfig::default()
    };
    let service = Service::with(config, shell("sleep 60"));
    let refused = service.set.start().expect_err("it is taken");
    let text = format!("all ports from {port} to {port} are taken; allow more, or fewer replicas");
    assert_eq!(refused.to_string(), text);
    assert!(
        service.set.back_off().is_none(),
        "the command is not at fault"
    );
    assert_eq!(service.host.replicas(), 0);
}

fn chmod(path: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, permissions).expect("it is ours");
}
