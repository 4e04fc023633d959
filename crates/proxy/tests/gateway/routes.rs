//! The table of routes: rows, refusals, and the longest prefix against a simple search.

use std::sync::Arc;

use plimsoll_balance::{Balancer, BalancerConfig};
use plimsoll_proxy::{HostPattern, Route, RouteError, Routes, Service, ServiceSettings};
use proptest::prelude::*;

use crate::harness::one_worker;

fn service(name: &str) -> Arc<Service> {
    let balancer = Balancer::new(BalancerConfig::default()).unwrap();
    Arc::new(Service::new(
        name,
        balancer,
        ServiceSettings::default(),
        one_worker(),
    ))
}

fn route(hosts: &[&str], path_prefix: &str, service: &Arc<Service>) -> Route {
    Route {
        hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
        path_prefix: path_prefix.to_owned(),
        service: Arc::clone(service),
    }
}

/// Routes named after themselves.
fn table(rules: &[(&str, &str)]) -> Routes {
    let routes = rules.iter().map(|(host, prefix)| {
        let hosts: Vec<_> = Some(*host)
            .filter(|host| !host.is_empty())
            .into_iter()
            .collect();
        route(&hosts, prefix, &service(&format!("{host}{prefix}")))
    });
    Routes::new(routes.collect()).unwrap()
}

fn found<'a>(routes: &'a Routes, host: &str, path: &str) -> &'a str {
    routes
        .find(host, path)
        .map_or("none", |service| service.name())
}

#[test]
fn the_most_specific_host_is_taken_and_then_the_longest_prefix() {
    let routes = table(&[
        ("", "/any"),
        ("a.example", "/"),
        ("a.example", "/api"),
        ("a.example", "/api/v1/"),
        ("*.example", "/"),
        ("*.sub.example", "/deep"),
        ("[::1]", "/"),
    ]);
    for (host, path, expected) in [
        ("a.example", "/", "a.example/"),
        ("a.example", "", "a.example/"),
        ("a.example", "*", "a.example/"),
        ("a.example:443", "/api", "a.example/api"),
        ("A.Example.", "/api/", "a.example/api"),
        ("a.example", "/apis", "a.example/"),
        ("a.example", "/api/v1", "a.example/api/v1/"),
        ("a.example", "/api/v1/x", "a.example/api/v1/"),
        ("a.example", "/api/v10", "a.example/api"),
        ("a.example", "/API", "a.example/"),
        ("b.example", "/", "*.example/"),
        ("c.b.example", "/", "*.example/"),
        ("example", "/", "none"),
        ("badexample", "/", "none"),
        ("x.sub.example", "/deep/er", "*.sub.example/deep"),
        ("x.sub.example", "/shallow", "*.example/"),
        ("other", "/any/thing", "/any"),
        ("other", "/anything", "none"),
        ("", "/any", "/any"),
        ("[::1]:8080", "/", "[::1]/"),
        ("[::1]", "/x", "[::1]/"),
    ] {
        assert_eq!(found(&routes, host, path), expected, "{host} {path}");
    }
}

#[test]
fn a_table_that_contradicts_itself_is_refused() {
    let (a, b) = (service("a"), service("b"));
    let twice =
        |first: Route, second: Route| Routes::new(vec![first, second]).unwrap_err().to_string();
    assert_eq!(
        twice(route(&["x.y"], "/p", &a), route(&["X.Y."], "/p/", &b)),
        "both `a` and `b` are to get x.y/p; each host and prefix can have one service"
    );
    assert_eq!(
        twice(route(&[], "/", &a), route(&[], "/", &b)),
        "both `a` and `b` are to get any host/; each host and prefix can have one service"
    );
    for wrong in ["", "p", "/p?q", "/p q", "/p#f", "/ü"] {
        let refused = Routes::new(vec![route(&[], wrong, &a)]).unwrap_err();
        assert_eq!(refused, RouteError::PathPrefix(wrong.to_owned()));
    }
    let long = format!("/{}", "x".repeat(1_024));
    assert!(Routes::new(vec![route(&[], &long, &a)]).is_err());
}

#[test]
fn hosts_are_read_or_refused() {
    for (text, expected) in [
        ("a.example", HostPattern::Exact("a.example".into())),
        ("A.EXAMPLE.", HostPattern::Exact("a.example".into())),
        ("*.A.example", HostPattern::Below("a.example".into())),
        ("10.0.0.1", HostPattern::Exact("10.0.0.1".into())),
        ("[::1]", HostPattern::Exact("[::1]".into())),
    ] {
        assert_eq!(text.parse::<HostPattern>(), Ok(expected), "{text}");
    }
    let long = "x".repeat(254);
    for wrong in [
        "",
        "*",
        "*.",
        ".",
        "a.example:80",
        "a b",
        "*a.example",
        "a.*.example",
        "[::1",
        "[x]",
        "*.[::1]",
        "ü",
        ".a",
        &long,
    ] {
        let refused = wrong.parse::<HostPattern>();
        assert_eq!(refused, Err(RouteError::Host(wrong.to_owned())), "{wrong}");
    }
}

/// Segments from few letters, so that prefixes and paths meet.
fn path() -> impl Strategy<Value = String> {
    proptest::collection::vec("[ab]{0,2}", 0..4)
        .prop_map(|segments| format!("/{}", segments.join("/")))
}

proptest! {
    #[test]
    fn the_longest_prefix_wins_as_in_a_simple_search(
        prefixes in proptest::collection::btree_set(path(), 1..8),
        asked in path(),
    ) {
        // A slash at the end changes nothing, so each is taken once.
        let plain = |prefix: &str| prefix.strip_suffix('/').unwrap_or(prefix).to_owned();
        let unique: std::collections::BTreeMap<String, &String> =
            prefixes.iter().map(|prefix| (plain(prefix), prefix)).collect();
        let rules: Vec<_> = unique.values().map(|prefix| ("", prefix.as_str())).collect();
        let routes = table(&rules);
        let segments: Vec<_> = asked.split('/').collect();
        let begins_so = |plain: &str| {
            let wanted: Vec<_> = plain.split('/').collect();
            segments.len() >= wanted.len() && segments[..wanted.len()] == wanted[..]
        };
        let expected = unique.iter().filter(|(plain, _)| begins_so(plain));
        let expected = expected.max_by_key(|(plain, _)| plain.len());
        let expected = expected.map_or("none", |(_, prefix)| prefix.as_str());
        prop_assert_eq!(found(&routes, "any.example", &asked), expected);
    }
}
