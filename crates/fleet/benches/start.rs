//! How long a start takes, and how much later than the replica itself its readiness is known.
//!
//! Quantiles, not means: whoever waits for the slow one does not care for the others. This program is the replica
//! too. It says by the clock that all processes share when its `main` began and when it listened.

use std::io::Write;
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_fleet::{CommandSpec, Host, HostConfig, Observer, ReplicaEvent, ReplicaSet};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc;

/// Replicas that are started, one after the other.
const STARTS: u32 = 300;

/// The longest of the times that replicas take on purpose before they listen.
const START_UP_MAX: Duration = Duration::from_millis(150);

struct Tell(mpsc::UnboundedSender<(u64, ReplicaEvent)>);

impl Observer for Tell {
    fn event(&self, event: ReplicaEvent) {
        drop(self.0.send((now(), event)));
    }
}

/// What was measured, in nanoseconds each.
#[derive(Default)]
struct Measured {
    /// From the call to its return.
    call: Vec<u64>,
    /// From the call to the first line of `main` of the replica.
    process: Vec<u64>,
    /// From the moment in which it listens to the event that says so.
    ready: Vec<u64>,
}

/// Nanoseconds of the clock that all processes share.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let nanos = time.tv_sec * 1_000_000_000 + time.tv_nsec;
    nanos.unsigned_abs()
}

fn main() -> ExitCode {
    let began = now();
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, word, port, wait] = &arguments[..]
        && word == "replica"
    {
        be_replica(began, port, wait);
    }
    // cargo test runs benches too, to see that they run.
    let whole = arguments.iter().any(|word| word == "--bench");
    let starts = if whole { STARTS } else { 3 };
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    let measured = runtime.block_on(measure(starts));
    print("start() returns after", measured.call);
    print("main of the replica begins after", measured.process);
    print("that it listens is known after", measured.ready);
    ExitCode::SUCCESS
}

fn print(what: &str, mut times: Vec<u64>) {
    times.sort_unstable();
    let last = times.len() - 1;
    let at = |percent: usize| times[last * percent / 100] as f64 / 1e6;
    let [p50, p95, p99, max] = [50, 95, 99, 100].map(at);
    let mut out = std::io::stdout().lock();
    let line = format!("p50 {p50:.2} ms, p95 {p95:.2} ms, p99 {p99:.2} ms, max {max:.2} ms");
    writeln!(out, "{what}: {line} ({} starts)", times.len()).expect("somebody reads it");
}

fn be_replica(began: u64, port: &str, wait: &str) -> ! {
    let wait = Duration::from_micros(wait.parse().expect("a number"));
    std::thread::park_timeout(wait);
    let port: u16 = port.parse().expect("a number");
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    let listens = now();
    writeln!(std::io::stdout(), "{began} {listens}").expect("it is read");
    loop {
        drop(listener.accept());
    }
}

async fn measure(starts: u32) -> Measured {
    let (say, mut said) = mpsc::unbounded_channel();
    let config = HostConfig {
        output: Some(Arc::new(move |line| {
            let (began, listens) = line.text.split_once(' ').expect("two numbers");
            let number = |text: &str| text.parse::<u64>().expect("a number");
            let said = say.send((number(began), number(listens)));
            said.expect("the measurement goes on");
        })),
        ..HostConfig::default()
    };
    let host = Host::new(config).expect("the settings can be");
    let own = std::env::current_exe().expect("this program");
    let own = own.to_str().expect("a path in UTF-8");
    let command = |wait: Duration| {
        let wait = wait.as_micros().to_string();
        CommandSpec::new(own, ["replica", "{port}", &wait])
    };
    let (tell, mut told) = mpsc::unbounded_channel();
    let set = ReplicaSet::new(
        &host,
        "start",
        command(Duration::ZERO),
        Arc::new(Tell(tell)),
    );
    let set = set.expect("the settings can be");
    let mut measured = Measured::default();
    for number in 0..starts {
        let wait = START_UP_MAX * number / starts;
        set.reconfigure(command(wait)).expect("the settings can be");
        let asked = now();
        let id = set.start().expect("this program can be started");
        measured.call.push(now() - asked);
        let ready_at = loop {
            let (at, event) = told.recv().await.expect("the set is open");
            if let ReplicaEvent::Ready { .. } = event {
                break at;
            }
        };
        let (began, listens) = said.recv().await.expect("it says when");
        set.stop(id);
        set.emptied().await;
        measured.process.push(began - asked);
        // The first connection may be accepted before the replica has read the clock.
        measured.ready.push(ready_at.saturating_sub(listens));
    }
    host.shutdown().await;
    measured
}
