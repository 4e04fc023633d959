//! HAProxy.

use super::Setting;

/// The configuration.
pub(super) const FILE: &str = "haproxy.cfg";

/// The socket on which it hears of changes.
pub(super) const SOCKET: &str = "admin.sock";

/// - Default: round robin, which is what it does if nothing is said, and no checks.
/// - Best: `leastconn`; every answer observed, and a server that gave five errors in a row taken out until an HTTP
///   check succeeds; `slowstart` when it is back; retries on other servers for what `retry-on` knows.
/// - `http-reuse always` in the best one; the default (`safe`) opens more connections.
pub(super) fn config(setting: &Setting<'_>) -> String {
    let (timeout, per_try) = (setting.timeout_ms(), setting.try_timeout_ms());
    let Setting { listen, dir, .. } = setting;
    let socket = dir.join(SOCKET);
    let mut text = format!(
        "global
    nbthread 1
    maxconn 8000
    stats socket {} mode 600 level admin
defaults
    mode http
    timeout connect 1s
    timeout client 1h
    timeout server {per_try}ms
    timeout queue {timeout}ms
    timeout http-keep-alive 1h
{}frontend in
    bind 127.0.0.1:{listen} backlog 4096
    default_backend app
backend app
",
        socket.display(),
        retries(setting),
    );
    if setting.is_best() {
        text.push_str(
            "    http-reuse always\n    balance leastconn\n    option httpchk GET /health\n",
        );
        text.push_str(
            "    default-server check inter 1s observe layer7 error-limit 5 on-error mark-down slowstart 10s\n",
        );
    }
    let limit = setting
        .concurrency()
        .map_or(String::new(), |limit| format!(" maxconn {limit}"));
    for backend in setting.backends {
        let state = if backend.present { "" } else { " disabled" };
        text.push_str(&format!(
            "    server s{} 127.0.0.1:{}{state}{limit}\n",
            backend.number, backend.port
        ));
    }
    text
}

/// As shipped it tries three more times to connect, and sends nothing twice.
fn retries(setting: &Setting<'_>) -> String {
    match setting.retries() {
        0 => "    retries 0\n".to_owned(),
        _ if !setting.is_best() => String::new(),
        number => format!(
            "    retries {number}\n    option redispatch 1\n    \
             retry-on conn-failure empty-response response-timeout 502 503 504\n"
        ),
    }
}

/// What to say when the list changes: the servers are there, and are switched on or off.
pub(super) fn words(setting: &Setting<'_>) -> String {
    let word = |present| if present { "enable" } else { "disable" };
    let backends = setting.backends.iter();
    let said: Vec<String> = backends
        .map(|backend| format!("{} server app/s{}", word(backend.present), backend.number))
        .collect();
    format!("{}\n", said.join("; "))
}
