//! Builds a tree with positions from YAML events.
//!
//! This module knows nothing about policies. It limits the nesting depth of a document; [`anchors`](super::anchors) limits the
//! copies.

use std::collections::btree_map::{BTreeMap, Entry};

use callgate::document::Place;
use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag, options};
use serde_json::Value;

use super::anchors::{Anchors, TooMuch};
use super::node::{self, Field, Node};
use super::scalar;
use crate::diagnostic::Position;

/// The nesting limit of a document. A policy needs about ten levels; a JSON parser stops at 128.
const MAX_DEPTH: usize = 64;

const AFTER_THE_END: &str = "unexpected content after the document; remove it";

/// A problem in the text of a document.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) position: Position,
    pub(super) place: Place,
    pub(super) message: String,
}

/// A value and the positions of its parts, in the same shape.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    pub(super) value: Value,
    pub(super) node: Node,
}

/// Reads exactly one document. Returns all problems that it can find.
pub(super) fn parse(text: &str) -> Result<Tree, Vec<Finding>> {
    let mut builder = Builder::new(text, Dialect::Ours);
    match builder.document() {
        Ok(tree) if builder.findings.is_empty() => Ok(tree),
        Ok(_) | Err(Stop) => Err(builder.findings),
    }
}

/// Reads every document of a gateway's configuration and skips empty ones.
/// Each document comes with the position of the first field that was left out of it.
pub(super) fn parse_all(text: &str) -> Result<Vec<(Tree, Option<Position>)>, Vec<Finding>> {
    let mut builder = Builder::new(text, Dialect::Gateways);
    match builder.documents() {
        Ok(trees) if builder.findings.is_empty() => Ok(trees),
        Ok(_) | Err(Stop) => Err(builder.findings),
    }
}

/// The part of YAML that is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// Only text that every version of YAML interprets the same way.
    Ours,
    /// Also the extensions that gateways accept: the booleans of YAML 1.1, `<<`, and the tag that makes Envoy ignore a field.
    Gateways,
}

/// Reading cannot continue. The findings contain the cause.
struct Stop;

struct Builder<'input> {
    events: Parser<'input, StrInput<'input>>,
    dialect: Dialect,
    anchors: Anchors,
    /// The first field that was left out of the document.
    left_out: Option<Position>,
    /// The place of the node that is being read.
    place: Place,
    findings: Vec<Finding>,
}

impl<'input> Builder<'input> {
    fn new(text: &'input str, dialect: Dialect) -> Self {
        let options = options! { emit_comments: false, disallow_directives: true };
        Self {
            events: Parser::new_from_str_with_options(text, options),
            dialect,
            anchors: Anchors::default(),
            left_out: None,
            place: Place::root(),
            findings: Vec::new(),
        }
    }

