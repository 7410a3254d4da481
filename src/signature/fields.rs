//! Lines of one field as one value (RFC 9110, section 5.3).

use std::borrow::Cow;

use crate::headers::{Headers, names_read_alike};

/// All lines of a field, each without the white space around it, joined by a comma and a space; none where there is no line.
#[must_use]
pub fn joined<'h>(headers: &'h Headers, name: &str) -> Option<Cow<'h, [u8]>> {
    let mut value: Option<Cow<'h, [u8]>> = None;
    for line in lines(headers, name) {
        match &mut value {
            None => value = Some(Cow::Borrowed(line)),
            Some(value) => {
                let value = value.to_mut();
                value.extend_from_slice(b", ");
                value.extend_from_slice(line);
            }
        }
    }
    value
}

/// The lines of a field, without the white space around them.
pub(super) fn lines<'h>(headers: &'h Headers, name: &str) -> impl Iterator<Item = &'h [u8]> {
    let is_named = move |(own, _): &(&[u8], &[u8])| is(own, name.as_bytes());
    headers.as_long_as(name.as_bytes()).filter(is_named).map(|(_, value)| trim(value))
}

/// Whether there is a line that only some servers read as one of this field.
pub(super) fn has_look_alike(headers: &Headers, name: &str) -> bool {
    let name = name.as_bytes();
    headers.as_long_as(name).any(|(own, _)| !is(own, name) && names_read_alike(own, name))
}

/// Whether a line has this name. Nearly all gateways write names in lower case.
fn is(own: &[u8], name: &[u8]) -> bool {
    own == name || own.eq_ignore_ascii_case(name)
}

fn trim(value: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !is_space(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    value.get(start..end).unwrap_or_default()
}
