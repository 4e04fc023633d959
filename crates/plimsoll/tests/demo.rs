//! `plimsoll demo` as a person runs it: real processes, real ports, a real terminal.
//!
//! Every demonstration here is given an end of its own, [`LATEST`], so that none outlives its test. A test in which
//! something else is to end it checks that this came earlier.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// When a demonstration ends that nothing else has ended.
const LATEST: Duration = Duration::from_secs(30);

/// A demonstration in plain lines.
struct Demo {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
    began: Instant,
}

impl Demo {
    fn start(flags: &[&str]) -> Self {
        let mut child = command()
            .args(["--plain", "--listen=0", "--metrics-listen=0"])
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let output = child.stdout.take().expect("it is piped");
        Self {
            child,
            lines: BufReader::new(output),
            began: Instant::now(),
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("it is text");
        assert!(line.ends_with('\n'), "it ended too early");
        line
    }

    /// The rest of the output, and how it ended.
    fn end(mut self) -> (String, ExitStatus) {
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).expect("it is text");
        (rest, self.child.wait().expect("it has ended"))
    }
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.arg("demo").env_remove("NO_COLOR");
    command
}

fn latest() -> String {
    format!("--duration={}s", LATEST.as_secs())
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("it is running");
}

/// The answer to `GET path`, head and body.
fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("something listens");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n"
    )
    .expect("it is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it is text");
    answer
}

/// The address in a line such as `try  curl http://127.0.0.1:8012/`.
fn address(line: &str) -> SocketAddr {
    let (_, url) = line.split_once("http://").expect("there is a URL");
    let (address, _) = url.split_once('/').expect("it has a path");
    address.parse().expect("it has an address")
}

#[test]
fn it_writes_a_line_a_second_and_ends_when_its_time_is_up() {
    let (output, status) = Demo::start(&["--duration=3s"]).end();
    assert_eq!(status.code(), Some(0), "{output}");
    let (told, summary) = output
        .split_once("plimsoll demo: ")
        .and_then(|(_, output)| output.split_once("plimsoll demo: "))
        .expect("there is a heading and a summary");
    let seconds: Vec<&str> = told.lines().filter(|line| line.contains("avg")).collect();
    // Reports are at 1, 2 and 3 s; the last is at the same moment as the end.
    assert!((1..=3).contains(&seconds.len()), "{output}");
    for line in seconds {
        assert!(line.contains("/8") && line.contains("/80"), "{line}");
        assert!(!line.contains("200: 0 "), "nothing was answered: {line}");
    }
    assert!(summary.contains(" requests in 0:0"), "{summary}");
    assert!(summary.contains("0 too late (504)"), "{summary}");
    let (_, most) = summary
        .split_once("had at most ")
        .expect("the app has counted");
    let most = most.split_whitespace().next().and_then(|n| n.parse().ok());
    assert!(most.is_some_and(|most: usize| (1..=8).contains(&most)));
}

#[test]
fn anyone_can_be_a_client_and_read_the_metrics() {
    let mut demo = Demo::start(&["--concurrency=3", &latest()]);
    assert!(demo.line().contains("room for 3, 30 more may wait"));
    let (app, metrics) = (address(&demo.line()), address(&demo.line()));
    let answer = get(app, "/");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("Hello from the app."), "{answer}");
    let answer = get(metrics, "/metrics");
    assert!(answer.contains("\nplimsoll_slots 3\n"), "{answer}");
    signal(&demo.child, Signal::INT);
    assert_eq!(demo.end().1.code(), Some(0));
}

#[test]
fn a_signal_ends_it_with_a_summary() {
    for name in [Signal::INT, Signal::TERM] {
        let mut demo = Demo::start(&[&latest()]);
        while !demo.line().contains("avg") {}
        signal(&demo.child, name);
        let began = demo.began;
        let (rest, status) = demo.end();
        assert_eq!(status.code(), Some(0), "{rest}");
        assert!(rest.contains("plimsoll demo: "), "{rest}");
        assert!(began.elapsed() < LATEST, "the signal was not heard");
    }
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let mut demo = Demo::start(&[&latest()]);
    demo.line();
    let began = demo.began;
    let mut child = demo.child;
    drop(demo.lines);
    assert_eq!(child.wait().expect("it has ended").code(), Some(0));
    assert!(began.elapsed() < LATEST, "it went on without a reader");
}

