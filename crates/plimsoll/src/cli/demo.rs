//! `plimsoll demo`: what is typed, and what it comes to.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use crate::cli::values;

/// See it at work: a small app, a sidecar in front of it, and load in waves.
///
/// Everything runs in this one process, on this machine, with nothing to set
/// up. At the crest of a wave more comes than the app may work on at once: watch
/// the queue fill and drain. Now and then a burst is too much for the queue as
/// well: watch what is over the line being refused at once, while the app goes
/// on at its own pace.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        plimsoll demo\n  \
        plimsoll demo --concurrency 2 --duration 1m\n  \
        plimsoll demo --plain | tee demo.txt\n\n\
        NO_COLOR=1 in the environment leaves the colours out.")]
pub(crate) struct DemoArgs {
    /// How long to run, such as 1m [default: until Ctrl-C]
    #[arg(long, value_name = "TIME", value_parser = values::duration, allow_hyphen_values = true)]
    duration: Option<Duration>,

    /// Requests the app works on at once, from 1 to 32 [default: 8]
    #[arg(long, value_name = "N", default_value = "8", hide_default_value = true, value_parser = concurrency, allow_hyphen_values = true)]
    concurrency: usize,

    /// One line a second instead of the live view [default when the output is
    /// no terminal]
    #[arg(long)]
    plain: bool,

    /// Where clients connect [default: 127.0.0.1:8012, or a free port]
    #[arg(long, value_name = "IP:PORT", value_parser = listener)]
    listen: Option<SocketAddr>,

    /// Where /metrics is served [default: 127.0.0.1:9090, or a free port]
    #[arg(long, value_name = "IP:PORT", value_parser = listener)]
    metrics_listen: Option<SocketAddr>,
}

/// What the demonstration runs with: all of it valid.
#[derive(Debug, Clone)]
pub(crate) struct DemoSettings {
    /// `None` is until a signal.
    pub(crate) duration: Option<Duration>,
    /// From 1 to [`CONCURRENCY_MAX`].
    pub(crate) concurrency: usize,
    /// One line a second, even on a terminal.
    pub(crate) plain: bool,
    /// `None` is the usual port, or a free one.
    pub(crate) listen: Option<SocketAddr>,
    /// `None` is the usual port, or a free one.
    pub(crate) metrics_listen: Option<SocketAddr>,
}

/// Each slot brings about 14 requests a second of load, so that this many are still gentle.
const CONCURRENCY_MAX: usize = 32;

fn concurrency(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(concurrency) if (1..=CONCURRENCY_MAX).contains(&concurrency) => Ok(concurrency),
        _ => Err(format!("write a number from 1 to {CONCURRENCY_MAX}")),
    }
}

/// As everywhere, but a port alone is on loopback: nobody else is meant to come in.
fn listener(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    values::listener(text)
}

impl DemoArgs {
    /// Nothing typed for the demonstration can contradict anything else.
    pub(crate) fn resolve(self) -> DemoSettings {
        DemoSettings {
            duration: self.duration.filter(|duration| !duration.is_zero()),
            concurrency: self.concurrency,
            plain: self.plain,
            listen: self.listen,
            metrics_listen: self.metrics_listen,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::{self, Action, Fault};

    fn parse(flags: &[&str]) -> Result<Action, Fault> {
        let words = ["plimsoll", "demo"].iter().chain(flags);
        cli::parse(words.map(OsString::from))
    }

    fn resolved(flags: &[&str]) -> DemoSettings {
        match parse(flags) {
            Ok(Action::Demo(settings)) => settings,
            other => panic!("{flags:?}: {other:?}"),
        }
    }

    #[test]
    fn without_flags_it_runs_until_it_is_stopped() {
        let settings = resolved(&[]);
        assert_eq!(settings.duration, None);
        assert_eq!(settings.concurrency, 8);
        assert!(!settings.plain);
        assert_eq!((settings.listen, settings.metrics_listen), (None, None));
        assert_eq!(resolved(&["--duration=0"]).duration, None);
    }

    #[test]
    fn flags_are_taken() {
        let settings = resolved(&[
            "--duration=1m",
            "--concurrency=32",
            "--plain",
            "--listen=8080",
            "--metrics-listen=[::1]:0",
        ]);
        assert_eq!(settings.duration, Some(Duration::from_secs(60)));
        assert_eq!(settings.concurrency, 32);
        assert!(settings.plain);
        let address = |text: &str| Some(text.parse().expect("an address"));
        assert_eq!(settings.listen, address("127.0.0.1:8080"));
        assert_eq!(settings.metrics_listen, address("[::1]:0"));
    }

    #[test]
    fn a_bad_flag_gets_one_line_that_says_what_is_accepted() {
        for (flags, part) in [
            (["--concurrency", "0"], "a number from 1 to 32"),
            (["--concurrency", "33"], "a number from 1 to 32"),
            (["--concurrency", "-1"], "a number from 1 to 32"),
            (["--duration", "-5s"], "such as 300s"),
            (["--duration", "ten"], "such as 300s"),
            (["--listen", "here"], "IP:PORT"),
            (["--speed", "11"], "--speed"),
        ] {
            match parse(&flags) {
                Err(Fault::Usage(line)) => {
                    assert!(line.contains(part) && line.lines().count() == 1, "{line}");
                }
                other => panic!("{flags:?}: {other:?}"),
            }
        }
    }
}
