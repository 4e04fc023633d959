//! What `SERVING_READINESS_PROBE` asks for: one probe of Kubernetes as JSON, or an array of them.

use std::time::Duration;

use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

/// The longest text that is read, in bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 64 * 1024;

/// The most probes: one for each container of a pod.
pub(crate) const PROBES_MAX: usize = 64;

/// The most header fields of a probe.
pub(crate) const HEADERS_MAX: usize = 64;

/// The longest time limit, in seconds.
const TIMEOUT_SECONDS_MAX: i64 = 24 * 60 * 60;

/// Where probes go that name no host: the application is in the same pod.
const HOST_DEFAULT: &str = "127.0.0.1";

/// One probe: what to ask, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) action: Action,
    /// The host to connect to: a name or an address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) pace: Pace,
}

/// What a probe does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Connects, and closes.
    Tcp,
    /// `GET`, over TLS or not.
    Http {
        tls: bool,
        target: PathAndQuery,
        /// Those that were asked for, `Host` among them.
        headers: HeaderMap,
    },
    /// `grpc.health.v1.Health/Check` without TLS.
    Grpc { service: String },
}

/// How often a probe is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Once; `periodSeconds` was given, so whoever asks comes again.
    Once { timeout: Duration },
    /// Again and again, until it has succeeded so often in a row.
    Eager { successes: u32 },
}

/// As Kubernetes writes it. Fields that concern the kubelet alone are not read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawProbe {
    http_get: Option<RawHttp>,
    tcp_socket: Option<RawTcp>,
    grpc: Option<RawGrpc>,
    exec: Option<serde::de::IgnoredAny>,
    timeout_seconds: Option<i64>,
    period_seconds: Option<i64>,
    success_threshold: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawHttp {
    path: Option<String>,
    port: Option<RawPort>,
    host: Option<String>,
    scheme: Option<String>,
    http_headers: Option<Vec<RawHeader>>,
}

#[derive(Debug, Deserialize)]
struct RawHeader {
    name: String,
    #[serde(default)]
    value: String,
}

#[derive(Debug, Deserialize)]
struct RawTcp {
    port: Option<RawPort>,
    host: Option<String>,
}

#[derive(Debug, Deserialize)]
struct RawGrpc {
    port: Option<RawPort>,
    service: Option<String>,
}

/// A number, or a number in quotes.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum RawPort {
    Number(i64),
    Text(String),
}

/// Reads the JSON. Probes without a port go to `app_port`, as the controller itself has it. `null` elements ask for
/// nothing, so an array of them is empty: always ready.
///
/// # Errors
/// What is wrong, and what is accepted.
pub(crate) fn parse(text: &str, app_port: Option<u16>) -> Result<Vec<Probe>, String> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!("at most {TEXT_BYTES_MAX} bytes are accepted"));
    }
    // Twice, because a choice between one and many does not tell what is wrong with it.
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| wrong(&error))?;
    if !value.is_array() {
        let probe: RawProbe = serde_json::from_value(value).map_err(|error| wrong(&error))?;
        return Ok(vec![probe.resolve(app_port)?]);
    }
    // A container without a probe of its own is `null`.
    let probes: Vec<Option<RawProbe>> =
        serde_json::from_value(value).map_err(|error| wrong(&error))?;
    if probes.len() > PROBES_MAX {
        return Err(format!("at most {PROBES_MAX} probes are accepted"));
    }
    let probes = probes.into_iter().enumerate();
    probes
        .filter_map(|(index, probe)| Some((index, probe?)))
        .map(|(index, probe)| {
            let resolved = probe.resolve(app_port);
            resolved.map_err(|message| format!("probe {}: {message}", index + 1))
        })
        .collect()
}

fn wrong(error: &serde_json::Error) -> String {
    format!("{error}; write a probe of Kubernetes as JSON, or an array of them")
}

impl RawProbe {
    fn resolve(self, app_port: Option<u16>) -> Result<Probe, String> {
        let pace = self.pace()?;
        let port = |port| port_of(port, app_port);
        let (action, host, port) = if let Some(raw) = self.http_get {
            let (action, host) = (raw.action()?, raw.host);
            (action, host, port(raw.port)?)
        } else if let Some(raw) = self.tcp_socket {
            (Action::Tcp, raw.host, port(raw.port)?)
        } else if self.exec.is_some() {
            return Err(
                "exec is not supported, for the command is in another container: write httpGet, tcpSocket or grpc"
                    .to_owned(),
            );
        } else if let Some(raw) = self.grpc {
            let service = raw.service.unwrap_or_default();
            (Action::Grpc { service }, None, port(raw.port)?)
        } else {
            return Err("there is no probe in it: write httpGet, tcpSocket or grpc".to_owned());
        };
        Ok(Probe {
            action,
            host: host_of(host)?,
            port,
            pace,
        })
    }