#[test]
fn a_port_that_was_asked_for_is_had_or_it_does_not_start() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("it is bound").port();
    for flag in ["--listen", "--metrics-listen"] {
        let output = command()
            .args(["--plain", &latest(), &format!("{flag}={port}")])
            .output()
            .expect("the program runs");
        let message = String::from_utf8(output.stderr).expect("it is text");
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.contains(flag), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_bad_flag_is_bad_usage() {
    let output = command()
        .arg("--concurrency=none")
        .output()
        .expect("the program runs");
    let message = String::from_utf8(output.stderr).expect("it is text");
    assert_eq!(output.status.code(), Some(64), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

/// A terminal of 80 by 24: the side of the person, and the side of the program.
fn terminal() -> (File, File) {
    let person =
        openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
    grantpt(&person).expect("it is ours");
    unlockpt(&person).expect("it is new");
    let size = Winsize {
        ws_col: 80,
        ws_row: 24,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&person, size).expect("it takes a size");
    let name = ptsname(&person, Vec::new()).expect("it has a name");
    let program = OpenOptions::new()
        .read(true)
        .write(true)
        .open(name.to_str().expect("a plain path"))
        .expect("it can be opened");
    (File::from(person), program)
}

/// Reads until `text` has come, or the other side has gone.
fn read_until(terminal: &mut File, seen: &mut String, text: &str) {
    let mut buffer = [0; 4_096];
    while !seen.contains(text) {
        match terminal.read(&mut buffer) {
            // Characters may be cut in two at the end of the buffer; what is looked for has none of those.
            Ok(length @ 1..) => seen.push_str(&String::from_utf8_lossy(&buffer[..length])),
            // Linux says EIO when nobody has the other side open.
            Ok(0) | Err(_) => return,
        }
    }
}

/// What a terminal sees of a demonstration that is interrupted once it has something to show.
fn watch(command: &mut Command) -> (String, ExitStatus) {
    let (mut person, program) = terminal();
    let mut child = command
        .args(["--listen=0", "--metrics-listen=0", &latest()])
        .env("TERM", "xterm")
        .stdout(program)
        .spawn()
        .expect("the program starts");
    // The command keeps a copy of the program's side, and the end would not be seen.
    command.stdout(Stdio::null());
    let mut seen = String::new();
    read_until(&mut person, &mut seen, " ms");
    signal(&child, Signal::INT);
    read_until(&mut person, &mut seen, "nothing but the end");
    (seen, child.wait().expect("it has ended"))
}

#[test]
fn on_a_terminal_the_view_is_live_and_everything_is_put_back() {
    let began = Instant::now();
    let (seen, status) = watch(&mut command());
    assert!(began.elapsed() < LATEST, "the signal was not heard");
    assert_eq!(status.code(), Some(0), "{seen}");
    let entered = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H";
    let left = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";
    assert!(seen.starts_with(entered), "{seen:?}");
    let (view, summary) = seen.split_once(left).expect("everything is put back");
    assert!(view.matches("\x1b[H").count() > 2, "it is painted anew");
    assert!(view.contains("\x1b[0;36mcurl http://127.0.0.1:"), "{view}");
    assert!(summary.starts_with("plimsoll demo: "), "{summary}");
    assert!(!summary.contains('\x1b'), "{summary:?}");
}

#[test]
fn no_color_is_respected_and_a_dumb_terminal_gets_plain_lines() {
    let (seen, status) = watch(command().env("NO_COLOR", "1"));
    assert_eq!(status.code(), Some(0), "{seen}");
    assert!(seen.contains("\x1b[H"), "it is the live view");
    assert!(!seen.contains("\x1b[0;"), "{seen:?}");

    let (mut person, program) = terminal();
    let mut demo = command();
    demo.args(["--listen=0", "--metrics-listen=0", "--duration=1s"])
        .env("TERM", "dumb");
    let mut child = demo.stdout(program).spawn().expect("the program starts");
    drop(demo);
    let mut seen = String::new();
    read_until(&mut person, &mut seen, "nothing but the end");
    assert_eq!(child.wait().expect("it has ended").code(), Some(0));
    assert!(seen.starts_with("plimsoll demo: "), "{seen:?}");
    assert!(!seen.contains('\x1b'), "{seen:?}");
}
