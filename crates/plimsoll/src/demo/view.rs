//! The live view: one state in, twenty lines out.

use std::time::Duration;

use crate::demo::chart;
use crate::demo::line::{Line, Style};
use crate::demo::numbers;
use crate::demo::ports::Address;
use crate::demo::state::{HISTORY_SECONDS, LATENCY_SECONDS, Latency, Second, ViewState};

/// Where text begins.
const INDENT: usize = 2;

/// Where what follows a label begins.
const VALUES: usize = 12;

/// Columns of the bars.
const BAR_COLUMNS: usize = 48;

/// Where numbers behind bars end.
const NUMBERS_END: usize = VALUES + HISTORY_SECONDS;

/// Rows of the chart above the line, for what waits.
const QUEUE_ROWS: usize = 4;

/// Rows of the chart below the line, for what runs.
const SLOT_ROWS: usize = 2;

/// Draws `state`: lines no wider than a [`Line`], each ended by a newline.
pub(crate) fn render(state: &ViewState, color: bool) -> String {
    let view = View { state, color };
    let mut lines = vec![
        view.title(),
        view.address("try", state.addresses.data, "/"),
        view.address("metrics", state.addresses.metrics, "/metrics"),
        String::new(),
        view.slots(),
        view.queue(),
        String::new(),
        view.load(),
        view.latency(),
        view.answers(),
        String::new(),
    ];
    lines.extend(view.chart());
    lines.push(view.axis());
    lines.push(view.legend());
    lines
        .iter()
        .flat_map(|line| [line.as_str(), "\n"])
        .collect()
}

struct View<'a> {
    state: &'a ViewState,
    color: bool,
}

