//! Clients that read late: what TLS has taken and the socket has not must not be forgotten when nothing follows.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::authority::Authority;
use super::harness::*;

/// By how much more is sent every time, until more than everything on the way is sure to be full.
const STEP_BYTES: usize = 16 * 1024;
const STEPS: usize = 24;

/// Reads `bytes` bytes and hears of it if they do not come.
async fn read(client: &mut TlsStream<TcpStream>, bytes: usize) {
    let mut body = vec![0; bytes];
    let read = soon("all that was sent", client.read_exact(&mut body));
    read.await.unwrap();
    assert!(body.iter().all(|byte| *byte == b'x'));
}

#[tokio::test]
async fn the_end_of_an_answer_reaches_a_client_that_reads_late() {
    let authority = Authority::new();
    for step in 1..=STEPS {
        let bytes = step * STEP_BYTES;
        let body = "x".repeat(bytes);
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n{body}");
        let app = app(move |stream| {
            let answer = answer.clone();
            async move { answer_each(stream, &answer, Arc::default()).await }
        })
        .await;
        let (running, address) = start(&with_tls(app, &authority.issue(&["a"])));
        let mut client = narrow_connect(address, authority.client(&["http/1.1"])).await;
        client.write_all(GET.as_bytes()).await.unwrap();
        let stats = running.stats();
        let ended = eventually("ended", || stats.view().requests_total() == 1);
        // Once everything on the way is full, it ends only when the client reads.
        let is_full = tokio::time::timeout(Duration::from_secs(1), ended).await;
        soon("head", head(&mut client)).await;
        read(&mut client, bytes).await;
        if is_full.is_err() {
            assert!(step > 2, "nothing was tried");
            return;
        }
    }
    panic!("it never filled up");
}

#[tokio::test]
async fn what_a_tunnel_has_taken_reaches_a_client_that_reads_late() {
    let authority = Authority::new();
    for step in 1..=STEPS {
        let bytes = step * STEP_BYTES;
        let app = app(move |mut stream| async move {
            if !head(&mut stream).await.contains("upgrade: raw") {
                stream.write_all(OK.as_bytes()).await.unwrap();
                return;
            }
            let switch =
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: raw\r\n\r\n";
            stream.write_all(switch.as_bytes()).await.unwrap();
            stream.write_all(&vec![b'x'; bytes]).await.unwrap();
            // It says nothing more, and does not close.
            std::future::pending::<()>().await;
        })
        .await;
        let (_running, address) = start(&with_tls(app, &authority.issue(&["a"])));
        let mut client = narrow_connect(address, authority.client(&["http/1.1"])).await;
        let ask = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: raw\r\n\r\n";
        client.write_all(ask.as_bytes()).await.unwrap();
        soon("head", head(&mut client)).await;
        for _ in 0..3 {
            // The one worker has meanwhile carried what it could.
            get_ok(&mut tls_connect(address, authority.client(&[])).await).await;
        }
        read(&mut client, bytes).await;
    }
}
