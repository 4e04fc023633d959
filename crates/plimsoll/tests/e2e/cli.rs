//! The command line: a mistake is told in one line, before anything has begun.

use std::process::Stdio;

use crate::harness::gateway::Folder;
use crate::harness::sidecar::{Sidecar, in_pod, plimsoll};
use crate::harness::{app, soon};

/// Exit codes and streams of one run.
#[derive(Debug)]
struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Run {
    let mut command = plimsoll();
    command
        .args(arguments)
        .envs(environment.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = soon("the end of the program", command.output())
        .await
        .unwrap();
    Run {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Run {
    /// It ended with `code` and one line that names each of `words`.
    #[track_caller]
    fn refused(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        assert!(self.stderr.starts_with("plimsoll: "), "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?}: {self:?}");
        }
    }
}

/// Arguments, and words that the line names.
const BAD_FLAGS: &[(&[&str], &[&str])] = &[
    (&["sidecarr"], &["sidecarr"]),
    (&["--unknown"], &["--unknown"]),
    (&["sidecar"], &["--app"]),
    (&["sidecar", "--app"], &["--app"]),
    (&["sidecar", "--app", "8080", "--unknown"], &["--unknown"]),
    (&["sidecar", "--app", "8080", "stray"], &["stray"]),
    (&["sidecar", "--app", ""], &["--app"]),
    (&["sidecar", "--app", "127.0.0.1"], &["--app", "HOST:PORT"]),
    (&["sidecar", "--app", "127.0.0.1:0"], &["--app", "port 0"]),
    (
        &["sidecar", "--app", "8080", "--load-reports", "on"],
        &["--load-reports", "on"],
    ),
    (
        &["sidecar", "--app", "8080", "--cpu-quota", "1"],
        &["--cpu-quota", "--load-reports"],
    ),
    (
        &[
            "sidecar",
            "--app",
            "8080",
            "--load-reports",
            "all",
            "--cpu-quota",
            "0",
        ],
        &["--cpu-quota", "0.5"],
    ),
    (
        &[
            "sidecar",
            "--app",
            "8080",
            "--load-reports",
            "all",
            "--cpu-cgroup",
            "/nowhere",
        ],
        &["--cpu-cgroup", "/nowhere", "cpu.stat", "cpuacct.usage"],
    ),
    (
        &["sidecar", "--app", "127.0.0.1:99999"],
        &["--app", "HOST:PORT"],
    ),
    (
        &["sidecar", "--app", "8080", "--listen", "localhost:80"],
        &["--listen", "IP:PORT"],
    ),
    (
        &["sidecar", "--app", "8080", "--listen", "70000"],
        &["--listen", "IP:PORT"],
    ),
    (
        &["sidecar", "--app", "8080", "--metrics-listen", "x"],
        &["--metrics-listen", "IP:PORT"],
    ),
    (
        &["sidecar", "--app", "8080", "--concurrency", "many"],
        &["--concurrency", "many"],
    ),
    (
        &["sidecar", "--app", "8080", "--concurrency", "-1"],
        &["-1"],
    ),
    (
        &["sidecar", "--app", "8080", "--concurrency", "99999999999"],
        &["99999999999"],
    ),
    (
        &[
            "sidecar",
            "--app",
            "8080",
            "--concurrency",
            "1",
            "--queue",
            "99999999999",
        ],
        &["99999999999"],
    ),
    (
        &["sidecar", "--app", "8080", "--queue", "5"],
        &["queue", "concurrency"],
    ),
    (
        &["sidecar", "--app", "8080", "--workers", "0"],
        &["--workers", "1 to 256"],
    ),
    (
        &["sidecar", "--app", "8080", "--workers", "257"],
        &["--workers", "1 to 256"],
    ),
    (
        &["sidecar", "--app", "8080", "--timeout", "300"],
        &["--timeout", "300"],
    ),
    (
        &["sidecar", "--app", "8080", "--timeout", "-1s"],
        &["--timeout", "-1s"],
    ),
    (
        &["sidecar", "--app", "8080", "--response-start-timeout", "x"],
        &["--response-start-timeout"],
    ),
    (
        &["sidecar", "--app", "8080", "--idle-timeout", "400days"],
        &["--idle-timeout", "365 days"],
    ),
    (
        &["sidecar", "--app", "8080", "--drain-quiet", "soon"],
        &["--drain-quiet", "soon"],
    ),
    (
        &["sidecar", "--app", "8080", "--namespace", ""],
        &["--namespace"],
    ),
    (
        &["sidecar", "--app", "8080", "--revision", " "],
        &["--revision", "empty"],
    ),
    (&["sidecar", "--app", "8080", "--pod", ""], &["--pod"]),
    (
        &["sidecar", "--app", "8080", "--log-format", "xml"],
        &["--log-format", "text", "json"],
    ),
];

/// The same for the gateway.
const BAD_GATEWAY_FLAGS: &[(&[&str], &[&str])] = &[
    (&[], &["--upstream HOST:PORT", "--config"]),
    (&["--upstream"], &["--upstream"]),
    (&["--upstream", "a"], &["--upstream", "no port"]),
    (&["--upstream", "http://a:80"], &["looks like a URL"]),
    (&["--upstream", "1,weight=0"], &["weight of 0"]),
    (&["--upstream", "1,weight=65536"], &["1 to 65535"]),
    (&["--upstream", "1,weight=NaN"], &["1 to 65535"]),
    (
        &["--upstream", "1", "--upstream", "127.0.0.1:1"],
        &["127.0.0.1:1 is given twice"],
    ),
    (
        &["--upstream", "1", "--policy", "best"],
        &["--policy", "peak-ewma"],
    ),
    (
        &["--upstream", "1", "--endpoint-concurrency", "-1"],
        &["-1"],
    ),
    (
        &["--upstream", "1", "--retry-budget", "NaN%"],
        &["0% to 100%"],
    ),
    (
        &["--upstream", "1", "--retry-budget", "0.1"],
        &["0% to 100%"],
    ),
    (&["--upstream", "1", "--queue", "99999999"], &["99999999"]),
    (&["--upstream", "1", "--queue-bytes", "1MB"], &["64KiB"]),
    (
        &["--upstream", "1", "--timeout", "5"],
        &["--timeout", "a number and a unit"],
    ),
    (
        &["--upstream", "1", "--health-check", "healthz"],
        &["begins with /"],
    ),
    (&["--upstream", "1", "--tls-cert", "a"], &["--tls-key"]),
    (
        &["--upstream", "1", "--upstream-ca", "a"],
        &["--upstream-tls"],
    ),
    (
        &["--upstream", "a:1", "--upstream", "b:1", "--upstream-tls"],
        &["--upstream-server-name"],
    ),
    (
        &["--upstream", "1", "--upstream-protocol", "h3"],
        &["auto, http1, http2"],
    ),
    (
        &[
            "--upstream",
            "1",
            "--tls-cert",
            "no-such",
            "--tls-key",
            "no-such",
        ],
        &["no-such"],
    ),
    (
        &["--config", "no-such.toml"],
        &["no-such.toml", "cannot be read"],
    ),
    (
        &["--config", "a.toml", "--upstream", "1"],
        &["--upstream", "--config"],
    ),
    (
        &["--config", "a.toml", "--policy", "random"],
        &["--policy", "--config"],
    ),
];

#[tokio::test]
async fn bad_flags_of_the_gateway_are_told_in_one_line_with_exit_code_64() {
    for (arguments, words) in BAD_GATEWAY_FLAGS {
        let arguments = [&["gateway"], *arguments].concat();
        run(&arguments, &[]).await.refused(64, words);
    }
}

#[tokio::test]
async fn bad_flags_of_run_are_told_in_one_line_with_exit_code_64() {
    let rows: &[(&[&str], &[&str])] = &[
        (&["./server"], &["./server", "`--` before the command"]),
        (&["--windows", "9s", "--", "x"], &["'--windows'"]),
        (
            &["--window", "2s", "--", "x"],
            &["--window is 2s", "from 6 s to 1 h"],
        ),
        (
            &["--min", "5", "--max", "2", "--", "x"],
            &["--min 5 is more than --max 2"],
        ),
        (
            &["--config", "missing.toml"],
            &["missing.toml: cannot be read"],
        ),
        (&["--config", "a.toml", "--", "x"], &["--config"]),
        (
            &["--ready-line", "(", "--", "x"],
            &["no regular expression"],
        ),
        (&["--memory", "lots", "--", "x"], &["--memory", "16MiB"]),
    ];
    for (arguments, words) in rows {
        let arguments = [&["run"], *arguments].concat();
        run(&arguments, &[]).await.refused(64, words);
    }
}

#[tokio::test]
async fn all_mistakes_of_a_file_are_told_with_their_lines_and_exit_code_64() {
    let folder = Folder::new();
    folder.write("list", "10.0.0.1:1\nnonsense\n");
    let text = "lisen = \"x\"\n[services.a]\nupstreams = [\"1\"]\npolicy = \"best\"\n";
    let config = folder.write("a.toml", text);
    let config = config.to_str().unwrap();
    let refused = run(&["gateway", "--config", config], &[]).await;
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(64), ""));
    let lines: Vec<_> = refused.stderr.lines().collect();
    assert_eq!(lines.len(), 6, "{refused:?}");
    for (index, words) in [
        (0, "a.toml:1:1: lisen: there is no such key"),
        (1, " 1 | lisen = \"x\""),
        (2, "   | ^^^^^"),
        (3, "a.toml:4:10: services.a.policy: `best`"),
        (5, "   |          ^^^^^^"),
    ] {
        assert!(lines[index].contains(words), "{refused:?}");
    }
    folder.write("a.toml", "[services.a]\nupstream-file = \"list\"\n");
    let refused = run(&["gateway", "--config", config], &[]).await;
    refused.refused(64, &["list:2: `nonsense` has no port"]);
}

