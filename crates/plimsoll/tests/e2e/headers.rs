//! What happens to heads on the way, and what does not.

use serde_json::Value;

use crate::harness::app::{self, App};
use crate::harness::h2c;
use crate::harness::http1::{self, Client};
use crate::harness::sidecar::Sidecar;

/// What the application saw: the fields, but for those of the framing.
fn fields(seen: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let list = seen["headers"].as_array().unwrap();
    list.iter()
        .map(|pair| (text(&pair[0]), text(&pair[1])))
        .collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect()
}

#[tokio::test]
async fn the_application_sees_the_request_and_nothing_invented() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &[]).await;
    let rows: [(&str, &[(&str, &str)]); 6] = [
        (
            "GET /headers HTTP/1.1\r\nHost: shop.example:8443\r\n\r\n",
            &[
                ("host", "shop.example:8443"),
                ("x-forwarded-for", "127.0.0.1"),
            ],
        ),
        (
            "GET /headers HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 1.1.1.1, 2.2.2.2\r\n\r\n",
            &[
                ("host", "a"),
                ("x-forwarded-for", "1.1.1.1, 2.2.2.2, 127.0.0.1"),
            ],
        ),
        (
            "GET /headers HTTP/1.1\r\nhost: a\r\nx-d: 1\r\nuser-agent: u\r\nx-d: 2\r\nx-d: 1\r\n\r\n",
            &[
                ("host", "a"),
                ("x-d", "1"),
                ("x-d", "2"),
                ("x-d", "1"),
                ("user-agent", "u"),
                ("x-forwarded-for", "127.0.0.1"),
            ],
        ),
        (
            "GET /headers HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, x-mine\r\nx-mine: 1\r\n\
             keep-alive: timeout=5\r\nproxy-connection: x\r\nproxy-authorization: x\r\n\
             te: trailers, deflate\r\nauthorization: kept\r\n\r\n",
            &[
                ("host", "a"),
                ("authorization", "kept"),
                ("te", "trailers"),
                ("x-forwarded-for", "127.0.0.1"),
            ],
        ),
        (
            "GET http://real.example:81/headers HTTP/1.1\r\nhost: other.example\r\n\r\n",
            &[
                ("host", "real.example:81"),
                ("x-forwarded-for", "127.0.0.1"),
            ],
        ),
        (
            "GET /headers HTTP/1.1\r\nhost: a\r\nx-empty:\r\nx-latin: caf\u{e9}\r\n\r\n",
            &[
                ("host", "a"),
                ("x-empty", ""),
                ("x-latin", "caf\u{e9}"),
                ("x-forwarded-for", "127.0.0.1"),
            ],
        ),
    ];
    let mut client = Client::connect(sidecar.data).await;
    for (request, expected) in rows {
        client.send(request).await;
        let mut seen = fields(&client.answer().await.json());
        let mut expected = pairs(expected);
        // Fields of different names have no order (RFC 9110 section 5.3); those of one name have.
        seen.sort_by(|one, other| one.0.cmp(&other.0));
        expected.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(seen, expected, "{request}");
    }
}

#[tokio::test]
async fn targets_arrive_as_they_were_written() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &[]).await;
    let mut client = Client::connect(sidecar.data).await;
    for (target, uri) in [
        ("/headers?", "/headers?"),
        ("/headers?a=%2F&b=%20&a", "/headers?a=%2F&b=%20&a"),
        ("/headers?q='|{}[]^`\\", "/headers?q='|{}[]^`\\"),
        ("http://x/headers?z", "/headers?z"),
    ] {
        let answer = client.get(target).await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        assert_eq!(answer.json()["uri"], uri, "{target}");
    }
}

#[tokio::test]
async fn h2c_requests_arrive_with_their_authority() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &[]).await;
    let mut client = h2c::Client::connect(sidecar.data).await;
    let request = http::Request::builder()
        .uri("http://shop.example/headers")
        .header("x-d", "1")
        .header("x-d", "2")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let pending = client.begin(request, true).await.unwrap();
    let seen = h2c::answer(pending.response).await.unwrap().json();
    assert_eq!(seen["uri"], "http://shop.example/headers");
    let mut fields = fields(&seen);
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    let expected = [
        ("te", "trailers"),
        ("x-d", "1"),
        ("x-d", "2"),
        ("x-forwarded-for", "127.0.0.1"),
    ];
    assert_eq!(fields, pairs(&expected));
}

#[tokio::test]
async fn answers_keep_their_fields_and_get_none() {
    let app = App::answering(
        "HTTP/1.1 200 Fine\r\nx-b: 2\r\nset-cookie: one\r\nx-a: 1\r\nset-cookie: two\r\n\
         connection: x-mine\r\nx-mine: 1\r\nkeep-alive: timeout=5\r\nproxy-authenticate: x\r\n\
         content-length: 3\r\n\r\nok\n",
    )
    .await;
    let sidecar = Sidecar::start(app.addr, &[]).await;
    let mut client = Client::connect(sidecar.data).await;
    client.send(http1::get("/")).await;
    let answer = client.answer().await;
    let mut lines: Vec<_> = answer.head.trim_end().lines().skip(1).collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "content-length: 3",
            "set-cookie: one",
            "set-cookie: two",
            "x-a: 1",
            "x-b: 2",
        ],
        "no Date, Server or Via of ours"
    );

    let mut client = h2c::Client::connect(sidecar.data).await;
    // Over HTTP/2 this application cannot be spoken to; the refusal invents nothing either.
    let refused = client.get("/").await.unwrap();
    for name in ["date", "server", "via", "connection"] {
        assert_eq!(refused.field(name), None, "{name}");
    }
}

#[tokio::test]
async fn what_the_activator_forwards_counts_as_proxied() {
    let app = app::lab();
    let sidecar = Sidecar::start(app.addr(), &[]).await;
    let proxied = "queue_average_proxied_concurrent_requests{";
    for (value, expected) in [("Activator", false), ("", false), ("activator", true)] {
        let mut client = Client::connect(sidecar.data).await;
        client
            .send(format!(
                "GET /hang HTTP/1.1\r\nhost: a\r\nk-proxy-request: {value}\r\n\r\n"
            ))
            .await;
        sidecar
            .scraped("a whole period with one request", |metrics| {
                let all = metrics.sum("queue_average_concurrent_requests{");
                let proxied = metrics.sum(proxied);
                assert!(expected || proxied == 0.0, "{value:?}");
                (all - 1.0).abs() < 0.01 && (proxied > 0.99) == expected
            })
            .await;
        drop(client);
        sidecar
            .scraped("none in flight", |metrics| metrics.in_flight() == 0.0)
            .await;
    }
}
