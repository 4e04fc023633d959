//! What a file may say, and what is told about one that says something else.

use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::gateway::plan::{Family, PemPair, RoutePlan};

fn read(text: &str) -> Result<Plan, Vec<Problem>> {
    parse("etc/gateway.toml", text, &ProcessSettings::default())
}

#[track_caller]
fn plan(text: &str) -> Plan {
    read(text).unwrap_or_else(|problems| panic!("{}", told(&problems)))
}

/// Everything that can be set.
const WHOLE: &str = r#"
listen = "0.0.0.0:80"
admin = "127.0.0.1:9191"
workers = 3
drain-quiet = "1s"
log-format = "json"

[tls]
cert = "tls.crt"
key = "/keys/tls.key"

[services.web]
upstreams = ["10.0.0.1:80,weight=2", "app.example.com:8080"]
upstream-file = "web.txt"
policy = "round-robin"
endpoint-concurrency = 4
protocol = "http1"
timeout = "1m"
response-start-timeout = "10s"
idle-timeout = "5s"
per-try-timeout = "2s"
refusal-status = 429
slow-start = "3s"
retention = "1h"

[[services.web.routes]]
hosts = ["example.com", "*.example.com"]
path = "/shop"

[[services.web.routes]]
path = "/static"

[services.web.queue]
depth = 7
bytes = "1MiB"
age = "2s"

[services.web.retry]
budget = "20%"
min-per-second = 0.5

[services.web.ejection]
enabled = false
base = "1s"
max = "1m"
share = "25%"

[services.web.dns]
refresh = "1s"
family = "ipv4"

[services.web.health-check]
path = "/healthz"
host = "health.example.com"
interval = "10s"
timeout = "1s"
healthy-after = 4
unhealthy-after = 5

[services.web.tls]
ca = "ca.pem"
server-name = "app.example.com"
insecure = false
cert = "client.crt"
key = "client.key"

[services."api.v1"]
upstreams = []
"#;

#[test]
fn everything_that_can_be_set_is_read() {
    let plan = plan(WHOLE);
    assert_eq!(plan.process.listen, "0.0.0.0:80".parse().unwrap());
    assert_eq!(plan.process.workers.get(), 3);
    assert_eq!(
        plan.process.tls,
        Some(PemPair {
            cert: PathBuf::from("etc/tls.crt"),
            key: PathBuf::from("/keys/tls.key"),
        })
    );
    let [api, web] = plan.services.as_slice() else {
        panic!("two services: {plan:?}");
    };
    assert_eq!(api.name, "api.v1");
    assert_eq!(api.routes, [RoutePlan::everything()]);
    assert!(api.upstreams.is_empty());
    assert_eq!(web.upstreams[0].weight, 2);
    assert_eq!(web.upstream_file, Some(PathBuf::from("etc/web.txt")));
    assert_eq!(web.balancer.policy.to_string(), "round-robin");
    assert_eq!(web.balancer.endpoint_concurrency.map(u32::from), Some(4));
    assert_eq!(web.balancer.queue.depth, 7);
    assert_eq!(web.balancer.queue.bytes_max, 1 << 20);
    assert_eq!(web.balancer.queue.age_max, Duration::from_secs(2));
    assert_eq!(web.balancer.retry_budget.ratio, 0.2);
    assert_eq!(web.balancer.retry_budget.min_per_second, 0.5);
    assert!(!web.balancer.ejection.enabled);
    assert_eq!(web.balancer.ejection.share_max, 0.25);
    assert_eq!(web.protocol, plimsoll_proxy::UpstreamProtocol::Http1);
    assert_eq!(web.limits.total, Some(Duration::from_secs(60)));
    assert_eq!(web.per_try_timeout, Some(Duration::from_secs(2)));
    assert_eq!(web.refusal_status, 429);
    assert_eq!(web.dns.family, Family::Ipv4);
    assert_eq!(web.routes.len(), 2);
    assert_eq!(web.routes[0].hosts, ["example.com", "*.example.com"]);
    let health = web.health.as_ref().expect("asked for");
    assert_eq!((health.healthy_after, health.unhealthy_after), (4, 5));
    let tls = web.tls.as_ref().expect("asked for");
    assert_eq!(tls.server_name.as_deref(), Some("app.example.com"));
    assert_eq!(tls.ca, Some(PathBuf::from("etc/ca.pem")));
}

