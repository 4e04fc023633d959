//! The description of the admin port, and whether it is true.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::harness::app::{self, App};
use crate::harness::gateway::Gateway;
use crate::harness::http1::{self, Answer};
use crate::harness::sidecar::Sidecar;
use crate::run::Running;

const DOCUMENT: &str = include_str!("../../../../docs/openapi.json");

fn document() -> Value {
    serde_json::from_str(DOCUMENT).unwrap()
}

/// The operations that a mode answers: method, path, operation.
fn operations(document: &Value, mode: &str) -> Vec<(String, String, Value)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let tags = operation["tags"].as_array().unwrap();
            if tags.contains(&json!(mode)) {
                found.push((method.to_uppercase(), path.clone(), operation.clone()));
            }
        }
    }
    found
}

/// Whether `value` is as the schema says, which may refer to others of the document.
fn validate(document: &Value, schema: &Value, value: &Value, what: &str) {
    let mut whole = schema.clone();
    whole["components"] = document["components"].clone();
    let validator: Validator = jsonschema::draft202012::new(&whole).unwrap();
    let faults: Vec<String> = validator
        .iter_errors(value)
        .map(|fault| format!("{fault} at {}", fault.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{what}: {faults:#?} in {value:#}");
}

/// Whether an answer is one that the operation promises.
fn check(document: &Value, operation: &Value, answer: &Answer, what: &str) {
    let promised = &operation["responses"][answer.status.to_string()];
    assert!(
        promised.is_object(),
        "{what}: {} is not promised: {}",
        answer.status,
        answer.text()
    );
    let kind = answer.field("content-type").unwrap();
    let kind = kind.split(';').next().unwrap();
    let content = &promised["content"][kind];
    assert!(content.is_object(), "{what}: {kind} is not promised");
    if kind == "application/json" {
        validate(document, &content["schema"], &answer.json(), what);
    }
}

/// Asks for every operation of a mode, and for what is refused.
async fn check_all(admin: SocketAddr, mode: &str, service: &str, address: &str) {
    let document = document();
    for (method, path, operation) in operations(&document, mode) {
        let body = match operation["operationId"].as_str().unwrap() {
            "setWeight" => "{\"weight\": 3}",
            "scale" => "{\"replicas\": 1}",
            _ => "",
        };
        for (service, address) in [
            (service, address),
            ("nobody", address),
            (service, "127.0.0.1:1"),
        ] {
            let target = path
                .replace("{service}", service)
                .replace("{address}", address);
            let what = format!("{method} {target}");
            let length = body.len();
            let request = format!(
                "{method} {target} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            let answer = http1::once(admin, request).await;
            check(&document, &operation, &answer, &what);
        }
        let parameters = operation["parameters"].as_array();
        let queried = parameters.is_some_and(|all| all.iter().any(|it| it["in"] == "query"));
        if queried && path.starts_with("/api/") {
            let target = path.replace("{service}", service);
            for query in ["service=nobody", "nothing=1", &format!("service={service}")] {
                let request = http1::get(&format!("{target}?{query}"));
                let answer = http1::once(admin, request).await;
                check(&document, &operation, &answer, &format!("{target}?{query}"));
            }
        }
    }
}

#[tokio::test]
async fn every_route_of_the_gateway_answers_as_described() {
    let app = App::answering(app::OK).await;
    let dead = app::nowhere().await;
    let gateway = Gateway::before(&[app.addr, dead], &["--endpoint-concurrency", "2"]).await;
    for _ in 0..20 {
        assert_eq!(gateway.get("/").await.status, 200);
    }
    check_all(gateway.admin, "gateway", "default", &app.addr.to_string()).await;
    let said = gateway.ask("GET /api/v1/openapi.json", "").await;
    assert_eq!(said.json(), document());
}

#[tokio::test]
async fn every_route_of_the_sidecar_answers_as_described() {
    let app = App::answering(app::OK).await;
    let sidecar = Sidecar::start(app.addr, &[]).await;
    check_all(sidecar.metrics, "sidecar", "none", "none").await;
}

#[tokio::test]
async fn every_route_of_run_answers_as_described() {
    let Some(running) = Running::start(&[]).await else {
        return;
    };
    assert_eq!(running.program.get("/").await.status, 200);
    check_all(running.program.admin, "run", "app", "127.0.0.1:2").await;
}

/// Routes of other ports: those that Knative's queue-proxy has too.
const OF_OTHER_PORTS: [&str; 2] = ["/wait-for-drain", "/debug/pprof/"];

/// The routes that the source has, as they are written there.
fn routes_in(folder: &Path, into: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            routes_in(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            if !text.contains("axum") {
                continue;
            }
            for (_, rest) in text
                .match_indices(".route(")
                .map(|(at, call)| (at, &text[at + call.len()..]))
            {
                let literal = rest.trim_start();
                let literal = literal.strip_prefix('"').unwrap_or_else(|| {
                    panic!(
                        "{}: a route is a literal here, so that it can be found",
                        path.display()
                    )
                });
                into.insert(literal.split('"').next().unwrap().to_owned());
            }
        }
    }
}

#[test]
fn every_route_of_the_source_is_described_and_no_other() {
    let mut routes = BTreeSet::new();
    routes_in(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut routes,
    );
    routes.retain(|route| !OF_OTHER_PORTS.iter().any(|it| route.starts_with(it)));
    let document = document();
    let described = document["paths"].as_object().unwrap().keys().cloned();
    assert_eq!(routes, described.collect());
}

#[test]
fn the_description_is_whole() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut operations = BTreeMap::new();
    for mode in ["sidecar", "gateway", "run"] {
        for (method, path, operation) in self::operations(&document, mode) {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            let before = operations.insert(id, (method.clone(), path.clone()));
            assert!(
                before.is_none_or(|it| it == (method, path.clone())),
                "{path}"
            );
            assert!(operation["summary"].is_string(), "{path}");
            for part in path.split('/').filter_map(|part| part.strip_prefix('{')) {
                let name = part.trim_end_matches('}');
                let parameters = operation["parameters"].as_array().unwrap();
                assert!(
                    parameters.iter().any(|it| it["name"] == name),
                    "{path}: {name}"
                );
            }
        }
    }
    let mut used = BTreeSet::new();
    for piece in DOCUMENT.split("#/components/schemas/").skip(1) {
        used.insert(piece.split('"').next().unwrap().to_owned());
    }
    let defined = document["components"]["schemas"].as_object().unwrap();
    assert_eq!(used, defined.keys().cloned().collect());
    for schema in defined.values() {
        assert!(
            jsonschema::draft202012::new(&json!({
                "components": document["components"], "allOf": [schema],
            }))
            .is_ok()
        );
    }
}
