//! Pictures of results: SVG, readable on light and dark pages.

use super::{Outcomes, Plot, Score, TAIL_SHARES};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 340.0;

/// Room around the axes: left, right (for names), top, bottom.
const MARGIN: (f64, f64, f64, f64) = (64.0, 150.0, 40.0, 44.0);

/// Colours that differ for all kinds of sight, on white and on black (Okabe and Ito, 2008).
const COLOURS: [&str; 8] = [
    "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a7f00", "#7f7f7f",
];

const STYLE: &str = "\
    text { font: 12px system-ui, sans-serif; fill: #24292f }\n\
    .axis { stroke: #57606a; stroke-width: 1 }\n\
    .grid { stroke: #d0d7de; stroke-width: 0.5 }\n\
    .fault { fill: #57606a; fill-opacity: 0.12 }\n\
    .line { fill: none; stroke-width: 1.5; stroke-linejoin: round }\n\
    .ours { stroke-width: 3 }\n\
    .dashed { stroke-dasharray: 4 3 }\n\
    @media (prefers-color-scheme: dark) {\n\
        text { fill: #c9d1d9 }\n\
        .axis { stroke: #8b949e }\n\
        .grid { stroke: #30363d }\n\
        .fault { fill: #8b949e; fill-opacity: 0.2 }\n\
    }";

/// A picture of one scenario: the 99th percentile over time, or the tail of latencies. The first contender is drawn
/// last and thickest.
#[must_use]
pub fn plot(outcomes: &Outcomes) -> String {
    let lines: Vec<Line<'_>> = lines(outcomes);
    let seconds = lines
        .iter()
        .flat_map(|line| &line.points)
        .map(|point| point.1);
    let (least, most) = seconds.fold((f64::INFINITY, 0.0_f64), |(least, most), y| {
        (least.min(y), most.max(y))
    });
    let frame = Frame::new(outcomes, least, most);
    let mut body = String::new();
    frame.draw(outcomes, &mut body);
    for line in lines.iter().rev() {
        line.draw(&frame, &mut body);
    }
    names(&lines, &mut body);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n\
         <title>{}: {}</title>\n<style>\n{STYLE}\n</style>\n{body}</svg>\n",
        outcomes.scenario.id, outcomes.scenario.title
    )
}

struct Line<'a> {
    name: &'a str,
    colour: &'static str,
    class: &'static str,
    /// Across, as a share of the width; and latency in seconds.
    points: Vec<(f64, f64)>,
}

/// The axes: where a latency and a share of the width are on the paper.
struct Frame {
    plot: Plot,
    /// Decimal logarithms of seconds at the bottom and at the top.
    bottom: f64,
    top: f64,
}

fn lines(outcomes: &Outcomes) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    for (place, contender) in outcomes.contenders.iter().enumerate() {
        lines.push(Line {
            name: &contender.name,
            colour: COLOURS[place % COLOURS.len()],
            class: if place == 0 { "line ours" } else { "line" },
            points: points(outcomes.scenario.plot, &contender.score),
        });
    }
    let tail = outcomes.scenario.plot == Plot::Tail;
    let oracle = outcomes.oracle.as_ref().filter(|_| tail);
    for (name, score) in [("oracle", oracle), ("Prequal", outcomes.prequal.as_ref())] {
        lines.extend(score.map(|score| Line {
            name,
            colour: "#7f7f7f",
            class: "line dashed",
            points: points(outcomes.scenario.plot, score),
        }));
    }
    lines
}

fn points(plot: Plot, score: &Score) -> Vec<(f64, f64)> {
    match plot {
        Plot::Time => {
            let parts = score.timeline.len() as f64;
            let middle = |part: usize| (part as f64 + 0.5) / parts;
            let known = score.timeline.iter().enumerate();
            known
                .filter_map(|(part, y)| y.map(|y| (middle(part), y)))
                .collect()
        }
        Plot::Tail => {
            let across = TAIL_SHARES.iter().map(|share| tail_place(*share));
            across.zip(score.tail.iter().copied()).collect()
        }
    }
}

/// Where a share of the requests is: 1 at the left, one in a thousand at the right.
fn tail_place(share: f64) -> f64 {
    -share.log10() / 3.0
}

impl Frame {
    fn new(outcomes: &Outcomes, least: f64, most: f64) -> Self {
        let bottom = (least.max(1e-5).log10() * 3.0).floor() / 3.0;
        let top = (most.max(1e-5).log10() * 3.0).ceil() / 3.0;
        Self {
            plot: outcomes.scenario.plot,
            bottom,
            top: top.max(bottom + 1.0 / 3.0),
        }
    }

    fn x(&self, share: f64) -> f64 {
        MARGIN.0 + share * (WIDTH - MARGIN.0 - MARGIN.1)
    }

    fn y(&self, seconds: f64) -> f64 {
        let share = (seconds.max(1e-5).log10() - self.bottom) / (self.top - self.bottom);
        HEIGHT - MARGIN.3 - share * (HEIGHT - MARGIN.2 - MARGIN.3)
    }

