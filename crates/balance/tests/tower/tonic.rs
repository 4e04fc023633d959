//! The example, played: a real gRPC client over three real servers.

#[path = "../../examples/tonic_shares/play.rs"]
mod play;

use plimsoll_balance::EndpointState;

#[tokio::test(flavor = "current_thread")]
async fn who_fails_and_who_is_slow_gets_little() {
    const CALLS: u32 = 600;
    let played = play::play(CALLS).await.expect("it runs on this machine");
    let [well, failing, slow] = &played.view.endpoints[..] else {
        panic!("three servers: {:?}", played.view.endpoints);
    };
    let made = well.picks + failing.picks + slow.picks;
    assert_eq!(made, u64::from(CALLS), "each call has been at one endpoint");
    assert!(played.view.endpoints.iter().all(|it| it.in_flight == 0));
    // What the client has seen fail is what trailers have told.
    assert_eq!(failing.failures.total(), u64::from(played.failed));
    assert_eq!(well.failures.total() + slow.failures.total(), 0);
    assert_eq!(failing.successes, 0);
    // Eight calls run at once: as many may be on their way when the first has failed.
    assert!((3..=12).contains(&failing.picks), "{}", failing.picks);
    assert_eq!(failing.state, EndpointState::Ejected);
    assert!(slow.picks * 3 < well.picks, "{} {}", slow.picks, well.picks);
}
