//! Choosing the format of a report from the `Accept` header.
//!
//! Two kinds of client share one port. Knative's autoscaler sends
//! `Accept: application/protobuf`. A Prometheus server sends a weighted list
//! of text formats. [`negotiate`] tells them apart.

use crate::prometheus::TextFormat;
use crate::stat;

/// A format in which a report can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// The protobuf message of Knative's autoscaler, see [`crate::Stat`].
    KnativeStat,
    /// OpenMetrics text, version 1.0.0.
    OpenMetrics,
    /// The Prometheus text format, version 0.0.4.
    PrometheusText,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::KnativeStat, Self::OpenMetrics, Self::PrometheusText];

    /// The value of `Content-Type` for this format.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::KnativeStat => stat::CONTENT_TYPE,
            Self::OpenMetrics => TextFormat::OpenMetrics.content_type(),
            Self::PrometheusText => TextFormat::Prometheus.content_type(),
        }
    }

    /// The text format for a client that asked for this one where there is
    /// nothing for Knative's autoscaler to read, as in a gateway.
    #[must_use]
    pub const fn text(self) -> TextFormat {
        match self {
            Self::OpenMetrics => TextFormat::OpenMetrics,
            Self::KnativeStat | Self::PrometheusText => TextFormat::Prometheus,
        }
    }
}

/// Chooses a format from the values of all `Accept` header lines.
///
/// The rules, first match first:
///
/// 1. If any line names `application/protobuf` with a weight above 0, the
///    answer is [`Format::KnativeStat`]. Other weights do not matter: only
///    Knative's autoscaler asks for this type, and it can read nothing else.
///    Prometheus' own protobuf is `application/vnd.google.protobuf`. It is a
///    different type, and this crate does not write it.
/// 2. If OpenMetrics 1.0.0 is named and preferred to, or level with, the plain
///    text format, the answer is [`Format::OpenMetrics`]. The same holds if
///    only a wildcard allows it and plain text is preferred less.
/// 3. Otherwise the answer is [`Format::PrometheusText`], also when the header
///    is absent, malformed, or accepts none of the three. RFC 9110 (section
///    12.5.1) lets a server disregard the header rather than fail, and a
///    person with `curl` is better served by text than by an error.
///
/// A weight that is not a legal `qvalue` counts as 1. Lines may hold any
/// bytes: the function never fails and runs in time linear in their length.
///
/// Knative's queue-proxy from v0.17 to v1.5 looked for a substring in the first
/// line only. This function reads every line, since RFC 9110 (section 5.3)
/// makes several lines equal to one line joined by commas.
///
/// ```
/// use plimsoll_wire::{Format, negotiate};
///
/// let autoscaler = [b"application/protobuf".as_slice()];
/// assert_eq!(negotiate(autoscaler), Format::KnativeStat);
/// assert_eq!(negotiate([]), Format::PrometheusText);
/// ```
#[must_use]
pub fn negotiate<'a>(accept_lines: impl IntoIterator<Item = &'a [u8]>) -> Format {
    let mut preferences = Preferences::default();
    for line in accept_lines {
        for element in split_unquoted(line, b',') {
            preferences.read(element);
        }
    }
    preferences.choose()
}

/// A weight in thousandths, 0 to 1000; `FULL` is `q=1`.
type Weight = u16;

const FULL: Weight = 1000;

/// The best weight seen for each media range that concerns us.
#[derive(Default)]
struct Preferences {
    knative: Option<Weight>,
    open_metrics: Option<Weight>,
    plain: Option<Weight>,
    any_application: Option<Weight>,
    any_text: Option<Weight>,
    anything: Option<Weight>,
}

impl Preferences {
    /// Takes in one element of the list, e.g. `text/plain;version=0.0.4;q=0.4`.
    fn read(&mut self, element: &[u8]) {
        let mut parts = split_unquoted(element, b';');
        let range = parts.next().unwrap_or_default().trim_ascii();
        let mut weight = FULL;
        let mut version = None;
        for part in parts {
            let Some((name, value)) = split_parameter(part) else {
                continue;
            };
            if name.eq_ignore_ascii_case(b"q") {
                weight = parse_weight(value);
            } else if name.eq_ignore_ascii_case(b"version") {
                version = Some(value);
            }
        }
        let Some(slot) = self.slot(range, version) else {
            return;
        };
        *slot = (*slot).max(Some(weight));
    }

