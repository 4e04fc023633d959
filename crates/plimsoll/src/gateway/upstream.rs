//! How an upstream is written: `HOST:PORT[,weight=N][,concurrency=N]`, on the command line, in the configuration
//! and, one a line, in a file of addresses.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::str::FromStr;

use plimsoll_balance::WEIGHT_MAX;

/// The most bytes of a file of addresses: 10,000 lines of the longest kind and comments.
pub(crate) const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The most upstreams of one service, and the most addresses that they may resolve to.
pub(crate) const UPSTREAMS_MAX: usize = 10_000;

/// The longest name of a host, RFC 1035 section 2.3.4.
const NAME_BYTES_MAX: usize = 253;

/// The longest part of a name between dots, RFC 1035 section 2.3.4.
const LABEL_BYTES_MAX: usize = 63;

/// Where requests may go, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upstream {
    pub(crate) host: Host,
    pub(crate) port: u16,
    /// Its share beside the others, 1 to [`WEIGHT_MAX`].
    pub(crate) weight: u32,
    /// Requests it may work on at once, where it is not what the service says.
    pub(crate) concurrency: Option<NonZeroU32>,
}

impl Upstream {
    /// One address, like any other.
    pub(crate) fn at(address: std::net::SocketAddr) -> Self {
        Self {
            host: Host::Ip(address.ip()),
            port: address.port(),
            weight: 1,
            concurrency: None,
        }
    }
}

/// An address, or a name that has some.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Host {
    Ip(IpAddr),
    /// In lower case, without a dot at its end.
    Name(String),
}

/// A line of a file of addresses that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LineProblem {
    /// From 1.
    pub(crate) line: usize,
    pub(crate) message: String,
}

impl FromStr for Upstream {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',').map(str::trim);
        let (host, port) = place(parts.next().unwrap_or_default())?;
        let mut upstream = Self {
            host,
            port,
            weight: 1,
            concurrency: None,
        };
        let mut seen = Vec::new();
        for option in parts {
            let Some((name, value)) = option.split_once('=') else {
                return Err(format!("`{option}` is not NAME=VALUE; {OPTIONS}"));
            };
            let (name, value) = (name.trim(), value.trim());
            if seen.contains(&name) {
                return Err(format!("{name} is given twice"));
            }
            seen.push(name);
            match name {
                "weight" => upstream.weight = weight(value)?,
                "concurrency" => upstream.concurrency = Some(concurrency(value)?),
                _ => return Err(format!("there is no option `{name}`; {OPTIONS}")),
            }
        }
        Ok(upstream)
    }
}

/// What may stand after the address.
const OPTIONS: &str = "after the address weight=N and concurrency=N are accepted";

/// What may stand before the options.
const PLACE: &str =
    "write HOST:PORT, such as 10.0.0.7:8080, [::1]:8080 or app.example.com:8080, or a port";

/// A weight: a whole number from 1 to [`WEIGHT_MAX`].
pub(crate) fn weight(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(0) => Err(format!(
            "a weight of 0 would get nothing; write 1 to {WEIGHT_MAX}, or drain it"
        )),
        Ok(weight) if weight <= WEIGHT_MAX => Ok(weight),
        _ => Err(format!(
            "`{text}` is no weight; write a whole number from 1 to {WEIGHT_MAX}"
        )),
    }
}

fn concurrency(text: &str) -> Result<NonZeroU32, String> {
    text.parse().map_err(|_| {
        format!(
            "`{text}` is no concurrency; write a whole number from 1 to {}",
            u32::MAX
        )
    })
}

fn place(text: &str) -> Result<(Host, u16), String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok((Host::Ip(Ipv4Addr::LOCALHOST.into()), nonzero(port)?));
    }
    if let Ok(address) = text.parse::<std::net::SocketAddr>() {
        return Ok((Host::Ip(address.ip()), nonzero(address.port())?));
    }
    if text.contains("://") || text.contains('/') {
        return Err(format!("`{text}` looks like a URL; {PLACE}"));
    }
    let (host, port) = text
        .rsplit_once(':')
        .ok_or_else(|| format!("`{text}` has no port; {PLACE}"))?;
    let port = port
        .parse()
        .map_err(|_| format!("`{port}` is no port; {PLACE}"))?;
    Ok((Host::Name(name(host)?), nonzero(port)?))
}

