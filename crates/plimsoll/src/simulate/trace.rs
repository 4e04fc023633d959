//! Traces: CSV files of arrival times and durations.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use plimsoll_scale::simulation::Request;

use crate::cli::{Fault, values};

/// The most requests of a trace. They are kept in memory, 32 bytes each.
const REQUESTS_MAX: usize = 50_000_000;

/// The longest line that is looked at, in bytes.
const LINE_BYTES_MAX: u64 = 4_096;

/// How a time is written.
const TIMES: &str = "write seconds such as 0.25, or a number and a unit such as 250ms";

/// Reads a trace, in the order of arrival.
pub(super) fn read(path: &Path) -> Result<Vec<Request>, Fault> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("{name}: the trace cannot be read"))?;
    let mut requests = parse(BufReader::new(file)).map_err(|problem| match problem {
        Problem::Read(error) => {
            let error = anyhow::Error::new(error);
            Fault::Runtime(error.context(format!("{name}: the trace cannot be read")))
        }
        Problem::At(line, column, what) => Fault::Usage(format!("{name}:{line}:{column}: {what}")),
        Problem::Whole(what) => Fault::Usage(format!("{name}: {what}")),
    })?;
    if !requests.is_sorted_by_key(|request| request.arrival) {
        requests.sort_by_key(|request| request.arrival);
    }
    Ok(requests)
}

/// What is wrong with a trace.
#[derive(Debug)]
enum Problem {
    Read(std::io::Error),
    /// In which line and column, counted from 1, and what.
    At(usize, usize, String),
    Whole(String),
}

fn parse(mut file: impl BufRead) -> Result<Vec<Request>, Problem> {
    let mut requests = Vec::new();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let mut limited = std::io::Read::take(&mut file, LINE_BYTES_MAX);
        if limited
            .read_until(b'\n', &mut line)
            .map_err(Problem::Read)?
            == 0
        {
            break;
        }
        if line.len() as u64 == LINE_BYTES_MAX {
            let what = format!("the line is longer than {LINE_BYTES_MAX} bytes");
            return Err(Problem::At(number, 1, what));
        }
        let Ok(text) = std::str::from_utf8(&line) else {
            return Err(Problem::At(
                number,
                1,
                "this is no text in UTF-8".to_owned(),
            ));
        };
        // A mark of the byte order is not part of the text.
        let text = text
            .trim_start_matches('\u{feff}')
            .trim_end_matches(['\r', '\n']);
        if text.trim().is_empty() || text.starts_with('#') || (number == 1 && is_header(text)) {
            continue;
        }
        if requests.len() == REQUESTS_MAX {
            let what = format!("there are more than {REQUESTS_MAX} requests");
            return Err(Problem::Whole(what));
        }
        let request = request(text).map_err(|(column, what)| Problem::At(number, column, what))?;
        requests.push(request);
    }
    if requests.is_empty() {
        let what = "there are no requests; write one a line: arrival,duration".to_owned();
        return Err(Problem::Whole(what));
    }
    Ok(requests)
}

/// Whether the line has names in place of times.
fn is_header(line: &str) -> bool {
    line.split(',')
        .all(|field| field.trim().starts_with(char::is_alphabetic))
}

/// A line, or the column of a mistake and what it is.
fn request(line: &str) -> Result<Request, (usize, String)> {
    let Some((first, rest)) = line.split_once(',') else {
        let what = "a duration is missing; write arrival,duration".to_owned();
        return Err((line.chars().count() + 1, what));
    };
    // More columns may follow; they are not looked at.
    let second = rest.split(',').next().unwrap_or(rest);
    let arrival = time(first).map_err(|what| (1, what))?;
    let duration = time(second).map_err(|what| (first.chars().count() + 2, what))?;
    Ok(Request { arrival, duration })
}

fn time(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        let time = Duration::try_from_secs_f64(seconds).ok();
        return time
            .filter(|time| *time <= values::DURATION_MAX)
            .ok_or_else(|| format!("{text:?} is no time from 0 to 365 days; {TIMES}"));
    }
    values::duration(text).map_err(|_| format!("{text:?} is no time; {TIMES}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Result<Vec<(u128, u128)>, String> {
        match parse(text.as_bytes()) {
            Ok(requests) => Ok(requests
                .iter()
                .map(|one| (one.arrival.as_millis(), one.duration.as_millis()))
                .collect()),
            Err(Problem::At(line, column, what)) => Err(format!("{line}:{column}: {what}")),
            Err(Problem::Whole(what)) => Err(what),
            Err(Problem::Read(error)) => panic!("{error}"),
        }
    }

    #[test]
    fn times_are_seconds_or_have_a_unit() {
        let text = "\u{feff}arrival,duration\r\n0.25,0.8\r\n\n# a remark\n1m 3s , 250ms,more\n0,0";
        assert_eq!(lines(text), Ok(vec![(250, 800), (63_000, 250), (0, 0)]));
    }

    #[test]
    fn a_mistake_is_told_with_its_line_and_column() {
        for (text, wanted) in [
            ("0,1\n0.5,abc\n", "2:5: \"abc\" is no time; write seconds"),
            ("0,1\nx,1\n", "2:1: \"x\" is no time; write seconds"),
            ("0,1\n5\n", "2:2: a duration is missing"),
            ("-1,1\n", "1:1: \"-1\" is no time from 0"),
            ("1,inf\n", "1:3: \"inf\" is no time from 0"),
            ("arrival,duration\n", "there are no requests"),
            ("", "there are no requests"),
        ] {
            let problem = lines(text).expect_err(text);
            assert!(problem.starts_with(wanted), "{problem}");
        }
        assert!(matches!(parse(&b"0,\xff\n"[..]), Err(Problem::At(1, 1, _))));
        let long = vec![b'1'; 5_000];
        assert!(matches!(parse(&long[..]), Err(Problem::At(1, 1, _))));
    }
}
