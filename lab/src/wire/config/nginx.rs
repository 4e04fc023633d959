//! nginx.

use super::Setting;
use crate::compare::config::nginx;

/// The configuration.
pub(super) const FILE: &str = "nginx.conf";

/// - Default: round robin; one failed attempt takes a server out for 10 s, where failed means an error or a time-out.
/// - Best: `least_conn`; statuses count as failures too, three take a server out for 10 s. That is so only where it may
///   send a request again: with one try it passes a status on and counts nothing, so that where a scenario has no
///   retry, a server that fails at once looks idle to `least_conn` and attracts requests.
/// - `max_conns` of the free version refuses what is over it instead of queueing; there is nothing else.
/// - Keep-alive to backends in both, since the others do so by default.
pub(super) fn config(setting: &Setting<'_>) -> String {
    let (balance, fails) = if setting.is_best() {
        ("        least_conn;\n", " max_fails=3 fail_timeout=10s")
    } else {
        ("", "")
    };
    let limit = setting
        .concurrency()
        .map_or(String::new(), |limit| format!(" max_conns={limit}"));
    let present = setting.backends.iter().filter(|backend| backend.present);
    let servers: String = present
        .map(|backend| format!("        server 127.0.0.1:{}{fails}{limit};\n", backend.port))
        .collect();
    let (per_try, again) = (setting.try_timeout_ms(), again(setting));
    nginx::around(
        setting.dir,
        &format!("{} backlog=4096", setting.listen),
        &format!("{balance}{servers}"),
        &format!(
            "            proxy_connect_timeout 1s;
            proxy_read_timeout {per_try}ms;
{again}"
        ),
    )
}

/// What it may send again. As shipped: errors and time-outs, to every server there is.
fn again(setting: &Setting<'_>) -> String {
    let tries = setting.retries() + 1;
    match (setting.retries(), setting.is_best()) {
        (0, false) => "            proxy_next_upstream_tries 1;\n".to_owned(),
        (_, false) => String::new(),
        (_, true) => format!(
            "            proxy_next_upstream error timeout http_500 http_502 http_503 http_504 http_429;
            proxy_next_upstream_tries {tries};
"
        ),
    }
}
