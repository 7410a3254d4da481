//! Reads the saved answer of an MCP server to a list request, in each form in which people save it.
//!
//! An answer that readers could understand differently is rejected, as the filter does. What the lists mean for a policy does not belong
//! here.

use std::borrow::Cow;
use std::collections::BTreeMap;

use callgate::document::Place;
use callgate::identity::token::json::{self, Bounds};
use callgate::{Pin, PinError};
use callgate_kit::diagnostic::{Diagnostic, Diagnostics, Severity};
use serde_json::{Map, Value};

use super::{events, raw};

/// The maximum nesting depth of an answer. The filter forwards no answer that is nested deeper.
const MAX_DEPTH: u8 = 64;

/// A list that an answer can contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::command) enum List {
    Prompts,
    Resources,
    ResourceTemplates,
    Tools,
}

impl List {
    const ALL: [Self; 4] = [Self::Tools, Self::Resources, Self::ResourceTemplates, Self::Prompts];

    /// Returns the member of a result that contains the list.
    fn member(self) -> &'static str {
        match self {
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::ResourceTemplates => "resourceTemplates",
            Self::Tools => "tools",
        }
    }

    /// Returns the member of an entry that identifies it in requests.
    fn identifier(self) -> &'static str {
        match self {
            Self::Prompts | Self::Tools => "name",
            Self::Resources => "uri",
            Self::ResourceTemplates => "uriTemplate",
        }
    }
}

/// An entry of a list.
#[derive(Debug)]
pub(in crate::command) struct Entry {
    pub(in crate::command) list: List,
    /// The position in the answer, such as `result.tools[3]`.
    pub(in crate::command) place: Place,
    /// The name of a tool or prompt, or the URI or URI template of resources.
    pub(in crate::command) name: String,
    pub(in crate::command) definition: Map<String, Value>,
    /// The definition as the server wrote it.
    text: String,
}

/// The entries of all lists of an answer.
#[derive(Debug)]
pub(in crate::command) struct Answer {
    file: String,
    pub(in crate::command) entries: Vec<Entry>,
    pub(in crate::command) warnings: Vec<Diagnostic>,
}

/// A JSON value, its position in the file, and its text.
struct Part<'t> {
    place: Place,
    text: Cow<'t, str>,
    value: Value,
}

impl Answer {
    /// Reads a JSON-RPC response, an event stream that contains one, the result of one, or an array of tools. `file` is the name in
    /// messages.
    ///
    /// # Errors
    /// All problems of the entries, or the first other problem.
    pub(super) fn read(file: &str, bytes: &[u8]) -> Result<Self, Diagnostics> {
        let mut answer = Self { file: file.to_owned(), entries: Vec::new(), warnings: Vec::new() };
        let mut errors = Vec::new();
        answer.add_all(bytes, &mut errors).unwrap_or_else(|error| errors.push(error));
        if errors.is_empty() { Ok(answer) } else { Err(Diagnostics::Wrong(errors)) }
    }

    /// Returns the pin of an entry.
    ///
    /// # Errors
    /// The reason why the definition has none.
    pub(in crate::command) fn pin(&self, entry: &Entry) -> Result<String, Diagnostic> {
        let pin = Pin::of_text(entry.text.as_bytes()).map_err(|error| match error {
            PinError::InexactNumber => {
                "the definition has no pin, because it contains a number with more than 15 significant digits or out of range, which \
                 programs read differently; ask the server's author for another number"
            }
            PinError::Unreadable => {
                "the definition has no pin, because it is nested too deeply or has a very long number; ask the server's author to \
                 simplify it"
            }
        });
        pin.map(|pin| pin.to_string()).map_err(|message| self.error(&entry.place, message))
    }

    /// Returns an error about a part of the answer.
    pub(in crate::command) fn error(&self, place: &Place, message: impl Into<String>) -> Diagnostic {
        self.diagnostic(Severity::Error, place, message.into())
    }

    /// Returns a warning about a part of the answer.
    pub(in crate::command) fn warning(&self, place: &Place, message: impl Into<String>) -> Diagnostic {
        self.diagnostic(Severity::Warning, place, message.into())
    }

    fn diagnostic(&self, severity: Severity, place: &Place, message: String) -> Diagnostic {
        Diagnostic { file: self.file.clone(), position: None, path: place.as_str().to_owned(), message, severity }
    }

    fn add_all(&mut self, bytes: &[u8], errors: &mut Vec<Diagnostic>) -> Result<(), Diagnostic> {
        let text = str::from_utf8(bytes)
            .map_err(|_| self.error(&Place::root(), "not UTF-8 text; save the answer as the server sends it"))?;
        let Part { place, text, value } = self.result(self.message(text)?)?;
        match value {
            Value::Array(items) => self.add(List::Tools, &place, items, &text, errors),
            Value::Object(mut result) => {
                for list in List::ALL {
                    let place = place.field(list.member());
                    let text = raw::member(&text, list.member()).unwrap_or_default();
                    match result.remove(list.member()) {
                        Some(Value::Array(items)) => self.add(list, &place, items, text, errors),
                        Some(_) => {
                            errors.push(self.error(&place, "not an array; save the answer as the server sends it"))
                        }
                        None => {}
                    }
                }
                if result.get("nextCursor").is_some_and(|cursor| !cursor.is_null()) {
                    let message = "the answer is one page, and the server has more; request them with this cursor, and read each page";
                    self.warnings.push(self.warning(&place.field("nextCursor"), message));
                }
            }
            _ => {}
        }
        if self.entries.is_empty() && errors.is_empty() {
            let message = "no tools, resources or prompts; expected a server's answer to `tools/list`, `resources/list`, \
                           `resources/templates/list` or `prompts/list`";
            return Err(self.error(&place, message));
        }
        Ok(())
    }