fn nonzero(port: u16) -> Result<u16, String> {
    if port == 0 {
        Err("port 0 cannot be connected to".to_owned())
    } else {
        Ok(port)
    }
}

/// A name of a host, in lower case and without the dot at its end.
fn name(text: &str) -> Result<String, String> {
    let bare = text.strip_suffix('.').unwrap_or(text);
    let label_is_fine = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    // No name ends in a number; an address with a slip of the pen does.
    let last = bare.rsplit('.').next().unwrap_or_default();
    let is_fine = bare.len() <= NAME_BYTES_MAX
        && bare.split('.').all(label_is_fine)
        && !last.bytes().all(|byte| byte.is_ascii_digit());
    if is_fine {
        Ok(bare.to_ascii_lowercase())
    } else {
        Err(format!(
            "`{text}` is neither an address nor a name; {PLACE}"
        ))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Ip(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// As it is read.
impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)?;
        if self.weight != 1 {
            write!(f, ",weight={}", self.weight)?;
        }
        if let Some(concurrency) = self.concurrency {
            write!(f, ",concurrency={concurrency}")?;
        }
        Ok(())
    }
}

impl Upstream {
    /// Two upstreams with the same place are the same upstream.
    pub(crate) fn place(&self) -> (&Host, u16) {
        (&self.host, self.port)
    }
}

/// The upstreams that name a place another one before has named: the index of each, and of the other.
pub(crate) fn duplicates(upstreams: &[Upstream]) -> Vec<(usize, usize)> {
    let mut first = BTreeMap::new();
    let mut found = Vec::new();
    for (index, upstream) in upstreams.iter().enumerate() {
        match first.entry(upstream.place()) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(index);
            }
            std::collections::btree_map::Entry::Occupied(entry) => {
                found.push((index, *entry.get()));
            }
        }
    }
    found
}

