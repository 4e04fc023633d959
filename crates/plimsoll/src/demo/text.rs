//! What the demonstration says in plain lines: a line a second without a live view, and the summary at the end.

use std::time::Duration;

use plimsoll_proxy::StatsView;

use crate::demo::numbers;
use crate::demo::state::{Latency, Outcomes, ViewState};

/// What is left to say at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    /// How long it took.
    pub(crate) time: Duration,
    /// Requests the app was allowed at once.
    pub(crate) slots: usize,
    /// The most it had at once, by its own count.
    pub(crate) most_in_app: usize,
    /// How all requests were answered.
    pub(crate) outcomes: Outcomes,
    /// Of all requests; `None` if there were none.
    pub(crate) latency: Option<Latency>,
}

/// What this is and where to look, before the first line.
pub(crate) fn heading(state: &ViewState) -> String {
    let addresses = &state.addresses;
    format!(
        "plimsoll demo: an app with room for {}, {} more may wait, load in waves\n\
         try      {}{}\n\
         metrics  {}{}\n",
        state.slots,
        state.queue_capacity,
        addresses.data.curl("/"),
        addresses.data.remark(),
        addresses.metrics.curl("/metrics"),
        addresses.metrics.remark(),
    )
}

/// One line for one second.
pub(crate) fn line(state: &ViewState) -> String {
    let (report, latency) = (state.report, state.latency);
    format!(
        "{:>5}  running {:>2}/{}  waiting {:>3}/{}  {:>5}/s  avg {:>5}  p50 {:>7}  p99 {:>7}  200: {}  503: {}  504: {}\n",
        numbers::clock(state.uptime),
        state.slots_in_use,
        state.slots,
        state.queue_depth,
        state.queue_capacity,
        numbers::if_known(report, |report| format!(
            "{:.1}",
            report.requests_per_second
        )),
        numbers::if_known(report, |report| format!(
            "{:.2}",
            report.average_concurrency
        )),
        numbers::if_known(latency, |latency| numbers::estimate(latency.p50)),
        numbers::if_known(latency, |latency| numbers::estimate(latency.p99)),
        state.outcomes.ok,
        state.outcomes.refused,
        state.outcomes.timed_out,
    )
}

impl Summary {
    /// Of everything that was counted.
    pub(crate) fn new(time: Duration, slots: usize, most_in_app: usize, stats: &StatsView) -> Self {
        Self {
            time,
            slots,
            most_in_app,
            outcomes: Outcomes::of(stats),
            latency: Latency::between(None, stats),
        }
    }

    /// A few lines.
    pub(crate) fn text(&self) -> String {
        let outcomes = &self.outcomes;
        let time = |of: fn(Latency) -> Option<Duration>| {
            numbers::if_known(self.latency.and_then(of), numbers::estimate)
        };
        let p50 = time(|latency| Some(latency.p50));
        let p99 = time(|latency| Some(latency.p99));
        let wait = time(|latency| latency.wait_p99);
        let other = if outcomes.other > 0 {
            format!(", {} other", numbers::count(outcomes.other))
        } else {
            String::new()
        };
        format!(
            "plimsoll demo: {} requests in {}\n  \
             answers   {} ok, {} refused (503), {} too late (504){other}\n  \
             latency   p50 {p50}, p99 {p99}; of it waiting p99 {wait}\n  \
             the app   had at most {} at once by its own count; the limit was {}\n\n\
             In front of your own service:\n  \
             plimsoll sidecar --app 127.0.0.1:8080 --concurrency {}\n",
            numbers::count(outcomes.total()),
            numbers::clock(self.time),
            numbers::count(outcomes.ok),
            numbers::count(outcomes.refused),
            numbers::count(outcomes.timed_out),
            self.most_in_app,
            self.slots,
            self.slots,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::state::tests::{busy, idle, overloaded};

    fn summary(state: &ViewState, most_in_app: usize) -> Summary {
        Summary {
            time: state.uptime,
            slots: state.slots,
            most_in_app,
            outcomes: state.outcomes,
            latency: state.latency,
        }
    }

    #[test]
    fn plain_lines_look_like_this() {
        let states = [idle(), busy(), overloaded()];
        let text = heading(&overloaded()) + &states.each_ref().map(line).concat();
        insta::assert_snapshot!(text);
    }

    #[test]
    fn summaries_look_like_this() {
        let text = [summary(&idle(), 0).text(), summary(&overloaded(), 8).text()];
        insta::assert_snapshot!(text.join("\n"));
        for line in text.iter().flat_map(|text| text.lines()) {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
