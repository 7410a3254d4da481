//! Escapes text from other authors before output.
//!
//! Paths, claims, header values and names in a policy may contain terminal escape sequences or characters that reorder the
//! displayed text. The program must not print any of them unescaped.

use std::fmt::{self, Display, Write};

use serde::Serialize;

/// Shows `text` with every invisible character as an escape such as `\u{1b}`.
///
/// Quotes and backslashes stay as they are: the purpose is a safe terminal, not a string literal.
pub fn text(text: &str) -> impl Display + '_ {
    Text(text)
}

struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '"' | '\'' | '\\' => f.write_char(c)?,
                _ => write!(f, "{}", c.escape_debug())?,
            }
        }
        Ok(())
    }
}

/// Returns indented JSON that is safe to display: every invisible character is a `\u` escape.
///
/// # Errors
/// Fails if `value` has no JSON form, such as a map whose keys are not text.
pub fn json(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value).map(|json| visible_json(&json))
}

/// Returns the JSON of [`json`] on one line.
///
/// # Errors
/// Fails in the same cases as [`json`].
pub fn json_line(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string(value).map(|json| visible_json(&json))
}

/// Replaces every invisible character in JSON text with a `\u` escape.
#[must_use]
pub fn visible_json(json: &str) -> String {
    // Outside of strings, JSON is visible ASCII and line breaks; inside of strings, line breaks are already escaped.
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c == '\n' || is_visible(c) {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

/// Returns whether a character is displayed as itself and cannot be taken for anything else.
#[must_use]
pub fn is_visible(c: char) -> bool {
    matches!(c, '"' | '\'' | '\\') || c.escape_debug().eq([c])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_keeps_visible_characters() {
        for kept in ["plain", "grüße, 世界", "a\"b'c\\d", "{owner}/{repo...}"] {
            assert_eq!(text(kept).to_string(), kept);
        }
    }

    #[test]
    fn text_escapes_terminal_control_characters() {
        for (raw, shown) in [
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("a\nb\r\tc\0", "a\\nb\\r\\tc\\0"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{7f}", "\\u{7f}"),
            ("user\u{202e}nimda", "user\\u{202e}nimda"),
            ("zero\u{200b}width", "zero\\u{200b}width"),
        ] {
            assert_eq!(text(raw).to_string(), shown);
        }
    }

    #[test]
    fn json_escaping_preserves_the_value() {
        let value = serde_json::json!({ "a\u{9b}": ["\u{1b}[2J", "\u{202e}", "\u{e0001}", "ü\"\\\n"] });
        let shown = json(&value).unwrap();
        assert!(!shown.contains(['\u{9b}', '\u{1b}', '\u{202e}', '\u{e0001}']), "{shown}");
        assert!(shown.contains('ü'));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
