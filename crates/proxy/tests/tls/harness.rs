//! Applications, clients and a sidecar between them.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use plimsoll_proxy::{ClientTls, Running, ServerTls, SidecarConfig};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::authority::{Authority, Issued};
pub(crate) use crate::common::{LOOPBACK, eventually, head, soon};
pub(crate) use crate::sidecar::{app, config, connect, start};

pub(crate) const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// An application with TLS that does `serve` with each connection whose handshake succeeds.
pub(crate) async fn tls_app<F>(
    config: rustls::ServerConfig,
    serve: impl Fn(server::TlsStream<TcpStream>) -> F + Clone + Send + Sync + 'static,
) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let acceptor = TlsAcceptor::from(Arc::new(config));
    app(move |stream| {
        let (acceptor, serve) = (acceptor.clone(), serve.clone());
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream).await;
            }
        }
    })
    .await
}

/// Answers each request with `answer`.
pub(crate) async fn answer_each(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &str,
    served: Arc<AtomicUsize>,
) {
    while !head(&mut stream).await.is_empty() {
        served.fetch_add(1, Ordering::SeqCst);
        if stream.write_all(answer.as_bytes()).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

/// An application without TLS that says "ok".
pub(crate) async fn ok_app() -> SocketAddr {
    app(|stream| answer_each(stream, OK, Arc::default())).await
}

/// An HTTP/2 connection of an application that sends every body back, with the scheme of the request.
pub(crate) async fn echo_http2(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        tokio::spawn(async move {
            let scheme = request.uri().scheme_str().unwrap_or("none").to_owned();
            let response = http::Response::builder().header("x-scheme", scheme);
            let response = response.body(()).unwrap();
            let mut answer = respond.send_response(response, false).unwrap();
            let mut body = request.into_body();
            while let Some(part) = body.data().await {
                let part = part.unwrap();
                body.flow_control().release_capacity(part.len()).unwrap();
                answer.send_data(part, false).unwrap();
            }
            answer.send_data(Bytes::new(), true).unwrap();
        });
    }
}

/// Towards clients with the certificate `issued`.
pub(crate) fn with_tls(app: SocketAddr, issued: &Issued) -> SidecarConfig {
    SidecarConfig {
        tls: Some(Arc::new(ServerTls::new(&issued.identity()).unwrap())),
        ..config(app)
    }
}

/// Towards the application.
pub(crate) fn with_app_tls(app: SocketAddr, tls: ClientTls) -> SidecarConfig {
    SidecarConfig {
        app_tls: Some(Arc::new(tls)),
        ..config(app)
    }
}

/// A sidecar with TLS, a client's authority, and an application that says "ok".
pub(crate) async fn tls_sidecar() -> (Running, SocketAddr, Authority) {
    let authority = Authority::new();
    let (running, address) = start(&with_tls(ok_app().await, &authority.issue(&["a"])));
    (running, address, authority)
}

/// A connection to the server `a` at `to`.
pub(crate) async fn tls_connect(
    to: SocketAddr,
    config: impl Into<Arc<ClientConfig>>,
) -> client::TlsStream<TcpStream> {
    let connector = TlsConnector::from(config.into());
    let name = ServerName::try_from("a").unwrap();
    let handshake = connector.connect(name, connect(to).await);
    soon("handshake", handshake).await.unwrap()
}

/// A client whose socket takes little, so that what is sent to it has to wait for it.
pub(crate) async fn narrow_connect(
    to: SocketAddr,
    config: impl Into<Arc<ClientConfig>>,
) -> client::TlsStream<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    socket2::SockRef::from(&socket).set_tcp_mss(536).unwrap();
    let stream = soon("connect", socket.connect(to)).await.unwrap();
    let name = ServerName::try_from("a").unwrap();
    let handshake = TlsConnector::from(config.into()).connect(name, stream);
    soon("handshake", handshake).await.unwrap()
}

/// Sends [`GET`] and reads "ok".
pub(crate) async fn get_ok(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    stream.write_all(GET.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let status = soon("head", head(stream)).await;
    assert!(status.starts_with("HTTP/1.1 200"), "{status:?}");
    let mut body = [0; 2];
    soon("body", stream.read_exact(&mut body)).await.unwrap();
    assert_eq!(&body, b"ok");
}

pub(crate) async fn http2_client(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> h2::client::SendRequest<Bytes> {
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender
}
