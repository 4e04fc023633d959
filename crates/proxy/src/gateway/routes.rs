//! Which service a request goes to: by the most specific host, then by the longest prefix of the path.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::gateway::service::Service;

/// The most pairs of a host and a prefix in one table. A look-up is linear in the prefixes of a host.
pub const ROUTES_MAX: usize = 10_000;

/// The longest path prefix, in bytes.
pub const PATH_PREFIX_BYTES_MAX: usize = 1_024;

/// The longest host name (RFC 1035), in bytes.
const HOST_BYTES_MAX: usize = 253;

/// What a route wants of the host of a request. Case and port are of no account.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This host, in lower case.
    Exact(String),
    /// Every host below this one, in lower case: `example.com` for `*.example.com`, which has `a.example.com` and
    /// `b.a.example.com`, and not `example.com`.
    Below(String),
}

/// One rule of a table.
#[derive(Debug, Clone)]
pub struct Route {
    /// The hosts it is for; empty is any.
    pub hosts: Vec<HostPattern>,
    /// Where the path has to begin. A match ends at the end of a segment: `/api` is for `/api` and `/api/v1`, not
    /// for `/apis`. A slash at the end changes nothing. `/` is for every path.
    pub path_prefix: String,
    /// Where the requests go.
    pub service: Arc<Service>,
}

/// A table of routes that do not contradict each other.
///
/// The path is compared as it was sent: `%61` is not `a`, and `/a/../b` begins with `/a`.
#[derive(Debug, Default)]
pub struct Routes {
    services: Vec<Arc<Service>>,
    exact: HashMap<String, Prefixes>,
    /// The longest first.
    below: Vec<(String, Prefixes)>,
    any: Prefixes,
}

/// A table that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// Not a host pattern.
    #[error(
        "`{0}` is no host; accepted is a name or address such as `example.com` or `[::1]`, or `*.example.com`, without a port"
    )]
    Host(String),
    /// Not a path prefix.
    #[error(
        "`{0}` is no path prefix; accepted is `/` followed by at most 1,023 visible characters without `?` and `#`"
    )]
    PathPrefix(String),
    /// Two routes for the same host and prefix.
    #[error(
        "both `{first}` and `{second}` are to get {host}{prefix}; each host and prefix can have one service"
    )]
    Duplicate {
        /// The host's pattern; `any host` if there is none.
        host: String,
        /// The prefix.
        prefix: String,
        /// The name of the service that the first route names.
        first: String,
        /// The name of the other one.
        second: String,
    },
    /// More than [`ROUTES_MAX`].
    #[error("{0} pairs of a host and a path prefix; accepted are at most 10000")]
    TooMany(usize),
}

/// Prefixes without a slash at the end, the longest first, each with the place of its service.
type Prefixes = Vec<(String, usize)>;

// === impl HostPattern ===

impl FromStr for HostPattern {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        let refuse = || RouteError::Host(text.to_owned());
        let name = text.strip_prefix("*.").unwrap_or(text);
        let is_address = name.starts_with('[') && name.ends_with(']');
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let is_valid = if is_address {
            name.len() == text.len()
                && name[1..name.len() - 1]
                    .parse::<std::net::Ipv6Addr>()
                    .is_ok()
        } else {
            !name.starts_with('.') && name.bytes().all(is_name)
        };
        if name.is_empty() || name.len() > HOST_BYTES_MAX || !is_valid {
            return Err(refuse());
        }
        let lower = name.trim_end_matches('.').to_ascii_lowercase();
        match (lower.is_empty(), name.len() == text.len()) {
            (true, _) => Err(refuse()),
            (false, true) => Ok(Self::Exact(lower)),
            (false, false) => Ok(Self::Below(lower)),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Below(host) => write!(f, "*.{host}"),
        }
    }
}

// === impl Routes ===

impl Routes {
    /// A table of `routes`.
    ///
    /// # Errors
    /// A prefix that is none, two routes for the same host and prefix, or too many.
    pub fn new(routes: Vec<Route>) -> Result<Self, RouteError> {
        let pairs = routes.iter().map(|route| route.hosts.len().max(1)).sum();
        if pairs > ROUTES_MAX {
            return Err(RouteError::TooMany(pairs));
        }
        let mut table = Self::default();
        for route in routes {
            let prefix = normalized(&route.path_prefix)?.to_owned();
            let service = table.place(&route.service);
            if route.hosts.is_empty() {
                table.add(None, &prefix, service)?;
            }
            for host in &route.hosts {
                table.add(Some(host), &prefix, service)?;
            }
        }
        table
            .below
            .sort_by_key(|(host, _)| std::cmp::Reverse(host.len()));
        let lists = table.exact.values_mut();
        let lists = lists.chain(table.below.iter_mut().map(|(_, prefixes)| prefixes));
        for prefixes in lists.chain([&mut table.any]) {
            prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        }
        Ok(table)
    }

