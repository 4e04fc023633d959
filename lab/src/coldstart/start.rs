//! First requests: how soon there is a process, and what is added once it listens.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use super::program::{Program, until_gone};
use super::{Promise, Setup, millis, quantile};
use crate::apps::witness::{Testimony, monotonic};
use crate::compare::Progress;

/// The most that an answer has.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// First requests come after pauses that differ, so that they do not keep step with what is done periodically. The
/// shortest one, and by how many milliseconds another one may be longer.
const PAUSE: Duration = Duration::from_millis(20);
const PAUSE_SPREAD: u32 = 101;

/// One first request.
#[derive(Clone, Copy, Debug)]
struct Course {
    sent: Duration,
    /// When the first bytes of the answer were there.
    answered: Duration,
    replica: Testimony,
}

/// Sends `count` first requests, each to a service of its own that works on one request at a time.
pub(super) async fn measure(
    setup: &Setup,
    count: u32,
    progress: Progress<'_>,
) -> anyhow::Result<Vec<Promise>> {
    let config: String = (0..count).map(|number| service(setup, number)).collect();
    let program = Program::start(setup, "run", &config, &[], None).await?;
    let (mut courses, mut bare, mut single) = (Vec::new(), Vec::new(), 0);
    for number in 0..count {
        if number % 50 == 0 {
            progress(&format!("first request {number} of {count}"));
        }
        let host = format!("s{number}.test");
        // Connected before: what a client pays for a connection is not the hold's.
        let stream = TcpStream::connect(program.data)?;
        tokio::time::sleep(PAUSE + Duration::from_millis((number * 37 % PAUSE_SPREAD).into()))
            .await;
        let asked = tokio::task::spawn_blocking(move || ask(stream, &host));
        let course = asked.await??;
        let scale = program.stop_service(&format!("s{number}")).await?;
        single += u64::from(scale.starts() == 1);
        courses.push(course);
        until_gone(course.replica.pid).await?;
        let lab = setup.lab.clone();
        bare.push(tokio::task::spawn_blocking(move || start_bare(&lab)).await??);
    }
    program.stop().await?;
    Ok(promises(&courses, &bare, single))
}

fn promises(courses: &[Course], bare: &[Duration], single: u64) -> Vec<Promise> {
    let all = |span: fn(&Course) -> Duration| courses.iter().map(span).collect::<Vec<_>>();
    let begin = all(|course| course.replica.began.saturating_sub(course.sent));
    let load = all(|course| course.replica.listened.saturating_sub(course.replica.began));
    let hold = all(|course| course.answered.saturating_sub(course.replica.listened));
    let whole = all(|course| course.answered - course.sent);
    let at = |values: &[Duration], share| millis(quantile(values, share));
    let spread = |values: &[Duration]| {
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|share| at(values, share));
        format!("p50 {p50:.2}, p95 {p95:.2}, p99 {p99:.2} ms")
    };
    vec![
        Promise::told("request to process start", spread(&begin)),
        Promise::at_most("… p99", at(&begin, 0.99), 2.0, "ms"),
        Promise::told(
            "… bare, by the system alone, in turns with it",
            spread(bare),
        ),
        Promise::told(
            "what the hold adds after the replica listens",
            spread(&hold),
        ),
        Promise::at_most("… p95", at(&hold, 0.95), 5.0, "ms"),
        Promise::told("the replica's own start", spread(&load)),
        Promise::told("first request to answer", spread(&whole)),
        Promise::always(
            "one request, one slot a replica: one replica",
            single,
            courses.len() as u64,
        ),
    ]
}

fn service(setup: &Setup, number: u32) -> String {
    format!(
        "[services.s{number}]\ncommand = [{:?}, \"witness\", \"--port\", \"{{port}}\"]\nconcurrency = 1\n\
         routes = [{{ hosts = [\"s{number}.test\"] }}]\n",
        setup.lab.display().to_string()
    )
}

/// What it takes on this machine to start the same process, in turns with the others, so that both meet the same noise.
fn start_bare(lab: &Path) -> anyhow::Result<Duration> {
    let mut command = Command::new(lab);
    command
        .args(["witness", "--port", "0", "--tell"])
        .stdin(Stdio::null())
        .process_group(0);
    let before = monotonic();
    let output = command.output()?;
    let told = Testimony::parse(&String::from_utf8_lossy(&output.stdout));
    Ok(told.context("no testimony")?.began.saturating_sub(before))
}

/// Sends a request and reads its answer, on the calling thread alone: no runtime of ours is in the figures.
fn ask(mut stream: TcpStream, host: &str) -> anyhow::Result<Course> {
    stream.set_nodelay(true)?;
    let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    let sent = monotonic();
    stream.write_all(request.as_bytes())?;
    let mut bytes = vec![0];
    stream.read_exact(&mut bytes)?;
    let answered = monotonic();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").context("half an answer")?;
    anyhow::ensure!(head.starts_with("HTTP/1.1 200 "), "{text}");
    Ok(Course {
        sent,
        answered,
        replica: Testimony::parse(body).with_context(|| format!("no testimony: {body}"))?,
    })
}
