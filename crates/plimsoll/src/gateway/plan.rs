//! What the gateway runs with: each value valid, every default filled in.
//!
//! A plan comes from flags, or from a file and flags. Two plans can be compared, and that is how a reload
//! knows what has changed.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use plimsoll_balance::BalancerConfig;
use plimsoll_proxy::{TimeLimits, UpstreamProtocol};

use super::upstream::Upstream;
use crate::cli::LogFormat;
use crate::run::plan::{RoomPlan, ScaledPlan};

/// The data port without a setting: this machine only.
pub(crate) const LISTEN_DEFAULT: SocketAddr =
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

/// The admin port without a setting: this machine only, for it can take endpoints out of service.
pub(crate) const ADMIN_DEFAULT: SocketAddr =
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9090);

/// The name of the only service when there is no file.
pub(crate) const SERVICE_DEFAULT: &str = "default";

/// From arrival to the end of the answer, as in the sidecar.
pub(crate) const TIMEOUT_DEFAULT: Duration = Duration::from_secs(300);

/// The status of a refusal because slots and queue are full.
pub(crate) const REFUSAL_STATUS_DEFAULT: u16 = 503;

/// How long the gateway serves after a signal until no request has come, as in the sidecar.
pub(crate) const DRAIN_QUIET_DEFAULT: Duration = Duration::from_secs(30);

/// How often names are looked up again.
pub(crate) const DNS_REFRESH_DEFAULT: Duration = Duration::from_secs(5);

/// The path of a health check, its period and its patience; those are HAProxy's.
pub(crate) const HEALTH_INTERVAL_DEFAULT: Duration = Duration::from_secs(2);
/// How long a health check may take.
pub(crate) const HEALTH_TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);
/// Good checks in a row after which an endpoint is healthy again.
pub(crate) const HEALTHY_AFTER_DEFAULT: u32 = 2;
/// Bad checks in a row after which an endpoint is unhealthy.
pub(crate) const UNHEALTHY_AFTER_DEFAULT: u32 = 3;

/// What can be spoken with endpoints, in the words of settings.
pub(crate) const PROTOCOLS: [(&str, UpstreamProtocol); 3] = [
    ("auto", UpstreamProtocol::Auto),
    ("http1", UpstreamProtocol::Http1),
    ("http2", UpstreamProtocol::Http2),
];

/// The whole gateway.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    pub(crate) process: ProcessPlan,
    /// In the order of their names, each name once; at least one.
    pub(crate) services: Vec<ServicePlan>,
}

/// What cannot change while the process runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProcessPlan {
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) workers: NonZeroUsize,
    pub(crate) drain_quiet: Duration,
    pub(crate) log_format: LogFormat,
    /// Certificate and key for clients. The files may change while it runs, their names may not.
    pub(crate) tls: Option<PemPair>,
    /// What replicas of services with a command have to share.
    pub(crate) room: RoomPlan,
}

/// A certificate chain and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PemPair {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// One service.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ServicePlan {
    pub(crate) name: String,
    /// At least one.
    pub(crate) routes: Vec<RoutePlan>,
    pub(crate) upstreams: Vec<Upstream>,
    /// Its replicas are local processes, and it has no upstreams.
    pub(crate) scaled: Option<ScaledPlan>,
    /// More upstreams, one a line.
    pub(crate) upstream_file: Option<PathBuf>,
    pub(crate) dns: DnsPlan,
    pub(crate) balancer: BalancerConfig,
    pub(crate) limits: TimeLimits,
    pub(crate) per_try_timeout: Option<Duration>,
    pub(crate) protocol: UpstreamProtocol,
    pub(crate) tls: Option<UpstreamTlsPlan>,
    /// 503 or 429: the status of a refusal because queue and slots are full.
    pub(crate) refusal_status: u16,
    pub(crate) health: Option<HealthPlan>,
}

/// Which requests are for a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RoutePlan {
    /// Empty is any.
    pub(crate) hosts: Vec<String>,
    pub(crate) path: String,
}

