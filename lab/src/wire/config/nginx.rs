//! nginx.

use super::Setting;

/// The configuration.
pub(super) const FILE: &str = "nginx.conf";

/// - Default: round robin; one failed attempt takes a server out for 10 s, where failed means an error or a time-out.
/// - Best: `least_conn`; statuses count as failures too, three take a server out for 10 s. That is so only where it may
///   send a request again: with one try it passes a status on and counts nothing, so that where a scenario has no
///   retry, a server that fails at once looks idle to `least_conn` and attracts requests.
/// - `max_conns` of the free version refuses what is over it instead of queueing; there is nothing else.
/// - Keep-alive to backends in both, since the others do so by default.
pub(super) fn config(setting: &Setting<'_>) -> String {
    let Setting { listen, dir, .. } = setting;
    let dir = dir.display();
    let balance = if setting.is_best() { "least_conn;" } else { "" };
    let fails = if setting.is_best() {
        " max_fails=3 fail_timeout=10s"
    } else {
        ""
    };
    let limit = setting
        .concurrency()
        .map_or(String::new(), |limit| format!(" max_conns={limit}"));
    let present = setting.backends.iter().filter(|backend| backend.present);
    let servers: String = present
        .map(|backend| format!("        server 127.0.0.1:{}{fails}{limit};\n", backend.port))
        .collect();
    format!(
        "daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {dir}/nginx.pid;
error_log {dir}/error.log crit;
events {{
    worker_connections 8192;
}}
http {{
    access_log off;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    upstream app {{
        {balance}
{servers}        keepalive 512;
        keepalive_timeout 1h;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{listen} backlog=4096;
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_connect_timeout 1s;
            proxy_read_timeout {per_try}ms;
            {again}
        }}
    }}
}}
",
        per_try = setting.try_timeout_ms(),
        again = again(setting),
    )
}

/// What it may send again. As shipped: errors and time-outs, to every server there is.
fn again(setting: &Setting<'_>) -> String {
    let tries = setting.retries() + 1;
    match (setting.retries(), setting.is_best()) {
        (0, false) => "proxy_next_upstream_tries 1;".to_owned(),
        (_, false) => String::new(),
        (_, true) => format!(
            "proxy_next_upstream error timeout http_500 http_502 http_503 http_504 http_429;
            proxy_next_upstream_tries {tries};"
        ),
    }
}