    fn documents(&mut self) -> Result<Vec<(Tree, Option<Position>)>, Stop> {
        let mut trees = Vec::new();
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(..) => {
                    self.anchors.forget();
                    let (event, span) = self.next()?;
                    let tree = self.node(event, &span, 1)?;
                    if !tree.value.is_null() {
                        trees.push((tree, self.left_out.take()));
                    }
                }
                Event::StreamEnd if trees.is_empty() => {
                    return Err(self.stop(Position { line: 1, column: 1 }, "the file is empty"));
                }
                Event::StreamEnd => return Ok(trees),
                _ => return Err(self.stop(position(&span), AFTER_THE_END)),
            }
        }
    }

    fn document(&mut self) -> Result<Tree, Stop> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(..) if root.is_some() => {
                    return Err(
                        self.stop(position(&span), "a second document begins here; expected one document per file")
                    );
                }
                Event::DocumentStart(..) => {
                    let (event, span) = self.next()?;
                    root = Some(self.node(event, &span, 1)?);
                }
                Event::StreamEnd => break,
                _ => return Err(self.stop(position(&span), AFTER_THE_END)),
            }
        }
        match root {
            Some(tree) if !tree.value.is_null() => Ok(tree),
            _ => Err(self.stop(Position { line: 1, column: 1 }, "the document is empty")),
        }
    }

    fn node(&mut self, event: Event<'input>, span: &Span, depth: usize) -> Result<Tree, Stop> {
        let at = position(span);
        if depth > MAX_DEPTH {
            return Err(self.stop(at, format!("nested more than {MAX_DEPTH} levels deep")));
        }
        match event {
            Event::Alias(id) => self.copy(id, at, depth),
            Event::Scalar(text, style, anchor, tag) => {
                let value = self.scalar(&text, style, tag.as_deref(), at);
                self.anchored(anchor, at, Tree { value, node: Node::leaf(at) })
            }
            Event::SequenceStart(_, anchor, tag) => {
                tag.iter().for_each(|tag| self.check_tag(tag, "seq", at));
                self.anchors.open(anchor);
                let tree = self.sequence(at, depth)?;
                self.anchored(anchor, at, tree)
            }
            Event::MappingStart(_, anchor, tag) => {
                tag.iter().for_each(|tag| self.check_tag(tag, "map", at));
                self.anchors.open(anchor);
                let tree = self.mapping(at, depth)?;
                self.anchored(anchor, at, tree)
            }
            _ => Err(self.stop(at, "a value is missing here")),
        }
    }

    fn sequence(&mut self, at: Position, depth: usize) -> Result<Tree, Stop> {
        let (mut values, mut nodes) = (Vec::new(), Vec::new());
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Tree { value: Value::Array(values), node: Node::items(at, nodes) });
            }
            let item = self.place.index(values.len());
            let list = std::mem::replace(&mut self.place, item);
            let tree = self.node(event, &span, depth + 1)?;
            self.place = list;
            values.push(tree.value);
            nodes.push(tree.node);
        }
    }

    fn mapping(&mut self, at: Position, depth: usize) -> Result<Tree, Stop> {
        let (mut values, mut fields) = (serde_json::Map::new(), BTreeMap::new());
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                merge(merged, &mut values, &mut fields);
                return Ok(Tree { value: Value::Object(values), node: Node::fields(at, fields) });
            }
            let key_at = position(&span);
            if self.dialect == Dialect::Gateways {
                let indirection = indirection(&event);
                if let Some(indirection) = indirection {
                    if indirection == YamlIndirection::Ignored {
                        self.left_out.get_or_insert(key_at);
                        self.key(event, key_at)?;
                    }
                    let (event, span) = self.next()?;
                    let tree = self.node(event, &span, depth + 1)?;
                    match (indirection, &tree.value) {
                        (YamlIndirection::Ignored, _) => {}
                        (YamlIndirection::Merged, Value::Object(_) | Value::Array(_)) => merged.push(tree),
                        (YamlIndirection::Merged, _) => {
                            self.find(key_at, "`<<` merges mappings; expected an alias of a mapping")
                        }
                    }
                    continue;
                }
            }
            let key = self.key(event, key_at)?;
            let field = self.place.field(&key);
            let mapping = std::mem::replace(&mut self.place, field);
            let (event, span) = self.next()?;
            let tree = self.node(event, &span, depth + 1)?;
            match fields.entry(node::segment(&key)) {
                Entry::Occupied(first) => {
                    let Position { line, column } = first.get().key;
                    let message = format!(
                        "duplicate field `{}`, already at line {line}, column {column}; remove one",
                        first.key()
                    );
                    self.find(key_at, message);
                }
                Entry::Vacant(free) => {
                    values.insert(key, tree.value);
                    free.insert(Field { key: key_at, value: tree.node });
                }
            }
            self.place = mapping;
        }
    }

    fn key(&mut self, event: Event<'input>, at: Position) -> Result<String, Stop> {
        let Event::Scalar(text, style, anchor, tag) = event else {
            return Err(self.stop(at, "a key must be text"));
        };
        let ignored = self.dialect == Dialect::Gateways && tag.as_deref().is_some_and(ignores);
        if !ignored && self.is_plain(style, tag.as_deref(), at) && self.dialect == Dialect::Ours {
            scalar::check_key(&text).unwrap_or_else(|message| self.find(at, message));
        }
        let text = text.into_owned();
        self.anchored(anchor, at, Tree { value: Value::String(text.clone()), node: Node::leaf(at) })?;
        Ok(text)
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, at: Position) -> Value {
        if !self.is_plain(style, tag, at) {
            return Value::String(text.to_owned());
        }
        if self.dialect == Dialect::Gateways {
            return scalar::lenient(text);
        }
        scalar::resolve(text).unwrap_or_else(|message| {
            self.find(at, message);
            Value::Null
        })
    }

    /// Returns whether the text of a scalar determines its type.
    fn is_plain(&mut self, style: ScalarStyle, tag: Option<&Tag>, at: Position) -> bool {
        match tag {
            None => style == ScalarStyle::Plain,
            Some(tag) => {
                self.check_tag(tag, "str", at);
                false
            }
        }
    }

    fn check_tag(&mut self, tag: &Tag, core: &str, at: Position) {
        if !tag.is_yaml_core_schema_tag(core) {
            self.find(at, format!("the tag `{}` is not supported; remove it", tag.original()));
        }
    }

    /// Stores a copy of a node that has an anchor.
    fn anchored(&mut self, anchor: usize, at: Position, tree: Tree) -> Result<Tree, Stop> {
        self.anchors.keep(anchor, &tree).map_err(|too_much| self.copies_too_much(at, too_much))?;
        Ok(tree)
    }

    fn copy(&mut self, anchor: usize, at: Position, depth: usize) -> Result<Tree, Stop> {
        let copied = self.anchors.copy(anchor).map_err(|too_much| self.copies_too_much(at, too_much))?;
        let Some(tree) = copied else {
            return Err(self.stop(at, "an alias is inside its own anchor"));
        };
        if depth + height(&tree.value) - 1 > MAX_DEPTH {
            return Err(self.stop(at, format!("with this alias expanded, nested more than {MAX_DEPTH} levels deep")));
        }
        Ok(tree)
    }

    fn copies_too_much(&mut self, at: Position, TooMuch: TooMuch) -> Stop {
        self.stop(at, "anchors and aliases copy too much; write the values directly")
    }

    fn next(&mut self) -> Result<(Event<'input>, Span), Stop> {
        match self.events.next() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => Err(self.unreadable(&error)),
            None => Err(self.stop(Position { line: 1, column: 1 }, "the document ends too early")),
        }
    }

    fn unreadable(&mut self, error: &ScanError) -> Stop {
        let at = Position { line: error.marker().line(), column: error.marker().col() + 1 };
        match error.kind() {
            ErrorKind::RecursionLimitExceeded => self.stop(at, format!("nested more than {MAX_DEPTH} levels deep")),
            ErrorKind::DirectiveDisallowed => {
                self.stop(at, "YAML directives are not supported; remove the line (files are read as YAML 1.2)")
            }
            ErrorKind::ExpectedDocumentStart => self.stop(at, AFTER_THE_END),
            ErrorKind::UnknownAnchor => self.stop(at, "the alias has no anchor before it"),
            kind => self.stop(at, format!("not readable as YAML or JSON: {kind}")),
        }
    }

    fn find(&mut self, at: Position, message: impl Into<String>) {
        self.findings.push(Finding { position: at, place: self.place.clone(), message: message.into() });
    }

    fn stop(&mut self, at: Position, message: impl Into<String>) -> Stop {
        self.find(at, message);
        Stop
    }
}

