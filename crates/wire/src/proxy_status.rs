//! The `Proxy-Status` header: the sidecar tells the client why it answered in
//! the application's place (RFC 9209).

use std::fmt::{self, Display, Formatter, Write as _};

use crate::proxy_error::ProxyError;

/// The name of the header, in the form that HTTP/2 requires.
pub const HEADER_NAME: &str = "proxy-status";

/// How much of the details is sent, in characters before escaping. More would
/// let an error text from elsewhere fill the head of an answer.
pub const MAX_DETAILS_CHARS: usize = 256;

/// The name by which the sidecar calls itself.
const INTERMEDIARY: &str = "plimsoll";

/// The value of a `Proxy-Status` header; [`Display`] writes it.
///
/// ```
/// use plimsoll_wire::{ProxyError, ProxyStatus};
///
/// let status = ProxyStatus {
///     error: ProxyError::ConnectionRefused,
///     details: "connect to 127.0.0.1:8080",
/// };
/// assert_eq!(
///     status.to_string(),
///     r#"plimsoll; error=connection_refused; details="connect to 127.0.0.1:8080""#
/// );
/// ```
///
/// The value is always a legal header value and a legal structured field
/// (RFC 8941): characters outside printable ASCII are dropped from the
/// details, quotation marks and backslashes are escaped, and what is over
/// [`MAX_DETAILS_CHARS`] is cut. So the details may hold any text, also one
/// that a client chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProxyStatus<'a> {
    /// What went wrong.
    pub error: ProxyError,
    /// More about it, for people; empty for none. It is sent to the client, so
    /// it must hold nothing that the client may not know.
    pub details: &'a str,
}

impl Display for ProxyStatus<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{INTERMEDIARY}; error={}", self.error.as_str())?;
        let printable = |character: &char| matches!(character, ' '..='~');
        let mut details = self
            .details
            .chars()
            .filter(printable)
            .take(MAX_DETAILS_CHARS)
            .peekable();
        if details.peek().is_none() {
            return Ok(());
        }
        f.write_str("; details=\"")?;
        for character in details {
            if matches!(character, '"' | '\\') {
                f.write_char('\\')?;
            }
            f.write_char(character)?;
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(details: &str) -> String {
        let error = ProxyError::HttpResponseTimeout;
        ProxyStatus { error, details }.to_string()
    }

    #[test]
    fn details_are_escaped_filtered_and_cut() {
        let head = "plimsoll; error=http_response_timeout";
        for (details, tail) in [
            ("", String::new()),
            ("\r\n\t\0é", String::new()),
            ("after 5 s", "; details=\"after 5 s\"".to_owned()),
            (r#"a "b" \c"#, r#"; details="a \"b\" \\c""#.to_owned()),
            ("a\r\nx: y", "; details=\"ax: y\"".to_owned()),
            (
                &"x".repeat(300),
                format!("; details=\"{}\"", "x".repeat(256)),
            ),
        ] {
            assert_eq!(header(details), format!("{head}{tail}"));
        }
    }

    /// Reads an RFC 8941 string (section 4.2.5), which must take all of `text`.
    fn parse_string(text: &str) -> Option<String> {
        let mut characters = text.strip_prefix('"')?.chars();
        let mut value = String::new();
        loop {
            match characters.next()? {
                '\\' => match characters.next()? {
                    escaped @ ('"' | '\\') => value.push(escaped),
                    _ => return None,
                },
                '"' => return characters.next().is_none().then_some(value),
                plain @ ' '..='~' => value.push(plain),
                _ => return None,
            }
        }
    }

    proptest! {
        #[test]
        fn any_details_make_a_legal_structured_field(details in prop_oneof![any::<String>(), "[ -~\"\\\\]{0,300}"]) {
            let header = header(&details);
            let kept: String = details.chars().filter(|c| (' '..='~').contains(c)).take(256).collect();
            match header.split_once("; details=") {
                Some((_, string)) => prop_assert_eq!(parse_string(string), Some(kept)),
                None => prop_assert!(kept.is_empty()),
            }
        }
    }
}
