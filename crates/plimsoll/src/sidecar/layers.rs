//! Layers of settings on top of each other: the flag, its variable, Knative's variable, the default.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::show::Shown;
use super::variables::{Reader, Variables};
use crate::cli::{Flag, Typed, values};

/// Puts layers on top of each other.
pub(super) struct Layers<'a> {
    pub(super) typed: &'a Typed,
    pub(super) reader: Reader<'a>,
    pub(super) is_knative: bool,
    pub(super) shown: Shown,
}

/// The variables of Knative that each flag has the better of.
const OVERRIDES: &[(&str, &[&str])] = &[
    ("--app", &["USER_PORT"]),
    ("--listen", &["QUEUE_SERVING_PORT"]),
    ("--tls-listen", &["QUEUE_SERVING_TLS_PORT"]),
    ("--concurrency", &["CONTAINER_CONCURRENCY"]),
    ("--timeout", &["REVISION_TIMEOUT_SECONDS"]),
    (
        "--response-start-timeout",
        &["REVISION_RESPONSE_START_TIMEOUT_SECONDS"],
    ),
    ("--idle-timeout", &["REVISION_IDLE_TIMEOUT_SECONDS"]),
    (
        "--user-metrics-listen",
        &["METRICS_PROMETHEUS_HOST", "METRICS_PROMETHEUS_PORT"],
    ),
    ("--profiling-listen", &["PROFILING_PORT"]),
];

impl<'a> Layers<'a> {
    pub(super) fn new(typed: &'a Typed, variables: &'a Variables) -> Self {
        let args = &typed.args;
        let given = [
            ("--app", &args.app),
            ("--listen", &args.listen),
            ("--tls-listen", &args.tls_listen),
            ("--concurrency", &args.concurrency),
            ("--timeout", &args.timeout),
            ("--response-start-timeout", &args.response_start_timeout),
            ("--idle-timeout", &args.idle_timeout),
            ("--user-metrics-listen", &args.user_metrics_listen),
            ("--profiling-listen", &args.profiling_listen),
        ];
        let is_given = |flag: &str| {
            given
                .iter()
                .any(|(name, text)| *name == flag && text.is_some())
        };
        let overridden = OVERRIDES.iter().filter(|(flag, _)| is_given(flag));
        let overridden = overridden.flat_map(|(_, names)| names.iter().copied());
        Self {
            typed,
            reader: Reader::new(variables, overridden.collect()),
            is_knative: false,
            shown: Shown::default(),
        }
    }

    pub(super) fn flag(&self, flag: &'static str, text: &'a Option<String>) -> Flag<'a> {
        self.typed.flag(flag, text.as_deref())
    }

    /// The value of a flag; `None` if it is not there, or wrong, which is kept to be told.
    pub(super) fn parsed<T>(
        &mut self,
        flag: Flag<'_>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = flag.text?;
        let parsed = parse(text).map_err(|message| self.reader.add(flag.source(), text, message));
        parsed.ok()
    }

    /// The flag, or Knative's variable of this name, or the default; and shows which.
    pub(super) fn pick<T: Clone>(
        &mut self,
        flag: Flag<'_>,
        parse: impl Fn(&str) -> Result<T, String>,
        variable: (&'static str, Option<T>),
        default: T,
        show: impl Fn(&T) -> String,
    ) -> T {
        let typed = self.parsed(flag, parse);
        let (value, source) = match (typed, variable) {
            (Some(value), _) => (value, flag.source()),
            (None, (name, Some(value))) if flag.text.is_none() => (value, name.to_owned()),
            _ => (default, String::new()),
        };
        self.shown.add(flag.name(), show(&value), &source);
        value
    }

    /// The port in the flag for the application, if it is one of this machine, for probes that name none.
    pub(super) fn app_port(&self) -> Option<u16> {
        let app = self.typed.args.app.as_deref()?;
        let (_, port) = app.rsplit_once(':').unwrap_or(("", app));
        port.parse().ok().filter(|port| *port > 0)
    }

    /// An address on all interfaces: in Knative's pods those of IPv6 too, where there are any.
    pub(super) fn everywhere(&self, port: u16) -> SocketAddr {
        let ip = if self.is_knative && ipv6_is_there() {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        } else {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        };
        SocketAddr::new(ip, port)
    }

    pub(super) fn listener(
        &mut self,
        flag: Flag<'_>,
        variable: (&'static str, Option<u16>),
        default: u16,
    ) -> SocketAddr {
        let (name, port) = variable;
        let port = port.map(|port| self.everywhere(port));
        let default = self.everywhere(default);
        self.pick(
            flag,
            values::listener,
            (name, port),
            default,
            ToString::to_string,
        )
    }

    /// The same for a port that is open only if the flag is there, or `is_open`.
    pub(super) fn optional_listener(
        &mut self,
        flag: Flag<'_>,
        variable: (&'static str, Option<SocketAddr>),
        default: Option<SocketAddr>,
    ) -> Option<SocketAddr> {
        let parse = |text: &str| values::listener(text).map(Some);
        let (name, address) = variable;
        let show = |address: &Option<SocketAddr>| {
            address.map_or_else(|| "off".to_owned(), |address| address.to_string())
        };
        self.pick(flag, parse, (name, address.map(Some)), default, show)
    }

    pub(super) fn limit(
        &mut self,
        flag: Flag<'_>,
        variable: (&'static str, Option<Duration>),
        default: Duration,
    ) -> Option<Duration> {
        let limit = self.pick(flag, values::duration, variable, default, |limit| {
            values::written(*limit)
        });
        values::on(limit)
    }

    pub(super) fn label(
        &mut self,
        flag: Flag<'_>,
        variable: (&'static str, Option<String>),
        default: String,
    ) -> String {
        self.pick(flag, values::label, variable, default, Clone::clone)
    }
}

/// Whether the system knows IPv6 at all: where it was left out, nothing can listen on `[::]`.
fn ipv6_is_there() -> bool {
    Path::new("/proc/net/if_inet6").exists()
}
