//! What fuzzers may call: parsers of what people and programs write for the gateway and the sidecar, and the rules that
//! hold for any input. Compiled under `--cfg fuzzing` only.

use crate::gateway::config::{self, ProcessSettings};
use crate::gateway::upstream::{self, Upstream};
use crate::sidecar;

/// A configuration file. What is accepted can be written as a file that comes to the same; what is refused is
/// refused with a line that is there.
///
/// # Panics
/// If one of these rules does not hold.
pub fn gateway_config(text: &str) {
    let flags = ProcessSettings::default();
    match config::parse("gateway.toml", text, &flags) {
        Ok(plan) => {
            let written = plan.to_toml();
            match config::parse("gateway.toml", &written, &flags) {
                Ok(again) => assert_eq!(plan, again, "{written}"),
                Err(problems) => panic!("{}\n{written}", config::told(&problems)),
            }
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a reason");
            let lines = text.lines().count().max(1) + 1;
            for problem in problems {
                let line = problem.place.line();
                assert!(
                    line.is_none_or(|line| (1..=lines).contains(&line)),
                    "{problem}"
                );
                assert!(!problem.message.is_empty(), "{problem}");
            }
        }
    }
}

/// An upstream, and a file with one on each line. What is read is written so that it is read again.
///
/// # Panics
/// If this rule does not hold.
pub fn upstreams(text: &str) {
    if let Ok(upstream) = text.parse::<Upstream>() {
        assert_eq!(upstream.to_string().parse(), Ok(upstream));
    }
    match upstream::parse_file(text) {
        Ok(upstreams) => {
            let lines: Vec<String> = upstreams.iter().map(ToString::to_string).collect();
            assert_eq!(upstream::parse_file(&lines.join("\n")), Ok(upstreams));
        }
        Err(problems) => assert!(!problems.is_empty(), "refused without a reason"),
    }
}

/// Variables as Knative's controller sets them, one `NAME=value` a line. Whatever they say is read or refused, and a
/// refusal names a variable that is there.
///
/// # Panics
/// If this rule does not hold.
pub fn knative_variables(text: &str) {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    for problem in sidecar::read_variables(pairs.clone()) {
        let names_one = pairs.clone().any(|(name, _)| name == problem.name);
        assert!(names_one && !problem.message.is_empty(), "{problem}");
    }
}

/// A template of the request log. What is refused is refused with a line that is there.
///
/// # Panics
/// If this rule does not hold.
pub fn request_log_template(text: &str) {
    if let Err(error) = crate::request_log::template::Template::parse(text) {
        let lines = text.matches('\n').count() + 1;
        assert!((1..=lines).contains(&error.line), "{error}");
        assert!(!error.message.is_empty(), "{error}");
    }
}
