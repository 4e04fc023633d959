//! What a person sees who has written a file with mistakes in it.

use super::*;

fn refused(text: &str, commands: bool) -> String {
    let flags = ProcessSettings {
        commands,
        ..ProcessSettings::default()
    };
    told(&parse("run.toml", text, &flags).expect_err("there are mistakes"))
}

#[test]
fn mistakes_of_a_gateway_are_shown_in_their_lines() {
    let text = r#"listen = "here"
workers = -2

[services.shop]
upstreams = ["10.0.0.1:80", "10.0.0.2"]
policy = "best"
routes = [{ hosts = ["shop.test", "both.test"] }]

[services.blog]
upstreams = ["10.0.0.1:80", "10.0.0.1:80,weight=2"]
endpoint-concurrency = -4
routes = [{ hosts = ["blog.test", "both.test"] }]

[services.rest]
command = ["./server", "{port}"]
upstreams = ["10.0.0.1:80"]
ejection = { base = "5m", max = "1m" }
tls = { cert = "a.pem" }
polcy = "wrr"
"#;
    insta::assert_snapshot!(refused(text, false));
}

#[test]
fn mistakes_of_services_with_commands_are_shown_in_their_lines() {
    let text = r#"replicas-memory = "8 gigs"

[services.web]
command = []

[services.api]
command = ["./api", "{port}"]
stop-signal = "SIGSTOP"
ready-path = "/healthz"
ready-line = "listening"
upstreams = ["10.0.0.1:80"]
routes = [{ path = "/api" }]
memory = "0"

[services.api.scale]
min = 12
policy = "knative"
utilization = "0%"
keep-alive-min = "20m"

[services.model]
command = ["./model\u0000"]
start-timeout = "3 days"
routes = [{ path = "/model" }]

[services.model.environment]
"A=B" = "1"
PORTS = 2
"#;
    insta::assert_snapshot!(refused(text, true));
}

#[test]
fn mistakes_in_settings_of_knative_are_shown_in_their_lines() {
    let text = r#"[knative]
stable-window = "2s"

[services.web]
command = ["./web", "{port}"]

[services.web.knative]
"autoscaling.knative.dev/min-scale" = 5
"autoscaling.knative.dev/max-scale" = "3"
"autoscaling.knative.dev/target" = "-11"
"autoscaling.knative.dev/targets" = "11"

[services.api]
command = ["./api", "{port}"]
routes = [{ path = "/api" }]

[services.api.knative]
max-scale-up-rate = 0.5

[services.job]
command = ["./job", "{port}"]
routes = [{ path = "/job" }]

[services.job.knative]
"autoscaling.knative.dev/class" = "hpa.autoscaling.knative.dev"
"autoscaling.knative.dev/window" = [1]
windows = "60s"
"#;
    insta::assert_snapshot!(refused(text, true));
}

#[test]
fn broken_files_and_empty_ones_are_told_where_they_break() {
    let texts = [
        "[services.web]\nupstreams = [\"a:1\"]\n[services.web]\n",
        "[services.web]\nupstreams = \"a:1\" \"b:1\"\n",
        "[services.web\n",
        "name = 'no end\n",
        "",
    ];
    let told: Vec<String> = texts.iter().map(|text| refused(text, true)).collect();
    insta::assert_snapshot!(told.join("\n\n"));
}
