//! Writes text of a server as YAML scalars that every version of YAML reads as the same text, in block and in flow style.

use std::fmt::Write;

use callgate_kit::escape;

/// Words that a version of YAML reads as something else than text.
const WORDS: [&str; 9] = ["false", "n", "no", "null", "off", "on", "true", "y", "yes"];

/// Returns a scalar, which is quoted if it has to be.
pub(in crate::command) fn scalar(text: &str) -> String {
    let is_word = WORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
    let begins_plain = text.starts_with(|first: char| first.is_ascii_alphabetic());
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/~".contains(&byte);
    if begins_plain && !is_word && text.bytes().all(is_plain) { text.to_owned() } else { quoted(text) }
}

/// Returns a scalar in double quotes on one line, with every invisible character as an escape.
pub(in crate::command) fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for character in text.chars() {
        // Writing to a string does not fail.
        let _ = match u32::from(character) {
            _ if matches!(character, '"' | '\\') => write!(out, "\\{character}"),
            _ if escape::is_visible(character) => out.write_char(character),
            code @ ..=0xff => write!(out, "\\x{code:02x}"),
            code @ ..=0xffff => write!(out, "\\u{code:04x}"),
            code => write!(out, "\\U{code:08x}"),
        };
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_are_not_quoted() {
        for plain in ["get_payment", "a", "argument./tenant", "argument./a~1b", "files.read", "N-1", "nope"] {
            assert_eq!(scalar(plain), plain);
        }
    }

    #[test]
    fn every_text_is_read_as_itself() {
        for text in [
            "",
            "on",
            "No",
            "NULL",
            "true",
            "y",
            "1",
            "1e5",
            "0x1f",
            "12:30",
            "-",
            "---",
            "- a",
            "a: b",
            "a:",
            "a #b",
            "#a",
            "? a",
            "*a",
            "&a",
            "!a",
            "%a",
            "@a",
            "`a`",
            "[a]",
            "{a}",
            "a,b",
            "'a'",
            "\"a\"",
            "a\\b",
            "a\nb: c",
            "a\r\n  - b",
            "\u{85}a",
            "a\u{2028}b",
            "a\tb",
            "\0",
            "\u{1b}[2J",
            "\u{202e}",
            "\u{feff}a",
            "\u{e0001}",
            "é世界",
            " a ",
            "a ",
            "~",
            "|",
            ">",
            "<<",
            "=",
            "\u{301}a",
            "\u{a0}",
        ] {
            let lines = format!("list:\n  - {}\nflow: {{ {}: 1 }}\n", scalar(text), quoted(text));
            assert!(!lines.contains(['\u{1b}', '\u{202e}', '\u{feff}', '\u{2028}', '\u{85}']), "{lines:?}");
            let document = callgate_kit::document::parse("out.yaml", lines.as_bytes()).unwrap();
            assert_eq!(document.value(), &serde_json::json!({ "list": [text], "flow": { text: 1 } }), "{lines}");
        }
    }
}
