//! The page, as text.
//!
//! What changes is inside elements with `data-live` and an identity; the script replaces what is in them.

use std::fmt::{Display, Write};

use axum::http::StatusCode;

use super::chart::{self, Curve, Paint, Unit};
use super::history::{History, Line, Series};
use super::html::Text;
use super::rows;
use super::scene::{Detail, Head, Scaling, Source, Watched};
use crate::demo::numbers;

/// Services that the page lists. Of more, those that do something come first.
const SERVICES_MAX: usize = 100;

/// The least height of a chart of requests or replicas, and of one of times in seconds.
const LEAST_COUNT: f64 = 1.0;
const LEAST_TIME: f64 = 0.01;

/// A chart, before it is drawn.
struct Figure {
    title: &'static str,
    unit: Unit,
    least: f64,
    curves: Vec<Curve>,
    /// For each curve its name, and its value now.
    legend: Vec<(Paint, &'static str, String)>,
}

/// The page about `wanted`, or about all services, and the status that goes with it.
pub(crate) fn render(
    source: &impl Source,
    history: &History,
    wanted: Option<&str>,
) -> (StatusCode, String) {
    let head = source.head();
    let services = source.services();
    let only = match &services[..] {
        [one] => Some(one.service.name()),
        _ => None,
    };
    let shown = wanted.or(only);
    let detail = shown.and_then(|name| Some((name, source.detail(name)?)));
    let status = match (wanted, &detail) {
        (Some(_), None) => StatusCode::NOT_FOUND,
        _ => StatusCode::OK,
    };
    let mut page = String::with_capacity(64 * 1024);
    begin(&mut page, &head, detail.as_ref().map(|(name, _)| *name));
    problems(&mut page, &head, wanted.filter(|_| detail.is_none()));
    if services.len() != 1 {
        list(&mut page, history, &services, shown);
    }
    if let Some((name, detail)) = &detail {
        let watched = services.iter().find(|it| it.service.name() == *name);
        let scaling = watched.and_then(|it| it.scaling);
        one(&mut page, history, name, detail, scaling);
    }
    end(&mut page);
    (status, page)
}

/// Adds to the page. A string takes everything.
fn put(page: &mut String, text: impl Display) {
    write!(page, "{text}").expect("a string takes everything");
}

fn begin(page: &mut String, head: &Head, service: Option<&str>) {
    let title = service.map(|name| format!("{name} · "));
    let title = title.unwrap_or_default();
    put(
        page,
        format_args!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>{}Plimsoll {}</title>\n\
             <link rel=\"icon\" href=\"icon.svg\" type=\"image/svg+xml\">\n\
             <link rel=\"stylesheet\" href=\"dashboard.css\">\n\
             <script src=\"dashboard.js\" defer></script>\n\
             <noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>\n\
             </head>\n<body>\n",
            Text(&title),
            head.mode,
        ),
    );
    put(
        page,
        format_args!(
            "<header>\n<h1><a href=\"?\"><img src=\"icon.svg\" alt=\"\" width=\"26\" height=\"26\">Plimsoll</a> \
             <span>{}</span></h1>\n\
             <p id=\"head\" data-live><b class=\"{state}\">{state}</b> for {} · version {}</p>\n\
             <p id=\"age\" role=\"status\"></p>\n\
             <button id=\"pause\" type=\"button\" hidden>Pause</button>\n</header>\n<main>\n",
            head.mode,
            numbers::clock(head.uptime),
            head.version,
            state = head.state,
        ),
    );
}

fn problems(page: &mut String, head: &Head, unknown: Option<&str>) {
    put(page, "<div id=\"problems\" data-live aria-live=\"polite\">");
    if let Some(name) = unknown {
        let name = Text(name);
        put(
            page,
            format_args!("<p class=\"problem\">There is no service {name}.</p>"),
        );
    }
    for problem in &head.problems {
        let problem = Text(problem);
        put(page, format_args!("<p class=\"problem\">{problem}</p>"));
    }
    put(page, "</div>\n");
}

