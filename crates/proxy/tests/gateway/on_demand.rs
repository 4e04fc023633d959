//! Requests that wait for an instance to be started: what they wake, what they are told, and what becomes of them.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use plimsoll_balance::{BalancerConfig, EndpointSpec, QueueConfig, WhenEmpty};
use plimsoll_meter::Clock;
use plimsoll_proxy::{Demand, ServiceSettings, Unavailable, WakeOn};
use plimsoll_wire::Answer;
use tokio::task::JoinHandle;

use crate::harness::{self, Endpoint, GET, OK, Setup, eventually, in_turn, nobody, request, soon};

/// A service without instances, and who is told of those who want one.
struct Stage {
    setup: Arc<Setup>,
    demand: Arc<Demand>,
}

impl Stage {
    fn new(concurrency: u32, page: Option<&'static str>) -> Self {
        let demand = Arc::new(Demand::new());
        let config = BalancerConfig {
            endpoint_concurrency: NonZeroU32::new(concurrency),
            when_empty: WhenEmpty::Wait,
            queue: QueueConfig {
                depth: 3,
                ..QueueConfig::default()
            },
            ..in_turn()
        };
        let settings = ServiceSettings {
            demand: Some(Arc::clone(&demand)),
            waiting_page: page.map(|page| Bytes::from_static(page.as_bytes())),
            ..ServiceSettings::default()
        };
        Self {
            setup: Arc::new(Setup::new(config, settings, &[])),
            demand,
        }
    }

    fn set(&self, endpoints: &[SocketAddr]) {
        let spec = |at: &SocketAddr| EndpointSpec::new(at.to_string());
        let specs: Vec<_> = endpoints.iter().map(spec).collect();
        let balancer = self.setup.service.balancer();
        balancer
            .set_endpoints(self.setup.clock.now(), &specs)
            .unwrap();
    }

    fn ask(&self, text: impl Into<String>) -> JoinHandle<harness::Answer> {
        let (setup, text) = (Arc::clone(&self.setup), text.into());
        tokio::spawn(async move { setup.ask(&text).await })
    }

    async fn until_waiting(&self, count: usize) {
        let balancer = self.setup.service.balancer();
        eventually("they wait", || balancer.waiting() == count).await;
    }
}

async fn answered(asked: JoinHandle<harness::Answer>) -> harness::Answer {
    soon("an answer", asked).await.unwrap()
}

#[tokio::test]
async fn who_waits_for_an_instance_wakes_whoever_starts_one_and_is_told_for_how_long() {
    for concurrency in [0, 1] {
        let stage = Stage::new(concurrency, None);
        stage.demand.wake_on(WakeOn::Waiting);
        let post = request("POST", "content-length: 2\r\n", "ab");
        let asked = [stage.ask(GET), stage.ask(post)];
        soon("it is told", stage.demand.rung()).await;
        stage.until_waiting(2).await;
        let endpoint = Endpoint::answering(OK).await;
        stage.set(&[endpoint.address]);
        for asked in asked {
            let answer = answered(asked).await;
            assert_eq!(answer.status, 200);
            let told = answer
                .head
                .split("server-timing: plimsoll-cold-start;dur=")
                .nth(1);
            let millis: u64 = told.unwrap().split("\r\n").next().unwrap().parse().unwrap();
            assert!(millis < 20_000, "{}", answer.head);
        }
        assert_eq!(stage.demand.cold_starts().count(), 2);
        let warm = stage.setup.ask(GET).await;
        assert!(!warm.head.contains("server-timing"), "{}", warm.head);
        stage.setup.at_rest().await;
    }
}

#[tokio::test]
async fn who_waits_for_a_slot_only_has_not_waited_for_a_start() {
    let stage = Stage::new(1, None);
    let endpoint = Endpoint::slow(OK, Duration::from_millis(30)).await;
    stage.set(&[endpoint.address]);
    let asked = [stage.ask(GET), stage.ask(GET)];
    for asked in asked {
        let answer = answered(asked).await;
        assert!(!answer.head.contains("server-timing"), "{}", answer.head);
    }
    assert_eq!(stage.demand.cold_starts().count(), 0);
}

#[tokio::test]
async fn an_arrival_wakes_who_has_asked_for_it_and_one_request_rings_once() {
    let stage = Stage::new(0, None);
    let endpoint = Endpoint::answering(OK).await;
    stage.set(&[endpoint.address]);
    stage.demand.wake_on(WakeOn::Arrival);
    assert_eq!(stage.setup.ask(GET).await.status, 200);
    assert_eq!(stage.setup.ask(GET).await.status, 200);
    soon("it is told", stage.demand.rung()).await;
    let again = tokio::time::timeout(Duration::from_millis(20), stage.demand.rung()).await;
    assert!(again.is_err(), "told again");
}

