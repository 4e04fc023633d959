//! Other protocols after a switch, over TLS on one side or both.

use std::sync::Arc;

use plimsoll_proxy::{ClientTls, ClientTlsConfig, SidecarConfig, Trust};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::authority::{Authority, file};
use super::harness::*;

/// More than a tunnel's buffers and a record hold.
const BYTES: usize = 300_000;

/// Switches, sends everything back, and says how much it was once the client has closed its side.
async fn echo_after_switch(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    head(&mut stream).await;
    let switch =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: raw\r\n\r\nhi";
    stream.write_all(switch.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let (mut from, mut to) = tokio::io::split(stream);
    let echoed = tokio::io::copy(&mut from, &mut to).await.unwrap();
    to.write_all(format!("{echoed}").as_bytes()).await.unwrap();
    to.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways_and_one_side_may_close_first() {
    let authority = Authority::new();
    let issued = authority.issue(&["a", "127.0.0.1"]);
    let plain_app = app(echo_after_switch).await;
    let tls_app = tls_app(issued.server(&[], None), echo_after_switch).await;
    let app_tls = ClientTls::new(&ClientTlsConfig {
        trust: Trust::File(file(&authority.pem)),
        ..ClientTlsConfig::default()
    });
    let app_tls = Arc::new(app_tls.unwrap());
    for (app, app_tls) in [(plain_app, None), (tls_app, Some(app_tls))] {
        let with_tls = with_tls(app, &issued);
        let (_running, address) = start(&SidecarConfig {
            app_tls,
            ..with_tls
        });
        let mut client = tls_connect(address, authority.client(&["http/1.1"])).await;
        let ask = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: raw\r\n\r\n";
        client.write_all(ask.as_bytes()).await.unwrap();
        let switched = soon("head", head(&mut client)).await;
        assert!(switched.starts_with("HTTP/1.1 101"), "{switched:?}");
        let mut hi = [0; 2];
        soon("hi", client.read_exact(&mut hi)).await.unwrap();
        let (mut from, mut to) = tokio::io::split(client);
        let write = async {
            to.write_all(&vec![b'x'; BYTES]).await.unwrap();
            to.shutdown().await.unwrap();
        };
        let mut said = Vec::new();
        let (_, end) = soon("end", async {
            tokio::join!(write, from.read_to_end(&mut said))
        })
        .await;
        end.unwrap();
        assert!(said[..BYTES].iter().all(|byte| *byte == b'x'));
        assert_eq!(said[BYTES..], *BYTES.to_string().as_bytes());
    }
}
