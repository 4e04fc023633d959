//! `plimsoll simulate`: what is typed, and what it comes to.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cli::values;
use crate::simulate::{Kind, Load, Variant};

/// See what would happen: requests, replicas and the autoscaler in virtual time.
///
/// Replays a trace, or generates load, and lets the autoscaler of `plimsoll run`
/// decide. Several settings are compared side by side. Nothing is started; a day
/// takes seconds.
#[derive(Debug, Args)]
#[command(
    after_help = "A trace is a CSV file: when a request arrives, and how long it takes,\n\
        in seconds or with a unit. A first line with names is passed over.\n\n  \
        arrival,duration\n  \
        0.25,0.8\n  \
        1m3s,250ms\n\n\
        Settings for --with, separated by commas:\n  \
        policy=plimsoll|kpa  concurrency=N  start-up=TIME  target=LOAD\n  \
        utilization=70%      window=TIME    min=N  max=N   initial=N\n  \
        keep-alive-min=TIME  keep-alive-max=TIME           starts-max=N\n  \
        scale-down-delay=TIME               retention=TIME\n\n\
        Examples:\n  \
        plimsoll simulate --load bursts --burst 10 --every 30s --concurrency 1\n  \
        plimsoll simulate trace.csv --start-up 20s --plot trace.svg\n  \
        plimsoll simulate --load daily --duration 24h --with window=60s \\\n    \
        --with window=10m"
)]
pub(crate) struct SimulateArgs {
    /// A CSV file of arrival times and durations
    #[arg(value_name = "TRACE", conflicts_with = "load")]
    trace: Option<PathBuf>,

    /// Generated load in place of a trace
    #[arg(long, value_name = "KIND", value_enum)]
    load: Option<KindArg>,

    /// Requests a second, on average [default: 10; bursts: by --burst and --every]
    #[arg(long, value_name = "N", default_value = "10", hide_default_value = true, value_parser = rate, allow_hyphen_values = true)]
    rate: f64,

    /// Requests of a burst [default: 10]
    #[arg(long, value_name = "N", default_value = "10", hide_default_value = true, value_parser = count, allow_hyphen_values = true)]
    burst: NonZeroU32,

    /// From one burst to the next [default: 30s]
    #[arg(long, value_name = "TIME", default_value = "30s", hide_default_value = true, value_parser = positive, allow_hyphen_values = true)]
    every: Duration,

    /// How long a replica works on a request; with poisson and daily, on
    /// average [default: 500ms]
    #[arg(long, value_name = "TIME", default_value = "500ms", hide_default_value = true,
        value_parser = values::duration, allow_hyphen_values = true)]
    service_time: Duration,

    /// How long the load goes on [default: 1h]
    #[arg(long, value_name = "TIME", default_value = "1h", hide_default_value = true, value_parser = positive, allow_hyphen_values = true)]
    duration: Duration,

    /// Where chance begins; the same number gives the same load [default: 1]
    #[arg(long, value_name = "N", default_value = "1", hide_default_value = true)]
    seed: u64,

    /// How long a replica takes to be ready [default: 2s]
    #[arg(long, value_name = "TIME", default_value = "2s", hide_default_value = true,
        value_parser = values::duration, allow_hyphen_values = true)]
    start_up: Duration,

    /// Requests a replica works on at once [default: 10]
    #[arg(long, value_name = "N", default_value = "10", hide_default_value = true, value_parser = count, allow_hyphen_values = true)]
    concurrency: NonZeroU32,

    /// Settings to compare, one --with for each column [default: both policies]
    #[arg(long = "with", value_name = "KEY=VALUE,...")]
    with: Vec<String>,

    /// Draw requests and replicas over time into this file, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,

    /// Show the last N changes of mind of each, with their reasons
    #[arg(long, value_name = "N", default_value = "0", hide_default_value = true)]
    decisions: usize,
}

/// The kinds of load, as they are typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum KindArg {
    /// The same time from each request to the next
    Constant,
    /// At random, at the same rate all the time
    Poisson,
    /// Many at once, and then none for a while
    Bursts,
    /// At random, between none and twice the rate, once a day
    Daily,
}

/// What is simulated: all of it valid.
#[derive(Debug, Clone)]
pub(crate) struct SimulateSettings {
    pub(crate) source: Source,
    pub(crate) variants: Vec<Variant>,
    pub(crate) plot: Option<PathBuf>,
    /// How many decisions of each variant are shown.
    pub(crate) decisions: usize,
}

/// Where requests come from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    Trace(PathBuf),
    Load(Load),
}

/// The most columns that a line has room for.
const VARIANTS_MAX: usize = 5;

