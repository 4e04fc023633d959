//! Text that goes into HTML, and comes out of a query.

use std::fmt::{self, Display, Formatter, Write};

/// Text of others inside HTML: an element's text, or an attribute's value in double quotes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text<'a>(pub(crate) &'a str);

/// Text of others as the value of a query.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Query<'a>(pub(crate) &'a str);

// === impl Text ===

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // A browser shows nothing for these, or takes them for the end of its input.
                control if control.is_control() && control != '\n' => f.write_char('\u{fffd}')?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

// === impl Query ===

impl Display for Query<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    f.write_char(char::from(byte))?;
                }
                other => write!(f, "%{other:02X}")?,
            }
        }
        Ok(())
    }
}

/// The value of a query, without its percent signs. What is no UTF-8 is replaced, and what is no escape stays.
pub(crate) fn from_query(value: &str) -> String {
    let bytes = value.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = match byte {
            b'%' => bytes.get(at + 1..at + 3).and_then(hex),
            _ => None,
        };
        at += if escaped.is_some() { 3 } else { 1 };
        decoded.push(escaped.unwrap_or(if byte == b'+' { b' ' } else { byte }));
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn hex(digits: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(digits).ok()?;
    let both_digits = digits.iter().all(u8::is_ascii_hexdigit);
    both_digits
        .then(|| u8::from_str_radix(text, 16).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_gets_out_of_a_text_or_an_attribute() {
        let text = Text("<script>alert(\"a\" + 'b') & \u{0}\u{1b}[31m</script>").to_string();
        assert_eq!(
            text,
            "&lt;script&gt;alert(&quot;a&quot; + &#39;b&#39;) &amp; \u{fffd}\u{fffd}[31m&lt;/script&gt;"
        );
    }

    #[test]
    fn what_is_no_escape_stays_as_it_is() {
        for (value, expected) in [
            ("a%2", "a%2"),
            ("%zz", "%zz"),
            ("%+1", "% 1"),
            ("a+b", "a b"),
            ("%C3%A9", "é"),
            ("%ff", "\u{fffd}"),
        ] {
            assert_eq!(from_query(value), expected);
        }
    }

    proptest! {
        #[test]
        fn a_name_comes_back_from_a_query(name in "\\PC*") {
            prop_assert_eq!(from_query(&Query(&name).to_string()), name);
        }

        #[test]
        fn no_text_has_a_bracket_or_a_quote(text in "\\PC*") {
            let shown = Text(&text).to_string();
            prop_assert!(!shown.contains(['<', '>', '"', '\'']));
        }
    }
}