    fn pace(&self) -> Result<Pace, String> {
        let period = self.period_seconds.unwrap_or(0);
        let timeout = self.timeout_seconds.unwrap_or(0).max(1);
        let successes = self.success_threshold.unwrap_or(0).max(1);
        if period < 0 || timeout > TIMEOUT_SECONDS_MAX {
            return Err(format!(
                "periodSeconds from 0 and timeoutSeconds up to {TIMEOUT_SECONDS_MAX} are accepted"
            ));
        }
        if period > 0 {
            let timeout = Duration::from_secs(timeout.unsigned_abs());
            return Ok(Pace::Once { timeout });
        }
        let successes = u32::try_from(successes)
            .map_err(|_| format!("successThreshold up to {} is accepted", u32::MAX))?;
        Ok(Pace::Eager { successes })
    }
}

impl RawHttp {
    fn action(&self) -> Result<Action, String> {
        let tls = match self.scheme.as_deref().unwrap_or("") {
            "" | "HTTP" | "http" => false,
            "HTTPS" | "https" => true,
            other => {
                return Err(format!("scheme {other:?}: HTTP and HTTPS are accepted"));
            }
        };
        let path = self.path.as_deref().unwrap_or("");
        let target = format!("/{}", path.strip_prefix('/').unwrap_or(path));
        let target = PathAndQuery::try_from(target)
            .map_err(|_| format!("path {path:?} is none that HTTP can ask for"))?;
        let raw = self.http_headers.as_deref().unwrap_or_default();
        if raw.len() > HEADERS_MAX {
            return Err(format!("at most {HEADERS_MAX} httpHeaders are accepted"));
        }
        let mut headers = HeaderMap::new();
        for RawHeader { name, value } in raw {
            let field = HeaderName::try_from(name.as_str()).ok();
            let pair = field.zip(HeaderValue::try_from(value.as_str()).ok());
            let (field, value) =
                pair.ok_or_else(|| format!("httpHeaders: {name:?} cannot be sent as it is"))?;
            // There is only one Host, and the first is it.
            if field != HOST || !headers.contains_key(HOST) {
                headers.append(field, value);
            }
        }
        Ok(Action::Http {
            tls,
            target,
            headers,
        })
    }
}

fn port_of(raw: Option<RawPort>, app_port: Option<u16>) -> Result<u16, String> {
    let accepted = "write a port from 1 to 65535";
    let port = match raw {
        None => app_port,
        Some(RawPort::Number(0)) => app_port,
        Some(RawPort::Number(port)) => u16::try_from(port).ok(),
        Some(RawPort::Text(port)) => port.parse().ok(),
    };
    port.filter(|port| *port > 0)
        .ok_or_else(|| format!("port: {accepted}"))
}

