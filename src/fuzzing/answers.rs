//! Properties that hold for any answer of an MCP server. The second implementation reads a whole stream at once, as browsers do, and
//! filters trees that keep repeated names.

use std::cell::RefCell;

use super::json_body::{Tree, read_alike};
use crate::quota::held::{HeldBytes, Shares};
use crate::request::incoming::DecisionId;
use crate::request::json::{Json, Names};
use crate::response::filter::{AnswerFault, HeaderAction, ResponseFilter, ResponseHead};
use crate::response::list::{ListKind, Listed, Shown};

/// Small, because inputs should exceed it.
const MAX_ANSWER: usize = 400;
const DECISION: DecisionId = DecisionId(7);

const LISTS: [(&str, &str, ListKind); 4] = [
    ("prompts", "name", ListKind::Prompts),
    ("resources", "uri", ListKind::Resources),
    ("resourceTemplates", "uriTemplate", ListKind::ResourceTemplates),
    ("tools", "name", ListKind::Tools),
];

/// Checks that the same is forwarded for every division into chunks, unless other bytes follow a document, that it contains each item that is shown and no other, and that a
/// message which readers could read differently becomes an error. The first two bytes select the kind of answer and the chunks.
pub fn answers(data: &[u8]) {
    let [choice, size, body @ ..] = data else { return };
    if has_unusual_number(body) || has_long_marked_line(body) {
        return;
    }
    let is_stream = choice & 1 == 1;
    let id = (choice & 2 == 2).then_some("7");
    let whole = forwarded(body, body.len().max(1), is_stream, id);
    for size in [usize::from(size % 64) + 1, 1] {
        let divided = forwarded(body, size, is_stream, id);
        match object(body).filter(|_| !is_stream && divided != whole) {
            // When the other bytes arrived, the object was already forwarded. Nothing of them is.
            Some((object, after)) => {
                assert!(!is_blank(after), "chunks of {size} for {body:?}");
                assert_eq!(whole.bytes, error(AnswerFault::Unreadable, id));
                assert_eq!(divided.fault, Some(AnswerFault::Unreadable.code()));
                let alone = forwarded(object, object.len(), is_stream, id);
                assert_eq!(divided.bytes.trim_ascii_end(), alone.bytes.trim_ascii_end());
            }
            None => assert_eq!(divided, whole, "chunks of {size} for {body:?}"),
        }
    }
    if is_stream {
        check_stream(body, &whole.bytes, id);
    } else {
        check_document(body, &whole, id);
    }
}

/// Everything that a response results in.
#[derive(Debug, PartialEq, Eq)]
struct Forwarded {
    bytes: Vec<u8>,
    fault: Option<&'static str>,
    removed: Vec<u32>,
    changed: Vec<String>,
}

/// Hides names with `hid`, treats names with `chg` as changed, and remembers how often.
#[derive(Default)]
struct ByName {
    removed: RefCell<Vec<ListKind>>,
}

impl Listed for ByName {
    fn shows(&self, kind: ListKind, name: &str, definition: Json<'_>) -> Shown {
        assert!(definition.is_object() && definition.text().len() > name.len());
        let shown = shown(name);
        if shown != Shown::Yes {
            self.removed.borrow_mut().push(kind);
        }
        shown
    }

    fn is_changed_by_spelling(&self, _: ListKind, name: &str) -> bool {
        shown(name) == Shown::Changed
    }
}

fn shown(name: &str) -> Shown {
    if name.contains("hid") {
        Shown::No
    } else if name.contains("chg") {
        Shown::Changed
    } else {
        Shown::Yes
    }
}

