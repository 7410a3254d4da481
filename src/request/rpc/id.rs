//! The id of a request, which the answer repeats.

use crate::request::json::{Json, number};

/// The maximum length of an id in JSON, in bytes. Denials repeat it.
const MOST_LENGTH: usize = 256;

/// The id of a request.
///
/// INVARIANT: `text` is a JSON string, or an integer in its only usual form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RpcId<'t> {
    text: &'t str,
}

impl<'t> RpcId<'t> {
    /// Reads an id: a string or an integer. Servers differ in what they make of `null`, `1.0` and `1e0`, so these are none.
    pub(crate) fn read(value: Json<'t>) -> Option<Self> {
        let text = value.text();
        let is_id = value.string().is_some() || number::is_integer(text);
        (is_id && text.len() <= MOST_LENGTH).then_some(Self { text })
    }

    /// Returns the id in JSON, exactly as sent.
    pub(crate) fn text(self) -> &'t str {
        self.text
    }
}