#[tokio::test]
async fn check_shows_what_it_comes_to_as_a_file_that_comes_to_the_same() {
    let folder = Folder::new();
    let flags = [
        "--upstream",
        "127.0.0.1:1,weight=2",
        "--retry-budget",
        "20%",
        "--workers",
        "3",
    ];
    let environment = [
        ("PLIMSOLL_POLICY", "round-robin"),
        ("PLIMSOLL_ENDPOINT_CONCURRENCY", "4"),
    ];
    let shown = run(
        &[&["gateway", "--check"], &flags[..]].concat(),
        &environment,
    )
    .await;
    assert_eq!(
        (shown.code, shown.stderr.as_str()),
        (Some(0), ""),
        "{shown:?}"
    );
    for line in [
        "listen = \"127.0.0.1:8080\"",
        "workers = 3",
        "upstreams = [\"127.0.0.1:1,weight=2\"]",
        "policy = \"round-robin\"",
        "endpoint-concurrency = 4",
        "budget = \"20%\"",
    ] {
        assert!(
            shown.stdout.lines().any(|shown| shown == line),
            "{line}: {shown:?}"
        );
    }
    let config = folder.write("a.toml", &shown.stdout);
    let again = run(
        &["gateway", "--check", "--config", config.to_str().unwrap()],
        &[],
    )
    .await;
    assert_eq!(again.stdout, shown.stdout, "{again:?}");
}

