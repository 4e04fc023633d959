//! Whose probes are answered here.

use std::net::IpAddr;
use std::str::FromStr;

/// Whose probes are answered here; everybody else's are requests like any other.
///
/// By default whoever sends the header fields of a probe gets the answer to one, as in Knative. A client outside can
/// then ask whether the pod is ready, and send requests that are not counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ProbeSources {
    /// Anybody's.
    #[default]
    Any,
    /// Those from this host's own addresses of loopback and from these: the node, from which the kubelet asks, and
    /// the activator's pods, if it asks.
    Only(Vec<IpRange>),
}

/// Addresses that begin with the same bits, as in `10.1.0.0/16`; one address alone is a range too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpRange {
    first: IpAddr,
    prefix: u8,
}

/// What is no range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no IP address and no range of them; write 10.1.2.3, 10.1.0.0/16 or fd00::/8")]
pub struct IpRangeError(String);

impl ProbeSources {
    /// Whether probes from `address` are answered.
    pub(crate) fn admit(&self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Only(ranges) => {
                let address = address.to_canonical();
                address.is_loopback() || ranges.iter().any(|range| range.contains(address))
            }
        }
    }
}

impl IpRange {
    /// Whether `address` is one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                let differ = u32::from(first) ^ u32::from(address);
                differ.leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                let differ = u128::from(first) ^ u128::from(address);
                differ.leading_zeros() >= u32::from(self.prefix)
            }
            _ => false,
        }
    }
}

impl FromStr for IpRange {
    type Err = IpRangeError;

    fn from_str(text: &str) -> Result<Self, IpRangeError> {
        let wrong = || IpRangeError(text.to_owned());
        let (address, prefix) = text
            .split_once('/')
            .map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let first: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits = if first.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(bits), str::parse).map_err(|_| wrong())?;
        if prefix > bits {
            return Err(wrong());
        }
        Ok(Self { first, prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_the_addresses_with_its_first_bits() {
        let cases = [
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("10.1.0.0/16", "10.1.255.255", true),
            ("10.1.0.0/16", "10.2.0.0", false),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("0.0.0.0/0", "::1", false),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe00::1", false),
            ("::/0", "fe00::1", true),
        ];
        for (range, address, expected) in cases {
            let range: IpRange = range.parse().unwrap();
            assert_eq!(
                range.contains(address.parse().unwrap()),
                expected,
                "{range:?} {address}"
            );
        }
    }

    #[test]
    fn what_is_no_range_is_refused_by_its_text() {
        for wrong in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "node",
            "10.0.0.0/",
            "10.0.0.0/-1",
        ] {
            let error = wrong.parse::<IpRange>().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("`{wrong}` is no IP address")),
                "{error}"
            );
        }
    }

    #[test]
    fn loopback_is_always_among_the_sources() {
        let node = ProbeSources::Only(vec!["10.1.2.3".parse().unwrap()]);
        for (address, expected) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("::ffff:10.1.2.3", true),
            ("10.1.2.4", false),
        ] {
            assert_eq!(node.admit(address.parse().unwrap()), expected, "{address}");
            assert!(ProbeSources::Any.admit(address.parse().unwrap()));
        }
    }
}