/// A field that is not read as a field of its mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum YamlIndirection {
    /// A field whose key has the tag that makes Envoy ignore it; only its anchors are used.
    Ignored,
    /// The fields of other mappings. A field of the mapping itself overrides a merged field of the same name.
    Merged,
}

fn indirection(key: &Event<'_>) -> Option<YamlIndirection> {
    match key {
        Event::Scalar(_, _, _, Some(tag)) if ignores(tag) => Some(YamlIndirection::Ignored),
        Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<" => Some(YamlIndirection::Merged),
        _ => None,
    }
}

fn ignores(tag: &Tag) -> bool {
    tag.original() == "!ignore"
}

/// Adds the merged fields to a mapping. If several merged mappings have a field, the first one wins.
fn merge(merged: Vec<Tree>, values: &mut serde_json::Map<String, Value>, fields: &mut BTreeMap<String, Field>) {
    for Tree { value, node } in merged {
        match value {
            Value::Object(theirs) => {
                let mut places = node.into_fields();
                for (name, value) in theirs {
                    let segment = node::segment(&name);
                    if let (false, Some(place)) = (values.contains_key(&name), places.remove(&segment)) {
                        values.insert(name, value);
                        fields.insert(segment, place);
                    }
                }
            }
            Value::Array(items) => {
                let trees = items.into_iter().zip(node.into_items()).map(|(value, node)| Tree { value, node });
                merge(trees.collect(), values, fields);
            }
            _ => {}
        }
    }
}

fn position(span: &Span) -> Position {
    Position { line: span.start.line(), column: span.start.col() + 1 }
}

fn height(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(height).max().unwrap_or(0),
        Value::Object(fields) => fields.values().map(height).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
#[path = "yaml_tests.rs"]
mod tests;
