//! Names and the addresses they have, asked again and again.
//!
//! The system's resolver is asked, so `/etc/hosts`, search domains and whatever else the machine is set up with
//! hold here too. It hides how long an answer may be kept, so it is asked again after a fixed time. A name that
//! stops resolving keeps its last addresses: the resolver being down must not take the service down with it.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use super::plan::Family;

/// How long an answer is waited for. The system's resolver may take longer; its answer is then not used.
pub(crate) const LOOKUP_TIME_MAX: Duration = Duration::from_secs(5);

/// The most addresses of one name that are used.
pub(crate) const ADDRESSES_MAX: usize = 1_000;

/// What is known about a name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Answer {
    /// In order, each once; those of the last good answer.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) state: State,
}

/// How the last question went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum State {
    /// No answer has come yet.
    #[default]
    Asking,
    /// The addresses are those of the last answer.
    Resolved,
    /// Why the last question had no good answer.
    Failing(String),
}

/// What an answer has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is as it was.
    None,
    /// The name has these addresses, and had others before.
    Addresses,
    /// It resolves again, to the addresses that were kept.
    Recovered,
    /// It has stopped resolving; the addresses are kept.
    Failed,
}

impl Answer {
    /// Takes in the outcome of a question.
    pub(crate) fn update(&mut self, outcome: Result<Vec<IpAddr>, String>) -> Change {
        match outcome {
            Ok(addresses) => {
                let before = std::mem::replace(&mut self.state, State::Resolved);
                if self.addresses != addresses {
                    self.addresses = addresses;
                    Change::Addresses
                } else if matches!(before, State::Failing(_)) {
                    Change::Recovered
                } else {
                    Change::None
                }
            }
            Err(why) => {
                let failed_before = matches!(self.state, State::Failing(_));
                self.state = State::Failing(why);
                if failed_before {
                    Change::None
                } else {
                    Change::Failed
                }
            }
        }
    }
}

/// Asks once for the addresses of `name`.
pub(crate) async fn lookup(name: &str, family: Family) -> Result<Vec<IpAddr>, String> {
    // The resolver wants a port and gives it back.
    let answer = tokio::time::timeout(LOOKUP_TIME_MAX, tokio::net::lookup_host((name, 0))).await;
    let found = match answer {
        Ok(Ok(found)) => found.map(|address| address.ip()),
        Ok(Err(error)) => return Err(told(&error)),
        Err(_) => return Err(format!("no answer within {LOOKUP_TIME_MAX:?}")),
    };
    tidy(found, family)
}

/// The addresses of the wanted family, in order, each once.
fn tidy(found: impl Iterator<Item = IpAddr>, family: Family) -> Result<Vec<IpAddr>, String> {
    let mut addresses: Vec<IpAddr> = found.filter(|address| family.takes(*address)).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(ADDRESSES_MAX);
    if addresses.is_empty() {
        Err(format!("it has no {} address", family.noun()))
    } else {
        Ok(addresses)
    }
}

/// The resolver's words without those of the library that called it.
fn told(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text
        .strip_prefix("failed to lookup address information: ")
        .unwrap_or(&text);
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_that_stops_resolving_keeps_its_addresses_and_says_so_once() {
        let mut answer = Answer::default();
        let one = vec![ip("10.0.0.1")];
        let two = vec![ip("10.0.0.1"), ip("10.0.0.2")];
        let down = || Err("down".to_owned());
        for (outcome, change, kept) in [
            (down(), Change::Failed, &[][..]),
            (down(), Change::None, &[]),
            (Ok(one.clone()), Change::Addresses, &one),
            (Ok(one.clone()), Change::None, &one),
            (down(), Change::Failed, &one),
            (down(), Change::None, &one),
            (Ok(one.clone()), Change::Recovered, &one),
            (down(), Change::Failed, &one),
            (Ok(two.clone()), Change::Addresses, &two),
        ] {
            assert_eq!(answer.update(outcome), change);
            assert_eq!(answer.addresses, kept);
        }
    }

    #[test]
    fn addresses_are_sorted_once_each_and_of_the_wanted_family() {
        let found = || [ip("::1"), ip("10.0.0.2"), ip("10.0.0.1"), ip("::1")].into_iter();
        for (family, expected) in [
            (Family::Any, &["10.0.0.1", "10.0.0.2", "::1"][..]),
            (Family::Ipv4, &["10.0.0.1", "10.0.0.2"]),
            (Family::Ipv6, &["::1"]),
        ] {
            let expected: Vec<_> = expected.iter().map(|text| ip(text)).collect();
            assert_eq!(tidy(found(), family), Ok(expected));
        }
        let none = tidy([ip("::1")].into_iter(), Family::Ipv4);
        assert_eq!(none, Err("it has no IPv4 address".to_owned()));
    }

    #[tokio::test]
    async fn the_systems_resolver_is_asked() {
        let found = lookup("localhost", Family::Ipv4).await;
        assert_eq!(found, Ok(vec![ip("127.0.0.1")]));
        let none = lookup("no-such-name.invalid", Family::Any).await;
        assert!(none.is_err(), "{none:?}");
    }
}
