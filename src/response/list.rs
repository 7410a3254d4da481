//! Filters the lists in one JSON-RPC message.
//!
//! The removed items are cut out of the text, and everything else keeps its bytes.

use std::borrow::Cow;
use std::ops::Range;

pub(crate) use crate::allowlist::operations::ListKind;
use crate::request::json::{Json, JsonBounds, JsonFault, Names};

/// The maximum nesting depth of an answer.
const DEPTH: u8 = 64;

/// The maximum number of names of changed definitions that are reported for one response.
const MOST_CHANGED: usize = 16;

/// The longest name that is reported, in bytes.
const LONGEST_NAME: usize = 256;

/// Decides about each item of a list.
pub(crate) trait Listed {
    /// Decides whether the client may see an item. `name` is the name of a tool or prompt, the URI of a resource, or the URI template of a
    /// resource template. `definition` is the whole item.
    fn shows(&self, kind: ListKind, name: &str, definition: Json<'_>) -> Shown;

    /// Decides whether an item counts as changed that some clients read as the one with this name, and others as another one or none. No
    /// client sees it.
    fn is_changed_by_spelling(&self, kind: ListKind, name: &str) -> bool;
}

/// Whether a client may see an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// It may not, because the definition matches none of its pins.
    Changed,
    /// It may not.
    No,
    /// It may.
    Yes,
}

/// What was removed from a response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Removed {
    counts: [u32; 4],
    changed: Vec<Box<str>>,
}

/// A message after its lists were filtered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Filtered {
    /// The new text.
    Changed(Vec<u8>),
    /// Readers could read different values from the text, or none, so it must not be forwarded.
    Unreadable,
    /// The text stays as it is.
    Untouched,
}

impl ListKind {
    /// All kinds, in the order of their discriminants.
    const ALL: [Self; 4] = [Self::Tools, Self::Resources, Self::ResourceTemplates, Self::Prompts];

    /// Returns the member of a result that contains the list.
    pub(crate) fn member(self) -> &'static str {
        match self {
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::ResourceTemplates => "resourceTemplates",
            Self::Tools => "tools",
        }
    }

    /// Returns the member of an item that identifies it in requests.
    fn identifier(self) -> &'static str {
        match self {
            Self::Prompts | Self::Tools => "name",
            Self::Resources => "uri",
            Self::ResourceTemplates => "uriTemplate",
        }
    }
}

impl Removed {
    /// Returns how many items of a kind were removed, for any reason.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn count(&self, kind: ListKind) -> u32 {
        self.counts.get(kind as usize).copied().unwrap_or_default()
    }

    /// Returns the names of items whose definitions changed, each once, in the order of their appearance. There are at most
    /// [`MOST_CHANGED`].
    pub(crate) fn changed(&self) -> impl Iterator<Item = &str> {
        self.changed.iter().map(|name| &**name)
    }

    fn add(&mut self, kind: ListKind) {
        if let Some(count) = self.counts.get_mut(kind as usize) {
            *count = count.saturating_add(1);
        }
    }

    fn add_changed(&mut self, name: &str) {
        let has_place = self.changed.len() < MOST_CHANGED && name.len() <= LONGEST_NAME;
        if has_place && self.changed().all(|known| known != name) {
            self.changed.push(name.into());
        }
    }
}

/// Filters the lists in a message of at most `most` bytes, and adds what was removed to `removed`.
///
/// A batch is unreadable: no revision that the policy format knows has them. So is a message with a list or a result of an unexpected type,
/// because no client should find items in it that were not checked.
pub(crate) fn filter(text: &[u8], most: usize, listed: &dyn Listed, removed: &mut Removed) -> Filtered {
    let Ok(message) = parse(text, most) else { return Filtered::Unreadable };
    let result = match list_result(message) {
        Err(_) => return Filtered::Unreadable,
        Ok(None) => return Filtered::Untouched,
        Ok(Some(result)) => result,
    };
    let begin = text.len() - text.trim_ascii_start().len();
    let mut edit = Edit { message, text, begin, out: Vec::new(), copied: 0 };
    let has_scope = matches!(result.member(CACHE_SCOPE), Ok(Some(_)));
    for (name, value) in result.members() {
        let Some(name) = name.string() else { continue };
        if let Some(kind) = ListKind::ALL.into_iter().find(|kind| kind.member() == &*name) {
            filter_list(kind, value, listed, &mut edit, removed);
        } else if name == CACHE_SCOPE && value.string().is_none_or(|scope| scope != "private") {
            edit.replace(edit.place(value), b"\"private\"");
        } else if name == "ttlMs" && !has_scope {
            // Some clients treat a list without a scope as public.
            let end = edit.place(value).end;
            edit.replace(end..end, b",\"cacheScope\":\"private\"");
        }
    }
    edit.finish().map_or(Filtered::Untouched, Filtered::Changed)
}

