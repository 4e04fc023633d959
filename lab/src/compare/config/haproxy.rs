//! HAProxy.

use super::{CONCURRENCY, Role, Setting};

/// - `nbthread 1`: one thread.
/// - `http-reuse always`: requests of any client on any idle connection to the application, as Plimsoll
///   does; the default (`safe`) opens more connections.
/// - `maxconn` on the server: the limit. Requests above it wait in the server's queue, which HAProxy does
///   not bound in number but in time (`timeout queue`).
/// - As a gateway: `balance leastconn` and no `maxconn`.
/// - `proto h2` on both sides for h2c; `maxconn` then counts streams.
pub(in super::super) fn haproxy(setting: &Setting<'_>) -> String {
    let Setting { listen, work, .. } = setting;
    let proto = if work.h2c { " proto h2" } else { "" };
    let (balance, limit) = match work.role {
        Role::Sidecar => ("", format!(" maxconn {CONCURRENCY}")),
        Role::Gateway => ("    balance leastconn\n", String::new()),
    };
    let servers = work.each(|app| format!("    server app{} {app}{limit}{proto}\n", app.port()));
    format!(
        "global
    nbthread 1
    maxconn 4000
defaults
    mode http
    http-reuse always
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout queue 1m
    timeout http-keep-alive 1h
frontend in
    bind 127.0.0.1:{listen} backlog 4096{proto}
    default_backend app
backend app
{balance}{servers}"
    )
}