    fn draw(&self, outcomes: &Outcomes, body: &mut String) {
        let scenario = &outcomes.scenario;
        let (left, right) = (self.x(0.0), self.x(1.0));
        let (low, high) = (HEIGHT - MARGIN.3, MARGIN.2);
        body.push_str(&format!(
            "<text x=\"{left}\" y=\"20\" font-weight=\"bold\">{}: {}</text>\n",
            scenario.id, scenario.title
        ));
        if self.plot == Plot::Time {
            for fault in &scenario.faults {
                let from = self.x(fault.from / scenario.seconds);
                let to = self.x((fault.to / scenario.seconds).min(1.0));
                body.push_str(&format!(
                    "<rect class=\"fault\" x=\"{from:.1}\" y=\"{high}\" width=\"{:.1}\" height=\"{}\"/>\n",
                    to - from,
                    low - high
                ));
            }
        }
        for (seconds, label) in self.rungs() {
            let y = self.y(seconds);
            body.push_str(&format!(
                "<path class=\"grid\" d=\"M{left} {y:.1}H{right}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>\n",
                left - 6.0,
                y + 4.0
            ));
        }
        for (share, label) in self.marks(scenario.seconds) {
            let x = self.x(share);
            body.push_str(&format!(
                "<path class=\"grid\" d=\"M{x:.1} {high}V{low}\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>\n",
                low + 16.0
            ));
        }
        let caption = match self.plot {
            Plot::Time => "99th percentile of latency; seconds from the start",
            Plot::Tail => "latency that this share of the requests exceeds",
        };
        body.push_str(&format!(
            "<path class=\"axis\" fill=\"none\" d=\"M{left} {high}V{low}H{right}\"/>\
             <text x=\"{left}\" y=\"{:.1}\">{caption}</text>\n",
            low + 34.0
        ));
    }

    /// Latencies with a line of their own.
    fn rungs(&self) -> Vec<(f64, String)> {
        let decades = -5..=2;
        let rungs =
            decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|step| step * 10_f64.powi(decade)));
        rungs
            .filter(|seconds| (self.bottom - 1e-9..=self.top + 1e-9).contains(&seconds.log10()))
            .map(|seconds| (seconds, time(seconds)))
            .collect()
    }

    fn marks(&self, seconds: f64) -> Vec<(f64, String)> {
        match self.plot {
            Plot::Time => (0..=6)
                .map(|part| f64::from(part) / 6.0)
                .map(|share| (share, format!("{:.0} s", share * seconds)))
                .collect(),
            Plot::Tail => [(1.0, "all"), (0.1, "10 %"), (0.01, "1 %"), (0.001, "0.1 %")]
                .map(|(share, label)| (tail_place(share), label.to_owned()))
                .to_vec(),
        }
    }
}

impl Line<'_> {
    fn draw(&self, frame: &Frame, body: &mut String) {
        let places = self
            .points
            .iter()
            .map(|(x, y)| format!("{:.1},{:.1}", frame.x(*x), frame.y(*y)));
        body.push_str(&format!(
            "<polyline class=\"{}\" stroke=\"{}\" points=\"{}\"/>\n",
            self.class,
            self.colour,
            places.collect::<Vec<_>>().join(" ")
        ));
    }
}

fn names(lines: &[Line<'_>], body: &mut String) {
    let left = WIDTH - MARGIN.1 + 14.0;
    for (place, line) in lines.iter().enumerate() {
        let y = MARGIN.2 + 12.0 + 18.0 * place as f64;
        body.push_str(&format!(
            "<path class=\"{}\" stroke=\"{}\" d=\"M{left} {:.1}h22\"/>\
             <text x=\"{}\" y=\"{y:.1}\">{}</text>\n",
            line.class,
            line.colour,
            y - 4.0,
            left + 28.0,
            line.name
        ));
    }
}

fn time(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 0.999e-3 => format!("{:.0} µs", seconds * 1e6),
        seconds if seconds < 0.999 => format!("{:.0} ms", seconds * 1e3),
        seconds => format!("{seconds:.0} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Contender, Fate, Record, Recorder, Scenario};

    #[test]
    fn a_picture_has_a_line_and_a_name_for_each_contender_and_a_shade_for_each_fault() {
        let all = Scenario::load_all(Scenario::folder()).unwrap();
        let scenario = all
            .into_iter()
            .find(|scenario| scenario.id == "S4")
            .unwrap();
        let mut recorder = Recorder::new(&scenario);
        for tenth in 0..600 {
            recorder.record(Record {
                arrival: f64::from(tenth) / 10.0,
                latency: 0.1,
                fate: Fate::Answered,
                class: 0,
            });
        }
        let contender = |name: &str| Contender {
            name: name.to_owned(),
            score: recorder.clone().score(),
        };
        let picture = plot(&Outcomes {
            contenders: vec![contender("one"), contender("two")],
            oracle: None,
            prequal: None,
            scenario,
        });
        assert_eq!(picture.matches("<polyline").count(), 2);
        assert_eq!(picture.matches("class=\"fault\"").count(), 1);
        assert!(picture.contains(">one</text>") && picture.contains(">two</text>"));
        assert!(picture.contains("100 ms</text>") && !picture.contains("NaN"));
    }
}
