//! The rows, as they are written in `lab/conformance/*.toml`.

use anyhow::Context;
use serde::Deserialize;

use super::Setup;
use super::script::{FIELD, Limit, Orders, Script};

macro_rules! file {
    ($name:literal) => {
        (
            concat!("lab/conformance/", $name, ".toml"),
            include_str!(concat!("../../conformance/", $name, ".toml")),
        )
    };
}

/// The files, by name.
const FILES: &[(&str, &str)] = &[
    file!("probes"),
    file!("headers"),
    file!("forwarded"),
    file!("ports"),
    file!("queue"),
    file!("limits"),
    file!("readiness"),
    file!("answers"),
];

/// A file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Where the rows are from.
    section: String,
    row: Vec<Row>,
}

/// What is sent, and what is expected.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Row {
    /// Filled in from the file.
    #[serde(default)]
    pub(super) section: String,
    /// What it is about.
    pub(super) name: String,
    #[serde(default = "get")]
    pub(super) method: String,
    #[serde(default = "root")]
    pub(super) path: String,
    /// `Host` is added where it is not among them.
    #[serde(default)]
    pub(super) headers: Vec<(String, String)>,
    #[serde(default)]
    pub(super) port: Port,
    /// Whether it is sent while the process drains.
    #[serde(default)]
    pub(super) draining: bool,
    /// What the implementation must have been told.
    #[serde(default)]
    pub(super) needs: Vec<Need>,
    /// What the application does with it; else it answers with the head.
    pub(super) app: Option<Script>,
    /// Whether the application says that it is ready.
    #[serde(default = "yes")]
    pub(super) app_ready: bool,
    /// Whether requests that the application holds have taken all slots before.
    #[serde(default)]
    pub(super) slots_taken: bool,
    /// It is sent so many times more often than there are slots and places in the queue. What is expected is of those
    /// that are over.
    #[serde(default)]
    pub(super) over: usize,
    #[serde(flatten)]
    pub(super) expected: Expected,
    /// Where Plimsoll differs on purpose.
    pub(super) instead: Option<Instead>,
}

/// What is expected of an answer; what is not said does not matter.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct Expected {
    pub(super) status: Option<u16>,
    pub(super) body: Option<String>,
    /// Whether the body breaks off; it does not if nothing is said.
    pub(super) broken: Option<bool>,
    /// Fields of the answer, each there once.
    pub(super) answer: Vec<(String, String)>,
    pub(super) reaches_app: Option<bool>,
    /// Fields that the application sees, each once.
    pub(super) seen: Vec<(String, String)>,
    /// Fields that it does not see.
    pub(super) unseen: Vec<String>,
    /// Fields of the question whether it is ready, each once, and how they begin.
    pub(super) asked: Vec<(String, String)>,
}

/// What Plimsoll does, and why.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Instead {
    pub(super) why: String,
    #[serde(flatten)]
    pub(super) expected: Expected,
}

/// The port that a row asks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Port {
    #[default]
    Data,
    Metrics,
    Admin,
}

/// What the implementation must have been told for a row to mean anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Need {
    /// A concurrency limit.
    Concurrency,
    /// Where to ask whether the application is ready.
    Readiness,
    /// A time limit of each kind.
    Total,
    Start,
    Idle,
}

impl Need {
    pub(super) fn is_met(self, setup: &Setup) -> bool {
        match self {
            Self::Concurrency => setup.concurrency.is_some(),
            Self::Readiness => setup.readiness,
            Self::Total => setup.limit(Limit::Total).is_some(),
            Self::Start => setup.limit(Limit::Start).is_some(),
            Self::Idle => setup.limit(Limit::Idle).is_some(),
        }
    }
}

fn yes() -> bool {
    true
}

fn get() -> String {
    "GET".to_owned()
}

fn root() -> String {
    "/".to_owned()
}

/// All rows, in the order of the files.
pub(super) fn rows() -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (name, text) in FILES {
        let file: File = toml::from_str(text).with_context(|| (*name).to_owned())?;
        let section = file.section;
        rows.extend(file.row.into_iter().map(|row| Row {
            section: section.clone(),
            ..row
        }));
    }
    Ok(rows)
}

impl Row {
    /// A request that takes a slot, and of which nothing is expected.
    pub(super) fn held() -> Self {
        Self {
            section: String::new(),
            name: String::new(),
            method: get(),
            path: root(),
            headers: Vec::new(),
            port: Port::Data,
            draining: false,
            needs: Vec::new(),
            app: None,
            app_ready: true,
            slots_taken: false,
            over: 0,
            expected: Expected::default(),
            instead: None,
        }
    }

    /// What the application is told to do with it, with times as `setup` has them.
    pub(super) fn orders(&self, setup: &Setup) -> anyhow::Result<Option<Orders>> {
        let orders = self.app.as_ref().map(|script| script.orders(setup));
        orders.transpose()
    }

    /// The request as it is sent, with `orders` to the application.
    pub(super) fn request(&self, orders: Option<Orders>) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        let has_host = self
            .headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("host"));
        if !has_host {
            head.push_str("Host: a.example\r\n");
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(orders) = orders {
            head.push_str(&format!("{FIELD}: {orders}\r\n"));
        }
        head.push_str("Connection: close\r\n\r\n");
        head
    }
}
