//! `plimsoll gateway`.

use super::Setting;

/// The configuration of its service.
pub(super) const FILE: &str = "gateway.toml";

/// The file that lists the backends.
pub(super) const LIST: &str = "upstreams";

pub(super) fn arguments(setting: &Setting<'_>) -> Vec<String> {
    vec![
        "gateway".into(),
        format!("--config={}", setting.dir.join(FILE).display()),
        format!("--listen=127.0.0.1:{}", setting.listen),
        "--admin=127.0.0.1:0".into(),
        "--workers=1".into(),
        // Nobody sends after the end of a run: nothing to be quiet for.
        "--drain-quiet=0s".into(),
    ]
}

/// A file rather than flags, for one reason: no retries at all takes a budget of zero and a minimum of zero. With the
/// budget alone, which is all that the flag sets, three a second are still sent again.
pub(super) fn config(setting: &Setting<'_>) -> String {
    let mut text = format!(
        "[services.app]\nupstream-file = \"{}\"\nresponse-start-timeout = \"{}ms\"\n",
        setting.dir.join(LIST).display(),
        setting.timeout_ms()
    );
    if setting.scenario.client.try_timeout_ms.is_some() {
        let limit = setting.try_timeout_ms();
        text.push_str(&format!("per-try-timeout = \"{limit}ms\"\n"));
    }
    if let Some(limit) = setting.concurrency() {
        text.push_str(&format!("endpoint-concurrency = {limit}\n"));
    }
    if setting.retries() == 0 {
        text.push_str("retry = { budget = \"0%\", min-per-second = 0 }\n");
    }
    text
}

/// One backend a line.
pub(super) fn list(setting: &Setting<'_>) -> String {
    let present = setting.backends.iter().filter(|backend| backend.present);
    present
        .map(|backend| format!("127.0.0.1:{}\n", backend.port))
        .collect()
}
