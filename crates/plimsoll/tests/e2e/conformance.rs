//! Knative's contract, as the lab asks it of anybody.

use plimsoll_lab::conformance::{self, App, Targets, Verdict};

use crate::harness::sidecar::Sidecar;

#[tokio::test]
async fn knatives_contract_is_kept_or_left_on_purpose() {
    let app = App::listen(([127, 0, 0, 1], 0).into()).await.unwrap();
    let sidecar = Sidecar::start_in_pod(app.address().port(), &[], &[]).await;
    let targets = Targets {
        data: sidecar.data,
        metrics: Some(sidecar.metrics),
        admin: Some(sidecar.port("drain")),
    };
    let outcomes = conformance::run(&targets, &app).await.unwrap();
    assert_eq!(outcomes.failed(), 0, "{outcomes}");
    let asked = outcomes.0.iter().all(|row| row.verdict != Verdict::LeftOut);
    assert!(asked, "{outcomes}");
    println!("{outcomes}");
}