fn forwarded(body: &[u8], size: usize, is_stream: bool, id: Option<&str>) -> Forwarded {
    let content_type: &[u8] = if is_stream { b"text/event-stream" } else { b"application/json" };
    let head = ResponseHead {
        status: 200,
        content_type: Some(content_type),
        content_encoding: None,
        content_length: None,
        end_of_stream: false,
    };
    let most = MAX_ANSWER as u64;
    let held = HeldBytes::default();
    let room = held.reserve_nothing(None, None, Shares { worker: most, agent: most, source: most });
    let mut filter = ResponseFilter::new(MAX_ANSWER, id, DECISION).charging(room);
    assert_eq!(filter.on_headers(&head), HeaderAction::Replace);
    let listed = ByName::default();
    let mut bytes = Vec::new();
    for chunk in body.chunks(size) {
        let out = filter.on_chunk(chunk, false, &listed);
        assert!(out.len() <= MAX_ANSWER + 3 * chunk.len() + 320, "{} for {}", out.len(), chunk.len());
        bytes.extend(out);
    }
    bytes.extend(filter.on_chunk(b"", true, &listed));
    assert_eq!(held.total(), 0, "nothing is held after the end");
    let kinds = LISTS.map(|(_, _, kind)| kind);
    let count = |kind: ListKind| listed.removed.borrow().iter().filter(|other| **other == kind).count();
    let removed: Vec<u32> = kinds.into_iter().map(|kind| filter.removed().count(kind)).collect();
    let mut counted = kinds.into_iter().map(count).zip(&removed);
    assert!(counted.all(|(hidden, removed)| u32::try_from(hidden).is_ok_and(|hidden| hidden <= *removed)));
    let changed: Vec<_> = filter.removed().changed().map(str::to_owned).collect();
    assert!(changed.iter().all(|name| shown(name) == Shown::Changed));
    Forwarded { bytes, fault: filter.fault().map(AnswerFault::code), removed, changed }
}

/// Returns the first object of a body with the white space before it, and the rest. `None` if the body does not begin with one.
fn object(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut values = serde_json::Deserializer::from_slice(body).into_iter::<Tree>();
    let value = values.next()?.ok()?;
    let is_object = matches!(value, Tree::Object(_));
    body.split_at_checked(values.byte_offset()).filter(|_| is_object)
}

fn is_blank(text: &[u8]) -> bool {
    text.iter().all(|byte| b" \t\r\n".contains(byte))
}

fn check_document(body: &[u8], forwarded: &Forwarded, id: Option<&str>) {
    let too_large = error(AnswerFault::TooLarge, id);
    let unreadable = error(AnswerFault::Unreadable, id);
    match object(body) {
        Some((object, _)) if object.len() > MAX_ANSWER => assert_eq!(forwarded.bytes, too_large),
        Some((_, after)) if !is_blank(after) => assert_eq!(forwarded.bytes, unreadable),
        Some((object, _)) => match filtered(object) {
            None => assert_eq!(forwarded.bytes, unreadable),
            Some((before, after)) if before == after => assert_eq!(forwarded.bytes, body),
            Some((_, after)) => assert_eq!(tree(&forwarded.bytes).as_ref(), Some(&after)),
        },
        None if is_blank(body) && body.len() <= MAX_ANSWER => assert!(forwarded.bytes.is_empty()),
        // What is wrong may be found before the limit.
        None => assert!(forwarded.bytes == unreadable || body.len() > MAX_ANSWER && forwarded.bytes == too_large),
    }
    let is_error =
        [AnswerFault::TooLarge, AnswerFault::Unreadable].iter().any(|own| forwarded.bytes == error(*own, id));
    assert_eq!(forwarded.fault.is_some(), is_error);
}