/// The most requests a second.
const RATE_MAX: f64 = 1e6;

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && rate <= RATE_MAX => Ok(rate),
        _ => Err("write a number above 0 and up to 1000000, such as 10 or 0.5".to_owned()),
    }
}

fn count(text: &str) -> Result<NonZeroU32, String> {
    text.parse::<NonZeroU32>()
        .ok()
        .filter(|count| count.get() <= 1_000_000)
        .ok_or_else(|| "write a number from 1 to 1000000".to_owned())
}

fn positive(text: &str) -> Result<Duration, String> {
    match values::duration(text)? {
        Duration::ZERO => Err("it must be more than 0".to_owned()),
        duration => Ok(duration),
    }
}

impl SimulateArgs {
    /// What was typed, or what is wrong with it.
    pub(crate) fn resolve(self) -> Result<SimulateSettings, String> {
        let base = Variant::new(self.concurrency, self.start_up);
        let written = if self.with.is_empty() {
            vec!["policy=plimsoll".to_owned(), "policy=kpa".to_owned()]
        } else {
            self.with
        };
        if written.len() > VARIANTS_MAX {
            return Err(format!(
                "--with was given {} times; at most {VARIANTS_MAX} are accepted",
                written.len()
            ));
        }
        let variants = written.iter().map(|written| base.with(written));
        let kind = match self.load {
            Some(KindArg::Constant) => Kind::Constant(self.rate),
            Some(KindArg::Poisson) => Kind::Poisson(self.rate),
            Some(KindArg::Bursts) => Kind::Bursts(self.burst, self.every),
            Some(KindArg::Daily) => Kind::Daily(self.rate),
            None => Kind::Constant(self.rate),
        };
        let source = match (self.trace, self.load) {
            (Some(trace), _) => Source::Trace(trace),
            (None, Some(_)) => Source::Load(Load {
                kind,
                service_time: self.service_time,
                length: self.duration,
                seed: self.seed,
            }),
            (None, None) => {
                return Err(
                    "name a trace, or choose --load constant, poisson, bursts or daily \
                     (see plimsoll simulate --help)"
                        .to_owned(),
                );
            }
        };
        if let Source::Load(load) = &source {
            load.check()?;
        }
        Ok(SimulateSettings {
            variants: variants.collect::<Result<_, _>>()?,
            source,
            plot: self.plot,
            decisions: self.decisions,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::{self, Action, Fault};

    fn parse(flags: &[&str]) -> Result<Action, Fault> {
        let words = ["plimsoll", "simulate"].iter().chain(flags);
        cli::parse(words.map(OsString::from))
    }

    #[test]
    fn both_policies_are_compared_if_nothing_is_said() {
        let Ok(Action::Simulate(settings)) = parse(&["--load=bursts", "--concurrency=1"]) else {
            panic!("this is accepted");
        };
        let names: Vec<_> = settings.variants.iter().map(Variant::name).collect();
        assert_eq!(names, ["policy=plimsoll", "policy=kpa"]);
        assert!(matches!(settings.source, Source::Load(_)));
    }

    #[test]
    fn a_mistake_gets_one_line_that_says_what_is_accepted() {
        let rows: &[(&[&str], &str)] = &[
            (&[], "name a trace, or choose --load"),
            (&["a.csv", "--load=daily"], "cannot be used with"),
            (&["--load=sometimes"], "constant, poisson, bursts, daily"),
            (&["--load=poisson", "--rate=0"], "a number above 0"),
            (&["--load=poisson", "--rate=nan"], "a number above 0"),
            (&["--load=bursts", "--every=0"], "more than 0"),
            (&["--load=bursts", "--burst=0"], "from 1 to 1000000"),
            (
                &["--load=constant", "--rate=1000000", "--duration=300d"],
                "requests",
            ),
            (&["--load=daily", "--with=policy=hpa"], "plimsoll or kpa"),
            (&["--load=daily", "--with=windw=60s"], "windw"),
            (&["--load=daily", "--with=window"], "KEY=VALUE"),
            (&["--load=daily", "--with=window=5s"], "6 s to 1 h"),
            (
                &["--load=daily", "--with=utilization=0.7"],
                "from 0% to 100%",
            ),
            (
                &[
                    "--load=daily",
                    "--with=min=1",
                    "--with=min=2",
                    "--with=min=3",
                    "--with=min=4",
                    "--with=min=5",
                    "--with=min=6",
                ],
                "at most 5",
            ),
        ];
        for (flags, part) in rows {
            match parse(flags) {
                Err(Fault::Usage(line)) => {
                    assert!(line.contains(part) && line.lines().count() == 1, "{line}");
                }
                other => panic!("{flags:?}: {other:?}"),
            }
        }
    }
}
