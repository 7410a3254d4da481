//! What anchors stand for, and a bound for all that they copy: a few lines of aliases of aliases would fill any memory.

use std::collections::HashMap;

use serde_json::Value;

use super::yaml::Tree;

/// How much anchors and aliases may copy in all: one for each node and each byte of text in it.
const MAX_COPIED: usize = 1 << 20;

/// What the parser gives for a node without an anchor.
const NO_ANCHOR: usize = 0;

/// The anchors of a document.
#[derive(Default)]
pub(super) struct Anchors {
    /// `None` while the anchored node is still being read.
    nodes: HashMap<usize, Option<Tree>>,
    copied: usize,
}

/// More would be copied than may be.
pub(super) struct TooMuch;

impl Anchors {
    /// Forgets the anchors, since another document begins. What was copied still counts.
    pub(super) fn forget(&mut self) {
        self.nodes.clear();
    }

    /// Notes that a collection with an anchor begins.
    pub(super) fn open(&mut self, anchor: usize) {
        if anchor != NO_ANCHOR {
            self.nodes.insert(anchor, None);
        }
    }

    /// Keeps a copy of a node, where it has an anchor.
    pub(super) fn keep(&mut self, anchor: usize, tree: &Tree) -> Result<(), TooMuch> {
        if anchor != NO_ANCHOR {
            self.charge(tree)?;
            self.nodes.insert(anchor, Some(tree.clone()));
        }
        Ok(())
    }

    /// Another copy of a node; none while it is still being read.
    pub(super) fn copy(&mut self, anchor: usize) -> Result<Option<Tree>, TooMuch> {
        let Some(Some(tree)) = self.nodes.get(&anchor).cloned() else { return Ok(None) };
        self.charge(&tree)?;
        Ok(Some(tree))
    }

    fn charge(&mut self, tree: &Tree) -> Result<(), TooMuch> {
        self.copied += weight(&tree.value);
        if self.copied > MAX_COPIED { Err(TooMuch) } else { Ok(()) }
    }
}

fn weight(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Object(fields) => fields.iter().map(|(key, value)| key.len() + weight(value)).sum(),
        Value::String(text) => text.len(),
        _ => 0,
    }
}
