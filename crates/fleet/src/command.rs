//! What to start, how to know that it is ready, and how to end it.

use std::path::PathBuf;
use std::time::Duration;

use crate::backoff::BackOffConfig;
use crate::readiness::Readiness;

/// Arguments and variables of one command, at most.
pub const WORDS_MAX: usize = 4_096;

/// The longest time that a setting may ask for.
pub const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Lines of output kept of each replica, at most.
pub const LINES_KEPT_MAX: usize = 1_000;

/// What stands for the port in arguments and in values of variables.
pub const PORT_PLACEHOLDER: &str = "{port}";

/// A command, and what is to be known about it. Begin with [`CommandSpec::new`], and change what differs.
#[derive(Clone, Debug, PartialEq)]
pub struct CommandSpec {
    /// The program. Without `/` it is looked for in `PATH`; with one, and relative, from [`directory`](Self::directory).
    pub program: String,
    /// Its arguments; `{port}` in them becomes the replica's port.
    pub arguments: Vec<String>,
    /// Variables set for it, besides those of this process; `{port}` in a value becomes the port.
    pub environment: Vec<(String, String)>,
    /// Whether it gets the variables of this process too. Default: true.
    pub inherit_environment: bool,
    /// The directory in which it runs. Default: that of this process.
    pub directory: Option<PathBuf>,
    /// How to know that it is ready. Default: it accepts a TCP connection.
    pub readiness: Readiness,
    /// How long it may take until it is ready. Default: 60 s.
    pub start_timeout: Duration,
    /// The signal that asks its process group to end. Default: `SIGTERM`.
    pub stop_signal: StopSignal,
    /// How long it may take to end after that, before it is killed. Default: 10 s.
    pub stop_grace: Duration,
    /// Memory of all processes of one replica, in bytes; one that needs more is ended, by the kernel where that is
    /// [permitted](crate::Host::memory_groups), else by us once it has been measured. Of the memory of the host so much
    /// is set aside for each. Default: no limit, and what replicas have had is set aside.
    pub memory_max: Option<u64>,
    /// A name shared by services of which only one may have replicas at a time. Default: none.
    pub group: Option<String>,
    /// How long to wait after failures. See [`BackOffConfig`].
    pub back_off: BackOffConfig,
    /// Lines of output kept of each replica, up to [`LINES_KEPT_MAX`]. Default: 50.
    pub lines_kept: usize,
}

/// A setting of a [`CommandSpec`] that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct SpecError {
    /// The name of the field.
    pub key: &'static str,
    /// What is wrong with it, and what would be accepted.
    pub problem: String,
}

/// A signal that asks a process to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StopSignal {
    /// `SIGTERM`.
    #[default]
    Term,
    /// `SIGINT`, as Ctrl-C sends it.
    Int,
    /// `SIGQUIT`.
    Quit,
    /// `SIGHUP`.
    Hup,
    /// `SIGUSR1`.
    Usr1,
    /// `SIGUSR2`.
    Usr2,
    /// `SIGKILL`: at once, without a chance to tidy up.
    Kill,
}

impl CommandSpec {
    /// A command with the defaults for everything else.
    pub fn new(
        program: impl Into<String>,
        arguments: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            program: program.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
            inherit_environment: true,
            directory: None,
            readiness: Readiness::Tcp,
            start_timeout: Duration::from_secs(60),
            stop_signal: StopSignal::Term,
            stop_grace: Duration::from_secs(10),
            memory_max: None,
            group: None,
            back_off: BackOffConfig::default(),
            lines_kept: 50,
        }
    }

    /// Whether every setting can be. It does not look whether the program is there: [`check`](Self::check) does.
    ///
    /// # Errors
    ///
    /// The first setting that cannot be.
    pub fn validate(&self) -> Result<(), SpecError> {
        if self.program.trim().is_empty() {
            return Err(SpecError::new("program", "is empty; name a program"));
        }
        let variables = self.environment.iter();
        let words = variables.clone().flat_map(|(name, value)| [name, value]);
        let mut texts = words.chain(&self.arguments).chain([&self.program]);
        if texts.any(|text| text.contains('\0')) {
            let problem = "has a NUL byte, which no argument or variable can carry";
            return Err(SpecError::new("arguments", problem));
        }
        if self.arguments.len() + self.environment.len() > WORDS_MAX {
            let problem = format!("has more than {WORDS_MAX} arguments and variables");
            return Err(SpecError::new("arguments", problem));
        }
        let unnameable = |name: &str| name.is_empty() || name.contains('=');
        if let Some((name, _)) = variables.clone().find(|(name, _)| unnameable(name)) {
            let problem = format!("`{name}` is no name of a variable: it is empty or has `=`");
            return Err(SpecError::new("environment", problem));
        }
        if self.group.as_deref().is_some_and(str::is_empty) {
            return Err(SpecError::new(
                "group",
                "is empty; name it, or leave it out",
            ));
        }
        if self.memory_max == Some(0) {
            return Err(SpecError::new(
                "memory_max",
                "is 0; leave it out for no limit",
            ));
        }
        if self.lines_kept > LINES_KEPT_MAX {
            let problem = format!("is {}; at most {LINES_KEPT_MAX}", self.lines_kept);
            return Err(SpecError::new("lines_kept", problem));
        }
        SpecError::check_duration(
            "start_timeout",
            self.start_timeout,
            Duration::from_millis(1),
        )?;
        SpecError::check_duration("stop_grace", self.stop_grace, Duration::ZERO)?;
        self.back_off.validate()?;
        self.readiness.validate()
    }
}

