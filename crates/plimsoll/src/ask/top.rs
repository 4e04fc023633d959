//! `plimsoll top`: all services, second by second, on the terminal.
//!
//! What the API counts is told as rates: of what was counted since the last look, over the time between.

use std::collections::{HashMap, VecDeque};
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::time::Duration;

use plimsoll_meter::{Clock, Tick};
use plimsoll_proxy::MonotonicClock;
use tokio::time::MissedTickBehavior;

use super::answers::{Endpoint, Endpoints, Service, Services, Status};
use super::client::Client;
use super::{status, text};
use crate::demo::chart;
use crate::demo::line::{Line, Style};
use crate::demo::numbers;
use crate::demo::screen::Screen;
use crate::signals::Signals;

/// How often it looks.
const PERIOD: Duration = Duration::from_secs(1);

/// Seconds that the little chart of a service shows, a column each.
const SECONDS: usize = 12;

/// Columns of names.
const NAME_COLUMNS: usize = 16;

/// What has been seen so far.
#[derive(Debug, Default)]
struct Seen {
    services: HashMap<String, Track>,
    at: Option<Tick>,
}

/// One service.
#[derive(Debug, Default)]
struct Track {
    requests: u64,
    rate: Option<f64>,
    /// Requests in flight in the last [`SECONDS`], the oldest first.
    in_flight: VecDeque<u64>,
}

/// One look.
#[derive(Debug)]
struct Look {
    head: Status,
    services: Vec<Service>,
    endpoints: Vec<Endpoint>,
}

/// Shows the services until a signal ends it; with `service` that one and its endpoints.
pub(crate) async fn run(
    client: &Client,
    admin: SocketAddr,
    service: Option<&str>,
    plain: bool,
) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let clock = MonotonicClock::start();
    let mut seen = Seen::default();
    // Whatever is wrong is told before the terminal is taken over.
    let first = look(client, service).await?;
    seen.take(clock.now(), &first.services);
    let on_screen = !plain && io::stdout().is_terminal();
    let color = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut screen = on_screen.then(Screen::open).transpose()?;
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks.tick().await;
    let mut newest = first;
    loop {
        tokio::select! {
            _ = signals.next() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let problem = match look(client, service).await {
            Ok(look) => {
                seen.take(clock.now(), &look.services);
                newest = look;
                None
            }
            Err(error) if screen.is_none() => return Err(error),
            // It may be restarted: what was seen last stays, with the reason.
            Err(error) => Some(format!("{error:#}")),
        };
        let view = seen.view(admin, &newest, color && on_screen, problem.as_deref());
        match &mut screen {
            Some(screen) => screen.show(&view)?,
            None => say(&view)?,
        }
    }
}

async fn look(client: &Client, service: Option<&str>) -> anyhow::Result<Look> {
    let head = client.get("/api/v1/status").await?;
    let Services { mut services } = client.get("/api/v1/services").await?;
    let endpoints = match service {
        None => Vec::new(),
        Some(name) => {
            let query = crate::dashboard::Query(name);
            let Endpoints { endpoints } = client
                .get(&format!("/api/v1/endpoints?service={query}"))
                .await?;
            services.retain(|it| it.name == name);
            endpoints
        }
    };
    Ok(Look {
        head,
        services,
        endpoints,
    })
}

/// A reader that has gone has seen enough: the next line fails, and ends it.
fn say(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.write_all(b"\n")?;
    output.flush()
}

// === impl Seen ===

impl Seen {
    /// Takes in what the API says at `now`.
    fn take(&mut self, now: Tick, services: &[Service]) {
        let passed = self.at.map(|at| now.saturating_duration_since(at));
        self.services
            .retain(|name, _| services.iter().any(|it| it.name == *name));
        for service in services {
            let known = self.services.contains_key(&service.name);
            let track = self.services.entry(service.name.clone()).or_default();
            // Counters that fall belong to a process that has been started again.
            let ended = service.requests_total.checked_sub(track.requests);
            track.rate = match (ended, passed) {
                (Some(ended), Some(passed)) if known && !passed.is_zero() => {
                    Some(ended as f64 / passed.as_secs_f64())
                }
                _ => None,
            };
            track.requests = service.requests_total;
            if track.in_flight.len() == SECONDS {
                track.in_flight.pop_front();
            }
            track.in_flight.push_back(service.requests_in_flight);
        }
        self.at = Some(now);
    }

    fn view(&self, admin: SocketAddr, look: &Look, color: bool, problem: Option<&str>) -> String {
        let mut lines = vec![
            Line::new(color)
                .put(Style::Bold, status::title(admin, &look.head).trim_end())
                .finish(),
        ];
        for problem in problem
            .into_iter()
            .chain(look.head.problems.iter().map(String::as_str))
        {
            let told = text::cut(problem, 78);
            lines.push(
                Line::new(color)
                    .put(Style::Red, "! ")
                    .put(Style::Plain, &told)
                    .finish(),
            );
        }
        lines.push(String::new());
        let heading = format!(
            "{:NAME_COLUMNS$} {:>7} {:>8} {:>8}  {:SECONDS$}  behind it",
            "service", "req/s", "running", "waiting", "in flight"
        );
        lines.push(Line::new(color).put(Style::Dim, &heading).finish());
        let mut busiest: Vec<&Service> = look.services.iter().collect();
        busiest.sort_by_key(|service| std::cmp::Reverse(service.requests_in_flight > 0));
        for service in busiest {
            lines.push(self.service(service, color));
        }
        if !look.endpoints.is_empty() {
            lines.push(String::new());
        }
        for endpoint in &look.endpoints {
            lines.push(one_endpoint(endpoint, color));
        }
        lines
            .iter()
            .flat_map(|line| [line.as_str(), "\n"])
            .collect()
    }

