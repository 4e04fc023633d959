//! nginx.

use std::path::Path;

use super::{Role, Setting};

/// - `worker_processes 1`; the master process, which does nothing under load, is counted with it.
/// - `keepalive 512`: no connection to the application is closed for want of room. `proxy_http_version
///   1.1` and the emptied `Connection` field are what keep-alive to it takes in this version.
/// - No limit: the `max_conns` of the free version refuses instead of queueing, which is another job.
/// - As a gateway: `least_conn`.
/// - h2c: HTTP/2 in front only. It cannot speak HTTP/2 to an application, save as gRPC.
pub(in super::super) fn nginx(setting: &Setting<'_>) -> String {
    let Setting { listen, work, dir } = setting;
    let http2 = if work.h2c { " http2" } else { "" };
    let balance = match work.role {
        Role::Sidecar => "",
        Role::Gateway => "        least_conn;\n",
    };
    let servers = work.each(|app| format!("        server {app};\n"));
    around(
        dir,
        &format!("{listen} backlog=4096{http2}"),
        &format!("{balance}{servers}"),
        "            proxy_read_timeout 1h;\n",
    )
}

/// What is the same in every comparison, around the port, the lines of `upstream`, and those of `location`.
pub(crate) fn around(dir: &Path, listen: &str, upstream: &str, location: &str) -> String {
    let dir = dir.display();
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
{upstream}        keepalive 512;
        keepalive_timeout 1h;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{listen};
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
{location}        }}
    }}
}}
"
    )
}