impl SpecError {
    pub(crate) fn new(key: &'static str, problem: impl Into<String>) -> Self {
        Self {
            key,
            problem: problem.into(),
        }
    }

    pub(crate) fn check_duration(
        key: &'static str,
        value: Duration,
        min: Duration,
    ) -> Result<(), Self> {
        if value < min || value > DURATION_MAX {
            let problem = format!("is {value:?}; accepted is {min:?} to {DURATION_MAX:?}");
            return Err(Self::new(key, problem));
        }
        Ok(())
    }
}

impl StopSignal {
    /// Every signal there is to choose from.
    pub const ALL: [Self; 7] = [
        Self::Term,
        Self::Int,
        Self::Quit,
        Self::Hup,
        Self::Usr1,
        Self::Usr2,
        Self::Kill,
    ];

    /// Its name, `SIGTERM` for one.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Term => "SIGTERM",
            Self::Int => "SIGINT",
            Self::Quit => "SIGQUIT",
            Self::Hup => "SIGHUP",
            Self::Usr1 => "SIGUSR1",
            Self::Usr2 => "SIGUSR2",
            Self::Kill => "SIGKILL",
        }
    }

    pub(crate) const fn signal(self) -> rustix::process::Signal {
        use rustix::process::Signal;
        match self {
            Self::Term => Signal::TERM,
            Self::Int => Signal::INT,
            Self::Quit => Signal::QUIT,
            Self::Hup => Signal::HUP,
            Self::Usr1 => Signal::USR1,
            Self::Usr2 => Signal::USR2,
            Self::Kill => Signal::KILL,
        }
    }
}

impl std::fmt::Display for StopSignal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for StopSignal {
    type Err = SpecError;

    /// With or without `SIG`, in capitals or not.
    fn from_str(text: &str) -> Result<Self, SpecError> {
        let upper = text.trim().to_ascii_uppercase();
        let short = upper.strip_prefix("SIG").unwrap_or(&upper);
        let found = Self::ALL
            .into_iter()
            .find(|signal| signal.as_str().strip_prefix("SIG") == Some(short));
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            SpecError::new("stop_signal", format!("`{text}` is not one of {names}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused_with_the_name_of_the_setting() {
        let good = || CommandSpec::new("server", ["--port", "{port}"]);
        assert_eq!(good().validate(), Ok(()));
        type Break = fn(&mut CommandSpec);
        let cases: [(&str, Break); 9] = [
            ("program", |spec| spec.program = " ".to_owned()),
            ("arguments", |spec| spec.arguments = vec!["a\0b".to_owned()]),
            ("arguments", |spec| {
                spec.arguments = vec![String::new(); WORDS_MAX + 1];
            }),
            ("environment", |spec| {
                spec.environment = vec![("A=B".to_owned(), String::new())];
            }),
            ("group", |spec| spec.group = Some(String::new())),
            ("memory_max", |spec| spec.memory_max = Some(0)),
            ("lines_kept", |spec| spec.lines_kept = LINES_KEPT_MAX + 1),
            ("start_timeout", |spec| spec.start_timeout = Duration::ZERO),
            ("stop_grace", |spec| spec.stop_grace = Duration::MAX),
        ];
        for (key, break_it) in cases {
            let mut spec = good();
            break_it(&mut spec);
            let error = spec.validate().expect_err(key);
            assert_eq!(error.key, key, "{error}");
        }
    }

    #[test]
    fn signals_are_read_by_their_names() {
        for signal in StopSignal::ALL {
            assert_eq!(signal.as_str().parse(), Ok(signal));
            let short = signal.as_str().trim_start_matches("SIG").to_lowercase();
            assert_eq!(short.parse(), Ok(signal));
        }
        let error = "SIGSTOP"
            .parse::<StopSignal>()
            .expect_err("it ends nothing");
        assert!(error.to_string().contains("SIGTERM, SIGINT"), "{error}");
    }
}