/// How names are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DnsPlan {
    pub(crate) refresh: Duration,
    pub(crate) family: Family,
}

/// Which addresses of a name are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Family {
    /// A and AAAA.
    #[default]
    Any,
    /// A.
    Ipv4,
    /// AAAA.
    Ipv6,
}

/// TLS towards the endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UpstreamTlsPlan {
    /// Roots to trust in place of the system's.
    pub(crate) ca: Option<PathBuf>,
    /// The name that certificates must have, and that endpoints are told; `None` is the endpoint's address.
    pub(crate) server_name: Option<String>,
    /// Whether any certificate will do.
    pub(crate) insecure: bool,
    /// The gateway's own certificate, where endpoints want one.
    pub(crate) client: Option<PemPair>,
}

/// Requests of the gateway's own that find out whether endpoints are well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HealthPlan {
    pub(crate) path: String,
    /// The value of `Host`; without it the endpoint's address.
    pub(crate) host: Option<String>,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) healthy_after: u32,
    pub(crate) unhealthy_after: u32,
}

impl Family {
    /// Its words in settings.
    pub(crate) const WORDS: [(&'static str, Self); 3] = [
        ("any", Self::Any),
        ("ipv4", Self::Ipv4),
        ("ipv6", Self::Ipv6),
    ];

    pub(crate) fn takes(self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Ipv4 => address.is_ipv4(),
            Self::Ipv6 => address.is_ipv6(),
        }
    }

    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Any => "IP",
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        }
    }
}

impl ServicePlan {
    /// A service with nothing but a name, and the defaults for the rest.
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            routes: vec![RoutePlan::everything()],
            upstreams: Vec::new(),
            scaled: None,
            upstream_file: None,
            dns: DnsPlan::DEFAULT,
            balancer: BalancerConfig::default(),
            limits: TimeLimits {
                total: Some(TIMEOUT_DEFAULT),
                ..TimeLimits::default()
            },
            per_try_timeout: None,
            protocol: UpstreamProtocol::Auto,
            tls: None,
            refusal_status: REFUSAL_STATUS_DEFAULT,
            health: None,
        }
    }
}

impl DnsPlan {
    pub(crate) const DEFAULT: Self = Self {
        refresh: DNS_REFRESH_DEFAULT,
        family: Family::Any,
    };
}

impl HealthPlan {
    /// Checks of this path, with the defaults for the rest.
    pub(crate) fn of(path: String) -> Self {
        Self {
            path,
            host: None,
            interval: HEALTH_INTERVAL_DEFAULT,
            timeout: HEALTH_TIMEOUT_DEFAULT,
            healthy_after: HEALTHY_AFTER_DEFAULT,
            unhealthy_after: UNHEALTHY_AFTER_DEFAULT,
        }
    }
}

impl RoutePlan {
    /// Every request.
    pub(crate) fn everything() -> Self {
        Self {
            hosts: Vec::new(),
            path: "/".to_owned(),
        }
    }

    /// As a person writes it: hosts and path.
    pub(crate) fn told(&self) -> String {
        if self.hosts.is_empty() {
            format!("*{}", self.path)
        } else {
            let place = |host: &String| format!("{host}{}", self.path);
            self.hosts.iter().map(place).collect::<Vec<_>>().join(" ")
        }
    }
}

impl Plan {
    /// What a running process cannot take over from `next`: the name of each setting.
    pub(crate) fn fixed_settings_changed(&self, next: &Self) -> Vec<&'static str> {
        let (now, next) = (&self.process, &next.process);
        let mut changed = Vec::new();
        for (name, differs) in [
            ("listen", now.listen != next.listen),
            ("admin", now.admin != next.admin),
            ("workers", now.workers != next.workers),
            ("log-format", now.log_format != next.log_format),
            ("tls", now.tls != next.tls),
            ("replicas-memory", now.room.memory != next.room.memory),
            (
                "replicas-residence",
                now.room.residence != next.room.residence,
            ),
        ] {
            if differs {
                changed.push(name);
            }
        }
        changed
    }
}