/// The services, a line each.
fn list(page: &mut String, history: &History, services: &[Watched], shown: Option<&str>) {
    let mut listed: Vec<(&Watched, Option<Line>)> = services
        .iter()
        .map(|watched| (watched, history.latest(watched.service.name())))
        .collect();
    let all = listed.len();
    if all > SERVICES_MAX {
        let is_idle = |line: &Option<Line>| line.is_none_or(|it| it.rate + it.running == 0.0);
        listed.sort_by_key(|(_, line)| is_idle(line));
        listed.truncate(SERVICES_MAX);
    }
    let scales = services.iter().any(|it| it.scaling.is_some());
    put(
        page,
        "<section aria-labelledby=\"services-title\">\n<h2 id=\"services-title\">Services</h2>\n\
         <div id=\"services\" data-live class=\"scroll\"><table><thead><tr><th scope=\"col\">service</th>\
         <th scope=\"col\" class=\"number\">requests/s</th><th scope=\"col\" class=\"number\">running</th>\
         <th scope=\"col\" class=\"number\">waiting</th>",
    );
    if scales {
        put(page, "<th scope=\"col\" class=\"number\">replicas</th>");
    }
    put(
        page,
        "<th scope=\"col\" class=\"number\">p99</th><th scope=\"col\" class=\"number wide\">failed/s</th>\
         <th scope=\"col\" class=\"wide\">in flight, last 10 minutes</th></tr></thead><tbody>",
    );
    for (watched, line) in &listed {
        let name = watched.service.name();
        let chosen = shown == Some(name);
        rows::service(page, history, watched, *line, scales, chosen);
    }
    put(page, "</tbody></table>");
    if all > listed.len() {
        let more = all - listed.len();
        put(
            page,
            format_args!("<p>And {more} more. Those that do something are listed first.</p>"),
        );
    }
    put(page, "</div>\n</section>\n");
}

/// One service in full.
fn one(
    page: &mut String,
    history: &History,
    name: &str,
    detail: &Detail,
    scaling: Option<Scaling>,
) {
    let scales = scaling.is_some();
    let series = history.series(name);
    let latest = history.latest(name);
    put(
        page,
        format_args!(
            "<section aria-labelledby=\"one\">\n<h2 id=\"one\">{}</h2>\n<p class=\"routes\">{}</p>\n",
            Text(name),
            Text(&detail.routes.join(" · ")),
        ),
    );
    put(page, "<dl id=\"tiles\" data-live class=\"tiles\">");
    rows::tiles(page, detail, latest, scaling);
    put(page, "</dl>\n");
    put(page, "<p id=\"why\" data-live class=\"why\">");
    if let Some(why) = &detail.why {
        put(page, Text(why));
    }
    put(page, "</p>\n<div id=\"charts\" data-live class=\"charts\">");
    for figure in figures(&series, scales) {
        figure.draw(page);
    }
    put(page, "</div>\n</section>\n");
    if scales {
        rows::replicas(page, detail);
    }
    rows::endpoints(page, detail);
    rows::told(page, detail, scales);
}

/// The charts of a service.
fn figures(series: &Series, scales: bool) -> Vec<Figure> {
    let mut figures = vec![concurrency(series)];
    if scales {
        figures.push(replicas(series));
    }
    figures.push(latency(series));
    figures.push(requests(series));
    figures
}

fn concurrency(series: &Series) -> Figure {
    let running = values(series, |line| Some(line.running));
    let both = values(series, |line| Some(line.running + line.waiting));
    let curve = |paint, values: &[_], floor| Curve {
        paint,
        values: values.to_vec(),
        floor: Some(floor),
        steps: false,
    };
    let ground = vec![Some(0.0); running.len()];
    let now = |of: fn(&Line) -> f32| counted(latest(series).map(of));
    Figure {
        title: "Requests in flight",
        unit: chart::plain,
        least: LEAST_COUNT,
        curves: vec![
            curve(Paint::Waiting, &both, running.clone()),
            curve(Paint::Running, &running, ground),
        ],
        legend: vec![
            (Paint::Running, "running", now(|line| line.running)),
            (Paint::Waiting, "waiting on top", now(|line| line.waiting)),
        ],
    }
}

fn replicas(series: &Series) -> Figure {
    let curve = |paint, of: fn(&Line) -> u32, floor: bool| {
        let values = values(series, |line| Some(of(line) as f32));
        Curve {
            floor: floor.then(|| vec![Some(0.0); values.len()]),
            paint,
            values,
            steps: true,
        }
    };
    let now = |of: fn(&Line) -> u32| counted(latest(series).map(|line| of(line) as f32));
    let ready = |line: &Line| line.scaling.unwrap_or_default().ready;
    let desired = |line: &Line| line.scaling.unwrap_or_default().desired;
    let starting = |line: &Line| line.scaling.unwrap_or_default().starting;
    Figure {
        title: "Replicas",
        unit: chart::plain,
        least: LEAST_COUNT,
        curves: vec![
            curve(Paint::Ready, ready, true),
            curve(Paint::Starting, starting, false),
            curve(Paint::Desired, desired, false),
        ],
        legend: vec![
            (Paint::Desired, "desired", now(desired)),
            (Paint::Ready, "ready", now(ready)),
            (Paint::Starting, "starting", now(starting)),
        ],
    }
}

