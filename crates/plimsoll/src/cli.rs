//! The command line. Nothing here opens a port: a mistake is told before anything has begun.

mod ask;
mod demo;
mod gateway;
mod load_reports;
mod run;
mod sidecar;
mod simulate;
pub(crate) mod values;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub(crate) use ask::{AskSettings, Question};
pub(crate) use demo::DemoSettings;
pub(crate) use gateway::GatewaySettings;
pub(crate) use sidecar::{Flag, KnativeWhen, LogFormat, Typed};
pub(crate) use simulate::{SimulateSettings, Source};

use crate::sidecar::settings::{self, SidecarSettings};
use crate::sidecar::variables::{self, Variables};

/// `EX_USAGE` of sysexits.h: the command was used wrongly.
const EXIT_USAGE: u8 = 64;

/// Something failed while running.
const EXIT_RUNTIME: u8 = 1;

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Action {
    /// Show a text and end.
    Print(String),
    /// Ask a running gateway or run.
    Ask(AskSettings),
    /// Run the demonstration.
    Demo(DemoSettings),
    /// Run the application of the demonstration on this port.
    DemoApp(u16),
    /// Run a gateway over local processes.
    Run(Box<GatewaySettings>),
    /// Run the gateway.
    Gateway(Box<GatewaySettings>),
    /// Run the sidecar.
    Sidecar(Box<SidecarSettings>),
    /// Simulate an autoscaler.
    Simulate(SimulateSettings),
}

/// Why the program ends without having done what it was asked to.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The command, a flag or a variable is wrong.
    Usage(String),
    /// It failed while running.
    Runtime(anyhow::Error),
}

#[derive(Debug, Parser)]
#[command(
    name = "plimsoll",
    version,
    about = "Measures the load of every request exactly, and holds each instance to what it can carry.",
    after_help = "Start here:\n  \
        plimsoll run                            see an app start and scale from zero\n  \
        plimsoll demo                           see the sidecar at work\n  \
        plimsoll sidecar --app 127.0.0.1:8080   put it in front of your own service\n  \
        plimsoll gateway --upstream HOST:PORT   spread requests over many of them\n  \
        plimsoll status, plimsoll top           see what a running one does",
    disable_help_subcommand = true,
    max_term_width = 80
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    #[command(name = crate::run::plan::APP_COMMAND, hide = true)]
    DemoApp(run::AppArgs),
    Gateway(Box<gateway::GatewayArgs>),
    Run(Box<run::RunArgs>),
    Sidecar(Box<sidecar::SidecarArgs>),
    Simulate(Box<simulate::SimulateArgs>),
    Status(ask::StatusArgs),
    Why(ask::WhyArgs),
    Top(ask::TopArgs),
    Scale(ask::ScaleArgs),
    Stop(ask::StopArgs),
    Start(ask::StartArgs),
}

/// Reads the command line and the environment.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Action, Fault> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let matches = Cli::command().try_get_matches_from(&arguments);
    let parsed = matches.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            ) =>
        {
            return Ok(Action::Print(error.render().to_string()));
        }
        Err(error) => return Err(Fault::Usage(one_line(&error, arguments.get(1)))),
    };
    match cli.command {
        None => Ok(Action::Print(overview())),
        Some(Command::Status(arguments)) => Ok(Action::Ask(arguments.resolve())),
        Some(Command::Why(arguments)) => Ok(Action::Ask(arguments.resolve())),
        Some(Command::Top(arguments)) => Ok(Action::Ask(arguments.resolve())),
        Some(Command::Scale(arguments)) => Ok(Action::Ask(arguments.resolve())),
        Some(Command::Stop(arguments)) => Ok(Action::Ask(arguments.resolve())),
        Some(Command::Start(arguments)) => Ok(Action::Ask(arguments.resolve())),
        Some(Command::Demo(arguments)) => Ok(Action::Demo(arguments.resolve())),
        Some(Command::DemoApp(arguments)) => Ok(Action::DemoApp(arguments.port)),
        Some(Command::Run(arguments)) => arguments
            .resolve()
            .map(|settings| Action::Run(Box::new(settings)))
            .map_err(Fault::Usage),
        Some(Command::Gateway(arguments)) => arguments
            .resolve()
            .map(|settings| Action::Gateway(Box::new(settings)))
            .map_err(Fault::Usage),
        Some(Command::Sidecar(arguments)) => {
            let matches = matches.subcommand_matches("sidecar");
            sidecar_action(&Typed::new(*arguments, matches))
        }
        Some(Command::Simulate(arguments)) => arguments
            .resolve()
            .map(Action::Simulate)
            .map_err(Fault::Usage),
    }
}

