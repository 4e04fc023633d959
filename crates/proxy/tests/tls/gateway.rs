//! A gateway with TLS on both sides.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use plimsoll_balance::{Balancer, BalancerConfig, EndpointSpec, Policy};
use plimsoll_meter::Clock;
use plimsoll_proxy::{
    ClientTls, ClientTlsConfig, Gateway, GatewayConfig, MonotonicClock, Routes, Running, ServerTls,
    Service, ServiceSettings, Trust,
};
use tokio::io::AsyncWriteExt;
use tokio_rustls::server::TlsStream;

use super::authority::{Authority, Issued, file};
use super::harness::*;

/// A gateway with `issued` towards clients, and endpoints whose certificates `authority` has issued for `app`.
fn gateway(
    authority: &Authority,
    issued: &Issued,
    endpoints: &[SocketAddr],
) -> (Running, SocketAddr, Arc<Service>) {
    let clock = MonotonicClock::start();
    let balancer = Balancer::new(BalancerConfig {
        policy: Policy::RoundRobin,
        ..BalancerConfig::default()
    });
    let balancer = balancer.unwrap();
    let specs: Vec<_> = (endpoints.iter())
        .map(|at| EndpointSpec::new(at.to_string()))
        .collect();
    balancer.set_endpoints(clock.now(), &specs).unwrap();
    let tls = ClientTls::new(&ClientTlsConfig {
        trust: Trust::File(file(&authority.pem)),
        server_name: Some("app".to_owned()),
        identity: None,
    });
    let settings = ServiceSettings {
        tls: Some(Arc::new(tls.unwrap())),
        ..ServiceSettings::default()
    };
    let service = Service::new("default", balancer, settings, NonZeroUsize::MIN);
    let service = Arc::new(service);
    let config = GatewayConfig {
        listen: LOOPBACK,
        workers: NonZeroUsize::MIN,
        connections_max: 100,
        tls: Some(Arc::new(ServerTls::new(&issued.identity()).unwrap())),
        clock,
    };
    let gateway = Gateway::bind(&config, Routes::to_one(Arc::clone(&service))).unwrap();
    let address = gateway.local_addr().unwrap();
    (gateway.start().unwrap(), address, service)
}

/// Answers each request with what it says of the scheme.
async fn tell_proto(mut stream: TlsStream<tokio::net::TcpStream>) {
    loop {
        let head = head(&mut stream).await;
        if head.is_empty() {
            return;
        }
        let proto = head
            .lines()
            .find_map(|line| line.strip_prefix("x-forwarded-proto: "))
            .unwrap_or("nothing");
        let answer = format!("HTTP/1.1 200 OK\r\nx-proto: {proto}\r\ncontent-length: 2\r\n\r\nok");
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
    }
}

#[tokio::test]
async fn an_endpoint_that_nobody_should_trust_is_passed_over() {
    let authority = Authority::new();
    let good = authority.issue(&["app"]).server(&["http/1.1"], None);
    let good = tls_app(good, tell_proto).await;
    let foreign = Authority::new().issue(&["app"]).server(&[], None);
    let foreign = tls_app(foreign, tell_proto).await;
    let ours = authority.issue(&["a"]);
    let (_running, address, service) = gateway(&authority, &ours, &[foreign, good]);
    let mut client = tls_connect(address, authority.client(&["http/1.1"])).await;
    for _ in 0..4 {
        get_ok(&mut client).await;
    }
    assert!(service.view().retries.iter().sum::<u64>() > 0);
}

#[tokio::test]
async fn the_endpoint_hears_that_the_client_came_over_tls_unless_it_has_heard_before() {
    let authority = Authority::new();
    let server = authority.issue(&["app"]).server(&["http/1.1"], None);
    let app = tls_app(server, tell_proto).await;
    let (_running, address, _) = gateway(&authority, &authority.issue(&["a"]), &[app]);
    for (field, told) in [("", "https"), ("x-forwarded-proto: http\r\n", "http")] {
        let mut client = tls_connect(address, authority.client(&[])).await;
        let ask = format!("GET / HTTP/1.1\r\nhost: a\r\n{field}\r\n");
        client.write_all(ask.as_bytes()).await.unwrap();
        let head = soon("head", head(&mut client)).await;
        assert!(head.contains(&format!("x-proto: {told}\r\n")), "{head}");
    }
}

/// A client that has agreed on HTTP/2 knows nothing of the endpoints; one that speaks gRPC needs it there too.
#[tokio::test]
async fn grpc_goes_on_over_http2_and_the_rest_over_http1() {
    let authority = Authority::new();
    let issued = authority.issue(&["app"]);
    let http2 = tls_app(issued.server(&["h2"], None), echo_http2).await;
    let http1 = tls_app(issued.server(&["http/1.1"], None), tell_proto).await;
    for (app, content_type, told) in [
        (http2, "application/grpc", "hello"),
        (http1, "text/plain", "ok"),
    ] {
        let (_running, address, _) = gateway(&authority, &authority.issue(&["a"]), &[app]);
        let stream = tls_connect(address, authority.client(&["h2"])).await;
        let mut client = http2_client(stream).await;
        let request = http::Request::post("https://a/").header("content-type", content_type);
        let request = request.body(()).unwrap();
        let (response, mut body) = client.send_request(request, false).unwrap();
        body.send_data("hello".into(), true).unwrap();
        let mut body = soon("head", response).await.unwrap().into_body();
        let said = soon("body", body.data()).await.unwrap().unwrap();
        assert_eq!(said, told, "{content_type}");
    }
}
