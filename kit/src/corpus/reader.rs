//! Reads parts of a document and collects the problems in them.

use callgate::document::Place;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::diagnostic::{Diagnostic, Diagnostics, Position};
use crate::document::Document;

/// Reads parts of a document and collects the problems in them.
pub(super) struct Reader<'d> {
    document: &'d Document,
    found: Vec<Diagnostic>,
}

impl<'d> Reader<'d> {
    pub(super) fn of(document: &'d Document) -> Self {
        Self { document, found: Vec::new() }
    }

    /// Reads a part as this type and records its problems.
    pub(super) fn read<T: DeserializeOwned>(&mut self, place: &Place, value: &Value) -> Option<T> {
        match serde_path_to_error::deserialize(value) {
            Ok(read) => Some(read),
            Err(error) => {
                let place = inner(place, error.path());
                self.error(&place, error.into_inner().to_string());
                None
            }
        }
    }

    /// Records an error at a place.
    pub(super) fn error(&mut self, place: &Place, message: impl Into<String>) {
        self.found.push(self.document.error(place, message));
    }

    /// Returns everything that was recorded.
    pub(super) fn wrong(self) -> Diagnostics {
        Diagnostics::wrong(self.found)
    }

    /// Returns the position of a part.
    pub(super) fn position(&self, place: &Place) -> Position {
        self.document.position(place)
    }

    /// Returns everything that was recorded as an error, or `Ok` if nothing was.
    pub(super) fn finish(self) -> Result<(), Diagnostics> {
        if self.found.is_empty() { Ok(()) } else { Err(self.wrong()) }
    }
}

fn inner(place: &Place, path: &serde_path_to_error::Path) -> Place {
    use serde_path_to_error::Segment;
    path.iter().fold(place.clone(), |place, segment| match segment {
        Segment::Seq { index } => place.index(*index),
        Segment::Map { key } | Segment::Enum { variant: key } => place.field(key),
        Segment::Unknown => place,
    })
}
