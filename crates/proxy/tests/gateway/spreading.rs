//! Requests find their way to endpoints, and around those that are dead.

use plimsoll_proxy::{RetryReason, ServiceSettings};
use plimsoll_wire::Answer;
use tokio::io::AsyncWriteExt;

use crate::harness::{Endpoint, GET, OK, Setup, answer, in_turn, nobody, soon};

#[tokio::test]
async fn requests_go_to_the_endpoints_in_turn() {
    let (a, b) = (Endpoint::answering(OK).await, Endpoint::answering(OK).await);
    let setup = Setup::new(
        in_turn(),
        ServiceSettings::default(),
        &[a.address, b.address],
    );
    for _ in 0..40 {
        assert_eq!(setup.ask(GET).await.body, "ok");
    }
    assert_eq!((a.served(), b.served()), (20, 20));
    setup.at_rest().await;
    let view = setup.view();
    assert_eq!(view.requests.requests(Answer::from_app(200)), 40);
    assert_eq!(view.requests.request_time.count(), 40);
    assert_eq!(setup.endpoint(a.address).successes, a.served() as u64);
}

#[tokio::test]
async fn a_dead_endpoint_costs_no_client_an_answer() {
    let (a, b) = (Endpoint::answering(OK).await, Endpoint::answering(OK).await);
    let dead = nobody().await;
    let setup = Setup::new(
        in_turn(),
        ServiceSettings::default(),
        &[a.address, dead, b.address],
    );
    for _ in 0..60 {
        assert_eq!(setup.ask(GET).await.status, 200);
    }
    let retried = setup.view().retries[RetryReason::NotAccepted as usize];
    let failures = setup.endpoint(dead).failures;
    assert!(retried >= 20, "{retried}");
    assert_eq!(retried, failures.total());
    setup.at_rest().await;
}

#[tokio::test]
async fn connections_to_an_endpoint_are_used_again_by_other_clients() {
    let a = Endpoint::answering(OK).await;
    let setup = Setup::new(in_turn(), ServiceSettings::default(), &[a.address]);
    let mut client = setup.connect().await;
    for _ in 0..20 {
        client.write_all(GET.as_bytes()).await.unwrap();
        assert_eq!(soon("answer", answer(&mut client)).await.status, 200);
    }
    assert_eq!(a.served(), 20);
}
