//! The rows, as they are written in `lab/conformance/*.toml`.

use anyhow::Context;
use serde::Deserialize;

/// The files, by name.
const FILES: &[(&str, &str)] = &[
    ("probes.toml", include_str!("../../conformance/probes.toml")),
    (
        "headers.toml",
        include_str!("../../conformance/headers.toml"),
    ),
    (
        "forwarded.toml",
        include_str!("../../conformance/forwarded.toml"),
    ),
    ("ports.toml", include_str!("../../conformance/ports.toml")),
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
    /// Fields of the answer, each there once.
    pub(super) answer: Vec<(String, String)>,
    pub(super) reaches_app: Option<bool>,
    /// Fields that the application sees, each once.
    pub(super) seen: Vec<(String, String)>,
    /// Fields that it does not see.
    pub(super) unseen: Vec<String>,
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
        let file: File = toml::from_str(text).with_context(|| format!("lab/conformance/{name}"))?;
        let section = file.section;
        rows.extend(file.row.into_iter().map(|row| Row {
            section: section.clone(),
            ..row
        }));
    }
    Ok(rows)
}

impl Row {
    /// The request as it is sent.
    pub(super) fn request(&self) -> String {
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
        head.push_str("Connection: close\r\n\r\n");
        head
    }
}
