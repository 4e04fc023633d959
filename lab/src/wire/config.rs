//! What each gateway is told to do.
//!
//! Fair means: the same job. One worker, HTTP/1.1, connections to backends kept, no access log. The time limits of the
//! scenario are told to every gateway, and so is the limit of requests at one backend, where a gateway knows such a
//! thing. Where a scenario has no retry, nobody retries. All else is left as the project ships it ([`Tuning::Default`]),
//! or set as its documentation has it for backends that may fail ([`Tuning::Best`]). Plimsoll has no second way: its
//! defaults are what is to be judged.

mod envoy;
mod haproxy;
mod nginx;
mod plimsoll;

use std::path::{Path, PathBuf};

use crate::compare::Kind;
use crate::scenario::Scenario;

/// How much somebody has thought about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tuning {
    /// As it is shipped.
    Default,
    /// In its best documented configuration.
    Best,
}

/// A backend as a gateway is told of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed {
    /// Its number.
    pub(super) number: usize,
    /// Its port, loopback.
    pub(super) port: u16,
    /// Whether it is there at the moment.
    pub(super) present: bool,
}

/// What a configuration depends on.
#[derive(Clone, Debug)]
pub(super) struct Setting<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) tuning: Tuning,
    /// Port to listen on, loopback.
    pub(super) listen: u16,
    /// Its backends.
    pub(super) backends: &'a [Listed],
    /// A directory of its own for files.
    pub(super) dir: &'a Path,
}

/// A file that a gateway reads.
pub(super) struct File {
    /// Its name, in the directory of the setting.
    pub(super) name: &'static str,
    /// What it says.
    pub(super) text: String,
}

