//! `Forwarded` (RFC 7239), made of the fields that went before it.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::headers::X_FORWARDED_FOR;
use crate::knative::{FORWARDED_HOST, FORWARDED_PROTO};

/// Says with `Forwarded` what the `X-Forwarded` fields say, if there is none yet.
///
/// The first hop gets host and protocol: they are those that the client has used.
pub(super) fn translate(headers: &mut HeaderMap) {
    // Of a field that is there more than once, the first counts; an empty one is none.
    let field = |name: HeaderName| {
        let text = headers.get(name)?.to_str().ok()?;
        (!text.is_empty()).then_some(text)
    };
    if field(FORWARDED).is_some() {
        return;
    }
    let (nodes, host, proto) = (
        field(X_FORWARDED_FOR),
        field(FORWARDED_HOST),
        field(FORWARDED_PROTO),
    );
    let value = element(nodes, host, proto);
    // It is made of what fields were made of.
    if let (false, Ok(value)) = (value.is_empty(), HeaderValue::try_from(value)) {
        headers.insert(FORWARDED, value);
    }
}

fn element(nodes: Option<&str>, host: Option<&str>, proto: Option<&str>) -> String {
    let mut nodes: Vec<_> =
        nodes.map_or_else(Vec::new, |nodes| nodes.split(',').map(str::trim).collect());
    if nodes.last().is_some_and(|last| last.is_empty()) {
        nodes.pop();
    }
    let mut nodes = nodes
        .into_iter()
        .map(|node| format!("for={}", node_text(node)));
    let first = [
        nodes.next(),
        host.map(|host| format!("host={}", word(host))),
        proto.map(|proto| format!("proto={}", word(proto))),
    ];
    let first: Vec<_> = first.into_iter().flatten().collect();
    let hops: Vec<_> = std::iter::once(first.join(";")).chain(nodes).collect();
    hops.join(", ")
}

/// A node as RFC 7239 section 6 writes it: an IPv6 address in brackets, with or without a port; whatever has a colon
/// in quotes.
fn node_text(node: &str) -> String {
    if node.parse::<Ipv6Addr>().is_ok() {
        return format!("\"[{node}]\"");
    }
    if node.parse::<Ipv4Addr>().is_ok() {
        return node.to_owned();
    }
    word(node)
}

/// A token as it is, anything else as a quoted string (RFC 9110 section 5.6).
fn word(text: &str) -> String {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.bytes().all(is_token) {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(fields: &[(HeaderName, &'static str)]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_static(value));
        }
        translate(&mut headers);
        let value = headers.get(FORWARDED);
        value.map(|value| value.to_str().unwrap().to_owned())
    }

    /// `X-Forwarded-For`, `-Host`, `-Proto`, `Forwarded`, and what becomes of it; `-` is absent.
    #[test]
    fn each_row_of_the_table_of_forwarded() {
        let rows = [
            (
                "127.0.0.1, ::1",
                "h",
                "p",
                "-",
                "for=127.0.0.1;host=h;proto=p, for=\"[::1]\"",
            ),
            ("127.0.0.1", "h", "p", "-", "for=127.0.0.1;host=h;proto=p"),
            (
                "127.0.0.1, ::1",
                "-",
                "-",
                "-",
                "for=127.0.0.1, for=\"[::1]\"",
            ),
            (
                "127.0.0.1, ::1",
                "-",
                "p",
                "-",
                "for=127.0.0.1;proto=p, for=\"[::1]\"",
            ),
            (
                "127.0.0.1, ::1",
                "h",
                "-",
                "-",
                "for=127.0.0.1;host=h, for=\"[::1]\"",
            ),
            ("-", "h", "-", "-", "host=h"),
            ("-", "-", "p", "-", "proto=p"),
            ("-", "h", "p", "-", "host=h;proto=p"),
            (",,,", "-", "-", "-", "for=, for=, for="),
            ("127.0.0.1, ::1", "h", "p", "for=a, for=b", "for=a, for=b"),
            ("-", "-", "-", "-", "-"),
            ("", "", "", "", ""),
        ];
        for (nodes, host, proto, existing, expected) in rows {
            let fields = [
                (X_FORWARDED_FOR, nodes),
                (FORWARDED_HOST, host),
                (FORWARDED_PROTO, proto),
                (FORWARDED, existing),
            ];
            let fields: Vec<_> = fields
                .into_iter()
                .filter(|(_, value)| *value != "-")
                .collect();
            assert_eq!(
                translated(&fields).as_deref().unwrap_or("-"),
                expected,
                "{fields:?}"
            );
        }
    }

    /// Knative's own puts whatever has a colon into brackets, an IPv4 address with a port among them.
    #[test]
    fn f12_addresses_with_ports_are_written_as_rfc_7239_says() {
        let rows = [
            ("192.0.2.43:47011", "for=\"192.0.2.43:47011\""),
            ("[2001:db8::1]:4711", "for=\"[2001:db8::1]:4711\""),
            ("[2001:db8::1]", "for=\"[2001:db8::1]\""),
            ("2001:db8::1", "for=\"[2001:db8::1]\""),
            ("unknown, _hidden", "for=unknown, for=_hidden"),
            ("a b", "for=\"a b\""),
            ("a\"b", "for=\"a\\\"b\""),
        ];
        for (nodes, expected) in rows {
            assert_eq!(translated(&[(X_FORWARDED_FOR, nodes)]).unwrap(), expected);
        }
        let host = translated(&[(X_FORWARDED_FOR, ", 10.0.0.1"), (FORWARDED_HOST, "h:80")]);
        assert_eq!(host.unwrap(), "for=;host=\"h:80\", for=10.0.0.1");
    }
}
