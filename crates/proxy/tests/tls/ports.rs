//! A port with TLS beside a plain one.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_proxy::{ServerTls, Sidecar, SidecarConfig, TlsPort};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::authority::Authority;
use super::harness::*;

#[tokio::test]
async fn both_ports_speak_both_protocols_and_share_everything_else() {
    for workers in [1, 2] {
        let authority = Authority::new();
        let tls = Arc::new(ServerTls::new(&authority.issue(&["a"]).identity()).unwrap());
        let app = app(echo_http2).await;
        let sidecar = Sidecar::bind(&SidecarConfig {
            workers: NonZeroUsize::new(workers).unwrap(),
            tls_port: Some(TlsPort {
                listen: LOOPBACK,
                tls,
            }),
            ..config(app)
        })
        .unwrap();
        let plain = sidecar.local_addr().unwrap();
        let secure = sidecar.tls_addr().unwrap().unwrap();
        assert_ne!(plain, secure);
        let running = sidecar.start().unwrap();

        let stream = tls_connect(secure, authority.client(&["h2"])).await;
        let mut clients = vec![http2_client(stream).await];
        let stream = TcpStream::connect(plain).await.unwrap();
        clients.push(http2_client(stream).await);
        for client in &mut clients {
            let request = http::Request::get("http://a/").body(()).unwrap();
            let (response, _) = client.send_request(request, true).unwrap();
            assert_eq!(soon("answer", response).await.unwrap().status(), 200);
        }
        // HTTP/1 reaches an application that speaks HTTP/2 only, and is told so: on either port as HTTP/1.
        let mut stream = tls_connect(secure, authority.client(&["http/1.1"])).await;
        stream.write_all(GET.as_bytes()).await.unwrap();
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 502"));
        let mut stream = TcpStream::connect(plain).await.unwrap();
        stream.write_all(GET.as_bytes()).await.unwrap();
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 502"));

        eventually("all counted", || {
            running.stats().view().requests_total() == 4
        })
        .await;
        drop((clients, stream));
        soon("drain", running.drain(Duration::ZERO, None)).await;
        for port in [plain, secure] {
            assert!(
                TcpStream::connect(port).await.is_err(),
                "{port} is still open"
            );
        }
    }
}
