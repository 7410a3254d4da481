//! Reads the lines of logs and the records in them.
//!
//! Logs grow without limit and can be cut off in the middle. The reader therefore holds one line at a time, and counts and skips
//! lines that contain no record.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use serde_json::Value;

use super::record::Record;

/// The longest line that can hold a record, in bytes.
const MOST_LINE: usize = 1 << 20;
/// The first bytes of every gzip file (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// The first bytes of a record.
const BEGINNING: &[u8] = b"{\"decision\":";

/// A line and its contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A record.
    Record(Box<Record>),
    /// Something else.
    Other,
}

/// The lines of a log.
pub struct Lines<R> {
    source: R,
    member: String,
    number: u64,
    buffer: Vec<u8>,
}

/// Opens a file, or standard input for `-`. The caller can wrap the reader, for example to count bytes.
///
/// # Errors
/// Fails if the file cannot be opened.
pub fn open(name: &str) -> io::Result<Box<dyn Read>> {
    Ok(if name == "-" { Box::new(io::stdin().lock()) } else { Box::new(File::open(name)?) })
}

impl Lines<Box<dyn BufRead>> {
    /// Reads lines from a source and decompresses it if it begins like a gzip file. `member` names the member of a JSON object in
    /// which a gateway's access log stores the record.
    ///
    /// # Errors
    /// Fails if nothing can be read.
    pub fn new(source: impl Read + 'static, member: &str) -> io::Result<Self> {
        let mut source = BufReader::with_capacity(64 << 10, source);
        let source: Box<dyn BufRead> = if source.fill_buf()?.starts_with(&GZIP) {
            Box::new(BufReader::new(MultiGzDecoder::new(source)))
        } else {
            Box::new(source)
        };
        Ok(Self { source, member: member.to_owned(), number: 0, buffer: Vec::new() })
    }
}

impl<R: BufRead> Lines<R> {
    /// Returns the number of the line that was read last, counted from 1.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns the next line that is not empty, or `None` at the end.
    ///
    /// # Errors
    /// Fails if the rest cannot be read.
    pub fn read(&mut self) -> io::Result<Option<Line>> {
        loop {
            self.buffer.clear();
            if (&mut self.source).take(MOST_LINE as u64).read_until(b'\n', &mut self.buffer)? == 0 {
                return Ok(None);
            }
            self.number += 1;
            if self.buffer.len() == MOST_LINE && self.buffer.last() != Some(&b'\n') {
                self.skip_line()?;
                return Ok(Some(Line::Other));
            }
            let line = self.buffer.trim_ascii();
            if !line.is_empty() {
                return Ok(Some(find(line, &self.member).map_or(Line::Other, |record| Line::Record(Box::new(record)))));
            }
        }
    }

    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let bytes = self.source.fill_buf()?;
            let (used, ends) = match bytes.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (bytes.len(), bytes.is_empty()),
            };
            self.source.consume(used);
            if ends {
                return Ok(());
            }
        }
    }
}

/// Finds the record in a line. The record can be the line itself, a member of a JSON object (as text, as an object or as a list of
/// one), or the text after the prefix that a gateway writes on the lines of its own log.
#[must_use]
pub fn find(line: &[u8], member: &str) -> Option<Record> {
    if !line.starts_with(b"{") {
        let start = line.windows(BEGINNING.len()).position(|window| window == BEGINNING)?;
        let mut rest = serde_json::Deserializer::from_slice(line.get(start..)?).into_iter();
        return Record::from_value(rest.next()?.ok()?);
    }
    let mut value: Value = serde_json::from_slice(line).ok()?;
    match value.get_mut(member).map(Value::take) {
        Some(Value::String(text)) => Record::from_value(serde_json::from_str(&text).ok()?),
        Some(record @ Value::Object(_)) => Record::from_value(record),
        Some(Value::Array(records)) => Record::from_value(records.into_iter().next()?),
        _ => Record::from_value(value),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const RECORD: &str =
        r#"{"decision":"deny","reason":"token_expired","policy":"p","policy_version":"00","more":[1]}"#;

    fn kinds(bytes: impl Into<Vec<u8>>) -> Vec<(u64, bool)> {
        let mut lines = Lines::new(io::Cursor::new(bytes.into()), "callgate").unwrap();
        let mut found = Vec::new();
        while let Some(line) = lines.read().unwrap() {
            found.push((lines.number(), matches!(line, Line::Record(_))));
        }
        found
    }

    #[test]
    fn finds_records_in_every_log_format() {
        let quoted = serde_json::to_string(RECORD).unwrap();
        for line in [
            RECORD.to_owned(),
            format!("  {RECORD}\r"),
            format!(r#"{{"status":401,"callgate":{quoted}}}"#),
            format!(r#"{{"status":401,"callgate":{RECORD}}}"#),
            format!(r#"{{"status":401,"callgate":[{RECORD}]}}"#),
            format!(
                "[2026-11-21 12:00:00.000][1][info][wasm] [source/extensions/common/wasm/context.cc:1195] wasm log callgate callgate: {RECORD}"
            ),
            format!("{RECORD} and more").replacen('{', "x {", 1),
        ] {
            let record = find(line.trim_ascii().as_bytes(), "callgate").unwrap_or_else(|| panic!("{line}"));
            assert_eq!((record.decision.as_str(), record.reason.as_str()), ("deny", "token_expired"));
        }
    }

    #[test]
    fn ignores_lines_without_a_record() {
        for line in [
            "",
            "{",
            "plain text",
            "{\"decision\":",
            "{}",
            "[1]",
            r#"{"status":200,"callgate":null}"#,
            r#"{"status":200,"callgate":[]}"#,
            r#"{"status":200,"callgate":"-"}"#,
            r#"{"decision":"perhaps","reason":"x","policy_version":"00"}"#,
            r#"{"decision":"deny","reason":1,"policy_version":"00"}"#,
            r#"{"decision":"deny","reason":"x"}"#,
        ] {
            assert_eq!(find(line.as_bytes(), "callgate"), None, "{line}");
        }
        assert_eq!(find(b"\xff{\"decision\":\"\xff\"}", "callgate"), None);
    }

    #[test]
    fn numbers_lines_and_skips_empty_ones() {
        assert_eq!(kinds(format!("{RECORD}\n\n \r\nnothing\n{RECORD}")), [(1, true), (4, false), (5, true)]);
        assert_eq!(kinds(""), []);
    }

    #[test]
    fn skips_an_overlong_line_in_bounded_memory() {
        let long = [b"x".repeat(3 * MOST_LINE + 5), b"\n".to_vec(), RECORD.as_bytes().to_vec()].concat();
        assert_eq!(kinds(long), [(1, false), (2, true)]);
        assert_eq!(kinds(b"x".repeat(MOST_LINE)), [(1, false)]);
    }

    #[test]
    fn detects_gzip_and_reads_all_of_its_members() {
        let part = |text: &str| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        };
        let whole = [part(&format!("{RECORD}\n")), part(RECORD)].concat();
        assert_eq!(kinds(whole.clone()), [(1, true), (2, true)]);
        let mut cut = Lines::new(io::Cursor::new(whole[..whole.len() - 20].to_vec()), "callgate").unwrap();
        cut.read().unwrap();
        cut.read().unwrap_err();
    }
}