#[test]
fn a_plan_is_written_so_that_it_is_read_again() {
    let wrr = "services.a = { upstreams = [\"1\"], policy = \"wrr\", wrr = { mode = \"kratos\" } }";
    let orca = "services.a = { upstreams = [], policy = \"orca\", orca = { error-penalty = 2.5 } }";
    for text in [WHOLE, "services.a.upstreams = [\"1\"]", wrr, orca] {
        let first = plan(text);
        let written = first.to_toml();
        // Paths are from the root of the file by now.
        let again = parse("gateway.toml", &written, &ProcessSettings::default());
        let again = again.unwrap_or_else(|problems| panic!("{}\n{written}", told(&problems)));
        assert_eq!(first, again, "{written}");
    }
}

#[test]
fn settings_of_knative_come_to_a_plan_that_is_written_and_read_again() {
    let flags = ProcessSettings {
        commands: true,
        ..ProcessSettings::default()
    };
    let text = "[knative]\nstable-window = \"30s\"\nmax-scale-up-rate = 10\n\
        [services.a]\ncommand = [\"a\"]\nconcurrency = 20\nroutes = [{ path = \"/a\" }]\n\
        [services.a.knative]\n\"autoscaling.knative.dev/target\" = 7\n\
        \"autoscaling.knative.dev/min-scale\" = \"12\"\nstable-window = \"40s\"\n\
        [services.b]\ncommand = [\"b\"]\n[services.b.scale]\npolicy = \"plimsoll\"\nmax = 3\n";
    let plan = parse("run.toml", text, &flags).unwrap_or_else(|found| panic!("{}", told(&found)));
    let scale = |index: usize| {
        &plan.services[index]
            .scaled
            .as_ref()
            .expect("it has one")
            .scale
    };
    let (a, b) = (scale(0), scale(1));
    assert_eq!((a.policy.as_str(), b.policy.as_str()), ("kpa", "plimsoll"));
    assert_eq!(a.target_value(), 7.0 * 0.7);
    assert_eq!((a.min, a.max_replicas(), a.initial), (12, 12, 1));
    assert_eq!((b.min, b.max_replicas(), b.scale_up_rate), (0, 3, 10.0));
    assert_eq!((a.window.as_secs(), b.window.as_secs()), (40, 30));
    let again = parse("run.toml", &plan.to_toml(), &flags);
    assert_eq!(again, Ok(plan));
}

#[test]
fn a_replica_may_not_have_more_memory_than_all_together() {
    let flags = ProcessSettings {
        commands: true,
        ..ProcessSettings::default()
    };
    let text = "replicas-memory = \"1GiB\"\n[services.a]\ncommand = [\"a\"]\nmemory = \"2GiB\"\n";
    let told = told(&parse("run.toml", text, &flags).expect_err("it is more"));
    let first = "run.toml:4:10: services.a.memory: all replicas together may have 1GiB";
    assert!(told.starts_with(first), "{told}");
}

#[test]
fn no_share_for_retries_is_no_retries() {
    let minimum = |retry: &str| {
        let text = format!("[services.web]\nupstreams = [\"1\"]\nretry = {{ {retry} }}\n");
        plan(&text).services[0].balancer.retry_budget.min_per_second
    };
    assert_eq!(minimum("budget = \"0%\""), 0.0);
    assert_eq!(minimum("budget = \"0%\", min-per-second = 2"), 2.0);
    assert_eq!(minimum("budget = \"1%\""), 3.0);
    assert_eq!(minimum("min-per-second = 2"), 2.0);
}

#[test]
fn flags_win_over_the_file() {
    let flags = ProcessSettings {
        listen: Some("127.0.0.1:1".parse().unwrap()),
        ..ProcessSettings::default()
    };
    let plan = parse("g.toml", WHOLE, &flags).expect("valid");
    assert_eq!(plan.process.listen, "127.0.0.1:1".parse().unwrap());
    assert_eq!(plan.process.admin, "127.0.0.1:9191".parse().unwrap());
}

#[test]
fn the_server_name_is_that_of_the_upstreams_unless_they_have_several() {
    let tls = |upstreams: &str| {
        read(&format!(
            "[services.a]\nupstreams = [{upstreams}]\n[services.a.tls]\n"
        ))
    };
    for (upstreams, name) in [
        ("\"app:1\", \"App.:2\"", Some("app")),
        ("\"app:1\", \"10.0.0.1:1\"", Some("app")),
        ("\"10.0.0.1:1\"", None),
        ("", None),
    ] {
        let plan = tls(upstreams).expect(upstreams);
        let found = plan.services[0].tls.as_ref().expect("asked for");
        assert_eq!(found.server_name.as_deref(), name, "{upstreams}");
    }
    let problems = tls("\"app:1\", \"b:1\"").expect_err("two names");
    assert!(problems[0].message.contains("needs a server-name"));
}

