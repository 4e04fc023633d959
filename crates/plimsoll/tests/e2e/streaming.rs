//! Bodies pass as they come, in both directions, and nothing is kept back.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

use crate::harness::app::{self, App};
use crate::harness::http1::{self, Client, End};
use crate::harness::sidecar::Sidecar;
use crate::harness::{h2c, soon};

/// The application sends the next piece only when the client has the one before.
#[tokio::test]
async fn each_piece_of_an_answer_arrives_before_the_next_is_sent() {
    for (head, pieces) in [
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            ["3\r\none\r\n", "3\r\ntwo\r\n", "5\r\nthree\r\n0\r\n\r\n"],
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n",
            ["one", "two", "three"],
        ),
        ("HTTP/1.1 200 OK\r\n\r\n", ["one", "two", "three"]),
    ] {
        let seen = Arc::new(Semaphore::new(0));
        let may_go_on = Arc::clone(&seen);
        let app = App::scripted(move |mut wire, _| {
            let may_go_on = Arc::clone(&may_go_on);
            async move {
                wire.head().await;
                wire.send(head).await;
                for piece in pieces {
                    may_go_on.acquire().await.unwrap().forget();
                    wire.send(piece).await;
                }
            }
        })
        .await;
        let sidecar = Sidecar::start(app.addr, &[]).await;
        let mut client = Client::connect(sidecar.data).await;
        client.send(http1::get("/")).await;
        assert_eq!(client.head().await.0, 200, "{head}");
        for word in ["one", "two", "three"] {
            seen.add_permits(1);
            let found = client.0.until(word.as_bytes()).await;
            assert!(found.is_some(), "{word} of {head}");
        }
    }
}

#[tokio::test]
async fn paced_answers_arrive_whole_over_both_protocols() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &[]).await;
    let mut http1 = Client::connect(sidecar.data).await;
    let mut http2 = h2c::Client::connect(sidecar.data).await;
    for (path, length) in [("/stream/5/20", None), ("/slow-length/5/20", Some("320"))] {
        let answer = http1.get(path).await;
        assert_eq!((answer.body.len(), answer.end), (320, End::Whole));
        assert_eq!(answer.field("content-length"), length);
        let answer = http2.get(path).await.unwrap();
        assert_eq!(answer.body.len(), 320);
        assert_eq!(answer.field("content-length"), length);
    }
}

#[tokio::test]
async fn http11_echoes_each_part_before_the_next_is_sent() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &[]).await;
    let mut client = Client::connect(sidecar.data).await;
    client
        .send("POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    assert_eq!(client.head().await.0, 200);
    for part in ["first", "second", "third"] {
        client.send(format!("{:x}\r\n{part}\r\n", part.len())).await;
        let echo = client.0.until(part.as_bytes()).await;
        assert!(echo.is_some(), "{part}");
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.0.exactly(7).await, b"\r\n0\r\n\r\n");
    assert_eq!(client.get("/bytes/1").await.text(), "x");
}

#[tokio::test]
async fn h2c_echoes_each_part_before_the_next_is_sent() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &[]).await;
    let mut client = h2c::Client::connect(sidecar.data).await;
    let request = h2c::request("POST", "/echo");
    let mut pending = client.begin(request, false).await.unwrap();
    for part in ["first", "second", "third"] {
        pending.send(part).await;
    }
    pending.finish();
    assert_eq!(
        h2c::answer(pending.response).await.unwrap().text(),
        "firstsecondthird"
    );

    let request = h2c::request("POST", "/echo");
    let mut pending = client.begin(request, false).await.unwrap();
    pending.send("opening").await;
    let h2c::Pending { response, body } = pending;
    let mut stream = soon("the head", response).await.unwrap().into_body();
    let mut pending_body = body;
    assert_eq!(h2c::part(&mut stream).await.unwrap().unwrap(), "opening");
    for part in ["first", "second", "third"] {
        pending_body.send_data(part.into(), false).unwrap();
        assert_eq!(h2c::part(&mut stream).await.unwrap().unwrap(), part);
    }
    pending_body.send_data("".into(), true).unwrap();
    while let Some(rest) = h2c::part(&mut stream).await {
        assert_eq!(rest.unwrap(), "");
    }
}

/// What a test has sent and read back: far more than all buffers on the way hold.
const LARGE: usize = 32 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_large_body_is_echoed_while_it_is_sent() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &[]).await;
    let mut client = Client::connect(sidecar.data).await;
    let head = format!("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: {LARGE}\r\n\r\n");
    client.send(head).await;
    // The head of the answer does not wait for the body.
    let (status, head) = client.head().await;
    assert_eq!(status, 200, "{head}");
    let (mut reading, mut writing) = client.0.split();
    let sending = tokio::spawn(async move {
        let part = vec![b'L'; 64 * 1024];
        for _ in 0..LARGE / part.len() {
            writing.write_all(&part).await.unwrap();
        }
        writing
    });
    let mut read = 0;
    let mut buffer = vec![0; 64 * 1024];
    // Echoed in chunks: the sizes between them are not counted.
    while read < LARGE {
        let count = soon("echo", reading.read(&mut buffer)).await.unwrap();
        assert!(count > 0, "broken off after {read} bytes");
        read += buffer[..count].iter().filter(|byte| **byte == b'L').count();
    }
    assert_eq!(read, LARGE);
    drop(sending.await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_large_body_is_sent_before_anything_is_read() {
    let app = App::scripted(|mut wire, _| async move {
        let (_, body) = app::request(&mut wire).await.unwrap();
        assert!(body.iter().all(|byte| *byte == b'L'));
        wire.send(app::OK).await;
    })
    .await;
    let sidecar = Sidecar::start(app.addr, &[]).await;
    let mut client = Client::connect(sidecar.data).await;
    client.send(http1::post("/", &"L".repeat(LARGE))).await;
    assert_eq!(client.answer().await.text(), "ok\n");
}
