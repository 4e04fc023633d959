//! TLS on both sides of the gateway.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderMap, Request};
use plimsoll_proxy::{
    ClientTls, ClientTlsConfig, ServerTls, ServiceSettings, Trust, UpstreamProtocol,
};
use plimsoll_wire::ProxyError;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client};

use crate::authority::{Authority, file};
use crate::harness::{Endpoint, GET, OK, Setup, in_turn, one_worker, soon};
use crate::http2::{self, Script, ask};

async fn connect(
    to: SocketAddr,
    authority: &Authority,
    alpn: &str,
) -> client::TlsStream<TcpStream> {
    let connector = TlsConnector::from(Arc::new(authority.client(&[alpn])));
    let stream = TcpStream::connect(to).await.unwrap();
    let name = ServerName::try_from("a").unwrap();
    soon("handshake", connector.connect(name, stream))
        .await
        .unwrap()
}

fn secure(authority: &Authority, settings: ServiceSettings, endpoints: &[SocketAddr]) -> Setup {
    let tls = ServerTls::new(&authority.issue(&["a"]).identity()).unwrap();
    Setup::with_tls(
        Some(Arc::new(tls)),
        one_worker(),
        in_turn(),
        settings,
        endpoints,
    )
}

/// As a browser does: HTTP/2 is agreed with the gateway, and the endpoint is an ordinary one.
#[tokio::test]
async fn a_client_that_agreed_on_http2_is_served_by_an_endpoint_that_speaks_http1() {
    let plain = Endpoint::new(|mut stream, _| async move {
        let head = crate::harness::head(&mut stream).await.to_lowercase();
        let told = head.contains("x-forwarded-proto: https\r\n") && head.contains("host: a\r\n");
        let answer = if told {
            OK
        } else {
            "HTTP/1.1 400 No\r\ncontent-length: 0\r\n\r\n"
        };
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let authority = Authority::new();
    let setup = secure(&authority, ServiceSettings::default(), &[plain.address]);
    let stream = connect(setup.address, &authority, "h2").await;
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let get = Request::get("https://a/").body(()).unwrap();
    let answer = ask(&client, get, "").await;
    assert_eq!((answer.status(), &*answer.body.unwrap()), (200, "ok"));
    setup.at_rest().await;

    let mut stream = connect(setup.address, &authority, "http/1.1").await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    soon("answer", stream.read_exact(&mut status))
        .await
        .unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
}

#[tokio::test]
async fn grpc_over_tls_goes_on_over_http2() {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let only = http2::endpoint(Script {
        trailers,
        ..Script::default()
    })
    .await;
    let authority = Authority::new();
    let setup = secure(&authority, ServiceSettings::default(), &[only.address]);
    let stream = connect(setup.address, &authority, "h2").await;
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let call = Request::post("https://a/pkg.Service/Method")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let answer = ask(&client, call.body(()).unwrap(), "message").await;
    assert_eq!(answer.trailers["grpc-status"], "0");
    setup.at_rest().await;
    assert_eq!(setup.endpoint(only.address).successes, 1);
}

/// An endpoint that speaks `alpn` over TLS, whatever that is.
async fn encrypted(authority: &Authority, alpn: &'static str) -> Endpoint {
    let acceptor = TlsAcceptor::from(Arc::new(authority.issue(&["a"]).server(&[alpn], None)));
    Endpoint::new(move |stream, _| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            if alpn == "h2" {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    respond
                        .send_response(http::Response::new(()), true)
                        .unwrap();
                }
                return;
            }
            let mut buffer = [0; 4096];
            while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                stream.write_all(OK.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
            }
        }
    })
    .await
}

#[tokio::test]
async fn endpoints_are_spoken_to_over_tls_in_either_version() {
    let authority = Authority::new();
    let trusting = |trusted: &Authority| {
        let config = ClientTlsConfig {
            trust: Trust::File(file(&trusted.pem)),
            server_name: Some("a".to_owned()),
            identity: None,
        };
        Some(Arc::new(ClientTls::new(&config).unwrap()))
    };
    for (protocol, alpn) in [
        (UpstreamProtocol::Auto, "http/1.1"),
        (UpstreamProtocol::Http1, "http/1.1"),
        (UpstreamProtocol::Http2, "h2"),
    ] {
        let only = encrypted(&authority, alpn).await;
        let settings = ServiceSettings {
            protocol,
            tls: trusting(&authority),
            ..ServiceSettings::default()
        };
        let setup = Setup::new(in_turn(), settings, &[only.address]);
        for _ in 0..3 {
            assert_eq!(setup.ask(GET).await.status, 200, "{protocol:?}");
        }
        setup.at_rest().await;
    }
    let only = encrypted(&authority, "http/1.1").await;
    let settings = ServiceSettings {
        tls: trusting(&Authority::new()),
        ..ServiceSettings::default()
    };
    let setup = Setup::new(in_turn(), settings, &[only.address]);
    assert_eq!(setup.ask(GET).await.status, 502);
    setup.at_rest().await;
    assert_eq!(
        setup
            .view()
            .requests
            .errors(ProxyError::TlsCertificateError),
        1
    );
    let failures: Vec<_> = setup.endpoint(only.address).failures.iter().collect();
    assert!(failures.contains(&("connect", 1)), "{failures:?}");
}