/// A service that is all right, before the line that is not.
const GOOD: &str = "[services.web]\nupstreams = [\"10.0.0.1:80\"]\n";

/// What is added to [`GOOD`], the line that is named, the key, and a word of the message.
const WRONG: &[(&str, usize, &str, &str)] = &[
    (
        "polcy = \"wrr\"",
        3,
        "services.web.polcy",
        "no such key; accepted here: dns,",
    ),
    ("policy = \"best\"", 3, "services.web.policy", "peak-ewma"),
    (
        "policy = 1",
        3,
        "services.web.policy",
        "write a string in quotes, not a whole number",
    ),
    (
        "endpoint-concurrency = 0",
        3,
        "services.web.endpoint-concurrency",
        "from 1 to",
    ),
    (
        "endpoint-concurrency = -1",
        3,
        "services.web.endpoint-concurrency",
        "from 1 to",
    ),
    (
        "endpoint-concurrency = 1.5",
        3,
        "services.web.endpoint-concurrency",
        "from 1 to",
    ),
    (
        "endpoint-concurrency = 99999999999999999999",
        3,
        "services.web.endpoint-concurrency",
        "from 1 to",
    ),
    (
        "timeout = 5",
        3,
        "services.web.timeout",
        "write a string in quotes",
    ),
    (
        "timeout = \"5\"",
        3,
        "services.web.timeout",
        "a number and a unit",
    ),
    (
        "idle-timeout = \"400days\"",
        3,
        "services.web.idle-timeout",
        "365 days",
    ),
    (
        "refusal-status = 500",
        3,
        "services.web.refusal-status",
        "write 503 or 429",
    ),
    (
        "refusal-status = \"503\"",
        3,
        "services.web.refusal-status",
        "write 503 or 429",
    ),
    (
        "protocol = \"h3\"",
        3,
        "services.web.protocol",
        "auto, http1, http2",
    ),
    (
        "upstream-file = \"\"",
        3,
        "services.web.upstream-file",
        "name of a file",
    ),
    (
        "routes = 1",
        3,
        "services.web.routes",
        "[[services.web.routes]]",
    ),
    ("routes = [1]", 3, "services.web.routes", "write a table"),
    (
        "routes = [{ path = \"shop\" }]",
        3,
        "services.web.routes.path",
        "begins with /",
    ),
    (
        "routes = [{ path = \"/a?b\" }]",
        3,
        "services.web.routes.path",
        "no path",
    ),
    (
        "routes = [{ host = \"a\" }]",
        3,
        "services.web.routes.host",
        "accepted here: hosts, path",
    ),
    (
        "routes = [{ hosts = \"a\" }]",
        3,
        "services.web.routes.hosts",
        "list of strings",
    ),
    (
        "routes = [{ hosts = [\"a b\"] }]",
        3,
        "services.web.routes.hosts",
        "a b",
    ),
    (
        "queue = { depth = -1 }",
        3,
        "services.web.queue.depth",
        "from 0 to",
    ),
    (
        "queue = { bytes = \"1MB\" }",
        3,
        "services.web.queue.bytes",
        "64KiB",
    ),
    (
        "retry = { budget = \"NaN%\" }",
        3,
        "services.web.retry.budget",
        "0% to 100%",
    ),
    (
        "retry = { budget = \"101%\" }",
        3,
        "services.web.retry.budget",
        "0% to 100%",
    ),
    (
        "retry = { min-per-second = nan }",
        3,
        "services.web.retry.min-per-second",
        "from 0 to 1000",
    ),
    (
        "retry = { min-per-second = inf }",
        3,
        "services.web.retry.min-per-second",
        "from 0 to 1000",
    ),
    (
        "ejection = { base = \"2m\", max = \"1m\" }",
        3,
        "services.web.ejection",
        "must not be longer",
    ),
    (
        "ejection = { base = \"0\" }",
        3,
        "services.web.ejection.base",
        "1ms to",
    ),
    (
        "ejection = { enabled = 1 }",
        3,
        "services.web.ejection.enabled",
        "true or false",
    ),
    (
        "dns = { refresh = \"1ms\" }",
        3,
        "services.web.dns.refresh",
        "100ms to",
    ),
    (
        "dns = { family = \"ip\" }",
        3,
        "services.web.dns.family",
        "any, ipv4, ipv6",
    ),
    (
        "health-check = {}",
        3,
        "services.web.health-check",
        "needs a path",
    ),
    (
        "health-check = { path = \"/\", unhealthy-after = 0 }",
        3,
        "services.web.health-check.unhealthy-after",
        "from 1",
    ),
    (
        "health-check = { path = \"/\", host = \"a\\nb\" }",
        3,
        "services.web.health-check.host",
        "no value of Host",
    ),
    (
        "tls = { server-name = \"a\", cert = \"c\" }",
        3,
        "services.web.tls",
        "both cert and key",
    ),
    ("[tls]\ncert = \"c\"", 3, "tls", "both cert and key"),
    ("[queue]", 3, "queue", "no such key; accepted here: admin,"),
    (
        "[services.web-2]\nupstreams = [\"1\"]",
        3,
        "services.web-2.routes",
        "leads to service web already",
    ),
    (
        "routes = [{ path = \"/a\" }, { path = \"/a/\" }]",
        3,
        "services.web.routes",
        "leads to service web already",
    ),
    (
        "wrr = { mode = \"kratos\" }",
        3,
        "services.web.wrr",
        "the policy is peak-ewma",
    ),
    (
        "peak-ewma = { decay = \"1ms\" }",
        3,
        "services.web.peak-ewma.decay",
        "10ms to",
    ),
    (
        "policy = \"orca\"\norca = { error-penalty = nan }",
        4,
        "services.web.orca.error-penalty",
        "from 0 to 1000",
    ),
    (
        "policy = \"wrr\"\nwrr = { mode = \"go\" }",
        4,
        "services.web.wrr.mode",
        "corrected, kratos",
    ),
    (
        "[services.\"a b\"]\nupstreams = [\"1\"]\nroutes = [{ path = \"/b\" }]",
        3,
        "services.a b",
        "no name of a service",
    ),
    (
        "[services.b]\nroutes = [{ path = \"/b\" }]",
        3,
        "services.b",
        "neither upstreams",
    ),
    ("[services]\nx = 1", 4, "services.x", "write a table"),
];

