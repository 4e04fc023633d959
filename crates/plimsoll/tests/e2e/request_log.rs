//! The request log, as the program writes it.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::app::{self, App};
use crate::harness::eventually;
use crate::harness::http1::{self, Client};
use crate::harness::sidecar::Sidecar;

async fn start(app: &App, config: &Value) -> Sidecar {
    let config = config.to_string();
    let variables = [("OBSERVABILITY_CONFIG", config.as_str())];
    Sidecar::start_in_pod(app.addr.port(), &variables, &[]).await
}

/// So many lines of standard output, or more.
async fn lines(sidecar: &Sidecar, count: usize) -> Vec<String> {
    eventually(&format!("{count} lines"), async || {
        let lines = sidecar.output.lines();
        (lines.len() >= count).then_some(lines)
    })
    .await
}

const PROBE: &str =
    "GET / HTTP/1.1\r\nhost: a\r\nuser-agent: curl/8\r\nk-network-probe: activator\r\n\r\n";
const NETWORK_PROBE: &str =
    "GET /n HTTP/1.1\r\nhost: a\r\nk-network-probe: probe\r\nk-network-hash: h\r\n\r\n";

#[tokio::test]
async fn every_request_has_a_line_of_json_and_probes_have_none() {
    let app = App::answering("HTTP/1.1 404 Not Found\r\ncontent-length: 3\r\n\r\nno\n").await;
    let sidecar = start(&app, &json!({"enableRequestLog": true})).await;
    let mut client = Client::connect(sidecar.data).await;
    for probe in [PROBE, NETWORK_PROBE] {
        client.send(probe).await;
        client.answer().await;
    }
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let request = format!(
        "POST /a?b=c HTTP/1.1\r\nhost: hello\r\nuser-agent: it's \"me\"\r\nreferer: http://r/\r\n\
         traceparent: 00-{trace}-b7ad6b7169203331-01\r\ncontent-length: 4\r\n\r\nbody"
    );
    client.send(request).await;
    assert_eq!(client.answer().await.status, 404);
    let lines = lines(&sidecar, 1).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line: Value = serde_json::from_str(&lines[0]).unwrap();
    let request = &line["httpRequest"];
    for (field, expected) in [
        ("requestMethod", json!("POST")),
        ("requestUrl", json!("/a?b=c")),
        ("requestSize", json!("4")),
        ("status", json!(404)),
        ("responseSize", json!("3")),
        ("userAgent", json!("it's \"me\"")),
        ("serverIp", json!("10.0.0.7")),
        ("referer", json!("http://r/")),
        ("protocol", json!("HTTP/1.1")),
    ] {
        assert_eq!(request[field], expected, "{field}: {line}");
    }
    assert!(
        request["remoteIp"]
            .as_str()
            .is_some_and(|ip| ip.starts_with("127.0.0.1:")),
        "{line}"
    );
    for time in [&request["latency"], &line["queued"], &line["upstream"]] {
        let seconds = time.as_str().and_then(|time| time.strip_suffix('s'));
        assert!(
            seconds.is_some_and(|time| time.parse::<f64>().is_ok()),
            "{line}"
        );
    }
    assert_eq!(
        (line["traceId"].as_str(), line["answeredBy"].as_str()),
        (Some(trace), Some("app"))
    );
}

/// The status is that of the final answer, and that of a refusal says who made it.
#[tokio::test]
async fn f1_f6_the_status_is_final_and_who_made_it_is_told() {
    let template = "{{.Request.URL}} {{.Response.Code}} {{.Response.Source}}";
    let app = App::answering(
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    let sidecar = start(
        &app,
        &json!({"enableRequestLog": true, "requestLogTemplate": template}),
    )
    .await;
    http1::once(sidecar.data, http1::get("/a")).await;
    assert_eq!(lines(&sidecar, 1).await, ["/a 500 app"]);

    let silent = App::scripted(async |mut wire, _| {
        wire.head().await;
        std::future::pending::<()>().await;
    })
    .await;
    let sidecar = start(
        &silent,
        &json!({"enableRequestLog": true, "requestLogTemplate": template}),
    )
    .await;
    let mut client = Client::connect(sidecar.data).await;
    client.send(http1::get("/b")).await;
    eventually("the application has it", async || {
        (silent.connections() > 0).then_some(())
    })
    .await;
    drop(client);
    assert_eq!(lines(&sidecar, 1).await, ["/b 499 client_gone"]);
}

#[tokio::test]
async fn probes_have_lines_if_that_is_wanted() {
    let config = json!({
        "enableRequestLog": true,
        "enableProbeRequestLog": true,
        "requestLogTemplate": "{{.Request.URL}} {{.Response.Code}}{{if .Request.UserAgent}} {{.Request.UserAgent}}{{end}}",
    });
    let app = App::answering(app::OK).await;
    let sidecar = start(&app, &config).await;
    let mut client = Client::connect(sidecar.data).await;
    for probe in [PROBE, NETWORK_PROBE] {
        client.send(probe).await;
        assert_eq!(client.answer().await.status, 200);
    }
    assert_eq!(lines(&sidecar, 2).await, ["/ 200 curl/8", "/n 200"]);
}

#[tokio::test]
async fn a_template_that_cannot_be_used_is_told_and_the_default_one_is() {
    let app = App::answering(app::OK).await;
    let config = json!({"enableRequestLog": true, "requestLogTemplate": "{{range .Request.Cookies}}{{end}}"});
    let sidecar = start(&app, &config).await;
    let is_told = |line: &Value| {
        let message = line["message"].as_str().unwrap_or_default();
        message.contains("{{range}} is not supported")
            && message.contains("the default one is used")
    };
    let warning = sidecar
        .logged("what is wrong with the template", is_told)
        .await;
    assert_eq!(warning["level"], "WARN");
    http1::once(sidecar.data, http1::get("/")).await;
    let line: Value = serde_json::from_str(&lines(&sidecar, 1).await[0]).unwrap();
    assert_eq!(line["httpRequest"]["status"], 200);
}

#[tokio::test]
async fn the_last_lines_are_written_before_the_end() {
    let app = App::answering(app::OK).await;
    let config = json!({"enableRequestLog": true, "requestLogTemplate": "{{.Request.URL}}"});
    let config = config.to_string();
    let variables = [("OBSERVABILITY_CONFIG", config.as_str())];
    let quiet = ["--drain-quiet", "0"];
    let mut sidecar = Sidecar::start_in_pod(app.addr.port(), &variables, &quiet).await;
    for index in 0..50 {
        http1::once(sidecar.data, http1::get(&format!("/{index}"))).await;
    }
    sidecar.signal(Signal::TERM);
    assert!(sidecar.ended().await.success());
    assert_eq!(lines(&sidecar, 50).await.len(), 50);
}