fn sidecar_action(typed: &Typed) -> Result<Action, Fault> {
    match settings::resolve(typed, &Variables::of_process()) {
        Ok(settings) if typed.args.check => crate::sidecar::check(&settings).map(Action::Print),
        Ok(settings) => Ok(Action::Sidecar(Box::new(settings))),
        Err(problems) => Err(Fault::Usage(variables::told(&problems))),
    }
}

fn overview() -> String {
    Cli::command().render_help().to_string()
}

/// clap's message without its usage: what was wrong, what is accepted, and whose help to read if `first` is the name of
/// a subcommand.
fn one_line(error: &clap::Error, first: Option<&OsString>) -> String {
    let message = error.render().to_string();
    let paragraph = message.split("\n\n").next().unwrap_or_default();
    let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = line
        .trim_start_matches("error: ")
        // The standard library's words for a number that is none.
        .replace("invalid digit found in string", "not a whole number");
    let lost = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(word)) => lost_command(error, word, first),
        _ => None,
    };
    let advice = match (lost, likely(error)) {
        (Some(lost), _) => lost.to_owned(),
        (None, Some(likely)) => format!("; did you mean {likely}?"),
        (None, None) => String::new(),
    };
    let command = first
        .and_then(|word| word.to_str())
        .filter(|word| Cli::command().find_subcommand(word).is_some())
        .map_or_else(String::new, |command| format!(" {command}"));
    format!("{line}{advice} (see plimsoll{command} --help)")
}

/// The names that exist and are like what was typed, if there are any.
fn likely(error: &clap::Error) -> Option<String> {
    let kinds = [
        ContextKind::SuggestedArg,
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedValue,
    ];
    match kinds.into_iter().find_map(|kind| error.get(kind))? {
        ContextValue::String(name) => Some(name.clone()),
        ContextValue::Strings(names) if !names.is_empty() => Some(names.join(" or ")),
        _ => None,
    }
}

/// What to say to somebody who has written a command for `plimsoll run` without what divides it from the flags.
fn lost_command(error: &clap::Error, word: &str, first: Option<&OsString>) -> Option<&'static str> {
    let is_command = error.kind() == ErrorKind::UnknownArgument
        && !word.starts_with('-')
        && first.is_some_and(|first| first == "run");
    is_command.then_some("; write `--` before the command: plimsoll run -- COMMAND")
}

/// Writes to standard output; a reader that has gone is no failure.
pub(crate) fn print(text: &str) -> Result<(), Fault> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Fault::Runtime(error.into()))
        }
        _ => Ok(()),
    }
}

impl Fault {
    /// Tells a person, in one line, and gives the exit code.
    #[expect(
        clippy::print_stderr,
        reason = "logging may not be set up yet, or may be what has failed"
    )]
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::Usage(message) => {
                eprintln!("plimsoll: {message}");
                ExitCode::from(EXIT_USAGE)
            }
            Self::Runtime(error) => {
                eprintln!("plimsoll: {error:#}");
                ExitCode::from(EXIT_RUNTIME)
            }
        }
    }
}

impl From<anyhow::Error> for Fault {
    fn from(error: anyhow::Error) -> Self {
        Self::Runtime(error)
    }
}