#[test]
fn a_mistake_is_told_with_its_line_its_key_and_what_is_accepted() {
    let mut wrong = Vec::new();
    for (added, line, key, word) in WRONG {
        let text = format!("{GOOD}{added}\n");
        let problems = read(&text).err().unwrap_or_default();
        let found = problems.iter().any(|problem| {
            (problem.place.line(), problem.key.as_str()) == (Some(*line), *key)
                && problem.message.contains(word)
        });
        if !found {
            wrong.push(format!(
                "{added}: wanted {line} {key} {word}:\n{}",
                told(&problems)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn upstreams_are_told_with_their_own_lines() {
    let text = r#"[services.web]
upstreams = [
  "10.0.0.1:80",
  "nonsense",
  "10.0.0.1:80,weight=2",
  "b:1,weight=0",
  7,
]
"#;
    let problems = read(text).expect_err("four are wrong");
    let lines: Vec<_> = problems
        .iter()
        .filter_map(|problem| problem.place.line())
        .collect();
    assert_eq!(lines, [4, 5, 6, 7], "{}", told(&problems));
    assert!(problems[1].message.contains("on line 3 already"));
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = "listen = \"here\"\nworkers = 0\nnonsense = 1\n[services.a]\nupstreams = [\"x\"]\ntimeout = 1\n";
    let problems = read(text).expect_err("five are wrong");
    let told = told(&problems);
    assert_eq!(problems.len(), 5, "{told}");
    assert!(
        told.starts_with("etc/gateway.toml:1:10: listen: write IP:PORT"),
        "{told}"
    );
}

#[test]
fn a_broken_file_is_told_with_its_line() {
    for (text, line) in [
        ("[services", 1),
        ("a = 1\nb = = 2\n", 2),
        ("a = \"", 1),
        ("a = 1\na = 2", 2),
    ] {
        let problems = read(text).expect_err(text);
        let found = problems[0].place.line();
        assert_eq!(found, Some(line), "{text}: {}", told(&problems));
    }
}

#[test]
fn a_file_without_a_service_is_told_what_one_looks_like() {
    let problems = read("").expect_err("nothing to do");
    assert!(problems[0].message.contains("[services.NAME]"));
}

proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in ".{0,200}") {
        if let Err(problems) = read(&text) {
            prop_assert!(!problems.is_empty());
        }
    }

    #[test]
    fn likely_texts_do_not_break_it_either(
        lines in proptest::collection::vec(
            "(\\[services\\.[a-c]\\]|[a-z-]{1,8} = (1|\"[a-z0-9:.%]{0,8}\"|\\[\"[a-z0-9:.,=]{0,12}\"\\]|nan))",
            0..8,
        )
    ) {
        let text = lines.join("\n");
        if let Ok(plan) = read(&text) {
            let again = parse("g.toml", &plan.to_toml(), &ProcessSettings::default());
            prop_assert_eq!(Ok(plan), again);
        }
    }
}
