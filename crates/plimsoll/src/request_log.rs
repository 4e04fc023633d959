//! The request log: one line for each request that has ended, on standard output.
//!
//! The line is made on the worker, from a template that was checked at the start, and written by a thread of its own.
//! If standard output is slow, lines are dropped and counted, and no request waits.

mod lines;
mod record;
pub(crate) mod template;

use std::sync::Arc;
use std::time::Duration;

use plimsoll_proxy::{Arrival, RequestEnd};

pub(crate) use self::lines::Lines;
pub(crate) use self::record::{Place, Record};
use self::template::Template;

/// How long the last lines may take to be written.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(1);

/// The log of all workers.
#[derive(Debug)]
pub(crate) struct RequestLog {
    template: Template,
    probes: bool,
    place: Place,
    lines: Arc<Lines>,
}

impl RequestLog {
    /// Begins to log to `lines`, by `template` or by the default one. Returns also what is wrong with the template:
    /// then the default one is used.
    pub(crate) fn begin(
        template: Option<&str>,
        probes: bool,
        place: Place,
        lines: Arc<Lines>,
    ) -> (Self, Option<String>) {
        let (template, warning) = match template.map(Template::parse) {
            None => (Template::default(), None),
            Some(Ok(template)) => (template, None),
            Some(Err(error)) => {
                let warning = format!("request log template: {error}; the default one is used");
                (Template::default(), Some(warning))
            }
        };
        let log = Self {
            template,
            probes,
            place,
            lines,
        };
        (log, warning)
    }

    /// What the line will need of a request; `None` if it gets none.
    pub(crate) fn arrived(&self, arrival: &Arrival<'_>, is_probe: bool) -> Option<Box<Record>> {
        if is_probe && !self.probes {
            return None;
        }
        Some(Box::new(Record::of(arrival, self.template.headers())))
    }

    /// Writes the line.
    pub(crate) fn ended(&self, record: &Record, end: &RequestEnd) {
        let mut line = String::with_capacity(self.template.usual_bytes());
        self.template.write(&mut line, record, end, &self.place);
        if !line.ends_with('\n') {
            line.push('\n');
        }
        self.lines.send(line);
    }

    /// Waits until all lines so far are written, but not for long.
    pub(crate) fn flush(&self) {
        self.lines.flush(FLUSH_TIME_MAX);
    }
}
