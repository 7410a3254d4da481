//! Reads files that people write in YAML or JSON: a policy, decision cases or a gateway's configuration.
//!
//! Reading returns the value and the position of each of its parts. This module does not interpret the value. It reads JSON as the
//! subset of YAML 1.2 that it is, so both formats get positions, the same limits and the check for duplicate keys.

mod anchors;
mod node;
mod scalar;
mod yaml;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use callgate::document::Place;
use serde_json::Value;

use crate::diagnostic::{Diagnostic, Diagnostics, Position, Severity};
use crate::input;
use node::Node;

/// The size limit of a file in bytes. A policy of 10,000 endpoints and 10,000 agents has about 5 MiB.
const MAX_BYTES: u64 = 32 << 20;

/// A file that was read: its value, and the position of each part.
#[derive(Debug, Clone)]
pub struct Document {
    file: String,
    value: Value,
    root: Node,
    left_out: Option<Position>,
}

impl Document {
    /// The file as the user named it.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The whole value. It contains no null, no duplicate names and no number that is not finite.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Returns the position of the first field that Envoy ignores; other readers may not ignore it.
    #[must_use]
    pub fn left_out(&self) -> Option<Position> {
        self.left_out
    }

    /// Replaces the value of an existing top-level field, which keeps its position.
    #[must_use]
    pub fn with(mut self, field: &str, value: Value) -> Self {
        if let Some(field) = self.value.get_mut(field) {
            *field = value;
        }
        self
    }

    /// Returns the position of the part at `place`, or of the innermost existing part around it.
    #[must_use]
    pub fn position(&self, place: &Place) -> Position {
        self.position_of(place.as_str())
    }

    /// Does the same as [`Document::position`] for a place given as text.
    #[must_use]
    pub fn position_of(&self, place: &str) -> Position {
        self.root.locate(place)
    }

    /// Returns an error about the part at `place`.
    #[must_use]
    pub fn error(&self, place: &Place, message: impl Into<String>) -> Diagnostic {
        self.diagnostic(Severity::Error, place, message.into())
    }

    /// Returns a warning about the part at `place`.
    #[must_use]
    pub fn warning(&self, place: &Place, message: impl Into<String>) -> Diagnostic {
        self.diagnostic(Severity::Warning, place, message.into())
    }

    fn diagnostic(&self, severity: Severity, place: &Place, message: String) -> Diagnostic {
        Diagnostic {
            file: self.file.clone(),
            position: Some(self.position(place)),
            path: place.as_str().to_owned(),
            message,
            severity,
        }
    }
}

/// Reads the file at `path`.
///
/// # Errors
/// Reports why the file cannot be read, or all problems in its text.
pub fn read(path: impl AsRef<Path>) -> Result<Document, Diagnostics> {
    let path = path.as_ref();
    let file = path.display().to_string();
    let bytes = bytes(path).map_err(|message| Diagnostics::unreadable(&file, message))?;
    parse(&file, &bytes)
}

/// Reads a document from memory. `file` is its name in messages.
///
/// # Errors
/// Reports all problems in the text.
pub fn parse(file: &str, bytes: &[u8]) -> Result<Document, Diagnostics> {
    let found = match std::str::from_utf8(bytes) {
        Ok(text) => match yaml::parse(text) {
            Ok(tree) => {
                return Ok(Document { file: file.to_owned(), value: tree.value, root: tree.node, left_out: None });
            }
            Err(findings) => findings,
        },
        Err(error) => vec![not_utf8(bytes, error.valid_up_to())],
    };
    Err(wrong(file, found))
}

fn wrong(file: &str, found: Vec<yaml::Finding>) -> Diagnostics {
    Diagnostics::wrong(
        found
            .into_iter()
            .map(|yaml::Finding { position, place, message }| Diagnostic {
                file: file.to_owned(),
                position: Some(position),
                path: place.as_str().to_owned(),
                message,
                severity: Severity::Error,
            })
            .collect(),
    )
}

/// Reads every document of a gateway's configuration from memory, as gateways read them: a file may hold several documents and use
/// the booleans of YAML 1.1 and `<<`. Fields that Envoy ignores are left out.
///
/// # Errors
/// Reports all problems in the text.
pub fn parse_configuration(file: &str, bytes: &[u8]) -> Result<Vec<Document>, Diagnostics> {
    let trees = match std::str::from_utf8(bytes) {
        Ok(text) => yaml::parse_all(text),
        Err(error) => Err(vec![not_utf8(bytes, error.valid_up_to())]),
    };
    let document =
        |(yaml::Tree { value, node }, left_out)| Document { file: file.to_owned(), value, root: node, left_out };
    trees.map(|trees| trees.into_iter().map(document).collect()).map_err(|found| wrong(file, found))
}

/// Reads the bytes of a file whose size is within the limit.
///
/// # Errors
/// Reports why the file cannot be read.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, Diagnostics> {
    bytes(path).map_err(|message| Diagnostics::unreadable(&path.display().to_string(), message))
}

fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| input::unreadable(&error))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("is larger than {} MiB", MAX_BYTES >> 20));
    }
    Ok(bytes)
}

fn not_utf8(bytes: &[u8], valid: usize) -> yaml::Finding {
    let before = String::from_utf8_lossy(bytes.get(..valid).unwrap_or_default());
    let (lines, last) = match before.rsplit_once('\n') {
        Some((lines, last)) => (lines.matches('\n').count() + 2, last),
        None => (1, before.as_ref()),
    };
    yaml::Finding {
        position: Position { line: lines, column: last.chars().count() + 1 },
        place: Place::root(),
        message: "not UTF-8 text; save the file as UTF-8".to_owned(),
    }
}

#[cfg(test)]
mod tests;