    fn service(&self, service: &Service, color: bool) -> String {
        let track = self.services.get(&service.name);
        let rate = numbers::if_known(track.and_then(|it| it.rate), |rate| format!("{rate:.1}"));
        let spark = track.map(Track::spark).unwrap_or_default();
        let waiting = service.queue.depth;
        let running = service.requests_in_flight.saturating_sub(waiting);
        let line = Line::new(color)
            .put(Style::Bold, &text::cut(&service.name, NAME_COLUMNS))
            .to(NAME_COLUMNS)
            .put(Style::Plain, &format!(" {rate:>7} {running:>8}"));
        let style = if waiting > 0 {
            Style::Yellow
        } else {
            Style::Plain
        };
        let line = line
            .put(style, &format!(" {waiting:>8}"))
            .put(Style::Cyan, &format!("  {spark:>SECONDS$}"));
        match &service.scale {
            Some(scale) => line.put(Style::Plain, &format!("  {}", status::replicas(scale))),
            None => line,
        }
        .finish()
    }
}

// === impl Track ===

impl Track {
    /// A column a second, the highest as high as a line.
    fn spark(&self) -> String {
        let most = self.in_flight.iter().copied().max().unwrap_or(0).max(1);
        let column = |&count: &u64| chart::column(count as f64 / most as f64, 0, 1);
        self.in_flight.iter().map(column).collect()
    }
}

fn one_endpoint(endpoint: &Endpoint, color: bool) -> String {
    let style = match endpoint.state.as_str() {
        "healthy" => Style::Green,
        "ejected" | "unhealthy" => Style::Red,
        _ => Style::Yellow,
    };
    let p99 = text::time(endpoint.latency_seconds.p99);
    let running = match endpoint.slots {
        Some(slots) => format!("{} of {slots}", endpoint.in_flight),
        None => endpoint.in_flight.to_string(),
    };
    Line::new(color)
        .put(
            Style::Plain,
            &format!("  {:26}", text::cut(&endpoint.address, 26)),
        )
        .put(style, &format!(" {:12}", endpoint.state))
        .put(
            Style::Plain,
            &format!(
                " {running:>10} running {:>7} failed  p99 {p99}",
                numbers::count(endpoint.failed())
            ),
        )
        .finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: u64) -> Tick {
        Tick::from_nanos(second * 1_000_000_000)
    }

    fn service(name: &str, total: u64, in_flight: u64, waiting: u64) -> Service {
        let said = json!({
            "name": name, "policy": "peak-ewma", "requests_in_flight": in_flight, "requests_total": total,
            "queue": {"depth": waiting, "capacity": 10, "bytes": 0}, "typical_latency_seconds": null,
        });
        serde_json::from_value(said).expect("as the API says it")
    }

    #[test]
    fn rates_are_of_the_time_between_two_looks_and_unknown_after_a_restart() {
        let mut seen = Seen::default();
        let mut rates = Vec::new();
        for (second, total) in [(0, 100), (1, 150), (3, 250), (4, 7), (5, 7)] {
            seen.take(at(second), &[service("a", total, 0, 0)]);
            rates.push(seen.services["a"].rate);
        }
        assert_eq!(rates, [None, Some(50.0), Some(50.0), None, Some(0.0)]);
        seen.take(at(6), &[]);
        assert!(seen.services.is_empty());
    }

    #[test]
    fn the_view_is_80_columns_and_busy_services_come_first() {
        let mut seen = Seen::default();
        let mut services = vec![
            service("a-service-with-a-very-long-name", 9, 0, 0),
            service("chat", 12_345, 70, 3),
        ];
        services[1].scale = serde_json::from_value(json!({
            "mode": "auto", "policy": "plimsoll", "desired": 3, "ready": 1, "starting": 2, "draining": 0,
            "min": 0, "max": 10, "problem": null,
        }))
        .expect("as the API says it");
        seen.take(at(0), &services);
        services[1].requests_total += 120;
        services[1].requests_in_flight = 35;
        seen.take(at(1), &services);
        let look = Look {
            head: Status {
                version: "0.1.0".to_owned(),
                state: "serving".to_owned(),
                uptime_seconds: 187.0,
                problems: vec!["service b has no endpoints".to_owned()],
            },
            services,
            endpoints: Vec::new(),
        };
        let admin = "127.0.0.1:9090".parse().expect("an address");
        let view = seen.view(admin, &look, false, None);
        assert!(
            view.lines().all(|line| line.chars().count() <= 80),
            "{view}"
        );
        insta::assert_snapshot!(view, @r"
        plimsoll 0.1.0 at 127.0.0.1:9090: serving for 3:07
        ! service b has no endpoints

        service            req/s  running  waiting  in flight     behind it
        chat               120.0       32        3            █▄  1/3 ready, 2 starting
        a-service-with-…     0.0        0        0
        ");
    }
}