    /// Where the weight of a media range belongs, if it concerns us.
    ///
    /// A version that this crate does not write is a different format, so it
    /// must not stand for the one that it does write.
    fn slot(&mut self, range: &[u8], version: Option<&[u8]>) -> Option<&mut Option<Weight>> {
        let is = |name: &str| range.eq_ignore_ascii_case(name.as_bytes());
        let version_is = |ours: &[u8]| version.is_none_or(|asked| asked == ours);
        if is(stat::CONTENT_TYPE) {
            Some(&mut self.knative)
        } else if is("application/openmetrics-text") {
            version_is(b"1.0.0").then_some(&mut self.open_metrics)
        } else if is("text/plain") {
            version_is(b"0.0.4").then_some(&mut self.plain)
        } else if is("application/*") {
            Some(&mut self.any_application)
        } else if is("text/*") {
            Some(&mut self.any_text)
        } else if is("*/*") {
            Some(&mut self.anything)
        } else {
            None
        }
    }

    fn choose(&self) -> Format {
        if self.knative.is_some_and(|weight| weight > 0) {
            return Format::KnativeStat;
        }
        // The most specific range that matches decides (RFC 9110, 12.5.1).
        let open_metrics = self
            .open_metrics
            .or(self.any_application)
            .or(self.anything)
            .unwrap_or(0);
        let plain = self.plain.or(self.any_text).or(self.anything).unwrap_or(0);
        let named_and_level =
            self.open_metrics.is_some() && open_metrics > 0 && open_metrics == plain;
        if open_metrics > plain || named_and_level {
            Format::OpenMetrics
        } else {
            Format::PrometheusText
        }
    }
}

/// Splits at a separator, but not inside a quoted string.
///
/// A quoted string that does not end takes the rest of the input.
fn split_unquoted(input: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut in_quotes = false;
    let mut escaped = false;
    input.split(move |&byte| {
        let is_separator = !in_quotes && byte == separator;
        if in_quotes && !escaped && byte == b'\\' {
            escaped = true;
            return is_separator;
        }
        if byte == b'"' && !escaped {
            in_quotes = !in_quotes;
        }
        escaped = false;
        is_separator
    })
}

/// Splits `name=value`, without white space and without the value's quotes.
fn split_parameter(part: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = part.iter().position(|&byte| byte == b'=')?;
    let name = part[..equals].trim_ascii();
    let value = part[equals + 1..].trim_ascii();
    let unquoted = value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
        .unwrap_or(value);
    Some((name, unquoted))
}

