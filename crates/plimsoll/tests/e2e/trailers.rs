//! Trailers pass in both directions.

use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderValue};

use crate::harness::app::{self, App};
use crate::harness::h2c;
use crate::harness::http1::{Client, End};
use crate::harness::sidecar::Sidecar;

#[tokio::test]
async fn http11_answers_bring_their_trailers_to_a_client_that_takes_them() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &[]).await;
    let mut client = Client::connect(sidecar.data).await;
    client
        .send("GET /trailers HTTP/1.1\r\nhost: a\r\nte: trailers\r\n\r\n")
        .await;
    let answer = client.answer().await;
    assert_eq!(answer.end, End::Whole);
    assert_eq!(answer.field("trailer"), Some("x-lab-trailer, grpc-status"));
    let expected = [("x-lab-trailer", "after-the-body"), ("grpc-status", "0")];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(answer.trailers, expected);
    // And the connection goes on, on both sides.
    assert_eq!(client.get("/bytes/1").await.text(), "x");
}

#[tokio::test]
async fn http11_requests_bring_their_trailers_to_the_application() {
    let seen = Arc::new(Mutex::new(String::new()));
    let saw = Arc::clone(&seen);
    let app = App::scripted(move |mut wire, _| {
        let saw = Arc::clone(&saw);
        async move {
            let head = wire.head().await.unwrap();
            assert!(head.contains("\r\ntrailer: x-sum\r\n"), "{head}");
            let body = wire.until(b"\r\n\r\n").await.unwrap();
            *saw.lock().unwrap() = String::from_utf8(body).unwrap();
            wire.send(app::OK).await;
        }
    })
    .await;
    let sidecar = Sidecar::start(app.addr, &[]).await;
    let mut client = Client::connect(sidecar.data).await;
    client
        .send(
            "POST / HTTP/1.1\r\nhost: a\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n\
             4\r\nbody\r\n0\r\nx-sum: 42\r\n\r\n",
        )
        .await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(*seen.lock().unwrap(), "4\r\nbody\r\n0\r\nx-sum: 42\r\n\r\n");
}

#[tokio::test]
async fn h2c_trailers_pass_both_ways() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &[]).await;
    let mut client = h2c::Client::connect(sidecar.data).await;
    let answer = client.get("/trailers").await.unwrap();
    let trailers = answer.trailers.unwrap();
    assert_eq!(trailers["x-lab-trailer"], "after-the-body");
    assert_eq!(trailers["grpc-status"], "0");

    let request = h2c::request("POST", "/echo");
    let mut pending = client.begin(request, false).await.unwrap();
    pending.send("body").await;
    let mut sent = HeaderMap::new();
    sent.insert("x-sum", HeaderValue::from_static("42"));
    pending.body.send_trailers(sent.clone()).unwrap();
    let answer = h2c::answer(pending.response).await.unwrap();
    assert_eq!(answer.text(), "body");
    assert_eq!(answer.trailers, Some(sent));
}
