//! Knative's contract, as the lab asks it of anybody.

use std::time::Duration;

use plimsoll_lab::conformance::{self, App, READY_PATH, Setup, Targets, Verdict};

use crate::harness::sidecar::Sidecar;

/// The limits in short, so that what is late is late soon. Knative's variables have whole seconds; flags have less.
const TOTAL: Duration = Duration::from_millis(2_000);
const START: Duration = Duration::from_millis(800);
const IDLE: Duration = Duration::from_millis(1_200);

async fn app() -> App {
    App::listen(([127, 0, 0, 1], 0).into()).await.unwrap()
}

/// Slots, readiness and all ports: everything but time limits.
async fn without_limits() -> conformance::Outcomes {
    let app = app().await;
    let port = app.address().port();
    let probe = format!(
        r#"{{"httpGet":{{"path":"{READY_PATH}","port":{port}}},"periodSeconds":1,"timeoutSeconds":5}}"#
    );
    let variables = [
        ("SERVING_READINESS_PROBE", &*probe),
        ("CONTAINER_CONCURRENCY", "2"),
    ];
    let sidecar = Sidecar::start_in_pod(port, &variables, &[]).await;
    let targets = Targets {
        data: sidecar.data,
        metrics: Some(sidecar.metrics),
        admin: Some(sidecar.port("drain")),
        setup: Setup {
            concurrency: Some(2),
            readiness: true,
            ..Setup::default()
        },
    };
    conformance::run(&targets, &app).await.unwrap()
}

/// Time limits, and slots to wait for.
async fn with_limits() -> conformance::Outcomes {
    let app = app().await;
    let limits = ["2s", "800ms", "1200ms"];
    let flags = [
        ["--timeout", limits[0]],
        ["--response-start-timeout", limits[1]],
        ["--idle-timeout", limits[2]],
    ]
    .concat();
    let variables = [("CONTAINER_CONCURRENCY", "1")];
    let sidecar = Sidecar::start_in_pod(app.address().port(), &variables, &flags).await;
    let targets = Targets {
        data: sidecar.data,
        metrics: None,
        admin: None,
        setup: Setup {
            concurrency: Some(1),
            total: Some(TOTAL),
            start: Some(START),
            idle: Some(IDLE),
            readiness: false,
        },
    };
    conformance::run(&targets, &app).await.unwrap()
}

/// Some eight seconds, most of them silent: rows of time limits wait for them, and a drain that nobody means is taken back after one.
#[tokio::test]
async fn knatives_contract_is_kept_or_left_on_purpose() {
    let (one, two) = tokio::join!(without_limits(), with_limits());
    for outcomes in [&one, &two] {
        assert_eq!(outcomes.failed(), 0, "{outcomes}");
    }
    // Every row is asked by one of the two.
    let is_left_out = |row: &conformance::Outcome| row.verdict == Verdict::LeftOut;
    for (one, two) in one.0.iter().zip(&two.0) {
        assert!(!is_left_out(one) || !is_left_out(two), "{}", one.name);
    }
    println!("{one}");
}

#[tokio::test]
async fn an_implementation_that_is_none_fails_the_rows_and_ends() {
    let app = app().await;
    // Whatever is asked of it, it answers with the head, as an application without anything in front of it.
    let other = self::app().await;
    let targets = Targets {
        data: other.address(),
        metrics: None,
        admin: None,
        setup: Setup {
            concurrency: Some(1),
            readiness: true,
            ..Setup::default()
        },
    };
    let outcomes = conformance::run(&targets, &app).await.unwrap();
    let verdict = |name: &str| {
        let row = outcomes.0.iter().find(|row| row.name.ends_with(name));
        row.unwrap_or_else(|| panic!("{name}")).verdict.clone()
    };
    assert!(matches!(
        verdict("a prober without a question"),
        Verdict::Failed(wrong) if wrong == "status 200, not 400"
    ));
    assert!(matches!(
        verdict("what is over slots and queue is refused at once, and the rest is served"),
        Verdict::Failed(_)
    ));
    assert!(outcomes.failed() > 20, "{outcomes}");
    // Where nobody listens there is nothing to ask.
    let nowhere = Targets {
        data: crate::harness::app::nowhere().await,
        ..targets
    };
    let error = conformance::run(&nowhere, &app).await.unwrap_err();
    assert!(error.to_string().contains("nobody listens"), "{error:#}");
}