/// Checks that a reader of the stream finds the events that it should find, with the fields that they had.
fn check_stream(stream: &[u8], forwarded: &[u8], id: Option<&str>) {
    let mut expected = Vec::new();
    let mut is_answered = false;
    let mut last_id = Vec::new();
    for event in events(stream) {
        let fault = if event.length > MAX_ANSWER {
            AnswerFault::TooLarge
        } else {
            let fields = event.fields();
            last_id = fields.id.unwrap_or(last_id);
            let Some(data) = fields.data else { continue };
            let is_blank = data.iter().all(|byte| b" \t\n".contains(byte));
            let message = if is_blank { Some(Message::Text(data)) } else { message(data) };
            match message {
                Some(Message::TooLong) => AnswerFault::TooLarge,
                Some(Message::Unknown) => return,
                None => AnswerFault::Unreadable,
                Some(message) => {
                    expected.push((fields.kind, last_id.clone(), message));
                    continue;
                }
            }
        };
        if !std::mem::replace(&mut is_answered, true) && id.is_some() {
            let is_whole = event.length <= MAX_ANSWER;
            let kind = if is_whole { event.fields().kind } else { Vec::new() };
            expected.push((kind, last_id.clone(), Message::Text(error(fault, id))));
        }
    }
    let mut last_id = Vec::new();
    let mut found = Vec::new();
    for event in events(forwarded) {
        let fields = event.fields();
        last_id = fields.id.unwrap_or(last_id);
        if let Some(data) = fields.data {
            found.push((fields.kind, last_id.clone(), data));
        }
    }
    assert_eq!(found.len(), expected.len(), "{found:?} {expected:?}");
    for ((kind, id, data), (expected_kind, expected_id, message)) in found.into_iter().zip(expected) {
        assert_eq!((kind, id), (expected_kind, expected_id));
        match message {
            Message::Text(text) => assert_eq!(data, text),
            Message::Tree(tree_after) => assert_eq!(tree(&data), Some(tree_after)),
            Message::TooLong | Message::Unknown => {}
        }
    }
    let reads_more_lines = |text: &str| text.contains(['\u{b}', '\u{c}', '\u{1c}', '\u{85}', '\u{2028}', '\u{2029}']);
    assert!(!reads_more_lines(&String::from_utf8_lossy(forwarded)), "{forwarded:?}");
}

/// The data that a reader must find.
#[derive(Debug)]
enum Message {
    Text(Vec<u8>),
    TooLong,
    Tree(Tree),
    /// The exact length of changed data with escapes is not computed a second time.
    Unknown,
}

/// Returns the data of an event after the filter, or `None` if it is unreadable.
fn message(data: Vec<u8>) -> Option<Message> {
    let (before, after) = filtered(&data)?;
    let text = String::from_utf8_lossy(&data);
    let others = text.chars().filter(|c| matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}'));
    let growth: usize = others.map(|c| 6 - c.len_utf8()).sum();
    if before == after && growth == 0 {
        return Some(Message::Text(data));
    }
    let is_too_long = growth > 0 && data.len() + growth > MAX_ANSWER;
    Some(match before == after {
        true if is_too_long => Message::TooLong,
        false if growth > 0 => Message::Unknown,
        _ => Message::Tree(after),
    })
}