impl View<'_> {
    fn line(&self) -> Line {
        Line::new(self.color).to(INDENT)
    }

    fn labelled(&self, label: &str) -> Line {
        self.line().put(Style::Dim, label).to(VALUES)
    }

    fn title(&self) -> String {
        self.line()
            .put(Style::Bold, "plimsoll")
            .to(VALUES)
            .put(
                Style::Plain,
                "a small app, a sidecar in front of it, load in waves",
            )
            .right(NUMBERS_END, Style::Dim, &numbers::clock(self.state.uptime))
            .finish()
    }

    fn address(&self, label: &str, address: Address, path: &str) -> String {
        self.labelled(label)
            .put(Style::Cyan, &address.curl(path))
            .put(Style::Dim, &address.remark())
            .finish()
    }

    fn slots(&self) -> String {
        let state = self.state;
        let (in_use, free) = chart::cells(state.slots_in_use, state.slots, BAR_COLUMNS);
        self.labelled("running")
            .put(self.slots_style(), &in_use)
            .put(Style::Dim, &free)
            .right(
                NUMBERS_END,
                Style::Bold,
                &format!("{} of {}", state.slots_in_use, state.slots),
            )
            .finish()
    }

    fn slots_style(&self) -> Style {
        if self.state.slots_in_use < self.state.slots {
            Style::Green
        } else {
            Style::Yellow
        }
    }

    fn queue(&self) -> String {
        let state = self.state;
        let part = state.queue_depth as f64 / state.queue_capacity.max(1) as f64;
        let style = if part < 1.0 {
            Style::Yellow
        } else {
            Style::Red
        };
        self.labelled("waiting")
            .put(style, &chart::bar(part, BAR_COLUMNS))
            .right(
                NUMBERS_END,
                Style::Bold,
                &format!("{} of {}", state.queue_depth, state.queue_capacity),
            )
            .finish()
    }

    fn load(&self) -> String {
        let report = self.state.report;
        let rate = numbers::if_known(report, |report| {
            format!("{:.1}", report.requests_per_second)
        });
        let average = numbers::if_known(report, |report| {
            format!("{:.2}", report.average_concurrency)
        });
        self.labelled("load")
            .put(Style::Bold, &format!("{rate:>5}"))
            .put(Style::Dim, " requests/s    concurrency ")
            .put(Style::Bold, &average)
            .put(Style::Dim, " on average, ")
            .put(Style::Bold, &self.state.in_flight.to_string())
            .put(Style::Dim, " now")
            .finish()
    }

    fn latency(&self) -> String {
        let latency = self.state.latency;
        let time = |of: fn(Latency) -> Option<Duration>| {
            let time = numbers::if_known(latency.and_then(of), numbers::estimate);
            format!("{time:<9}")
        };
        self.labelled("latency")
            .put(Style::Dim, "p50 ")
            .put(Style::Bold, &time(|latency| Some(latency.p50)))
            .put(Style::Dim, "p99 ")
            .put(Style::Bold, &time(|latency| Some(latency.p99)))
            .put(Style::Dim, "of it waiting p99 ")
            .put(Style::Bold, &time(|latency| latency.wait_p99))
            .right(
                NUMBERS_END,
                Style::Dim,
                &format!("last {LATENCY_SECONDS} s"),
            )
            .finish()
    }

    fn answers(&self) -> String {
        let outcomes = self.state.outcomes;
        let alarm = |count: u64| if count > 0 { Style::Red } else { Style::Plain };
        self.labelled("answers")
            .put(Style::Dim, "200 ok ")
            .put(Style::Green, &numbers::count(outcomes.ok))
            .put(Style::Dim, "   503 refused ")
            .put(alarm(outcomes.refused), &numbers::count(outcomes.refused))
            .put(Style::Dim, "   504 too late ")
            .put(
                alarm(outcomes.timed_out),
                &numbers::count(outcomes.timed_out),
            )
            .put(Style::Dim, "   other ")
            .put(Style::Plain, &numbers::count(outcomes.other))
            .finish()
    }

    /// What waits above the line, what runs below it.
    fn chart(&self) -> Vec<String> {
        let queue_part =
            |second: &Second| second.queue as f64 / self.state.queue_capacity.max(1) as f64;
        let slots_part = |second: &Second| second.slots / self.state.slots.max(1) as f64;
        let mut rows = Vec::with_capacity(QUEUE_ROWS + 1 + SLOT_ROWS);
        for row in (0..QUEUE_ROWS).rev() {
            let label = if row == QUEUE_ROWS - 1 { "waiting" } else { "" };
            let style = |second: &Second| {
                if second.refused > 0 {
                    Style::Red
                } else {
                    Style::Yellow
                }
            };
            rows.push(self.chart_row(label, row, QUEUE_ROWS, queue_part, style));
        }
        rows.push(
            self.line()
                .put(Style::Bold, "the line")
                .to(VALUES - 1)
                .put(Style::Bold, &format!("┝{}", "━".repeat(HISTORY_SECONDS)))
                .finish(),
        );
        for row in (0..SLOT_ROWS).rev() {
            let label = if row == 0 { "running" } else { "" };
            rows.push(self.chart_row(label, row, SLOT_ROWS, slots_part, |_| Style::Green));
        }
        rows
    }

    fn chart_row(
        &self,
        label: &str,
        row: usize,
        rows: usize,
        part: impl Fn(&Second) -> f64,
        style: impl Fn(&Second) -> Style,
    ) -> String {
        let history = &self.state.history;
        let missing = HISTORY_SECONDS.saturating_sub(history.len());
        let line = self
            .line()
            .put(Style::Dim, label)
            .to(VALUES - 1)
            .put(Style::Dim, "│")
            .to(VALUES + missing);
        history
            .iter()
            .fold(line, |line, second| {
                let character = chart::column(part(second), row, rows);
                line.put(style(second), character.encode_utf8(&mut [0; 4]))
            })
            .finish()
    }

    fn axis(&self) -> String {
        self.line()
            .to(VALUES)
            .put(Style::Dim, "60 s ago")
            .right(NUMBERS_END, Style::Dim, "now")
            .finish()
    }

    fn legend(&self) -> String {
        self.line()
            .put(
                Style::Dim,
                "Over the line requests wait; over the queue they are refused. Ctrl-C ends.",
            )
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::demo::line::COLUMNS;
    use crate::demo::state::tests::{busy, idle, overloaded};
    use crate::demo::state::{Outcomes, Report};

    /// Without the control sequences, all of which end with the letter m.
    fn stripped(view: &str) -> String {
        let mut parts = view.split("\x1b[");
        let mut text = parts.next().expect("there is a first part").to_owned();
        for part in parts {
            text += part.split_once('m').expect("the sequence ends").1;
        }
        text
    }

    /// Every number as large as it can get.
    fn extreme() -> ViewState {
        let mut state = overloaded();
        let address = &mut state.addresses.metrics;
        address.socket = "[2001:db8:1111:2222:3333:4444:5555:6666]:65535"
            .parse()
            .expect("an address");
        address.instead_of = Some(9090);
        state.uptime = Duration::from_secs(u64::MAX);
        (state.slots, state.slots_in_use) = (32, 40);
        (state.queue_capacity, state.queue_depth) = (320, 4_000);
        state.in_flight = u64::MAX;
        state.report = Some(Report {
            requests_per_second: 1e300,
            average_concurrency: 1e300,
        });
        state.latency = Some(Latency {
            p50: Duration::MAX,
            p99: Duration::MAX,
            wait_p99: None,
        });
        let quarter = u64::MAX / 4;
        state.outcomes = Outcomes {
            ok: quarter,
            refused: quarter,
            timed_out: quarter,
            other: quarter,
        };
        state
    }

    #[test]
    fn idle_looks_like_this() {
        insta::assert_snapshot!(render(&idle(), false));
    }

    #[test]
    fn busy_looks_like_this() {
        insta::assert_snapshot!(render(&busy(), false));
    }

    #[test]
    fn overloaded_looks_like_this() {
        insta::assert_snapshot!(render(&overloaded(), false));
    }

    #[test]
    fn every_view_fits_a_terminal_of_80_by_24() {
        for state in [idle(), busy(), overloaded(), extreme()] {
            let view = render(&state, false);
            assert!(view.lines().count() < 24, "{view}");
            for line in view.lines() {
                assert!(line.chars().count() <= COLUMNS, "{line}");
                assert!(!line.contains('\x1b'), "{line:?}");
            }
        }
    }

    #[test]
    fn colours_change_nothing_but_the_colours() {
        for state in [idle(), busy(), overloaded()] {
            let colored = render(&state, true);
            assert!(colored.contains("\x1b[0;36m"), "addresses stand out");
            let lines = |text: &str| -> Vec<String> {
                text.lines()
                    .map(|line| line.trim_end().to_owned())
                    .collect()
            };
            assert_eq!(lines(&stripped(&colored)), lines(&render(&state, false)));
            for line in colored.lines().filter(|line| line.contains('\x1b')) {
                let (_, last) = line.rsplit_once("\x1b[").expect("it is contained");
                assert!(last.starts_with("0m"), "{line:?}");
            }
        }
    }

    #[test]
    fn a_refusal_is_red_in_the_numbers_and_in_the_history() {
        let red = |state: &ViewState| render(state, true).matches("\x1b[0;31m").count();
        assert_eq!(red(&busy()), 0);
        let mut refused = busy();
        refused.outcomes.refused = 1;
        assert_eq!(red(&refused), 1);
        refused.history = VecDeque::from([Second {
            slots: 8.0,
            queue: 80,
            refused: 1,
        }]);
        assert_eq!(red(&refused), 1 + QUEUE_ROWS);
    }
}
