//! `lab load`.

use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use plimsoll_lab::affinity;
use plimsoll_lab::load::{self, Options, Pace, Protocol, Target};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to, such as http://127.0.0.1:8012/bytes/64.
    #[arg(long)]
    url: String,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 32, value_name = "N")]
    connections: usize,
    /// The measured window, such as 5s.
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Load before the measured window.
    #[arg(long, default_value = "500ms", value_name = "TIME", value_parser = humantime::parse_duration)]
    warm_up: Duration,
    /// End the window early after so many requests.
    #[arg(long, value_name = "N")]
    requests: Option<u64>,
    /// Open loop at so many requests per second, latencies counted from the intended arrival.
    /// Without it: closed loop.
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<f64>,
    /// Exponential gaps between arrivals instead of constant ones.
    #[arg(long, requires = "rate")]
    poisson: bool,
    /// Seed of the exponential gaps; printed, so that a run can be repeated. Default: the clock's.
    #[arg(long, requires = "poisson", value_name = "N")]
    seed: Option<u64>,
    /// HTTP/2 without TLS, by prior knowledge.
    #[arg(long)]
    h2c: bool,
    /// Concurrent streams per HTTP/2 connection.
    #[arg(long, default_value_t = 8, value_name = "N")]
    streams: usize,
    /// Method.
    #[arg(long, default_value = "GET")]
    method: http::Method,
    /// A header field, "name: value". Repeatable.
    #[arg(long = "header", value_name = "FIELD", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Request body: so many bytes.
    #[arg(long, default_value_t = 0, value_name = "BYTES")]
    body: usize,
    /// Processor to stay on.
    #[arg(long, value_name = "N")]
    cpu: Option<usize>,
    /// Print JSON: times in seconds, latencies in microseconds.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<String> {
        affinity::raise_descriptor_limit(20_000)?;
        let options = self.options()?;
        let pace = options.pace;
        let summary = load::run_observed(options, self.cpu, &mut ())?;
        if self.json {
            return Ok(serde_json::to_string_pretty(&summary)?);
        }
        Ok(match pace {
            Pace::Poisson { seed, .. } => format!("{summary}\nseed       {seed}"),
            Pace::Closed | Pace::Constant(_) => summary.to_string(),
        })
    }

    fn options(&self) -> anyhow::Result<Options> {
        let pace = match self.rate {
            None => Pace::Closed,
            Some(rate) if !self.poisson => Pace::Constant(rate),
            Some(per_second) => Pace::Poisson {
                per_second,
                seed: self.seed.unwrap_or_else(seed_of_the_clock),
            },
        };
        let protocol = if self.h2c {
            Protocol::H2c {
                streams: self.streams,
            }
        } else {
            Protocol::Http1
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        Ok(Options {
            protocol,
            pace,
            connections: self.connections,
            method: self.method.clone(),
            headers,
            body: vec![b'x'; self.body].into(),
            warm_up: self.warm_up,
            duration: self.duration,
            requests: self.requests,
            ..Options::new(Target::parse(&self.url)?)
        })
    }
}

fn seed_of_the_clock() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| u64::from(since.subsec_nanos()))
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("expected name: value")?;
    let name = name
        .trim()
        .parse()
        .map_err(|_| format!("{name:?} is not a field name"))?;
    let value = value
        .trim()
        .parse()
        .map_err(|_| format!("{value:?} is not a field value"))?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_fields_are_read() {
        let (name, value) = header("X-A: b: c").unwrap();
        assert_eq!(
            (name.as_str(), value.as_bytes()),
            ("x-a", b"b: c".as_slice())
        );
        assert!(header("no colon").is_err());
        assert!(header("bad name: x").is_err());
    }
}