    /// A table that sends everything to one service.
    #[must_use]
    pub fn to_one(service: Arc<Service>) -> Self {
        Self {
            services: vec![service],
            any: vec![(String::new(), 0)],
            ..Self::default()
        }
    }

    /// Every service that a route leads to, each once.
    #[must_use]
    pub fn services(&self) -> &[Arc<Service>] {
        &self.services
    }

    /// The service for a request to `host` (as `Host` or `:authority` have it; empty if there is none) and `path`.
    ///
    /// Among the routes that match, the one with the most specific host is taken: exact, then the longest
    /// wildcard, then any; among those, the one with the longest prefix.
    #[must_use]
    pub fn find(&self, host: &str, path: &str) -> Option<&Arc<Service>> {
        self.position(host, path).map(|index| &self.services[index])
    }

    /// The place among [`Routes::services`] of the one that [`Routes::find`] finds.
    pub(crate) fn position(&self, host: &str, path: &str) -> Option<usize> {
        if self.exact.is_empty() && self.below.is_empty() {
            return longest(&self.any, path);
        }
        let host = plain(host);
        let exact = self.exact.get(&*host);
        let below = self
            .below
            .iter()
            .filter(|(parent, _)| is_below(&host, parent));
        (exact.into_iter())
            .chain(below.map(|(_, prefixes)| prefixes))
            .chain([&self.any])
            .find_map(|prefixes| longest(prefixes, path))
    }

    fn place(&mut self, service: &Arc<Service>) -> usize {
        let known = self
            .services
            .iter()
            .position(|known| Arc::ptr_eq(known, service));
        known.unwrap_or_else(|| {
            self.services.push(Arc::clone(service));
            self.services.len() - 1
        })
    }

    fn add(
        &mut self,
        host: Option<&HostPattern>,
        prefix: &str,
        service: usize,
    ) -> Result<(), RouteError> {
        let prefixes = match host {
            None => &mut self.any,
            Some(HostPattern::Exact(host)) => self.exact.entry(host.clone()).or_default(),
            Some(HostPattern::Below(parent)) => {
                let known = self.below.iter().position(|(known, _)| known == parent);
                let index = known.unwrap_or_else(|| {
                    self.below.push((parent.clone(), Prefixes::new()));
                    self.below.len() - 1
                });
                &mut self.below[index].1
            }
        };
        if let Some((_, first)) = prefixes.iter().find(|(known, _)| known == prefix) {
            return Err(RouteError::Duplicate {
                host: host.map_or_else(|| "any host".to_owned(), ToString::to_string),
                prefix: if prefix.is_empty() { "/" } else { prefix }.to_owned(),
                first: self.services[*first].name().to_owned(),
                second: self.services[service].name().to_owned(),
            });
        }
        prefixes.push((prefix.to_owned(), service));
        Ok(())
    }
}

/// The prefix without a slash at the end.
fn normalized(prefix: &str) -> Result<&str, RouteError> {
    let is_visible = |byte: u8| byte.is_ascii_graphic() && byte != b'?' && byte != b'#';
    if !prefix.starts_with('/')
        || prefix.len() > PATH_PREFIX_BYTES_MAX
        || !prefix.bytes().all(is_visible)
    {
        return Err(RouteError::PathPrefix(prefix.to_owned()));
    }
    Ok(prefix.strip_suffix('/').unwrap_or(prefix))
}

fn longest(prefixes: &Prefixes, path: &str) -> Option<usize> {
    let is_prefix = |prefix: &str| {
        let rest = path.strip_prefix(prefix);
        rest.is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
    };
    let found = prefixes.iter().find(|(prefix, _)| is_prefix(prefix));
    found.map(|(_, service)| *service)
}

fn is_below(host: &str, parent: &str) -> bool {
    host.strip_suffix(parent)
        .is_some_and(|labels| labels.len() > 1 && labels.ends_with('.'))
}

/// The host without its port, in lower case, without the dot of the root.
fn plain(host: &str) -> Cow<'_, str> {
    let name = match host.rsplit_once(':') {
        // The last colon of an IPv6 address is within brackets.
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}
