//! The load generator against the backend, over loopback.

use std::net::TcpListener;
use std::time::Duration;

use plimsoll_lab::backend::{Backend, Running};
use plimsoll_lab::load::{self, Error, Failure, Held, Observer, Options, Pace, Protocol, Target};

fn backend() -> Running {
    Backend::bind(([127, 0, 0, 1], 0).into())
        .and_then(|backend| backend.spawn(None))
        .expect("a loopback port and a thread are to be had")
}

fn options(backend: &Running, path: &str) -> Options {
    Options::new(Target::at(backend.addr(), path))
}

const H2C: Protocol = Protocol::H2c { streams: 4 };

#[test]
fn every_kind_of_response_is_whole_over_both_protocols() {
    let paths = [
        "/",
        "/bytes/0",
        "/bytes/64",
        "/bytes/200000",
        "/stream/3/1",
        "/slow-length/3/1",
        "/trailers",
        "/status/204",
    ];
    for protocol in [Protocol::Http1, H2C] {
        for path in paths {
            let backend = backend();
            let run = Options {
                protocol,
                connections: 2,
                requests: Some(20),
                ..options(&backend, path)
            };
            let summary = load::run_blocking(run).unwrap();
            assert!(summary.ok >= 20, "{path} {summary:?}");
            assert_eq!(summary.failed(), 0, "{path} {summary:?}");
            assert_eq!(backend.connections(), 2, "{path}: connections are kept");
        }
    }
}

#[test]
fn request_bodies_arrive() {
    for protocol in [Protocol::Http1, H2C] {
        let backend = backend();
        let run = Options {
            protocol,
            method: http::Method::POST,
            body: vec![b'y'; 1000].into(),
            requests: Some(10),
            ..options(&backend, "/echo")
        };
        let summary = load::run_blocking(run).unwrap();
        assert_eq!(summary.failed(), 0, "{summary:?}");
        assert!(summary.ok >= 10);
    }
}

#[test]
fn an_informational_response_is_not_the_response() {
    let backend = backend();
    let run = Options {
        requests: Some(10),
        ..options(&backend, "/hints")
    };
    let summary = load::run_blocking(run).unwrap();
    assert_eq!(summary.status(200), summary.requests);
    assert_eq!(summary.failed(), 0);
}

#[test]
fn other_statuses_are_counted_and_not_ok() {
    let backend = backend();
    let run = Options {
        requests: Some(10),
        ..options(&backend, "/status/503")
    };
    let summary = load::run_blocking(run).unwrap();
    assert_eq!((summary.ok, summary.failed()), (0, 0));
    assert!(summary.status(503) >= 10);
}

#[test]
fn a_response_that_ends_early_is_a_failure_and_the_lane_goes_on() {
    for protocol in [Protocol::Http1, H2C] {
        let backend = backend();
        let run = Options {
            protocol,
            requests: Some(5),
            ..options(&backend, "/lie/100")
        };
        let summary = load::run_blocking(run).unwrap();
        assert_eq!(summary.requests, 0, "{summary:?}");
        assert!(summary.errors[&Failure::Closed] >= 5, "{summary:?}");
    }
}

#[test]
fn requests_that_never_end_are_unfinished() {
    for protocol in [Protocol::Http1, H2C] {
        for pace in [Pace::Closed, Pace::Constant(200.0)] {
            let backend = backend();
            let run = Options {
                protocol,
                pace,
                connections: 2,
                duration: Duration::from_millis(100),
                grace: Duration::from_millis(20),
                ..options(&backend, "/hang")
            };
            let summary = load::run_blocking(run).unwrap();
            assert_eq!(summary.requests, 0);
            assert!(summary.unfinished >= 2, "{protocol:?} {pace:?} {summary:?}");
        }
    }
}

#[test]
fn an_open_loop_keeps_its_rate() {
    for pace in [
        Pace::Constant(500.0),
        Pace::Poisson {
            per_second: 500.0,
            seed: 7,
        },
    ] {
        let backend = backend();
        let run = Options {
            pace,
            connections: 16,
            duration: Duration::from_millis(400),
            ..options(&backend, "/bytes/64")
        };
        let summary = load::run_blocking(run).unwrap();
        assert_eq!(summary.failed(), 0, "{summary:?}");
        // 200 expected; a Poisson count of mean 200 strays 5 deviations once in two million runs.
        assert!(
            (130..=270).contains(&summary.requests),
            "{pace:?} {summary:?}"
        );
    }
}

/// One connection, 20 ms a request, an arrival each 5 ms: the tenth request waits for nine before it.
/// A generator that counts from the sending would see 20 ms throughout.
#[test]
fn waiting_for_a_free_connection_counts_as_latency() {
    let backend = backend();
    let run = Options {
        pace: Pace::Constant(200.0),
        duration: Duration::from_millis(100),
        ..options(&backend, "/delay/20")
    };
    let summary = load::run_blocking(run).unwrap();
    assert!(summary.requests >= 10, "{summary:?}");
    assert!(
        summary.latency.max >= Duration::from_millis(150),
        "{summary:?}"
    );
}

#[test]
fn the_observer_sees_exactly_the_counted_requests() {
    struct Counting<'a>(&'a Running, Vec<u64>);
    impl Observer for Counting<'_> {
        fn begin(&mut self) {
            self.1.push(self.0.requests());
        }
        fn end(&mut self) {
            self.1.push(self.0.requests());
        }
    }
    let backend = backend();
    let mut seen = Counting(&backend, Vec::new());
    let run = Options {
        connections: 3,
        warm_up: Duration::from_millis(20),
        duration: Duration::from_millis(50),
        ..options(&backend, "/bytes/64")
    };
    let summary = load::run_observed(run, None, &mut seen).unwrap();
    let [begin, end] = seen.1[..] else {
        panic!("{:?}", seen.1)
    };
    // The backend counts heads, the generator whole responses: at most one per connection differs.
    assert!(
        (end - begin).abs_diff(summary.requests) <= 3,
        "{begin} {end} {summary:?}"
    );
    assert!(summary.requests > 0);
}

#[test]
fn a_server_that_is_not_there_is_an_error_of_the_run() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let refused = load::run_blocking(Options::new(Target::at(addr, "/")));
    assert!(matches!(refused, Err(Error::Connect { .. })), "{refused:?}");
}

#[tokio::test]
async fn held_connections_are_used_again_and_closed() {
    let backend = backend();
    let mut held = Held::open(&Target::at(backend.addr(), "/bytes/64"), 20)
        .await
        .unwrap();
    held.send_all("/delay/5").await.unwrap();
    assert_eq!(held.receive_all().await, 20);
    assert_eq!((backend.connections(), backend.requests()), (20, 40));
}