/// Reads a file of addresses: one a line; `#` begins a comment; empty lines are passed over.
///
/// # Errors
/// Every line that is wrong, or names a place that another one has named.
pub(crate) fn parse_file(text: &str) -> Result<Vec<Upstream>, Vec<LineProblem>> {
    let mut upstreams = Vec::new();
    let mut lines = Vec::new();
    let mut problems = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        match line.parse() {
            Ok(upstream) => {
                upstreams.push(upstream);
                lines.push(index + 1);
            }
            Err(message) => problems.push(LineProblem {
                line: index + 1,
                message,
            }),
        }
    }
    for (again, first) in duplicates(&upstreams) {
        let upstream = &upstreams[again];
        problems.push(LineProblem {
            line: lines[again],
            message: format!(
                "{}:{} is on line {} already",
                upstream.host, upstream.port, lines[first]
            ),
        });
    }
    if upstreams.len() > UPSTREAMS_MAX {
        problems.push(LineProblem {
            line: lines[UPSTREAMS_MAX],
            message: format!("there are more than {UPSTREAMS_MAX} upstreams"),
        });
    }
    if problems.is_empty() {
        Ok(upstreams)
    } else {
        problems.sort_by_key(|problem| problem.line);
        Err(problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn upstreams_are_read_and_written_alike() {
        for (text, written) in [
            ("10.0.0.7:8080", "10.0.0.7:8080"),
            ("8080", "127.0.0.1:8080"),
            ("[::1]:80", "[::1]:80"),
            ("[::1]:80,weight=2", "[::1]:80,weight=2"),
            ("App.Example.COM.:80", "app.example.com:80"),
            ("localhost:80 , weight = 65535", "localhost:80,weight=65535"),
            ("a:1,weight=1", "a:1"),
            ("a:1,concurrency=4,weight=3", "a:1,weight=3,concurrency=4"),
            ("_http._tcp.app:1", "_http._tcp.app:1"),
        ] {
            let upstream: Upstream = text
                .parse()
                .unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(upstream.to_string(), written, "{text}");
        }
    }

    #[test]
    fn what_is_no_upstream_is_told_with_what_is_accepted() {
        for (text, word) in [
            ("", "HOST:PORT"),
            (",", "HOST:PORT"),
            ("host", "no port"),
            ("host:", "no port"),
            (":80", "neither an address nor a name"),
            ("host:http", "`http` is no port"),
            ("host:65536", "`65536` is no port"),
            ("host:0", "port 0"),
            ("0", "port 0"),
            ("10.0.0.7:0", "port 0"),
            ("::1:80", "neither an address nor a name"),
            ("[::1]", "HOST:PORT"),
            ("http://host:80", "looks like a URL"),
            ("host:80/path", "looks like a URL"),
            ("300.1.1.1:80", "neither an address nor a name"),
            ("a b:80", "neither an address nor a name"),
            ("a..b:80", "neither an address nor a name"),
            ("host:80,weight", "NAME=VALUE"),
            ("host:80,", "NAME=VALUE"),
            ("host:80,weight=0", "weight of 0"),
            ("host:80,weight=-1", "1 to 65535"),
            ("host:80,weight=65536", "1 to 65535"),
            ("host:80,weight=NaN", "1 to 65535"),
            ("host:80,weight=1.5", "1 to 65535"),
            ("host:80,weight=99999999999999999999", "1 to 65535"),
            ("host:80,weight=2,weight=3", "weight is given twice"),
            ("host:80,wieght=2", "no option `wieght`"),
            ("host:80,concurrency=0", "no concurrency"),
        ] {
            let error = text.parse::<Upstream>().expect_err(text);
            assert!(error.contains(word), "{text}: {error}");
        }
        let long = format!("{}:80", "a.".repeat(127) + "aa");
        assert!(long.parse::<Upstream>().is_err());
        let label = format!("{}:80", "a".repeat(64));
        assert!(label.parse::<Upstream>().is_err());
    }

    #[test]
    fn a_file_has_one_upstream_a_line() {
        let text = "# both\n127.0.0.1:1,weight=2 # heavy\n\n  [::1]:2\r\n";
        let upstreams = parse_file(text).expect("valid");
        let written: Vec<_> = upstreams.iter().map(ToString::to_string).collect();
        assert_eq!(written, ["127.0.0.1:1,weight=2", "[::1]:2"]);
        assert_eq!(parse_file(""), Ok(vec![]));
    }

    #[test]
    fn every_wrong_line_of_a_file_is_told() {
        let text = "127.0.0.1:1\nnonsense\nhost:1\n127.0.0.1:1,weight=3\nHOST.:1\n";
        let problems = parse_file(text).expect_err("three lines are wrong");
        let told: Vec<_> = problems.iter().map(|problem| problem.line).collect();
        assert_eq!(told, [2, 4, 5]);
        assert_eq!(problems[1].message, "127.0.0.1:1 is on line 1 already");
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_so_that_it_is_read_again(text in ".{0,40}") {
            if let Ok(upstream) = text.parse::<Upstream>() {
                prop_assert_eq!(upstream.to_string().parse::<Upstream>(), Ok(upstream));
            }
        }

        #[test]
        fn likely_texts_too(
            host in "([a-z0-9_.-]{1,12}|\\[[0-9a-f:]{2,12}\\]|[0-9.]{7,15})",
            port in "[0-9]{0,6}",
            options in "(,(weight|concurrency)=[0-9]{1,6}){0,2}",
        ) {
            let text = format!("{host}:{port}{options}");
            if let Ok(upstream) = text.parse::<Upstream>() {
                prop_assert_eq!(upstream.to_string().parse::<Upstream>(), Ok(upstream));
            }
        }
    }
}
