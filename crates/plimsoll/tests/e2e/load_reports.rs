//! Answers say how busy the instance is, if they are to.

use std::path::PathBuf;
use std::time::Instant;

use http::HeaderMap;
use plimsoll_wire::{LoadReport, cpu_usage, orca};
use tonic::metadata::MetadataMap;

use crate::grpc::{self, Calculator, count, square};
use crate::harness::app::{self, App};
use crate::harness::h2c;
use crate::harness::http1::{self, Answer, Client};
use crate::harness::sidecar::Sidecar;
use crate::harness::{eventually, soon};

/// A directory with the files of a control group, limited to two processors. It is removed when dropped.
#[derive(Debug)]
pub(crate) struct Group {
    directory: PathBuf,
    since: Instant,
}

impl Group {
    pub(crate) fn new(name: &str) -> Self {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("cgroup.procs"), "").unwrap();
        std::fs::write(directory.join("cpu.max"), "200000 100000\n").unwrap();
        std::fs::write(directory.join("cpuset.cpus.effective"), "0-63\n").unwrap();
        let group = Self {
            directory,
            since: Instant::now(),
        };
        group.work();
        group
    }

    /// Its processes have used one processor since it was made.
    pub(crate) fn work(&self) {
        let text = format!("usage_usec {}\n", self.since.elapsed().as_micros());
        // In one step: a reader sees the old file or the new.
        let new = self.directory.join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.directory.join("cpu.stat")).unwrap();
    }

    pub(crate) fn path(&self) -> &str {
        self.directory.to_str().unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.directory).ok();
    }
}

/// The fields by which a load is told.
const FIELDS: [&str; 3] = [orca::HEADER, orca::BINARY_HEADER, cpu_usage::HEADER];

/// Those of them that an answer has in its head.
fn told(answer: &Answer) -> Vec<&str> {
    let is_there = |name: &&str| answer.field(name).is_some();
    FIELDS.into_iter().filter(is_there).collect()
}

fn text_report(answer: &Answer) -> Option<LoadReport> {
    let value = answer.field(orca::HEADER)?;
    assert!(value.starts_with("TEXT "), "{value}");
    Some(LoadReport::from_header(value.as_bytes()).unwrap())
}

/// The report in the metadata of a gRPC answer, and what it says in Kratos's way.
fn grpc_report(metadata: &MetadataMap) -> Option<(LoadReport, Option<f64>)> {
    assert!(metadata.get(orca::HEADER).is_none(), "{metadata:?}");
    let value = metadata.get_bin(orca::BINARY_HEADER)?.as_encoded_bytes();
    let usage = metadata.get(cpu_usage::HEADER);
    let usage = usage.map(|value| cpu_usage::read(value.as_encoded_bytes()).unwrap());
    Some((LoadReport::from_binary_header(value).unwrap(), usage))
}

#[tokio::test]
async fn nothing_is_told_unless_asked_for() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &["--concurrency", "2"]).await;
    let answer = http1::once(sidecar.data, http1::get("/bytes/1")).await;
    assert_eq!(told(&answer), [""; 0]);

    let app = Calculator::start().await;
    let sidecar = Sidecar::start(app.addr, &[]).await;
    let squared = square(&mut grpc::client(&sidecar).await, 2).await.unwrap();
    for name in FIELDS {
        assert!(!squared.metadata().contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn http1_answers_say_what_the_group_uses_of_its_limit() {
    let app = app::lab();
    let group = Group::new("http1-load");
    let arguments = ["--load-reports", "all", "--cpu-cgroup", group.path()];
    let sidecar = Sidecar::start(app.addr(), &arguments).await;
    let line = sidecar
        .logged("what is told", |line| line["message"] == "reporting load")
        .await;
    assert_eq!(
        (&line["group"], &line["processors"]),
        (&group.path().into(), &2.0.into())
    );
    let mut client = Client::connect(sidecar.data).await;
    // One processor of two. The clocks of this test and of the program do not tick together.
    let answer = eventually("half of the processors are busy", async || {
        group.work();
        let answer = client.get("/bytes/1").await;
        let cpu = text_report(&answer)?.cpu_utilization?;
        (0.4..0.6).contains(&cpu).then_some(answer)
    })
    .await;
    let report = text_report(&answer).unwrap();
    let usage = answer.field(cpu_usage::HEADER).unwrap();
    let usage = cpu_usage::read(usage.as_bytes()).unwrap();
    assert!((usage - report.cpu_utilization.unwrap()).abs() < 0.001);
    // Without a limit nobody knows how full the application is.
    assert_eq!(report.application_utilization, None);
    assert_eq!(answer.field(orca::BINARY_HEADER), None);
}

#[tokio::test]
async fn a_limit_makes_the_application_as_full_as_its_slots() {
    let app = app::lab();
    let arguments = ["--load-reports", "orca", "--concurrency", "4"];
    let sidecar = Sidecar::start(app.addr(), &arguments).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = Client::connect(sidecar.data).await;
        client.send(http1::get("/hang")).await;
        held.push(client);
    }
    let mut client = Client::connect(sidecar.data).await;
    let answer = eventually("two of four slots are taken, and errors come", async || {
        let answer = client.get("/status/500").await;
        let report = text_report(&answer)?;
        let is_half = |used: f64| (0.45..0.75).contains(&used);
        let is_full = report.application_utilization.is_some_and(is_half);
        (is_full && report.eps? > 0.0).then_some(answer)
    })
    .await;
    let report = text_report(&answer).unwrap();
    // The only requests that have ended were errors.
    assert_eq!(report.rps, report.eps);
    assert_eq!(answer.field(cpu_usage::HEADER), None, "not asked for");
}

#[tokio::test]
async fn answers_of_the_sidecars_own_say_it_too() {
    let sidecar = Sidecar::start(app::nowhere().await, &["--load-reports", "orca"]).await;
    let mut client = Client::connect(sidecar.data).await;
    let answer = eventually("a report", async || {
        let answer = client.get("/").await;
        text_report(&answer).is_some().then_some(answer)
    })
    .await;
    assert_eq!(answer.status, 502);

    let mut client = grpc::client(&sidecar).await;
    let report = eventually("errors are counted", async || {
        let refused = square(&mut client, 1).await.unwrap_err();
        let (report, _) = grpc_report(refused.metadata()).expect("beside the status");
        report.eps.map(|_| report)
    })
    .await;
    assert!(report.eps <= report.rps, "{report:?}");
}

#[tokio::test]
async fn http2_answers_that_are_no_grpc_say_it_in_their_head() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &["--load-reports", "orca"]).await;
    let mut client = h2c::Client::connect(sidecar.data).await;
    let answer = eventually("a report", async || {
        let answer = client.get("/trailers").await.unwrap();
        answer.field(orca::HEADER).is_some().then_some(answer)
    })
    .await;
    let has_report = |fields: &HeaderMap| fields.contains_key(orca::BINARY_HEADER);
    assert!(!has_report(&answer.headers) && !has_report(&answer.trailers.unwrap()));
}

