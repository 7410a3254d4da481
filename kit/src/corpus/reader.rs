//! Reading parts of a document, and collecting what is wrong with them.

use callgate::document::Place;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::diagnostic::{Diagnostic, Diagnostics, Position};
use crate::document::Document;

/// Reads parts of a document and collects what is wrong with them.
pub(super) struct Reader<'d> {
    document: &'d Document,
    found: Vec<Diagnostic>,
}

impl<'d> Reader<'d> {
    pub(super) fn of(document: &'d Document) -> Self {
        Self { document, found: Vec::new() }
    }

    /// The part as this type; what is wrong with it is noted.
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

    /// Notes what is wrong at a place.
    pub(super) fn error(&mut self, place: &Place, message: impl Into<String>) {
        self.found.push(self.document.error(place, message));
    }

    /// Everything that was noted.
    pub(super) fn wrong(self) -> Diagnostics {
        Diagnostics::wrong(self.found)
    }

    /// Where a part stands.
    pub(super) fn position(&self, place: &Place) -> Position {
        self.document.position(place)
    }

    /// Everything that was noted, where there is something.
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
