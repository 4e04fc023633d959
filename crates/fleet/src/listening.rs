//! On which addresses the processes of a replica listen.
//!
//! It is looked at only if a replica is not ready in time: a program that was
//! written for one port and listens there whatever it is told is the most
//! frequent mistake, and the hardest to see from outside.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::proc_fs;

/// The state of a socket that listens, in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// Where the group and its descendants listen, in the order of ports.
pub(crate) fn addresses(group: i32) -> Vec<SocketAddr> {
    let processes: Vec<proc_fs::Stat> = proc_fs::processes().collect();
    let owned = proc_fs::owned_by(&HashSet::from([group]), &processes);
    let owned: Vec<&proc_fs::Stat> = owned.into_values().flatten().collect();
    let mut listening = HashMap::new();
    for table in ["tcp", "tcp6"] {
        // That of the replica, which may have a network of its own. The leader of its group may have ended.
        let mut texts = (owned.iter())
            .filter_map(|stat| fs::read_to_string(format!("/proc/{}/net/{table}", stat.pid)).ok());
        if let Some(text) = texts.next() {
            listening.extend(text.lines().skip(1).filter_map(parse));
        }
    }
    let mut found: Vec<SocketAddr> = owned
        .into_iter()
        .flat_map(|stat| sockets(stat.pid))
        .filter_map(|inode| listening.get(&inode).copied())
        .collect();
    found.sort_by_key(|address| (address.port(), address.ip()));
    found.dedup();
    found
}

/// The numbers of the sockets that a process has open.
fn sockets(pid: i32) -> Vec<u64> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten();
    let links = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    let number = |link: std::path::PathBuf| {
        let text = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
        text.parse().ok()
    };
    links.filter_map(number).collect()
}

/// A line of `/proc/net/tcp` or `tcp6`: the number of the socket and its address, if it listens. See proc(5).
fn parse(line: &str) -> Option<(u64, SocketAddr)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    if *fields.get(3)? != LISTEN {
        return None;
    }
    let (address, port) = fields.get(1)?.split_once(':')?;
    let address = SocketAddr::new(parse_address(address)?, u16::from_str_radix(port, 16).ok()?);
    Some((fields.get(9)?.parse().ok()?, address))
}

/// Words of 32 bits in hexadecimal, each as the processor has it in memory.
fn parse_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let word = u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: [u8; 16] = words.as_flattened().try_into().ok()?;
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_line_of_the_table_is_read() {
        let line = |address: &str, state: &str| {
            format!(
                "   0: {address} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  0  0 4711 1 0 100 0 0 10 0"
            )
        };
        // As a little-endian machine writes 127.0.0.1 and ::1.
        if cfg!(target_endian = "little") {
            let found = parse(&line("0100007F:1F90", "0A"));
            assert_eq!(found, Some((4_711, "127.0.0.1:8080".parse().unwrap())));
            let found = parse(&line("00000000000000000000000001000000:0050", "0A"));
            assert_eq!(found, Some((4_711, "[::1]:80".parse().unwrap())));
        }
        assert_eq!(parse(&line("0100007F:1F90", "01")), None, "it is connected");
        for bad in [
            "",
            "sl local_address",
            &line("0100007F", "0A"),
            &line("01:50", "0A"),
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn where_this_process_listens_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let group = proc_fs::process(own).unwrap().group;
        assert!(addresses(group).contains(&listener.local_addr().unwrap()));
    }
}
