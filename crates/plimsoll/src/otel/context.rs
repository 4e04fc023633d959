//! Which trace a request belongs to: W3C's trace context, and B3 for those who still have that.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const B3: HeaderName = HeaderName::from_static("b3");
const B3_TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");
const B3_SPAN: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_PARENT: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// The longest `tracestate` that is told to a collector, in bytes: what W3C has everybody carry.
const STATE_BYTES_MAX: usize = 512;

/// Where a request stands in a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) trace_id: [u8; 16],
    /// The span that the request was made in.
    pub(super) parent: [u8; 8],
    /// Whether that span is recorded; `None` if B3 leaves the decision to us.
    pub(super) is_sampled: Option<bool>,
}

/// What the application is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passed {
    pub(super) trace_id: [u8; 16],
    /// The span in which the application is asked.
    pub(super) span: [u8; 8],
    /// The span around that, which B3 tells too.
    pub(super) parent: [u8; 8],
    pub(super) is_sampled: bool,
}

impl Context {
    /// What the client says; W3C's word counts before B3's. What cannot be read is as if it were not there.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        w3c(headers)
            .or_else(|| b3_single(headers))
            .or_else(|| b3_multi(headers))
    }
}

/// `tracestate` as it is passed on, if it is not too long to be told of.
pub(super) fn state(headers: &HeaderMap) -> String {
    let all: Vec<&str> = headers
        .get_all(TRACESTATE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let all = all.join(",");
    if all.len() > STATE_BYTES_MAX {
        String::new()
    } else {
        all
    }
}

/// Hands the context on: always by W3C, and in every form of B3 that the client has used.
pub(super) fn pass_on(headers: &mut HeaderMap, passed: &Passed) {
    let (trace, span, parent) = (
        hex(&passed.trace_id),
        hex(&passed.span),
        hex(&passed.parent),
    );
    let sampled = u8::from(passed.is_sampled);
    insert(
        headers,
        TRACEPARENT,
        &format!("00-{trace}-{span}-0{sampled}"),
    );
    if headers.contains_key(B3) {
        insert(headers, B3, &format!("{trace}-{span}-{sampled}-{parent}"));
    }
    if headers.contains_key(B3_TRACE) {
        insert(headers, B3_TRACE, &trace);
        insert(headers, B3_SPAN, &span);
        insert(headers, B3_PARENT, &parent);
        // With the flag for debugging, B3 wants no other decision beside it.
        if !headers.contains_key(B3_FLAGS) {
            insert(headers, B3_SAMPLED, &sampled.to_string());
        }
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// `version-trace-parent-flags` (W3C Trace Context, section 3.2).
fn w3c(headers: &HeaderMap) -> Option<Context> {
    let mut lines = headers.get_all(TRACEPARENT).iter();
    let (only, None) = (lines.next()?, lines.next()) else {
        return None;
    };
    let mut parts = only.to_str().ok()?.trim().split('-');
    let version: [u8; 1] = bytes(parts.next()?)?;
    let context = Context {
        trace_id: nonzero(bytes(parts.next()?)?)?,
        parent: nonzero(bytes(parts.next()?)?)?,
        is_sampled: Some(bytes::<1>(parts.next()?)?[0] & 1 == 1),
    };
    match version {
        [255] => None,
        // Later versions may say more; this one may not.
        [0] if parts.next().is_some() => None,
        _ => Some(context),
    }
}

/// `trace-span-sampled-parent`, the last two of which may be missing.
fn b3_single(headers: &HeaderMap) -> Option<Context> {
    let mut parts = headers.get(B3)?.to_str().ok()?.split('-');
    let trace_id = b3_trace_id(parts.next()?)?;
    let parent = nonzero(bytes(parts.next()?)?)?;
    Some(Context {
        trace_id,
        parent,
        is_sampled: b3_sampled(parts.next()),
    })
}

fn b3_multi(headers: &HeaderMap) -> Option<Context> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok();
    let is_debugged = text(B3_FLAGS) == Some("1");
    Some(Context {
        trace_id: b3_trace_id(text(B3_TRACE)?)?,
        parent: nonzero(bytes(text(B3_SPAN)?)?)?,
        is_sampled: if is_debugged {
            Some(true)
        } else {
            b3_sampled(text(B3_SAMPLED))
        },
    })
}

/// 64 or 128 bits.
fn b3_trace_id(text: &str) -> Option<[u8; 16]> {
    if text.len() == 16 {
        let low: [u8; 8] = bytes(text)?;
        return nonzero(u128::from(u64::from_be_bytes(low)).to_be_bytes());
    }
    nonzero(bytes(text)?)
}

fn b3_sampled(text: Option<&str>) -> Option<bool> {
    match text? {
        "1" | "d" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

/// Exactly so many bytes in hexadecimal.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let value = digit(pair[0])? * 16 + digit(pair[1])?;
        *byte = u8::try_from(value).ok()?;
    }
    Some(bytes)
}

fn nonzero<const N: usize>(bytes: [u8; N]) -> Option<[u8; N]> {
    (bytes != [0; N]).then_some(bytes)
}

/// In hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    /// `trace span sampled`, or nothing.
    fn read(fields: &[(&'static str, &str)]) -> String {
        let context = Context::of(&headers(fields));
        context.map_or_else(String::new, |context| {
            let (trace, span) = (hex(&context.trace_id), hex(&context.parent));
            format!("{trace} {span} {:?}", context.is_sampled)
        })
    }

    #[test]
    fn contexts_of_w3c_are_read() {
        let sampled = format!("{TRACE} {SPAN} Some(true)");
        let w3c = format!("00-{TRACE}-{SPAN}-01");
        for (fields, expected) in [
            (&[("traceparent", w3c.as_str())][..], sampled.clone()),
            (
                &[("traceparent", &format!("00-{TRACE}-{SPAN}-00"))],
                format!("{TRACE} {SPAN} Some(false)"),
            ),
            (
                &[("traceparent", &format!("cc-{TRACE}-{SPAN}-01-more"))],
                sampled,
            ),
            (
                &[("traceparent", &format!("00-{TRACE}-{SPAN}-01-more"))],
                String::new(),
            ),
            (
                &[("traceparent", &format!("ff-{TRACE}-{SPAN}-01"))],
                String::new(),
            ),
            (
                &[("traceparent", &w3c), ("traceparent", &w3c)],
                String::new(),
            ),
            (
                &[("traceparent", &format!("00-{}-{SPAN}-01", "0".repeat(32)))],
                String::new(),
            ),
            (&[("traceparent", "00")], String::new()),
            (&[("traceparent", "é")], String::new()),
        ] {
            assert_eq!(read(fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn contexts_of_b3_are_read_in_either_form() {
        let sampled = format!("{TRACE} {SPAN} Some(true)");
        let undecided = format!("{TRACE} {SPAN} None");
        let w3c = format!("00-{TRACE}-{SPAN}-01");
        for (fields, expected) in [
            (
                &[("b3", format!("{TRACE}-{SPAN}-1").as_str())][..],
                sampled.clone(),
            ),
            (
                &[("b3", &format!("{TRACE}-{SPAN}-d-0000000000000001"))],
                sampled.clone(),
            ),
            (&[("b3", &format!("{TRACE}-{SPAN}"))], undecided.clone()),
            (&[("b3", "0")], String::new()),
            (
                &[
                    ("x-b3-traceid", TRACE),
                    ("x-b3-spanid", SPAN),
                    ("x-b3-sampled", "1"),
                ],
                sampled.clone(),
            ),
            (
                &[
                    ("x-b3-traceid", TRACE),
                    ("x-b3-spanid", SPAN),
                    ("x-b3-flags", "1"),
                ],
                sampled.clone(),
            ),
            (&[("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN)], undecided),
            (
                &[
                    ("x-b3-traceid", "8448EB211C80319C"),
                    ("x-b3-spanid", SPAN),
                    ("x-b3-sampled", "0"),
                ],
                format!("00000000000000008448eb211c80319c {SPAN} Some(false)"),
            ),
            (&[("x-b3-traceid", TRACE)], String::new()),
            (
                &[
                    ("b3", &format!("{}-{SPAN}-1", "f".repeat(32))),
                    ("traceparent", &w3c),
                ],
                sampled,
            ),
            (&[], String::new()),
        ] {
            assert_eq!(read(fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn the_context_goes_on_in_the_forms_that_the_client_uses() {
        let passed = Passed {
            trace_id: bytes(TRACE).unwrap(),
            span: [1; 8],
            parent: [2; 8],
            is_sampled: true,
        };
        let (span, parent) = ("01".repeat(8), "02".repeat(8));
        let mut none = headers(&[]);
        pass_on(&mut none, &passed);
        assert_eq!(none.len(), 1);
        assert_eq!(none["traceparent"], format!("00-{TRACE}-{span}-01"));
        let mut both = headers(&[
            ("traceparent", "nonsense"),
            ("traceparent", "twice"),
            ("b3", "0"),
            ("x-b3-traceid", TRACE),
            ("x-b3-spanid", SPAN),
        ]);
        pass_on(&mut both, &passed);
        assert_eq!(both.get_all("traceparent").iter().count(), 1);
        assert_eq!(both["b3"], format!("{TRACE}-{span}-1-{parent}"));
        assert_eq!(both["x-b3-spanid"], span);
        assert_eq!(both["x-b3-parentspanid"], parent);
        assert_eq!(both["x-b3-sampled"], "1");
        for form in [
            &["traceparent"][..],
            &["b3"],
            &["x-b3-traceid", "x-b3-spanid", "x-b3-sampled"],
        ] {
            let only: Vec<_> = form
                .iter()
                .map(|name| (*name, both[*name].to_str().unwrap()))
                .collect();
            assert_eq!(
                read(&only),
                format!("{TRACE} {span} Some(true)"),
                "{form:?}"
            );
        }
    }

    #[test]
    fn vendors_words_are_told_if_they_are_not_too_long() {
        let two = headers(&[("tracestate", "a=1"), ("tracestate", "b=2")]);
        assert_eq!(state(&two), "a=1,b=2");
        let long = "x".repeat(STATE_BYTES_MAX + 1);
        assert_eq!(state(&headers(&[("tracestate", &long)])), "");
    }
}