/// The member that states who may share a cached result.
const CACHE_SCOPE: &str = "cacheScope";

/// Checks the document of an answer. Schemas contain names that differ in case only, so they are allowed where no name is read.
///
/// # Errors
/// The first [`JsonFault`].
pub(super) fn parse(text: &[u8], most: usize) -> Result<Json<'_>, JsonFault> {
    Json::parse(text, JsonBounds { bytes: most, depth: DEPTH, names: Names::Exact })
}

/// Returns the result of a message if it contains lists. Each of them is an array, or `null`, which some servers send for an empty list.
///
/// # Errors
/// A [`JsonFault`] if the message must not be forwarded.
pub(super) fn list_result(message: Json<'_>) -> Result<Option<Json<'_>>, JsonFault> {
    if !message.is_object() {
        return Err(JsonFault::Malformed);
    }
    let Some(result) = message.member("result")?.filter(|result| !result.is_null()) else { return Ok(None) };
    if !result.is_object() {
        return Err(JsonFault::Malformed);
    }
    let mut has_list = false;
    for kind in ListKind::ALL {
        if let Some(list) = result.member(kind.member())? {
            if !list.is_array() && !list.is_null() {
                return Err(JsonFault::Malformed);
            }
            has_list = true;
        }
    }
    if !has_list {
        return Ok(None);
    }
    result.member(CACHE_SCOPE)?;
    Ok(Some(result))
}

/// Returns the name or URI of an item. Items without one have no name, and neither have those with another spelling of it that some
/// decoders read.
pub(super) fn name(kind: ListKind, item: Json<'_>) -> Option<Cow<'_, str>> {
    item.member(kind.identifier()).ok().flatten()?.string()
}

/// Cuts the items that are not shown out of a list.
fn filter_list(kind: ListKind, list: Json<'_>, listed: &dyn Listed, edit: &mut Edit<'_>, removed: &mut Removed) {
    // Items at the beginning that are cut with the comma after them, once the next item is found.
    let mut leading: Option<Range<usize>> = None;
    // The end of the item before, if an item is kept before this one. Items after it are cut with the comma before them.
    let mut kept_before = None;
    for item in list.items() {
        let place = edit.place(item);
        let name = name(kind, item);
        let shown = name.as_deref().map_or(Shown::No, |name| listed.shows(kind, name, item));
        if shown == Shown::Yes {
            if let Some(leading) = leading.take() {
                edit.replace(leading.start..place.start, b"");
            }
            kept_before = Some(place.end);
            continue;
        }
        removed.add(kind);
        match &name {
            Some(name) if shown == Shown::Changed => removed.add_changed(name),
            Some(_) => {}
            None => {
                // A server could otherwise replace the definition of a pinned tool without a trace.
                let spelled = item.spellings(kind.identifier()).filter_map(Json::string);
                spelled
                    .filter(|name| listed.is_changed_by_spelling(kind, name))
                    .for_each(|name| removed.add_changed(&name));
            }
        }
        match kept_before {
            Some(before) => {
                edit.replace(before..place.end, b"");
                kept_before = Some(place.end);
            }
            None => leading = Some(leading.map_or(place.start, |leading| leading.start)..place.end),
        }
    }
    if let Some(leading) = leading {
        edit.replace(leading, b"");
    }
}

/// A text from which parts are cut or replaced, from its beginning to its end.
struct Edit<'t> {
    message: Json<'t>,
    /// The message with the white space around it.
    text: &'t [u8],
    /// Where the message begins in the text.
    begin: usize,
    out: Vec<u8>,
    /// How much of the text was copied to `out` or replaced.
    copied: usize,
}

impl Edit<'_> {
    /// Returns the place of a value in the text.
    fn place(&self, value: Json<'_>) -> Range<usize> {
        let within = value.offset_in(self.message);
        self.begin + within.start..self.begin + within.end
    }

    /// Replaces a part of the text, after all parts that were replaced before.
    fn replace(&mut self, place: Range<usize>, by: &[u8]) {
        self.out.extend_from_slice(self.text.get(self.copied..place.start).unwrap_or_default());
        self.out.extend_from_slice(by);
        self.copied = place.end;
    }

    /// Returns the new text, or `None` if nothing was replaced.
    fn finish(mut self) -> Option<Vec<u8>> {
        if self.copied == 0 {
            return None;
        }
        self.out.extend_from_slice(self.text.get(self.copied..).unwrap_or_default());
        Some(self.out)
    }
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