/// Reads a `qvalue` (RFC 9110, 12.4.2): 0 to 1 with up to three decimals.
/// Anything else counts as `FULL`, as if no weight had been given.
fn parse_weight(value: &[u8]) -> Weight {
    let (whole, decimals) = match value {
        [whole] | [whole, b'.'] => (*whole, [].as_slice()),
        [whole, b'.', decimals @ ..] if decimals.len() <= 3 => (*whole, decimals),
        _ => return FULL,
    };
    if whole != b'0' || !decimals.iter().all(u8::is_ascii_digit) {
        return FULL;
    }
    let mut weight = 0;
    let mut place = 100;
    for digit in decimals {
        weight += Weight::from(digit - b'0') * place;
        place /= 10;
    }
    weight
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Format::{KnativeStat, OpenMetrics, PrometheusText};
    use super::*;

    #[track_caller]
    fn check(lines: &[&str], expected: Format) {
        let chosen = negotiate(lines.iter().map(|line| line.as_bytes()));
        assert_eq!(chosen, expected, "{lines:?}");
    }

    #[test]
    fn the_rows_of_the_old_stats_handler() {
        check(&[], PrometheusText);
        check(&["something-else"], PrometheusText);
        check(&["application/protobuf"], KnativeStat);
        check(&["something/else, application/protobuf"], KnativeStat);
        // v0.17 to v1.5 did not look at the second line; see `negotiate`.
        check(&["", "application/protobuf"], KnativeStat);
    }

    #[test]
    fn real_prometheus_servers_get_open_metrics() {
        for line in [
            // 2.x before protobuf
            "application/openmetrics-text;version=1.0.0;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.3",
            // 2.x with native histograms
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            // 3.x
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
        ] {
            check(&[line], OpenMetrics);
        }
    }

    #[test]
    fn old_prometheus_servers_and_people_get_plain_text() {
        for line in [
            "*/*",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "text/plain;version=0.0.4;q=1,*/*;q=0.1",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,text/plain;version=0.0.4;q=0.3",
            "application/openmetrics-text;version=0.0.1",
            "application/json",
            "text/*",
        ] {
            check(&[line], PrometheusText);
        }
    }

    #[test]
    fn weights_are_respected() {
        check(&["application/protobuf;q=0"], PrometheusText);
        check(&["application/protobuf;q=0.000, */*"], PrometheusText);
        check(&["application/protobuf; q=0.001"], KnativeStat);
        check(&["text/plain, application/protobuf;q=0.1"], KnativeStat);
        check(
            &["application/protobuf;q=0", "application/protobuf"],
            KnativeStat,
        );
        check(&["application/openmetrics-text;q=0"], PrometheusText);
        check(&["application/openmetrics-text;q=0, */*"], PrometheusText);
        check(
            &["application/openmetrics-text;q=0.4,text/plain;q=0.5"],
            PrometheusText,
        );
        check(
            &["application/openmetrics-text;q=0.5,text/plain;q=0.5"],
            OpenMetrics,
        );
        check(
            &["application/openmetrics-text;Q=0.5,text/plain;q=0.499"],
            OpenMetrics,
        );
        check(&["text/plain;q=0, */*"], OpenMetrics);
        check(&["application/*, text/plain;q=0.9"], OpenMetrics);
        check(
            &["application/openmetrics-text;q=0.2", "text/plain;q=0.3"],
            PrometheusText,
        );
    }

    #[test]
    fn media_types_match_whole_and_in_any_case() {
        check(&["Application/Protobuf"], KnativeStat);
        check(&["application/protobuf ; charset=utf-8"], KnativeStat);
        check(&["xapplication/protobuf"], PrometheusText);
        check(&["application/protobufs"], PrometheusText);
        check(
            &["text/plain;note=\"a, application/protobuf\""],
            PrometheusText,
        );
        check(
            &["text/plain;note=\"a\\\", application/protobuf\""],
            PrometheusText,
        );
        check(
            &["text/plain;note=\"a\\\\\", application/protobuf"],
            KnativeStat,
        );
        check(
            &["application/openmetrics-text;version=\"1.0.0\""],
            OpenMetrics,
        );
        check(
            &["application/openmetrics-text;version=2.0.0"],
            PrometheusText,
        );
    }

    #[test]
    fn garbage_is_tolerated() {
        check(
            &[",,;;,=;q,;q=,", "\"", "application/protobuf"],
            KnativeStat,
        );
        check(&["application/protobuf;q=abc"], KnativeStat);
        check(&["application/protobuf;q=-1"], KnativeStat);
        check(&["application/protobuf;q=0.0001"], KnativeStat);
        assert_eq!(negotiate([b"\xff\xfe\0".as_slice()]), PrometheusText);
    }

    #[test]
    fn weights_parse_to_thousandths() {
        for (text, weight) in [
            ("0", 0),
            ("0.", 0),
            ("0.5", 500),
            ("0.05", 50),
            ("0.123", 123),
            ("1", 1000),
            ("1.000", 1000),
            ("", 1000),
            (".5", 1000),
            ("0.x", 1000),
        ] {
            assert_eq!(parse_weight(text.as_bytes()), weight, "{text}");
        }
    }

    #[test]
    fn content_types_are_exact() {
        assert_eq!(KnativeStat.content_type(), "application/protobuf");
        assert_eq!(
            OpenMetrics.content_type(),
            "application/openmetrics-text; version=1.0.0; charset=utf-8"
        );
        assert_eq!(
            PrometheusText.content_type(),
            "text/plain; version=0.0.4; charset=utf-8"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(lines in prop::collection::vec(any::<Vec<u8>>(), 0..4)) {
            let format = negotiate(lines.iter().map(Vec::as_slice));
            prop_assert!(Format::ALL.contains(&format));
        }

        #[test]
        fn protobuf_is_found_among_any_tokens(
            before in prop::collection::vec("[a-z*]{1,9}/[a-z.+*-]{1,9}(;q=0\\.[0-9]{1,3})?", 0..5),
            after in prop::collection::vec("[a-z*]{1,9}/[a-z.+*-]{1,9}(;q=0\\.[0-9]{1,3})?", 0..5),
        ) {
            let line = [before, vec!["application/protobuf".to_owned()], after].concat().join(",");
            prop_assert_eq!(negotiate([line.as_bytes()]), KnativeStat);
        }

        #[test]
        fn without_the_word_protobuf_no_stat_is_sent(line in "[ -~]{0,80}") {
            prop_assume!(!line.to_ascii_lowercase().contains("application/protobuf"));
            prop_assert_ne!(negotiate([line.as_bytes()]), KnativeStat);
        }
    }
}