#[tokio::test]
async fn bad_flags_are_told_in_one_line_with_exit_code_64() {
    for (arguments, words) in BAD_FLAGS {
        run(arguments, &[]).await.refused(64, words);
    }
}

#[tokio::test]
async fn a_bad_environment_is_told_like_a_bad_flag() {
    for (name, value, words) in [
        ("PLIMSOLL_APP", "nonsense", &["nonsense"][..]),
        ("PLIMSOLL_LISTEN", "x", &["IP:PORT"]),
        ("PLIMSOLL_METRICS_LISTEN", "x", &["IP:PORT"]),
        ("PLIMSOLL_CONCURRENCY", "many", &["many"]),
        ("PLIMSOLL_QUEUE", "-1", &["-1"]),
        ("PLIMSOLL_WORKERS", "0", &["1 to 256"]),
        ("PLIMSOLL_TIMEOUT", "never", &["never"]),
        ("PLIMSOLL_RESPONSE_START_TIMEOUT", "never", &["never"]),
        ("PLIMSOLL_IDLE_TIMEOUT", "never", &["never"]),
        ("PLIMSOLL_DRAIN_QUIET", "never", &["never"]),
        ("PLIMSOLL_NAMESPACE", " ", &["empty"]),
        ("PLIMSOLL_LOG_FORMAT", "xml", &["xml", "json"]),
    ] {
        let arguments: &[&str] = if name == "PLIMSOLL_APP" {
            &["sidecar"]
        } else {
            &["sidecar", "--app", "8080"]
        };
        run(arguments, &[(name, value)]).await.refused(64, words);
    }
}