impl Setting<'_> {
    /// The files that are there when it starts.
    pub(super) fn files(&self, kind: Kind) -> Vec<File> {
        let file = |name, text| File { name, text };
        match kind {
            Kind::Direct => Vec::new(),
            Kind::Plimsoll => vec![
                file(plimsoll::FILE, plimsoll::config(self)),
                file(plimsoll::LIST, plimsoll::list(self)),
            ],
            Kind::Haproxy => vec![file(haproxy::FILE, haproxy::config(self))],
            Kind::Nginx => vec![file(nginx::FILE, nginx::config(self))],
            Kind::Envoy => vec![
                file(envoy::FILE, envoy::config(self)),
                file(envoy::ENDPOINTS, envoy::endpoints(self)),
            ],
        }
    }

    /// The arguments it is started with.
    pub(super) fn arguments(&self, kind: Kind) -> Vec<String> {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let path = |name| self.dir.join(name).display().to_string();
        match kind {
            Kind::Direct => Vec::new(),
            Kind::Plimsoll => plimsoll::arguments(self),
            Kind::Haproxy => words(&["-db", "-f", &path(haproxy::FILE)]),
            // Errors before the configuration is read go to a path of the distribution otherwise.
            Kind::Nginx => words(&["-p", &path(""), "-e", "stderr", "-c", &path(nginx::FILE)]),
            Kind::Envoy => words(&[
                "-c",
                &path(envoy::FILE),
                "--concurrency",
                "1",
                "--log-level",
                "error",
                "--disable-hot-restart",
            ]),
        }
    }

    /// The file that lists the backends, written again when the list changes. `None` for HAProxy, which is told in
    /// words ([`Setting::words`]).
    pub(super) fn list(&self, kind: Kind) -> Option<(PathBuf, String)> {
        let (name, text) = match kind {
            Kind::Direct | Kind::Haproxy => return None,
            Kind::Plimsoll => (plimsoll::LIST, plimsoll::list(self)),
            Kind::Nginx => (nginx::FILE, nginx::config(self)),
            Kind::Envoy => (envoy::ENDPOINTS, envoy::endpoints(self)),
        };
        Some((self.dir.join(name), text))
    }

    /// The socket of HAProxy, and what to say there when the list changes.
    pub(super) fn words(&self) -> (PathBuf, String) {
        (self.dir.join(haproxy::SOCKET), haproxy::words(self))
    }

    /// The time an answer may take, milliseconds.
    fn timeout_ms(&self) -> u64 {
        self.real_ms(self.scenario.client.timeout_ms)
    }

    /// The time an attempt may take, milliseconds.
    fn try_timeout_ms(&self) -> u64 {
        let client = &self.scenario.client;
        self.real_ms(client.try_timeout_ms.unwrap_or(client.timeout_ms))
    }

    fn real_ms(&self, ms: f64) -> u64 {
        (ms * self.scenario.wire_stretch) as u64
    }

    fn retries(&self) -> u32 {
        self.scenario.client.retries
    }

    fn concurrency(&self) -> Option<u32> {
        self.scenario.endpoint_concurrency.map(u32::from)
    }

    fn is_best(&self) -> bool {
        self.tuning == Tuning::Best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 4] = [Kind::Plimsoll, Kind::Haproxy, Kind::Nginx, Kind::Envoy];

    fn told(kind: Kind, tuning: Tuning, name: &str) -> String {
        let all = Scenario::load_all(Scenario::folder()).unwrap();
        let scenario = all.iter().find(|one| one.name == name).unwrap();
        let listed = |number, port, present| Listed {
            number,
            port,
            present,
        };
        let backends = [listed(0, 5_001, true), listed(1, 5_002, false)];
        let setting = Setting {
            scenario,
            tuning,
            listen: 1_234,
            backends: &backends,
            dir: Path::new("/folder"),
        };
        let files = setting.files(kind).into_iter().map(|file| file.text);
        let mut all = setting.arguments(kind).join(" ");
        all.extend(files);
        all
    }

    #[test]
    fn every_gateway_listens_on_loopback_and_knows_its_backends() {
        for kind in KINDS {
            for tuning in [Tuning::Default, Tuning::Best] {
                let text = told(kind, tuning, "s11");
                assert!(text.contains("1234") && text.contains("5001"), "{text}");
                assert!(!text.contains("0.0.0.0"), "{text}");
                // HAProxy has it and leaves it out until it is told otherwise.
                let is_off = !text.contains("5002") || text.contains("5002 disabled");
                assert!(is_off, "{text}");
            }
        }
    }

    #[test]
    fn only_the_best_configurations_look_at_what_backends_do() {
        let rows = [
            (Kind::Haproxy, "observe layer7"),
            (Kind::Haproxy, "balance leastconn"),
            (Kind::Nginx, "least_conn"),
            (Kind::Nginx, "max_fails=3"),
            (Kind::Envoy, "LEAST_REQUEST"),
            (Kind::Envoy, "outlier_detection"),
        ];
        for (kind, words) in rows {
            assert!(told(kind, Tuning::Best, "s06").contains(words), "{words}");
            assert!(
                !told(kind, Tuning::Default, "s06").contains(words),
                "{words}"
            );
        }
    }

    #[test]
    fn nobody_retries_where_the_scenario_does_not() {
        let rows = [
            (Kind::Plimsoll, "budget = \"0%\", min-per-second = 0 "),
            (Kind::Haproxy, "retries 0"),
            (Kind::Nginx, "proxy_next_upstream_tries 1"),
        ];
        for (kind, words) in rows {
            assert!(told(kind, Tuning::Best, "s06").contains(words), "{words}");
            assert!(
                !told(kind, Tuning::Best, "s06-retry").contains(words),
                "{words}"
            );
        }
        assert!(!told(Kind::Envoy, Tuning::Best, "s06").contains("retry_policy"));
        assert!(told(Kind::Envoy, Tuning::Best, "s06-retry").contains("num_retries: 1"));
        assert!(!told(Kind::Envoy, Tuning::Default, "s06-retry").contains("num_retries"));
    }

    #[test]
    fn limits_of_requests_at_a_backend_are_told_to_all() {
        let rows = [
            (Kind::Plimsoll, "endpoint-concurrency = 1"),
            (Kind::Haproxy, "maxconn 1\n"),
            (Kind::Nginx, "max_conns=1"),
            (Kind::Envoy, "per_host_thresholds"),
        ];
        for (kind, words) in rows {
            assert!(
                told(kind, Tuning::Default, "s17").contains(words),
                "{words}"
            );
            assert!(
                !told(kind, Tuning::Default, "s06").contains(words),
                "{words}"
            );
        }
    }
}