#[tokio::test]
async fn when_none_can_be_started_all_are_told_why_and_when_to_ask_again() {
    let stage = Stage::new(1, None);
    let asked = stage.ask(GET);
    stage.until_waiting(1).await;
    stage.demand.set_unavailable(Some(Unavailable {
        reason: "it ended by itself (exit status: 3)".to_owned(),
        retry_after: Duration::from_millis(1_200),
    }));
    let balancer = stage.setup.service.balancer();
    balancer.set_when_empty(stage.setup.clock.now(), WhenEmpty::Refuse);
    for answer in [answered(asked).await, stage.setup.ask(GET).await] {
        assert_eq!(answer.status, 503);
        assert!(
            answer.head.contains("retry-after: 2\r\n"),
            "{}",
            answer.head
        );
        assert_eq!(
            answer.body,
            "service default: it ended by itself (exit status: 3)\n"
        );
        let word = "proxy-status: plimsoll; error=destination_unavailable";
        assert!(answer.head.contains(word), "{}", answer.head);
    }
    eventually("counted", || {
        stage.setup.view().requests.requests(Answer::NoEndpoint) == 2
    })
    .await;
    stage.demand.set_unavailable(None);
    balancer.set_when_empty(stage.setup.clock.now(), WhenEmpty::Wait);
    let asked = stage.ask(GET);
    stage.until_waiting(1).await;
    stage.set(&[Endpoint::answering(OK).await.address]);
    drop(asked);
}

#[tokio::test]
async fn the_queue_for_an_instance_is_bounded_and_left_by_who_goes() {
    let stage = Stage::new(1, None);
    let waiting = [stage.ask(GET), stage.ask(GET), stage.ask(GET)];
    stage.until_waiting(3).await;
    let refused = stage.setup.ask(GET).await;
    assert_eq!(refused.status, 503);
    assert!(refused.head.contains("retry-after: 1\r\n"));
    for asked in waiting {
        asked.abort();
    }
    stage.until_waiting(0).await;
    stage.setup.at_rest().await;
}

#[tokio::test]
async fn a_browser_is_shown_a_page_and_everybody_else_waits() {
    const HTML: &str = "accept: text/html,application/xhtml+xml\r\n";
    let stage = Stage::new(1, Some("<!doctype html>starting"));
    let page = stage.setup.ask(&request("GET", HTML, "")).await;
    assert_eq!((page.status, &*page.body), (503, "<!doctype html>starting"));
    for field in [
        "content-type: text/html; charset=utf-8\r\n",
        "cache-control: no-store\r\n",
        "retry-after: 1\r\n",
    ] {
        assert!(page.head.contains(field), "{}", page.head);
    }
    assert!(stage.demand.page_given().is_some());
    let others = [
        stage.ask(GET),
        stage.ask(request("POST", &format!("{HTML}content-length: 0\r\n"), "")),
        stage.ask(request("GET", "accept: application/json\r\n", "")),
    ];
    stage.until_waiting(3).await;
    let endpoint = Endpoint::answering(OK).await;
    stage.set(&[endpoint.address]);
    for other in others {
        assert_eq!(answered(other).await.status, 200);
    }
    // What is there soon needs no page.
    assert_eq!(stage.setup.ask(&request("GET", HTML, "")).await.status, 200);
}

#[tokio::test]
async fn a_request_whose_only_instance_has_died_waits_for_the_next() {
    let stage = Stage::new(1, None);
    stage.set(&[nobody().await]);
    stage.demand.wake_on(WakeOn::Waiting);
    let asked = stage.ask(GET);
    // It has been refused a connection; then its instance is found to be gone, and another one comes.
    eventually("it has failed", || {
        stage.setup.view().retries.iter().sum::<u64>() > 0
            || stage.setup.balancer_view().endpoints[0].picks > 0
    })
    .await;
    stage.set(&[]);
    soon("it is told", stage.demand.rung()).await;
    let endpoint = Endpoint::answering(OK).await;
    stage.set(&[endpoint.address]);
    assert_eq!(answered(asked).await.status, 200);
    stage.setup.at_rest().await;
}

#[tokio::test]
async fn a_request_that_ends_instances_ends_two_of_them_at_most() {
    let stage = Stage::new(1, None);
    let mut endpoints = Vec::new();
    for _ in 0..4 {
        endpoints.push(Endpoint::hanging_up().await);
    }
    let addresses: Vec<_> = endpoints.iter().map(|endpoint| endpoint.address).collect();
    stage.set(&addresses);
    let answer = stage.setup.ask(GET).await;
    assert_eq!(answer.status, 502, "{}", answer.body);
    let served: usize = endpoints.iter().map(Endpoint::served).sum();
    assert_eq!(served, 2);
    let refused = stage.setup.view().not_retried;
    assert_eq!(refused.iter().sum::<u64>(), 1, "{refused:?}");
    stage.setup.at_rest().await;
}