/// An event of a whole stream.
#[derive(Debug, Default)]
struct Event {
    /// Its length without comments before it.
    length: usize,
    lines: Vec<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Fields {
    data: Option<Vec<u8>>,
    id: Option<Vec<u8>>,
    kind: Vec<u8>,
}

impl Event {
    fn fields(&self) -> Fields {
        let mut fields = Fields::default();
        for line in &self.lines {
            let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
            let (name, value) = line.split_at(colon);
            let value = value.strip_prefix(b":").unwrap_or(value);
            let value = value.strip_prefix(b" ").unwrap_or(value);
            let is_plain = line.iter().all(|byte| (b' '..=b'~').contains(byte));
            match name {
                b"data" => match &mut fields.data {
                    None => fields.data = Some(value.to_vec()),
                    Some(data) => data.extend([b"\n", value].concat()),
                },
                b"event" if is_plain => fields.kind = value.to_vec(),
                b"id" if is_plain => fields.id = Some(value.to_vec()),
                _ => {}
            }
        }
        fields
    }
}

/// Returns the complete events of a stream, and the last one if it is already too long.
fn events(stream: &[u8]) -> Vec<Event> {
    let mut rest = stream.strip_prefix("\u{feff}".as_bytes()).unwrap_or(stream);
    let mut events = Vec::new();
    let mut event = Event::default();
    while let Some(length) = rest.iter().position(|byte| b"\r\n".contains(byte)) {
        let (line, after) = rest.split_at(length);
        let end = if after.starts_with(b"\r\n") { 2 } else { 1 };
        rest = after.get(end..).unwrap_or_default();
        if line.is_empty() {
            event.length += 1;
            events.push(std::mem::take(&mut event));
        } else if event.length == 0 && line.starts_with(b":") && line.len() < MAX_ANSWER {
            // A comment that belongs to no event.
        } else {
            event.length += line.len() + end;
            event.lines.push(line.to_vec());
        }
    }
    event.length += rest.len();
    if event.length > MAX_ANSWER {
        events.push(event);
    }
    events
}

/// Returns a message as that parser reads it, before and after its lists were filtered, or `None` if it must not be forwarded.
fn filtered(text: &[u8]) -> Option<(Tree, Tree)> {
    let before = tree(text).filter(|tree| tree.depth() <= 64 && !tree.is_ambiguous(Names::Exact))?;
    let mut after = before.clone();
    let Tree::Object(message) = &mut after else { return None };
    let Some(result) = member(message, "result")? else { return Some((before, after)) };
    let result = match result {
        Tree::Null => return Some((before, after)),
        Tree::Object(result) => result,
        _ => return None,
    };
    let mut has_list = false;
    for (list, identifier, _) in LISTS {
        match member(result, list)? {
            None => continue,
            Some(Tree::Null) => {}
            Some(Tree::List(items)) => items.retain_mut(|item| {
                let Tree::Object(item) = item else { return false };
                let name = member(item, identifier).flatten().map(|name| &*name);
                matches!(name, Some(Tree::Text(name)) if shown(name) == Shown::Yes)
            }),
            Some(_) => return None,
        }
        has_list = true;
    }
    if has_list {
        let private = Tree::Text("private".to_owned());
        if let Some(scope) = member(result, "cacheScope")? {
            *scope = private;
        } else if let Some(place) = result.iter().position(|(name, _)| name == "ttlMs") {
            result.insert(place + 1, ("cacheScope".to_owned(), private));
        }
    }
    Some((before, after))
}

/// Returns the value of a member, if it exists, or `None` if some decoders read another member.
fn member<'t>(members: &'t mut [(String, Tree)], name: &str) -> Option<Option<&'t mut Tree>> {
    let mut alike = members.iter_mut().filter(|(own, _)| read_alike(own, name));
    match (alike.next(), alike.next()) {
        (None, _) => Some(None),
        (Some((own, value)), None) if own.as_str() == name => Some(Some(value)),
        _ => None,
    }
}

fn tree(text: &[u8]) -> Option<Tree> {
    serde_json::from_slice(text).ok()
}

fn error(fault: AnswerFault, id: Option<&str>) -> Vec<u8> {
    ResponseFilter::new(MAX_ANSWER, id, DECISION).error(fault)
}

/// Returns whether a text could contain a number that one of the parsers rejects, because it is too large or too long.
fn has_unusual_number(text: &[u8]) -> bool {
    let is_long = |run: &[u8]| run.len() > 100;
    text.windows(2).any(|pair| matches!(pair, [b'0'..=b'9', b'e' | b'E']))
        || text.split(|byte| !byte.is_ascii_digit() && *byte != b'.').any(is_long)
}

/// Returns whether a text begins with a byte order mark and then a long line. The mark counts toward the limit until that line ends.
fn has_long_marked_line(text: &[u8]) -> bool {
    let rest = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or_default();
    rest.iter().position(|byte| b"\r\n".contains(byte)).unwrap_or(rest.len()) > MAX_ANSWER - 8
}