/// Without brackets around an IPv6 address.
fn host_of(host: Option<String>) -> Result<String, String> {
    let host = host.filter(|host| !host.is_empty());
    let host = host.unwrap_or_else(|| HOST_DEFAULT.to_owned());
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let bare = bare.unwrap_or(&host).to_owned();
    let is_sound = |letter: char| letter.is_ascii_graphic() && !"/?#@\\".contains(letter);
    if bare.chars().all(is_sound) {
        Ok(bare)
    } else {
        Err(format!("host {host:?} is neither a name nor an address"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Probe {
        let probes = parse(text, Some(8080)).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(probes.len(), 1, "{text}");
        probes.into_iter().next().unwrap()
    }

    const EAGER: Pace = Pace::Eager { successes: 1 };

    #[test]
    fn what_the_controller_writes_without_a_probe_of_the_user_is_eager_tcp() {
        for text in [
            r#"{"tcpSocket":{"port":8080,"host":"127.0.0.1"},"successThreshold":1}"#,
            r#"{"tcpSocket":{"port":"8080","host":"127.0.0.1"},"successThreshold":1}"#,
            r#"{"tcpSocket":{}}"#,
            r#"{"tcpSocket":{"port":0,"host":""},"failureThreshold":3,"initialDelaySeconds":9}"#,
        ] {
            let probe = one(text);
            assert_eq!(probe.action, Action::Tcp, "{text}");
            assert_eq!(
                (probe.host.as_str(), probe.port),
                ("127.0.0.1", 8080),
                "{text}"
            );
            assert_eq!(probe.pace, EAGER, "{text}");
        }
    }

    #[test]
    fn a_period_asks_once_with_a_limit_of_at_least_a_second() {
        for (text, expected) in [
            (r#"{"tcpSocket":{},"periodSeconds":1}"#, 1),
            (
                r#"{"tcpSocket":{},"periodSeconds":1,"timeoutSeconds":0}"#,
                1,
            ),
            (
                r#"{"tcpSocket":{},"periodSeconds":2,"timeoutSeconds":10}"#,
                10,
            ),
        ] {
            let timeout = Duration::from_secs(expected);
            assert_eq!(one(text).pace, Pace::Once { timeout }, "{text}");
        }
        let threshold = one(r#"{"tcpSocket":{},"successThreshold":3}"#);
        assert_eq!(threshold.pace, Pace::Eager { successes: 3 });
    }

    #[test]
    fn http_probes_have_their_path_query_scheme_and_headers() {
        for (path, target) in [
            ("/health?foo=bar", "/health?foo=bar"),
            ("health?foo=bar", "/health?foo=bar"),
            ("", "/"),
            ("/", "/"),
        ] {
            let probe = one(&format!(
                r#"{{"httpGet":{{"path":{path:?},"port":12345,"scheme":"HTTPS","httpHeaders":[
                    {{"name":"Host","value":"a.example"}},{{"name":"host","value":"b"}},
                    {{"name":"X-A","value":"1"}},{{"name":"X-A","value":"2"}}]}}}}"#
            ));
            let Action::Http {
                tls,
                target: found,
                headers,
            } = probe.action
            else {
                panic!("{path}");
            };
            assert!(tls);
            assert_eq!(found.as_str(), target);
            assert_eq!(headers[HOST], "a.example");
            assert_eq!(headers.get_all("x-a").iter().count(), 2);
            assert_eq!(probe.port, 12345);
        }
        let v6 = one(r#"{"httpGet":{"host":"[::1]"}}"#);
        assert_eq!(v6.host, "::1");
    }

    #[test]
    fn grpc_probes_may_name_a_service() {
        let service = String::new();
        assert_eq!(
            one(r#"{"grpc":{"port":9000}}"#).action,
            Action::Grpc { service }
        );
        let service = "shop".to_owned();
        let named = one(r#"{"grpc":{"port":9000,"service":"shop"}}"#);
        assert_eq!(named.action, Action::Grpc { service });
    }

    #[test]
    fn f9_null_elements_ask_for_nothing() {
        assert_eq!(parse("[null]", None), Ok(Vec::new()));
        assert_eq!(parse("[]", None), Ok(Vec::new()));
        let some = parse(r#"[null,{"tcpSocket":{"port":1}},null]"#, None).unwrap();
        assert_eq!(some.len(), 1);
    }

    #[test]
    fn what_cannot_be_asked_is_refused_with_a_word_that_says_so() {
        for (text, word) in [
            ("", "JSON"),
            ("null", "JSON"),
            ("\"tcpSocket\"", "JSON"),
            ("{", "JSON"),
            ("[[null]]", "JSON"),
            ("{}", "httpGet, tcpSocket or grpc"),
            (r#"{"tcpSocket":null}"#, "httpGet, tcpSocket or grpc"),
            (r#"{"exec":{"command":["true"]}}"#, "exec is not supported"),
            (r#"[null,{"exec":{}}]"#, "probe 2: exec is not supported"),
            (r#"{"tcpSocket":{"port":"http"}}"#, "1 to 65535"),
            (r#"{"tcpSocket":{"port":70000}}"#, "1 to 65535"),
            (r#"{"tcpSocket":{"port":-1}}"#, "1 to 65535"),
            (r#"{"tcpSocket":{"port":[1]}}"#, "JSON"),
            (r#"{"tcpSocket":{"host":"a/b"}}"#, "host"),
            (r#"{"httpGet":{"scheme":"FTP"}}"#, "HTTP and HTTPS"),
            (r#"{"httpGet":{"path":"a b"}}"#, "path"),
            (r#"{"httpGet":{"httpHeaders":[{"name":"a b"}]}}"#, "a b"),
            (r#"{"tcpSocket":{},"periodSeconds":-1}"#, "periodSeconds"),
            (
                r#"{"tcpSocket":{},"timeoutSeconds":99999999}"#,
                "timeoutSeconds",
            ),
            (
                r#"{"tcpSocket":{},"successThreshold":4294967296}"#,
                "successThreshold",
            ),
        ] {
            let refused = parse(text, Some(8080)).expect_err(text);
            assert!(refused.contains(word), "{text}: {refused}");
        }
        let refused = parse(r#"{"tcpSocket":{}}"#, None).expect_err("no port at all");
        assert!(refused.contains("1 to 65535"), "{refused}");
    }

    #[test]
    fn the_size_is_bounded() {
        let many = format!("[{}null]", "null,".repeat(PROBES_MAX));
        assert!(
            parse(&many, None)
                .expect_err("too many")
                .contains("64 probes")
        );
        let long = " ".repeat(TEXT_BYTES_MAX + 1);
        assert!(
            parse(&long, None)
                .expect_err("too long")
                .contains("65536 bytes")
        );
        let deep = "[".repeat(10_000);
        assert!(parse(&deep, None).is_err());
    }
}
