//! Splits an event stream (`text/event-stream`, WHATWG HTML, section 9.2) into events, and replaces the data of some.
//!
//! An event is forwarded when its last byte arrived. Readers of event streams differ, so a line of another field, or one that some readers
//! split into several, is not forwarded: what they could read as data was not checked.

use std::borrow::Cow;

use super::held::Held;
use crate::quota::held::Reservation;
use crate::text::ascii::are_printable;

/// The byte order mark, which readers ignore at the beginning of a stream.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// What to do with an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// Forward it as it is.
    Keep,
    /// Forward it without data, which clients ignore.
    RemoveData,
    /// Forward it with other data, in one line. The data is JSON, in which line feeds are white space.
    ReplaceData(Vec<u8>),
}

/// The reason why an event is not kept until it is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The worker has no room for it.
    NoRoom,
    /// It is longer than the limit.
    TooLong,
}

/// Decides about the data of an event, or about an event that is not kept. Only complete events with data are passed to it.
pub(crate) type Check<'c> = dyn FnMut(Result<&[u8], Lost>) -> Change + 'c;

/// A stream of which the events before the current one were forwarded.
#[derive(Debug)]
pub(crate) struct EventStream {
    /// The current event, as far as it was received.
    held: Held,
    /// How much of the current line was received, in bytes.
    line: usize,
    /// Whether the last byte was a CR, so a following LF ends the same line.
    is_after_cr: bool,
    is_first_line: bool,
    /// Whether the current event is not kept. The rest of it is dropped.
    is_skipped: bool,
}

impl EventStream {
    /// Begins a stream with events of at most `most` bytes. `charge` counts what is kept of them.
    pub(crate) fn new(most: usize, charge: Option<Reservation>) -> Self {
        Self { held: Held::new(most, charge), line: 0, is_after_cr: false, is_first_line: true, is_skipped: false }
    }

    /// Receives the next bytes. Appends to `out` each event that is complete, after `check` decided about its data.
    ///
    /// A comment that does not follow a field, such as one that keeps the connection alive, is forwarded without waiting for more lines. An
    /// event that is longer than the limit, or for the part of which there is no room until the next bytes arrive, is replaced by what
    /// `check` decides. An event that the stream ends in is never forwarded: it was
    /// not checked, and browsers ignore it too.
    pub(crate) fn push(&mut self, chunk: &[u8], check: &mut Check<'_>, out: &mut Vec<u8>) {
        let mut rest = chunk;
        while let Some((first, after_first)) = rest.split_first() {
            if std::mem::take(&mut self.is_after_cr) && *first == b'\n' {
                self.push_second_end(check, out);
                rest = after_first;
                continue;
            }
            let end = line_length(rest);
            let (piece, after) = rest.split_at_checked(end.map_or(rest.len(), |end| end + 1)).unwrap_or((rest, &[]));
            rest = after;
            self.hold(piece, check, out);
            self.line += piece.len();
            if end.is_some() {
                self.line -= 1;
                self.is_after_cr = piece.ends_with(b"\r");
                self.end_line(check, out);
            }
        }
        if !self.held.keep() {
            self.skip(Lost::NoRoom, check, out);
        }
    }

    /// Receives the LF of a line that ends with CR and LF. The event that this line ended, if it did, was forwarded after the CR.
    fn push_second_end(&mut self, check: &mut Check<'_>, out: &mut Vec<u8>) {
        if self.held.bytes().is_empty() && !self.is_skipped {
            out.push(b'\n');
        } else {
            self.hold(b"\n", check, out);
        }
    }

    /// Adds bytes to the current event.
    fn hold(&mut self, piece: &[u8], check: &mut Check<'_>, out: &mut Vec<u8>) {
        if self.is_skipped || self.held.push(piece) {
            return;
        }
        self.skip(Lost::TooLong, check, out);
    }

    /// Replaces the current event, and drops the rest of it.
    fn skip(&mut self, lost: Lost, check: &mut Check<'_>, out: &mut Vec<u8>) {
        self.is_skipped = true;
        if let Change::ReplaceData(text) = check(Err(lost)) {
            push_data(&text, out);
            out.push(b'\n');
        }
    }