#[tokio::test]
async fn grpc_answers_say_it_in_their_trailers() {
    let app = Calculator::start().await;
    let group = Group::new("grpc-load");
    let arguments = ["--load-reports", "all", "--cpu-cgroup", group.path()];
    let sidecar = Sidecar::start(
        app.addr,
        &[&arguments[..], &["--concurrency", "4"]].concat(),
    )
    .await;
    let mut client = grpc::client(&sidecar).await;
    // A call's metadata has those of its head and of its trailers.
    let (report, usage) = eventually("a report of the processors", async || {
        group.work();
        let squared = square(&mut client, 3).await.unwrap();
        let (report, usage) = grpc_report(squared.metadata())?;
        Some((report, usage?))
    })
    .await;
    assert!((usage - report.cpu_utilization.unwrap()).abs() < 0.001);
    assert!(report.rps.is_some_and(|rps| rps > 0.0), "{report:?}");

    let failed = square(&mut client, 0).await.unwrap_err();
    assert!(grpc_report(failed.metadata()).is_some(), "{failed:?}");

    // A stream shows which of the two it was.
    let mut counted = count(&mut client, 3).await.unwrap();
    while soon("a number", counted.message()).await.unwrap().is_some() {}
    let trailers = soon("trailers", counted.trailers()).await.unwrap().unwrap();
    assert!(grpc_report(&trailers).is_some(), "{trailers:?}");
    let mut raw = h2c::Client::connect(sidecar.data).await;
    let mut request = h2c::request("POST", "/test.Calculator/Square");
    let grpc = http::HeaderValue::from_static("application/grpc");
    request.headers_mut().insert("content-type", grpc);
    let mut pending = raw.begin(request, false).await.unwrap();
    // A message of two bytes: the number 3 in field 1.
    pending.send("\0\0\0\0\x02\x08\x03").await;
    pending.body.send_data(bytes::Bytes::new(), true).unwrap();
    let answer = h2c::answer(pending.response).await.unwrap();
    let trailers = answer.trailers.unwrap();
    for name in [orca::BINARY_HEADER, cpu_usage::HEADER] {
        assert!(!answer.headers.contains_key(name), "{name}");
        assert!(trailers.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn the_applications_own_report_is_the_only_one() {
    let app = App::scripted(|mut wire, _| async move {
        while wire.head().await.is_some() {
            let fields = "endpoint-load-metrics: TEXT eps=7\r\ncpu_usage: 9\r\ncontent-length: 0";
            wire.send(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n"))
                .await;
        }
    })
    .await;
    let sidecar = Sidecar::start(app.addr, &["--load-reports", "all"]).await;
    sidecar
        .logged("it reports", |line| line["message"] == "reporting load")
        .await;
    let mut client = Client::connect(sidecar.data).await;
    for _ in 0..3 {
        let answer = client.get("/").await;
        assert_eq!(answer.field(orca::HEADER), Some("TEXT eps=7"));
        assert_eq!(answer.field(cpu_usage::HEADER), Some("9"));
    }
}