fn latency(series: &Series) -> Figure {
    let curve = |paint, index: usize| Curve {
        paint,
        values: values(series, |line| line.latency.map(|it| it[index])),
        floor: None,
        steps: false,
    };
    let now = |index: usize| {
        let known = latest(series).and_then(|line| line.latency);
        numbers::if_known(known, |it| rows::time(it[index]))
    };
    Figure {
        title: "Time to the end of the answer",
        unit: chart::time,
        least: LEAST_TIME,
        curves: vec![
            curve(Paint::NinetyNine, 2),
            curve(Paint::NineOfTen, 1),
            curve(Paint::Half, 0),
        ],
        legend: vec![
            (Paint::Half, "p50", now(0)),
            (Paint::NineOfTen, "p90", now(1)),
            (Paint::NinetyNine, "p99", now(2)),
        ],
    }
}

fn requests(series: &Series) -> Figure {
    let curve = |paint, of: fn(&Line) -> f32| Curve {
        paint,
        values: values(series, |line| Some(of(line))),
        floor: None,
        steps: false,
    };
    let now = |of: fn(&Line) -> f32| counted(latest(series).map(of));
    Figure {
        title: "Requests a second",
        unit: chart::plain,
        least: LEAST_COUNT,
        curves: vec![
            curve(Paint::Requests, |line| line.rate),
            curve(Paint::Failed, |line| line.failed),
        ],
        legend: vec![
            (Paint::Requests, "all", now(|line| line.rate)),
            (Paint::Failed, "failed or refused", now(|line| line.failed)),
        ],
    }
}

fn values(series: &Series, of: impl Fn(&Line) -> Option<f32>) -> Vec<Option<f32>> {
    let point = |point: &Option<Line>| point.as_ref().and_then(&of);
    series.0.iter().map(point).collect()
}

fn latest(series: &Series) -> Option<&Line> {
    series.0.last().and_then(Option::as_ref)
}

fn counted(value: Option<f32>) -> String {
    numbers::if_known(value, rows::count)
}

impl Figure {
    fn draw(&self, page: &mut String) {
        put(
            page,
            format_args!("<figure><figcaption><h3>{}</h3><ul>", self.title),
        );
        for (paint, name, now) in &self.legend {
            // A piece of the very line, so that it is known by its dashes too.
            let color = paint.color();
            let (red, green, blue) = (color.0, color.1, color.2);
            put(
                page,
                format_args!(
                    "<li><svg class=\"key\" viewBox=\"0 0 28 10\" aria-hidden=\"true\"><path fill=\"none\" \
                     stroke=\"#{red:02X}{green:02X}{blue:02X}\" stroke-width=\"3\" d=\"M0 5H28\"/></svg>\
                     {name} <b>{now}</b></li>",
                ),
            );
        }
        put(page, "</ul></figcaption>");
        put(page, chart::draw(&self.curves, self.least, self.unit));
        put(page, "</figure>");
    }
}

fn end(page: &mut String) {
    put(
        page,
        "</main>\n<footer><p>The same as JSON: <a href=\"api/v1/services\">services</a>, \
         <a href=\"api/v1/endpoints\">endpoints</a>, <a href=\"api/v1/status\">status</a>, \
         <a href=\"api/v1/openapi.json\">all of the API</a>. For Prometheus: <a href=\"metrics\">metrics</a>. \
         In a terminal: <code>plimsoll top</code>. This page only shows; it can change nothing.</p></footer>\n\
         </body>\n</html>\n",
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_style_sheet_knows_every_paint() {
        let sheet = include_str!("page.css");
        for paint in [
            Paint::Grid,
            Paint::Axis,
            Paint::Label,
            Paint::Running,
            Paint::Waiting,
            Paint::Half,
            Paint::NineOfTen,
            Paint::NinetyNine,
            Paint::Requests,
            Paint::Failed,
            Paint::Desired,
            Paint::Ready,
            Paint::Starting,
        ] {
            let color = format!("#0000{:02X}", paint as u8);
            assert!(sheet.contains(&color), "{paint:?} is {color}");
        }
    }

    #[test]
    fn lines_of_one_chart_differ_in_more_than_their_colour() {
        let sheet = include_str!("page.css");
        let dashes = |paint: Paint| {
            let rule = format!("[stroke=\"#0000{:02X}\"]", paint as u8);
            let line = sheet.lines().find(|line| line.starts_with(&rule));
            let line = line.unwrap_or_else(|| panic!("no rule for {paint:?}"));
            line.split_once("dasharray:")
                .map(|(_, dashes)| dashes.to_owned())
        };
        let empty = Series(vec![None; super::super::history::POINTS as usize]);
        for figure in figures(&empty, true) {
            let mut seen: Vec<_> = figure.legend.iter().map(|it| dashes(it.0)).collect();
            seen.sort();
            seen.dedup();
            assert_eq!(seen.len(), figure.legend.len(), "{}", figure.title);
        }
    }
}