    /// Forwards what the line completes: an event or a comment before it.
    fn end_line(&mut self, check: &mut Check<'_>, out: &mut Vec<u8>) {
        let mut length = std::mem::take(&mut self.line);
        let is_first_line = std::mem::take(&mut self.is_first_line);
        if self.is_skipped {
            self.is_skipped = length > 0;
            return;
        }
        if is_first_line && self.held.strip_prefix(BYTE_ORDER_MARK) {
            // Without it, all readers agree about the first line.
            length -= BYTE_ORDER_MARK.len();
        }
        let held = self.held.bytes();
        let is_comment = held.starts_with(b":") && held.len() == length + 1;
        if length == 0 || is_comment {
            forward(held, check, out);
            self.held.clear();
        }
    }
}

/// Writes an event with all its lines, after `check` decided about its data.
fn forward(event: &[u8], check: &mut Check<'_>, out: &mut Vec<u8>) {
    let mut data: Option<Cow<'_, [u8]>> = None;
    let mut keeps_lines = true;
    for line in lines(event) {
        match Line::read(line) {
            Line::Data(value) => {
                data = Some(match data {
                    None => Cow::Borrowed(value),
                    Some(before) => {
                        let mut joined = before.into_owned();
                        joined.push(b'\n');
                        joined.extend_from_slice(value);
                        Cow::Owned(joined)
                    }
                });
            }
            Line::Dropped => keeps_lines = false,
            Line::Kept => {}
        }
    }
    let change = data.map_or(Change::Keep, |data| check(Ok(&*data)));
    if keeps_lines && change == Change::Keep {
        out.extend_from_slice(event);
        return;
    }
    let keeps_data = change == Change::Keep;
    let mut replaced = if let Change::ReplaceData(text) = change { Some(text) } else { None };
    // All lines end with LF: without a line between them, a CR and the LF of the empty line would be the end of one line.
    for line in lines(event) {
        match Line::read(line) {
            Line::Data(_) if !keeps_data => {
                if let Some(text) = replaced.take() {
                    push_data(&text, out);
                }
            }
            Line::Data(_) | Line::Kept => {
                out.extend_from_slice(line);
                out.push(b'\n');
            }
            Line::Dropped => {}
        }
    }
}

/// Writes JSON as one line of data. In JSON, a line end is always white space.
fn push_data(json: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
    out.extend(json.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }));
    out.push(b'\n');
}

/// Returns the length of the line at the start of a text, or `None` if it does not end there.
fn line_length(text: &[u8]) -> Option<usize> {
    text.iter().position(|byte| matches!(byte, b'\r' | b'\n'))
}

/// Returns the complete lines of a text without their ends.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (line, after) = rest.split_at_checked(line_length(rest)?)?;
        rest = after.strip_prefix(b"\r\n").or_else(|| after.get(1..))?;
        Some(line)
    })
}

/// A line of an event without its end.
enum Line<'e> {
    Data(&'e [u8]),
    /// A line that is not forwarded. Readers in Python also end lines at some control characters and at characters that are not ASCII, and
    /// lenient readers could read another name as `data`.
    Dropped,
    /// A comment, a known field without data, or the empty line.
    Kept,
}

impl<'e> Line<'e> {
    fn read(line: &'e [u8]) -> Self {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = parts.next().unwrap_or_default();
        let value = parts.next().unwrap_or_default();
        match name {
            b"data" => Self::Data(value.strip_prefix(b" ").unwrap_or(value)),
            b"" | b"event" | b"id" | b"retry" if are_printable(line) => Self::Kept,
            _ => Self::Dropped,
        }
    }
}

/// Returns JSON with escapes for the characters at which some readers end lines, or `None` if it has none of them. They occur in strings
/// only.
pub(super) fn escape_line_ends(json: &str) -> Option<String> {
    if json.is_ascii() || !json.contains(['\u{85}', '\u{2028}', '\u{2029}']) {
        return None;
    }
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '\u{85}' => escaped.push_str("\\u0085"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            other => escaped.push(other),
        }
    }
    Some(escaped)
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
