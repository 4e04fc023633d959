//! `plimsoll status`, `why`, `top`, `scale`, `stop` and `start`: what is typed, and what it comes to.

use std::net::SocketAddr;

use clap::Args;

/// Where the admin port is, and how the answer is told.
#[derive(Debug, Args)]
struct Where {
    /// The admin port of the Plimsoll that is asked
    #[arg(
        long,
        value_name = "IP:PORT",
        env = "PLIMSOLL_ADMIN",
        default_value = "127.0.0.1:9090",
        value_parser = admin
    )]
    admin: SocketAddr,

    /// Write what the API says, as JSON
    #[arg(long)]
    json: bool,
}

/// Show all services of a running gateway or run, a line each.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  plimsoll status\n  plimsoll status --admin 10.0.0.7:9090 --json | jq ."
)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    at: Where,
}

/// Say why a service has the replicas it has, or endpoints get what they get.
///
/// Of a service of `plimsoll run`: the last decisions, each with its reason and
/// the numbers it follows from. Of a service with fixed endpoints: what each
/// endpoint gets and why, and the last ejections.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  plimsoll why default\n  plimsoll why default --last 50")]
pub(crate) struct WhyArgs {
    /// The name of the service
    service: String,

    /// How many decisions or events to tell, at most
    #[arg(long, value_name = "N", default_value = "10")]
    last: usize,

    #[command(flatten)]
    at: Where,
}

/// Watch services on the terminal, second by second.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  plimsoll top\n  plimsoll top default\n\n\
        NO_COLOR=1 in the environment leaves the colours out. Ctrl-C ends it.")]
pub(crate) struct TopArgs {
    /// Only this service, with its endpoints
    service: Option<String>,

    /// Write one view after the other [default when the output is no terminal]
    #[arg(long)]
    plain: bool,

    /// The admin port of the Plimsoll that is asked
    #[arg(
        long,
        value_name = "IP:PORT",
        env = "PLIMSOLL_ADMIN",
        default_value = "127.0.0.1:9090",
        value_parser = admin
    )]
    admin: SocketAddr,
}

/// Keep so many replicas of a service, whatever the load.
///
/// Until `plimsoll start SERVICE` lets the load decide again.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  plimsoll scale default 3")]
pub(crate) struct ScaleArgs {
    /// The name of the service
    service: String,

    /// How many replicas, at most the maximum of the service
    #[arg(value_name = "N")]
    replicas: u32,

    #[command(flatten)]
    at: Where,
}

/// Stop all replicas of a service, and refuse its requests until it is started.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  plimsoll stop default")]
pub(crate) struct StopArgs {
    /// The name of the service
    service: String,

    #[command(flatten)]
    at: Where,
}

/// Let the load decide how many replicas of a service there are, after stop or scale.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  plimsoll start default")]
pub(crate) struct StartArgs {
    /// The name of the service
    service: String,

    #[command(flatten)]
    at: Where,
}

/// What is asked of a running Plimsoll.
#[derive(Debug, Clone)]
pub(crate) struct AskSettings {
    pub(crate) admin: SocketAddr,
    /// Whether to write the API's own words.
    pub(crate) json: bool,
    pub(crate) question: Question,
}

/// One of the questions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Question {
    Status,
    Why {
        service: String,
        last: usize,
    },
    Top {
        service: Option<String>,
        plain: bool,
    },
    Scale {
        service: String,
        replicas: u32,
    },
    Stop {
        service: String,
    },
    Start {
        service: String,
    },
}

/// A port alone is on this machine, and so is `localhost`.
fn admin(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    let text = text.strip_prefix("http://").unwrap_or(text);
    let text = text
        .trim_end_matches('/')
        .replace("localhost:", "127.0.0.1:");
    text.parse()
        .map_err(|_| "write IP:PORT, such as 127.0.0.1:9090, or a port".to_owned())
}

impl Where {
    fn ask(self, question: Question) -> AskSettings {
        AskSettings {
            admin: self.admin,
            json: self.json,
            question,
        }
    }
}

impl StatusArgs {
    pub(crate) fn resolve(self) -> AskSettings {
        self.at.ask(Question::Status)
    }
}

impl WhyArgs {
    pub(crate) fn resolve(self) -> AskSettings {
        let Self { service, last, at } = self;
        at.ask(Question::Why { service, last })
    }
}

impl TopArgs {
    pub(crate) fn resolve(self) -> AskSettings {
        let Self {
            service,
            plain,
            admin,
        } = self;
        AskSettings {
            admin,
            json: false,
            question: Question::Top { service, plain },
        }
    }
}

impl ScaleArgs {
    pub(crate) fn resolve(self) -> AskSettings {
        let Self {
            service,
            replicas,
            at,
        } = self;
        at.ask(Question::Scale { service, replicas })
    }
}

impl StopArgs {
    pub(crate) fn resolve(self) -> AskSettings {
        let service = self.service;
        self.at.ask(Question::Stop { service })
    }
}

impl StartArgs {
    pub(crate) fn resolve(self) -> AskSettings {
        let service = self.service;
        self.at.ask(Question::Start { service })
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::{self, Action, Fault};

    fn parse(words: &[&str]) -> Result<Action, Fault> {
        let words = ["plimsoll"].iter().chain(words);
        cli::parse(words.map(OsString::from))
    }

    fn asked(words: &[&str]) -> AskSettings {
        match parse(words) {
            Ok(Action::Ask(settings)) => settings,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    #[test]
    fn each_command_is_a_question_to_the_usual_port() {
        let service = || "a".to_owned();
        for (words, question) in [
            (&["status"][..], Question::Status),
            (
                &["why", "a", "--last=3"],
                Question::Why {
                    service: service(),
                    last: 3,
                },
            ),
            (
                &["top"],
                Question::Top {
                    service: None,
                    plain: false,
                },
            ),
            (
                &["scale", "a", "3"],
                Question::Scale {
                    service: service(),
                    replicas: 3,
                },
            ),
            (&["stop", "a"], Question::Stop { service: service() }),
            (&["start", "a"], Question::Start { service: service() }),
        ] {
            let settings = asked(words);
            assert_eq!(settings.question, question);
            assert_eq!(settings.admin.to_string(), "127.0.0.1:9090");
        }
        let there = asked(&["status", "--admin", "10.0.0.7:1", "--json"]);
        for same in ["9091", "localhost:9091", "http://127.0.0.1:9091/"] {
            let settings = asked(&["status", "--admin", same]);
            assert_eq!(settings.admin.to_string(), "127.0.0.1:9091", "{same}");
        }
        assert!(there.json && there.admin.to_string() == "10.0.0.7:1");
    }

    #[test]
    fn a_mistake_gets_one_line() {
        for (words, part) in [
            (&["why"][..], "SERVICE"),
            (&["scale", "a"], "<N>"),
            (&["scale", "a", "-1"], "-1"),
            (&["scale", "a", "many"], "many"),
            (&["status", "--admin", "here"], "IP:PORT"),
        ] {
            match parse(words) {
                Err(Fault::Usage(line)) => {
                    assert!(line.contains(part) && line.lines().count() == 1, "{line}");
                }
                other => panic!("{words:?}: {other:?}"),
            }
        }
    }
}