#[tokio::test]
async fn everything_wrong_with_knatives_variables_is_told_at_once() {
    let wrong = [
        ("CONTAINER_CONCURRENCY", "ten"),
        (
            "OBSERVABILITY_CONFIG",
            "{\"tracing\":{\"protocol\":\"zipkin\"}}",
        ),
        ("QUEUE_SERVING_PORT", "http"),
        ("SERVING_READINESS_PROBE", "{\"exec\":{}}"),
        ("PLIMSOLL_TIMEOUT", "never"),
    ];
    let output = in_pod(8080, &wrong).output().await.unwrap();
    assert_eq!(output.status.code(), Some(64));
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(told.lines().count(), wrong.len(), "{told}");
    for (name, _) in wrong {
        assert!(told.contains(&format!("for '{name}'")), "{name}: {told}");
    }
}

#[tokio::test]
async fn check_shows_what_it_comes_to_and_where_each_came_from() {
    let probe = "{\"httpGet\":{\"path\":\"/health\",\"port\":8080},\"periodSeconds\":1}";
    let variables = [
        ("CONTAINER_CONCURRENCY", "10"),
        ("SERVING_READINESS_PROBE", probe),
        ("PLIMSOLL_IDLE_TIMEOUT", "5s"),
        ("QUEUE_SERVING_PORT", "ignored, for the flag wins"),
    ];
    let mut command = in_pod(8080, &variables);
    let listen = ["--listen", "127.0.0.1:1", "--check"];
    let output = command.args(listen).output().await.unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), &*told), (Some(0), ""), "{shown}");
    for line in [
        "app = \"127.0.0.1:8080\"  # USER_PORT",
        "listen = \"127.0.0.1:1\"  # --listen",
        "concurrency = \"10\"  # CONTAINER_CONCURRENCY",
        "queue = \"100\"",
        "timeout = \"5m\"  # REVISION_TIMEOUT_SECONDS",
        "idle-timeout = \"5s\"  # PLIMSOLL_IDLE_TIMEOUT",
        "drain-quiet = \"30s\"",
        "readiness = \"http://127.0.0.1:8080/health, once within 1s\"  # SERVING_READINESS_PROBE",
        "user-metrics-listen = \"off\"",
        "log-format = \"json\"",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}:\n{shown}");
    }
}

#[tokio::test]
async fn check_names_the_source_of_switches_and_lists_too() {
    let config = r#"{"requestMetrics":{"protocol":"grpc","endpoint":"http://c:4317"},"tracing":{"protocol":"grpc"}}"#;
    let variables = [
        ("OBSERVABILITY_CONFIG", config),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t:1"),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.1"),
        ("PLIMSOLL_HOLD_CANCELLED", "true"),
        ("PLIMSOLL_UNCOUNTED_PATH", "/a,/b"),
        ("PLIMSOLL_LOG_FORMAT", "text"),
        ("SERVING_LOGGING_LEVEL", "warn"),
    ];
    let mut command = in_pod(8080, &variables);
    let flags = ["--queue-untimed", "--load-reports", "orca", "--check"];
    let output = command.args(flags).output().await.unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{shown}");
    for line in [
        "knative = \"on\"",
        "hold-cancelled = \"true\"  # PLIMSOLL_HOLD_CANCELLED",
        "queue-untimed = \"true\"  # --queue-untimed",
        "uncounted-path = \"/a,/b\"  # PLIMSOLL_UNCOUNTED_PATH",
        "uncounted-agent = \"\"",
        "load-reports = \"orca\"  # --load-reports",
        "log-format = \"text\"  # PLIMSOLL_LOG_FORMAT",
        "log-level = \"warn\"  # SERVING_LOGGING_LEVEL",
        "request-metrics = \"OTLP by gRPC\"  # OBSERVABILITY_CONFIG",
        "metrics-to = \"http://c:4317/opentelemetry.proto.collector.metrics.v1.MetricsService/Export\"  # OBSERVABILITY_CONFIG",
        "traces-to = \"http://t:1/opentelemetry.proto.collector.trace.v1.TraceService/Export\"  # OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "sampling = \"0.1 of those that begin here, others as their clients say\"  # OTEL_TRACES_SAMPLER",
        // There is no limit in this pod.
        "# warning: PLIMSOLL_HOLD_CANCELLED changes nothing: without a concurrency limit there are neither slots nor a queue",
        "# warning: --queue-untimed changes nothing: without a concurrency limit there are neither slots nor a queue",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}:\n{shown}");
    }
}

