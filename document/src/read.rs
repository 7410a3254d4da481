//! Reads a document from JSON.

use serde::Deserialize as _;

use super::position::place_at;
use super::strict::Strict;
use super::{Document, Finding, renamed};

impl Document {
    /// Reads a document from JSON in one line, as serializers write it.
    ///
    /// # Errors
    /// Returns the first error in its structure, at its place.
    pub fn from_line(json: &[u8]) -> Result<Self, Finding> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let read = Self::deserialize(Strict(&mut deserializer));
        read.and_then(|document| deserializer.end().map(|()| document)).map_err(|error| {
            // The text has only one line, so the column is the offset.
            Finding { place: place_at(json, error.column()), message: structural(&error) }
        })
    }
}

/// Returns the error message of the library without its position, because the place is more precise.
fn structural(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let unknown = text.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
    if let Some(new) = unknown.and_then(renamed) {
        return format!("this field was renamed; write `{new}`");
    }
    match text.rfind(" at line ") {
        Some(end) => text.get(..end).unwrap_or(&text).to_owned(),
        None => text,
    }
}