    /// Returns the JSON document in a file, or the only response in an event stream.
    fn message<'t>(&self, text: &'t str) -> Result<Part<'t>, Diagnostic> {
        if !events::is_stream(text) {
            let value = self.parse(&Place::root(), text)?;
            return Ok(Part { place: Place::root(), text: Cow::Borrowed(text), value });
        }
        let mut responses = Vec::new();
        for (index, data) in events::data(text).into_iter().enumerate() {
            let place = Place::root().field("events").index(index);
            let value = self.parse(&place, &data)?;
            if value.get("result").is_some() || value.get("error").is_some() {
                responses.push(Part { place, text: Cow::Owned(data), value });
            }
        }
        let mut responses = responses.into_iter();
        match (responses.next(), responses.next()) {
            (Some(only), None) => Ok(only),
            (Some(_), Some(second)) => {
                Err(self.error(&second.place, "this is a second response; save the answer to one request"))
            }
            (None, _) => Err(self
                .error(&Place::root(), "the event stream has no response; save all of it, until the server ends it")),
        }
    }

    /// Returns the result of a JSON-RPC response. Other values are a result themselves.
    fn result<'t>(&self, Part { place, text, value }: Part<'t>) -> Result<Part<'t>, Diagnostic> {
        let mut message = match value {
            Value::Array(items) if items.iter().any(|item| item.get("jsonrpc").is_some()) => {
                return Err(self.error(&place, "this is a batch of messages; save the answer to one request"));
            }
            Value::Object(message) => message,
            value => return Ok(Part { place, text, value }),
        };
        if let Some(error) = message.get("error") {
            let about = error.get("message").and_then(Value::as_str).unwrap_or_default();
            let message = format!("the server answered with the error `{about}`; save an answer with a result");
            return Err(self.error(&place.field("error"), message));
        }
        match message.remove("result") {
            Some(value) => {
                let result = raw::member(&text, "result").unwrap_or_default().to_owned();
                Ok(Part { place: place.field("result"), text: Cow::Owned(result), value })
            }
            None => Ok(Part { place, text, value: Value::Object(message) }),
        }
    }

    fn parse(&self, place: &Place, text: &str) -> Result<Value, Diagnostic> {
        let begin = text.trim_start();
        json::parse(text.as_bytes(), Bounds { bytes: text.len(), depth: MAX_DEPTH }).map_err(|error| {
            let message = match begin {
                "" => "the answer is empty; save it again".to_owned(),
                _ if begin.starts_with('<') => {
                    "this is an HTML or XML page; expected JSON or an event stream".to_owned()
                }
                _ if begin.starts_with('\u{feff}') => "this begins with a byte order mark; remove it".to_owned(),
                _ if begin.starts_with("HTTP/") => {
                    "this begins with the headers of an HTTP response; save only its body".to_owned()
                }
                _ => format!("not JSON that every reader understands the same way: {error}"),
            };
            self.error(place, message)
        })
    }

    /// Adds the entries of a list, whose text is `text`.
    fn add(&mut self, list: List, place: &Place, items: Vec<Value>, text: &str, errors: &mut Vec<Diagnostic>) {
        let mut names: BTreeMap<String, Place> = BTreeMap::new();
        for (index, (value, text)) in items.into_iter().zip(raw::items(text)).enumerate() {
            let place = place.index(index);
            let Value::Object(definition) = value else {
                errors.push(self.error(&place, "not a JSON object; save the answer as the server sends it"));
                continue;
            };
            let name = match identified(list, &definition) {
                Ok(name) => name.to_owned(),
                Err(message) => {
                    errors.push(self.error(&place.field(list.identifier()), message));
                    continue;
                }
            };
            // Only some of the names that are equal without case are equal.
            match names.get(&name.to_lowercase()).map(|near| (near, self.named(list, &name))) {
                Some((_, Some(same))) => {
                    let message = format!(
                        "`{name}` is already at {}, so it identifies neither; report it to the server's author",
                        same.place
                    );
                    errors.push(self.error(&place, message));
                }
                Some((near, None)) => {
                    let message =
                        format!("`{name}` differs from {near} only in case, and some servers do not distinguish them");
                    self.warnings.push(self.warning(&place, message));
                }
                None => {
                    names.insert(name.to_lowercase(), place.clone());
                }
            }
            let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte);
            if matches!(list, List::Tools | List::Prompts) && !name.bytes().all(is_usual) {
                let message = format!(
                    "`{name}` has characters other than ASCII letters, digits, `-`, `.`, `_` and `/`, so it may look like another name; \
                     compare it with the server's documentation"
                );
                self.warnings.push(self.warning(&place, message));
            }
            self.entries.push(Entry { list, place, name, definition, text: text.to_owned() });
        }
    }

    fn named(&self, list: List, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.list == list && entry.name == name)
    }
}

/// Returns the name or URI of an entry.
fn identified(list: List, definition: &Map<String, Value>) -> Result<&str, String> {
    let member = list.identifier();
    if let Some(other) = definition.keys().find(|key| *key != member && key.eq_ignore_ascii_case(member)) {
        return Err(format!(
            "some readers read the member `{other}` as `{member}`; Callgate removes such an entry from lists"
        ));
    }
    match definition.get(member) {
        Some(Value::String(name)) if !name.is_empty() => Ok(name),
        Some(_) => Err("not a text that could identify the entry; save the answer as the server sends it".to_owned()),
        None => Err("required member is missing; save the answer as the server sends it".to_owned()),
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