#[tokio::test]
async fn the_environment_sets_what_no_flag_does_and_the_flag_wins() {
    let app = app::lab();
    let app_addr = app.addr().to_string();
    let mut child = plimsoll()
        .args(["sidecar", "--concurrency", "7", "--log-format", "json"])
        .envs([
            ("PLIMSOLL_APP", app_addr.as_str()),
            ("PLIMSOLL_LISTEN", "127.0.0.1:0"),
            ("PLIMSOLL_METRICS_LISTEN", "127.0.0.1:0"),
            ("PLIMSOLL_CONCURRENCY", "3"),
            ("PLIMSOLL_WORKERS", "2"),
        ])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = tokio::io::BufReader::new(child.stderr.take().unwrap());
    let mut lines = tokio::io::AsyncBufReadExt::lines(stderr);
    let line = soon("a line", lines.next_line()).await.unwrap().unwrap();
    let serving: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(serving["message"], "serving", "{line}");
    assert_eq!(serving["app"], app_addr);
    assert_eq!(serving["concurrency"], 7, "the flag wins");
    assert_eq!(serving["workers"], 2);
}

#[tokio::test]
async fn a_port_in_use_is_told_in_one_line_with_exit_code_1() {
    let taken = app::free_listener().await;
    let taken = taken.local_addr().unwrap().to_string();
    let base = ["sidecar", "--app", "8080"];
    for (data, metrics, flag) in [
        (taken.as_str(), "127.0.0.1:0", "--listen"),
        ("127.0.0.1:0", taken.as_str(), "--metrics-listen"),
    ] {
        let arguments = [&base[..], &["--listen", data, "--metrics-listen", metrics]].concat();
        run(&arguments, &[]).await.refused(1, &[flag, &taken]);
    }
    // A sidecar that runs holds both of its own.
    let sidecar = Sidecar::start(app::nowhere().await, &[]).await;
    let (data, metrics) = (sidecar.data.to_string(), sidecar.metrics.to_string());
    for (data, metrics, port) in [
        (data.as_str(), "127.0.0.1:0", &data),
        ("127.0.0.1:0", metrics.as_str(), &metrics),
    ] {
        let arguments = [&base[..], &["--listen", data, "--metrics-listen", metrics]].concat();
        run(&arguments, &[]).await.refused(1, &[port]);
    }
}

#[tokio::test]
async fn help_fits_on_a_terminal_of_80_columns() {
    for (name, arguments) in [
        ("overview", &["--help"][..]),
        ("gateway", &["gateway", "--help"]),
        ("gateway_short", &["gateway", "-h"]),
        ("run", &["run", "--help"]),
        ("run_short", &["run", "-h"]),
        ("sidecar", &["sidecar", "--help"]),
        ("sidecar_short", &["sidecar", "-h"]),
        ("simulate", &["simulate", "--help"]),
        ("status", &["status", "--help"]),
        ("why", &["why", "--help"]),
        ("top", &["top", "--help"]),
        ("scale", &["scale", "--help"]),
        ("stop", &["stop", "--help"]),
        ("start", &["start", "--help"]),
    ] {
        let shown = run(arguments, &[("COLUMNS", "80")]).await;
        assert_eq!((shown.code, shown.stderr.as_str()), (Some(0), ""), "{name}");
        for line in shown.stdout.lines() {
            assert!(line.chars().count() <= 80, "{name}: {line}");
        }
        insta::assert_snapshot!(name, shown.stdout);
    }
}

#[tokio::test]
async fn the_version_is_told_and_no_command_shows_the_way() {
    let version = run(&["--version"], &[]).await;
    assert_eq!(version.code, Some(0));
    assert_eq!(
        version.stdout,
        format!("plimsoll {}\n", env!("CARGO_PKG_VERSION"))
    );
    let alone = run(&[], &[]).await;
    assert_eq!(alone.code, Some(0));
    assert!(alone.stdout.contains("plimsoll sidecar --app"), "{alone:?}");
}
