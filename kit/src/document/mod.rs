//! Files that people write: a policy, decision cases or a gateway's configuration, in YAML or JSON.
//!
//! Reading yields the value and the place of each of its parts; what the value means is not judged here. JSON is read
//! as what it is, a part of YAML 1.2, so that both get the same places, the same bounds and no duplicate keys.

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

/// The largest file that is read: a policy of 10,000 endpoints and 10,000 agents has about 5 MiB.
const MAX_BYTES: u64 = 32 << 20;

/// A file that was read: its value, and where each part of it stands.
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

    /// The whole value. Never null, no duplicate names, no number that is not finite.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Where the first field stands that Envoy leaves out, and other readers may not.
    #[must_use]
    pub fn left_out(&self) -> Option<Position> {
        self.left_out
    }

    /// The same with another value for a field of the whole that is there; it keeps its place.
    #[must_use]
    pub fn with(mut self, field: &str, value: Value) -> Self {
        if let Some(field) = self.value.get_mut(field) {
            *field = value;
        }
        self
    }

    /// Where the part at `place` stands, or the innermost part around it that there is.
    #[must_use]
    pub fn position(&self, place: &Place) -> Position {
        self.position_of(place.as_str())
    }

    /// [`Document::position`] for a place that is known as text.
    #[must_use]
    pub fn position_of(&self, place: &str) -> Position {
        self.root.locate(place)
    }

    /// An error about the part at `place`.
    #[must_use]
    pub fn error(&self, place: &Place, message: impl Into<String>) -> Diagnostic {
        self.diagnostic(Severity::Error, place, message.into())
    }

    /// A warning about the part at `place`.
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
/// Says why the file cannot be read, or everything that is wrong with its text.
pub fn read(path: impl AsRef<Path>) -> Result<Document, Diagnostics> {
    let path = path.as_ref();
    let file = path.display().to_string();
    let bytes = bytes(path).map_err(|message| Diagnostics::unreadable(&file, message))?;
    parse(&file, &bytes)
}

/// Reads a document from memory; `file` is the name that messages give it.
///
/// # Errors
/// Everything that is wrong with the text.
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

/// Reads every document of a gateway's configuration from memory, as gateways read them: several in a file, with the booleans
/// of YAML 1.1 and `<<`, and without the fields that Envoy leaves out.
///
/// # Errors
/// Everything that is wrong with the text.
pub fn parse_configuration(file: &str, bytes: &[u8]) -> Result<Vec<Document>, Diagnostics> {
    let trees = match std::str::from_utf8(bytes) {
        Ok(text) => yaml::parse_all(text),
        Err(error) => Err(vec![not_utf8(bytes, error.valid_up_to())]),
    };
    let document =
        |(yaml::Tree { value, node }, left_out)| Document { file: file.to_owned(), value, root: node, left_out };
    trees.map(|trees| trees.into_iter().map(document).collect()).map_err(|found| wrong(file, found))
}

/// The bytes of a file, of which there are not too many; the error says why it cannot be read.
///
/// # Errors
/// Says why the file cannot be read.
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
        message: "not UTF-8 text: save the file as UTF-8".to_owned(),
    }
}

#[cfg(test)]
mod tests;
