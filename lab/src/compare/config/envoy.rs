//! Envoy.

use std::net::SocketAddr;

use super::{CONCURRENCY, QUEUE, Role, Setting, Work};

/// - The HTTP connection manager and the router filter, nothing else; one worker by `--concurrency 1`.
/// - HTTP/1.1: `max_connections` is the limit, since a connection carries one request;
///   `max_pending_requests` is the queue.
/// - h2c: requests above `max_requests` are refused, not queued. So the limit is one connection with
///   as many streams, above which requests are pending, and `max_requests` admits limit and queue.
/// - As a gateway: `LEAST_REQUEST`, and the limits it has by itself (1,024 requests and connections).
/// - Statistics, request ids and all other defaults are left on.
pub(in super::super) fn envoy(setting: &Setting<'_>) -> String {
    let Setting { listen, work, .. } = setting;
    let codec = if work.h2c { "HTTP2" } else { "HTTP1" };
    let (spread, protocol) = (spread(work), protocol(work));
    let endpoints = work.each(endpoint);
    around(
        *listen,
        codec,
        "                route: { cluster: app, timeout: 0s }\n",
        &format!(
            "    type: STATIC
    connect_timeout: 5s
{spread}    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config:
          {protocol}
    load_assignment:
      cluster_name: app
      endpoints:
      - lb_endpoints:
{endpoints}"
        ),
    )
}

/// What is the same in every comparison, around the codec of clients, the lines of the only route, and those of the
/// cluster `app`, to which it leads.
pub(crate) fn around(listen: u16, codec: &str, route: &str, cluster: &str) -> String {
    format!(
        "static_resources:
  listeners:
  - name: in
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: {listen} }} }}
    tcp_backlog_size: 4096
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          codec_type: {codec}
          stream_idle_timeout: 0s
          route_config:
            virtual_hosts:
            - name: all
              domains: ['*']
              routes:
              - match: {{ prefix: / }}
{route}          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              '@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: app
{cluster}"
    )
}

/// Limits, or how one of several applications is chosen.
fn spread(work: &Work<'_>) -> String {
    if work.role == Role::Gateway {
        return "    lb_policy: LEAST_REQUEST\n".to_owned();
    }
    let connections = if work.h2c { 1 } else { CONCURRENCY };
    let admitted = CONCURRENCY + QUEUE;
    format!(
        "    circuit_breakers:
      thresholds:
      - max_connections: {connections}
        max_pending_requests: {QUEUE}
        max_requests: {admitted}
"
    )
}

/// How it speaks to applications.
fn protocol(work: &Work<'_>) -> String {
    match (work.h2c, work.role) {
        (false, _) => "http_protocol_options: {}".to_owned(),
        (true, Role::Gateway) => "http2_protocol_options: {}".to_owned(),
        (true, Role::Sidecar) => {
            format!("http2_protocol_options: {{ max_concurrent_streams: {CONCURRENCY} }}")
        }
    }
}

fn endpoint(app: SocketAddr) -> String {
    let (ip, port) = (app.ip(), app.port());
    format!(
        "        - endpoint:
            address: {{ socket_address: {{ address: {ip}, port_value: {port} }} }}
"
    )
}
