//! How values are written on the command line and in the environment.

use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZeroUsize;
use std::time::Duration;

/// A length of time: `30s`, `1m 30s`, `250ms`, `0`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if text.trim() == "0" {
        return Ok(Duration::ZERO);
    }
    let duration = humantime::parse_duration(text).map_err(|error| {
        format!("{error}; write a number and a unit, such as 300s, 1m or 250ms")
    })?;
    if duration > DURATION_MAX {
        return Err("at most 365 days are accepted".to_owned());
    }
    Ok(duration)
}

/// The longest time that can be asked for. Far from the end of any clock.
pub(crate) const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A length of time as it is read: `1m 30s`, `250ms`, `0s`.
pub(crate) fn written(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// More threads than this help nobody.
pub(crate) const WORKERS_MAX: usize = 256;

/// A number of threads.
pub(crate) fn workers(text: &str) -> Result<NonZeroUsize, String> {
    let accepted = format!("write a number from 1 to {WORKERS_MAX}");
    let workers: NonZeroUsize = text.parse().map_err(|_| accepted.clone())?;
    if workers.get() > WORKERS_MAX {
        Err(accepted)
    } else {
        Ok(workers)
    }
}

/// A share of a whole: `10%`, `0%`, `12.5%`.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let accepted = "write a share from 0% to 100%, such as 10%";
    let number = text.trim().strip_suffix('%').ok_or(accepted)?;
    let percent: f64 = number.trim().parse().map_err(|_| accepted)?;
    // A range does not contain what is not a number.
    if (0.0..=100.0).contains(&percent) {
        Ok(percent / 100.0)
    } else {
        Err(accepted.to_owned())
    }
}

/// A number of bytes: `65536`, `64KiB`, `16 MiB`, `1GiB`.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let (number, unit) = text.split_at(text.len() - digits.len());
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(BYTES.to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| BYTES)?;
    number.checked_mul(factor).ok_or_else(|| BYTES.to_owned())
}

/// A number of bytes as it is read: `64MiB`, `1000`.
pub(crate) fn written_bytes(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let fits = |(size, _): &(u64, &str)| bytes > 0 && bytes.is_multiple_of(*size);
    match units.into_iter().find(fits) {
        Some((size, unit)) => format!("{}{unit}", bytes / size),
        None => bytes.to_string(),
    }
}

/// How numbers of bytes are written.
const BYTES: &str = "write a number of bytes, such as 65536, 64KiB, 16MiB or 1GiB";

/// An address to connect to: `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`, or a port on this machine.
pub(crate) fn target(text: &str) -> Result<SocketAddr, String> {
    let accepted = "write HOST:PORT, such as 127.0.0.1:8080, or a port";
    if let Ok(port) = text.parse::<u16>() {
        return nonzero_port(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    let mut addresses = text
        .to_socket_addrs()
        .map_err(|error| format!("{error}; {accepted}"))?;
    nonzero_port(
        addresses
            .next()
            .ok_or_else(|| format!("no address found; {accepted}"))?,
    )
}

fn nonzero_port(address: SocketAddr) -> Result<SocketAddr, String> {
    if address.port() == 0 {
        Err("port 0 cannot be connected to".to_owned())
    } else {
        Ok(address)
    }
}

/// An address to listen on: `0.0.0.0:8012`, `[::]:8012`, or a port on all interfaces.
pub(crate) fn listener(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::from(([0, 0, 0, 0], port)));
    }
    text.parse()
        .map_err(|_| "write IP:PORT, such as 0.0.0.0:8012 or [::]:8012, or a port".to_owned())
}

/// A part of the instance's identity.
pub(crate) fn label(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        Err("it must not be empty".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// A time limit; zero is off.
pub(crate) fn on(limit: Duration) -> Option<Duration> {
    (!limit.is_zero()).then_some(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read() {
        for (text, expected) in [
            ("0", 0),
            ("0s", 0),
            ("300s", 300_000),
            ("1m 30s", 90_000),
            ("250ms", 250),
        ] {
            assert_eq!(
                duration(text),
                Ok(Duration::from_millis(expected)),
                "{text}"
            );
        }
        for text in [
            "",
            "300",
            "-1s",
            "five seconds",
            "1e9999s",
            "99999999999999999999s",
            "400days",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shares_are_read() {
        for (text, expected) in [("10%", 0.1), ("0%", 0.0), ("100%", 1.0), (" 12.5 %", 0.125)] {
            assert_eq!(share(text), Ok(expected), "{text}");
        }
        for text in ["", "%", "10", "0.1", "-1%", "101%", "NaN%", "inf%", "ten%"] {
            assert!(share(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bytes_are_read() {
        for (text, expected) in [
            ("0", 0),
            ("65536", 65_536),
            ("1B", 1),
            ("64KiB", 65_536),
            ("16 MiB", 16 << 20),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
            assert_eq!(bytes(&written_bytes(expected)), Ok(expected), "{text}");
        }
        for text in [
            "",
            "KiB",
            "1KB",
            "1.5MiB",
            "-1",
            "99999999999999999999",
            "18446744073709551615KiB",
        ] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_are_read() {
        assert_eq!(target("8080"), Ok("127.0.0.1:8080".parse().expect("valid")));
        assert_eq!(target("[::1]:80"), Ok("[::1]:80".parse().expect("valid")));
        assert_eq!(listener("8012"), Ok("0.0.0.0:8012".parse().expect("valid")));
        for text in [
            "",
            "0",
            "127.0.0.1",
            "127.0.0.1:0",
            "127.0.0.1:99999",
            "::1",
        ] {
            assert!(target(text).is_err(), "{text}");
        }
        for text in ["", "localhost:1", "127.0.0.1", "70000"] {
            assert!(listener(text).is_err(), "{text}");
        }
    }
}
