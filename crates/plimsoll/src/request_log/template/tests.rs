//! Tests of templates as a whole: what they print, and what is refused.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderValue, Method, Uri, Version};
use plimsoll_meter::Tick;
use plimsoll_proxy::Arrival;
use plimsoll_wire::{Answer, CodeClass, ProxyError};
use proptest::prelude::*;

use super::*;

fn place() -> Place {
    Place {
        revision: "rev".to_owned(),
        namespace: "ns".to_owned(),
        service: "svc".to_owned(),
        configuration: "cfg".to_owned(),
        pod: "pn".to_owned(),
        pod_ip: "ip".to_owned(),
    }
}

fn end() -> RequestEnd {
    RequestEnd {
        answer: Answer::App(CodeClass::Success),
        error: None,
        status: 200,
        request_bytes: 4,
        response_bytes: 12,
        running_since: Some(Tick::from_nanos(1_250_000_000)),
        ended: Tick::from_nanos(1_500_000_000),
    }
}

/// The line of a `POST /a?x=1&y=<2>` with these fields.
fn line_of(template: &Template, fields: &[(&'static str, &str)], end: &RequestEnd) -> String {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.insert(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let arrival = Arrival {
        worker: 0,
        at: Tick::from_nanos(1_000_000_000),
        remote: "[::ffff:10.0.0.7]:4242".parse::<SocketAddr>().unwrap(),
        is_tls: false,
        method: &Method::POST,
        uri: &"/a?x=1&y='2".parse::<Uri>().unwrap(),
        version: Version::HTTP_11,
        headers: &mut headers,
        content_length: Some(4),
    };
    let record = Record::of(&arrival, template.headers());
    let mut line = String::new();
    template.write(&mut line, &record, end, &place());
    line
}

#[track_caller]
fn prints(template: &str, fields: &[(&'static str, &str)], expected: &str) {
    let read = Template::parse(template).unwrap_or_else(|error| panic!("{template}: {error}"));
    assert_eq!(line_of(&read, fields, &end()), expected, "{template}");
}

#[test]
fn the_default_is_knatives_line_and_what_knative_cannot_say() {
    let line = line_of(
        &Template::default(),
        &[
            ("user-agent", "it's \"curl\"\\8"),
            (
                "traceparent",
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            ),
        ],
        &end(),
    );
    let value: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
    assert_eq!(
        value,
        serde_json::json!({
            "httpRequest": {
                "requestMethod": "POST", "requestUrl": "/a?x=1&y='2", "requestSize": "4",
                "status": 200, "responseSize": "12", "userAgent": "it's \"curl\"\\8",
                "remoteIp": "10.0.0.7:4242", "serverIp": "ip", "referer": "",
                "latency": "0.5s", "protocol": "HTTP/1.1",
            },
            "traceId": "0af7651916cd43dd8448eb211c80319c",
            "queued": "0.25s", "upstream": "0.25s", "answeredBy": "app",
        })
    );
    assert!(line.contains(r"/a?x\u003D1\u0026y\u003D\u00272"), "{line}");
    assert!(line.starts_with(r#"{"httpRequest": {"requestMethod": "POST", "requestUrl": "/a?"#));
}

#[test]
fn fields_are_printed_as_knative_does() {
    for (template, expected) in [
        ("{{.Request.URL}}\n", "/a?x=1&y='2\n"),
        ("{{ .Request.ContentLength }}", "4"),
        (
            "{{.Revision.Name}}, {{.Revision.Namespace}}, {{.Revision.Service}}, {{.Revision.Configuration}}, \
             {{.Revision.PodName}}, {{.Revision.PodIP}}",
            "rev, ns, svc, cfg, pn, ip",
        ),
        (
            "{{.Request.URL.Path}} {{.Request.URL.RawQuery}}",
            "/a x=1&y='2",
        ),
        (
            "{{.Response.Code}} {{.Response.Size}} {{.Response.Latency}}",
            "200 12 0.5",
        ),
        (
            "{{.Request.Host}} {{.Request.Referer}}",
            "app.example http://r/",
        ),
        (r#"{{index .Request.Header "X-Id"}}"#, "42"),
        (
            r#"{{.Request.Header.Get "x-id"}}{{.Request.Header.Get "x-none"}}"#,
            "42",
        ),
        (r#"{{.Request.Header.Get "x-id" | js}}"#, "42"),
        (
            "{{.Request.RequestURI | js}}",
            r"/a?x\u003D1\u0026y\u003D\u00272",
        ),
        ("{{`}}`}}{{\"{{\\n\"}}", "}}{{\n"),
        ("a {{- /* a comment with }} in it */ -}} b", "ab"),
        ("a  {{- .Response.Code -}}\n b", "a200b"),
        ("a {{.Response.Code}} b", "a 200 b"),
        ("", ""),
        ("no action } {", "no action } {"),
    ] {
        let fields = [
            ("host", "app.example"),
            ("referer", "http://r/"),
            ("x-id", "42"),
        ];
        prints(template, &fields, expected);
    }
}

#[test]
fn conditionals_decide_by_gos_rules() {
    for (template, expected) in [
        ("{{if .Request.UserAgent}}yes{{end}}", "yes"),
        ("{{if .Request.Referer}}yes{{else}}no{{end}}", "no"),
        (
            "{{if ge .Response.Code 500}}bad{{else if eq .Response.Code 200}}good{{else}}odd{{end}}",
            "good",
        ),
        (
            "{{if eq .Response.Code 201}}a{{else if false}}b{{else}}c{{end}}!",
            "c!",
        ),
        (
            "{{if and (gt .Response.Latency 0.1) (lt .Response.Latency 1)}}slow{{end}}",
            "slow",
        ),
        ("{{if or .Request.Referer \"x\"}}either{{end}}", "either"),
        ("{{or .Request.Referer .Request.UserAgent}}", "curl"),
        ("{{if not .Request.Referer}}none{{end}}", "none"),
        ("{{if ne .Request.Method `GET`}}other{{end}}", "other"),
        (
            "{{if le .Response.Size 12}}{{if .TraceID}}t{{else}}u{{end}}{{end}}",
            "u",
        ),
        ("{{eq .Response.Code 200}}", "true"),
    ] {
        prints(template, &[("user-agent", "curl")], expected);
    }
}

#[test]
fn the_trace_is_that_of_w3c_or_else_of_b3() {
    let id = "0af7651916cd43dd8448eb211c80319c";
    let w3c = format!("00-{id}-b7ad6b7169203331-01");
    for (fields, expected) in [
        (&[("traceparent", w3c.as_str())][..], id),
        (&[("x-b3-traceid", "463AC35C9F6413AD")], "463AC35C9F6413AD"),
        (
            &[("x-b3-traceid", "463ac35c9f6413ad"), ("traceparent", &w3c)],
            id,
        ),
        (&[("traceparent", "00")], ""),
        (&[("traceparent", "")], ""),
        (&[], ""),
    ] {
        prints("{{.TraceID}}", fields, expected);
    }
}

#[test]
fn numbers_have_gos_form() {
    let template = Template::parse("{{.Response.Latency}}").unwrap();
    for (nanos, expected) in [
        (0, "0"),
        (1_000, "1e-06"),
        (99_999, "9.9999e-05"),
        (100_000, "0.0001"),
        (1_500_000_000, "1.5"),
        (3_600_000_000_000, "3600"),
    ] {
        let end = RequestEnd {
            ended: Tick::from_nanos(1_000_000_000 + nanos),
            ..end()
        };
        assert_eq!(line_of(&template, &[], &end), expected);
    }
}

#[test]
fn a_request_that_was_refused_says_by_whom_and_how_long_it_waited() {
    let end = RequestEnd {
        answer: Answer::Timeout,
        error: Some(ProxyError::HttpResponseTimeout),
        status: 504,
        running_since: None,
        ..end()
    };
    let template =
        "{{.Response.Source}} {{.Response.Code}} {{.Response.Queued}} {{.Response.Upstream}}";
    let template = Template::parse(template).unwrap();
    assert_eq!(line_of(&template, &[], &end), "timeout 504 0.5 0");
}

#[test]
fn what_is_not_supported_is_refused_with_its_place() {
    for (template, line, words) in [
        ("{{}}", 1, "a value is missing"),
        (
            "a\nb {{.Request.Something}}",
            2,
            "is not a field; there are .Request.Method",
        ),
        ("{{.Request}}", 1, "is not a field"),
        (
            "{{printf \"%s\" .Request.Method}}",
            1,
            "printf is not a function here; there are js",
        ),
        ("{{range .X}}{{end}}", 1, "{{range}} is not supported"),
        ("{{$x := 1}}", 1, "'$' is not expected"),
        ("{{if true}}\n{{if false}}", 2, "this {{if}} has no {{end}}"),
        ("{{if true}}{{else}}{{else}}{{end}}", 1, "needs an {{end}}"),
        ("{{if true}}{{else range}}{{end}}", 1, "only if is accepted"),
        ("{{end}}", 1, "there is no {{if}} before it"),
        ("\n\n{{else}}", 3, "there is no {{if}} before it"),
        ("{{.Response.Code", 1, "{{ without }}"),
        ("{{\"a}}", 1, "{{ without }}"),
        (
            "{{eq .Response.Code \"200\"}}",
            1,
            "eq needs two texts or two numbers",
        ),
        ("{{eq .Response.Code}}", 1, "a value is missing"),
        (
            "{{.Response.Code .Response.Size}}",
            1,
            ".Response.Size is more than is expected",
        ),
        (
            "{{index .Request.Trailer \"X\"}}",
            1,
            "for .Request.Header only",
        ),
        (
            "{{index .Request.Header}}",
            1,
            "the name of a header field is missing",
        ),
        (
            "{{.Request.Header.Get \"a b\"}}",
            1,
            "is no name of a header field",
        ),
        ("{{js (.TraceID}}", 1, "( without )"),
        ("{{.TraceID | html}}", 1, "html is not a function here"),
        ("{{1.2.3}}", 1, "1.2.3 is not a number"),
        ("{{and .TraceID 1}}", 1, "cannot be mixed"),
    ] {
        let error = Template::parse(template).expect_err(template);
        assert_eq!(error.line, line, "{template}: {error}");
        assert!(error.message.contains(words), "{template}: {error}");
    }
}

#[test]
fn templates_are_bounded() {
    let long = "x".repeat(TEMPLATE_BYTES_MAX + 1);
    assert!(Template::parse(&long).is_err());
    let parentheses = format!(
        "{{{{js {}.TraceID{}}}}}",
        "(".repeat(10_000),
        ")".repeat(10_000)
    );
    assert!(Template::parse(&parentheses).is_err());
    let ifs = "{{if true}}".repeat(5_000);
    assert!(Template::parse(&ifs).is_err());
    let elses = format!("{{{{if true}}}}{}", "{{else if true}}".repeat(4_000));
    assert!(Template::parse(&elses).is_err());
    let headers: String = (0..=HEADERS_MAX)
        .map(|index| format!("{{{{.Request.Header.Get \"x-{index}\"}}}}"))
        .collect();
    let error = Template::parse(&headers).expect_err("too many");
    assert!(error.message.contains("more than 64"), "{error}");
}

/// Texts of what templates are made of.
const PARTS: &str = concat!(
    r#"(\{\{|\}\}|-|if|else|end| |"#,
    "\n",
    r#"|js|\.TraceID|"|`|\(|\)|\||[0-9.]|eq|[a-z/*])*"#,
);

proptest! {
    #[test]
    fn any_text_is_read_or_refused_with_a_line_that_it_has(text in PARTS) {
        match Template::parse(&text) {
            Ok(template) => {
                line_of(&template, &[("user-agent", "x")], &end());
            }
            Err(error) => prop_assert!((1..=text.matches('\n').count() + 1).contains(&error.line)),
        }
    }

    #[test]
    fn what_js_writes_stands_in_json_and_reads_back(text in any::<String>()) {
        let json = format!("\"{}\"", {
            let template = Template::parse("{{js .Request.UserAgent}}").unwrap();
            let kept: String = text.chars().filter(|c| *c == '\t' || !c.is_control()).collect();
            let agent = HeaderValue::from_bytes(kept.as_bytes());
            prop_assume!(agent.is_ok());
            line_of(&template, &[("user-agent", &kept)], &end())
        });
        let read: String = serde_json::from_str(&json).unwrap();
        let kept: String = text.chars().filter(|c| *c == '\t' || !c.is_control()).collect();
        prop_assert_eq!(read, kept);
    }
}
