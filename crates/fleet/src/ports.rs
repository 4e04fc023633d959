//! Ports on the loopback interface, one for each replica.
//!
//! A port is looked for by binding it, and released again before the replica
//! starts, because a program cannot be given a bound socket without its help.
//! Between the two another program can take it. That is kept rare: the range
//! lies outside the one from which the kernel takes ports for outgoing
//! connections (32768 and above on Linux unless changed), ports are taken in
//! turn, so that one is not used again at once, and each process begins
//! elsewhere in the range. Another of us never takes it: who uses a port holds a
//! datagram socket in the abstract namespace with a name made of its number.
//! Those names belong to the network namespace, as ports do, and go with their
//! process.
//!
//! Rejected: port 0, and the kernel's choice. It chooses from the range of
//! outgoing connections, of which a proxy makes many.

use std::collections::HashSet;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;

use parking_lot::Mutex;

/// The ports given to replicas, unless set otherwise.
pub const PORTS_DEFAULT: RangeInclusive<u16> = 20_000..=29_999;

/// The ports of a host.
#[derive(Debug)]
pub(crate) struct Ports {
    range: RangeInclusive<u16>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    taken: HashSet<u16>,
    next: u16,
}

/// A port that nobody else gets until this is dropped.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    ports: Arc<Ports>,
    /// Tells others of us that the port is taken. `None` where such sockets are forbidden.
    _claim: Option<UnixDatagram>,
}

impl Ports {
    /// `seed` says where in the range to begin. The range must not be empty.
    pub(crate) fn new(range: RangeInclusive<u16>, seed: u32) -> Arc<Self> {
        let count = u32::from(range.end() - range.start()) + 1;
        let offset = u16::try_from(seed % count).unwrap_or(0);
        let state = State {
            taken: HashSet::new(),
            next: range.start() + offset,
        };
        Arc::new(Self {
            range,
            state: Mutex::new(state),
        })
    }

    /// A port that nobody listens on; `None` if there is none in the whole range.
    ///
    /// One `bind` for each port that is looked at.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Port> {
        let mut state = self.state.lock();
        for _ in self.range.clone() {
            let number = state.next;
            state.next = if number >= *self.range.end() {
                *self.range.start()
            } else {
                number + 1
            };
            if state.taken.contains(&number) {
                continue;
            }
            if let Ok(claim) = claim(number)
                && is_free(number)
            {
                state.taken.insert(number);
                return Some(Port {
                    number,
                    ports: Arc::clone(self),
                    _claim: claim,
                });
            }
        }
        None
    }

    /// How many are in use by replicas.
    pub(crate) fn in_use(&self) -> usize {
        self.state.lock().taken.len()
    }

    pub(crate) fn range(&self) -> RangeInclusive<u16> {
        self.range.clone()
    }
}

impl Port {
    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.ports.state.lock().taken.remove(&self.number);
    }
}

/// A claim to the port, if there can be one. An error if another of us has it.
fn claim(port: u16) -> io::Result<Option<UnixDatagram>> {
    let name = SocketAddr::from_abstract_name(format!("plimsoll-port-{port}"))?;
    match UnixDatagram::bind_addr(&name) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
        claim => Ok(claim.ok()),
    }
}

/// Whether the port can be bound now. Without file descriptors nothing can be said; the start then fails for that reason.
fn is_free(port: u16) -> bool {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_released) => true,
        Err(error) => {
            let taken = [io::ErrorKind::AddrInUse, io::ErrorKind::PermissionDenied];
            !taken.contains(&error.kind())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU16, Ordering};

    use super::*;

    /// Where tests look for free ports; each elsewhere, for they run at once.
    static STARTS: AtomicU16 = AtomicU16::new(30_000);

    /// A few ports that are free now.
    fn free_range() -> RangeInclusive<u16> {
        let free = |start: &u16| (*start..start + 3).all(is_free);
        let start = (STARTS.fetch_add(3, Ordering::Relaxed)..32_000)
            .step_by(3)
            .find(free);
        let start = start.expect("three free ports in a row");
        start..=start + 2
    }

    #[test]
    fn each_port_is_given_once_until_it_is_returned() {
        let range = free_range();
        let ports = Ports::new(range.clone(), 1);
        let taken: Vec<Port> = (0..3).map_while(|_| ports.take()).collect();
        let mut numbers: Vec<u16> = taken.iter().map(Port::number).collect();
        assert_eq!(
            numbers[0],
            range.start() + 1,
            "it begins where the seed says"
        );
        numbers.sort_unstable();
        assert_eq!(numbers, range.collect::<Vec<_>>());
        assert!(ports.take().is_none());
        assert_eq!(ports.in_use(), 3);
        drop(taken);
        assert_eq!(ports.in_use(), 0);
        assert!(ports.take().is_some());
    }

    #[test]
    fn another_of_us_does_not_take_a_port_that_nobody_listens_on_yet() {
        let range = free_range();
        let [one, other] = [0, 0].map(|seed| Ports::new(range.clone(), seed));
        let taken = [one.take(), other.take(), one.take()];
        let mut numbers = taken.each_ref().map(|port| port.as_ref().unwrap().number());
        numbers.sort_unstable();
        assert!(
            numbers[0] < numbers[1] && numbers[1] < numbers[2],
            "{numbers:?}"
        );
        assert!(other.take().is_none());
        drop(taken);
        assert!(other.take().is_some());
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_passed_over() {
        let range = free_range();
        let ports = Ports::new(range.clone(), 0);
        let _listener = TcpListener::bind(("0.0.0.0", *range.start())).unwrap();
        let port = ports.take().expect("two are free");
        assert_eq!(port.number(), range.start() + 1);
    }
}
