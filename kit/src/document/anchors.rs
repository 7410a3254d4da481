//! The nodes of YAML anchors, and a limit for everything that aliases copy. Without the limit, a few lines of nested aliases would
//! fill any memory.

use std::collections::HashMap;

use serde_json::Value;

use super::yaml::Tree;

/// The limit for all copies of anchors and aliases in total. Each node counts as one, and so does each byte of its text.
const MAX_COPIED: usize = 1 << 20;

/// The parser's anchor id of a node without an anchor.
const NO_ANCHOR: usize = 0;

/// The anchors of a document.
#[derive(Default)]
pub(super) struct Anchors {
    /// `None` while the anchored node is still being read.
    nodes: HashMap<usize, Option<Tree>>,
    copied: usize,
}

/// The copies exceed [`MAX_COPIED`].
pub(super) struct TooMuch;

impl Anchors {
    /// Forgets all anchors because another document begins. Earlier copies still count.
    pub(super) fn forget(&mut self) {
        self.nodes.clear();
    }

    /// Records that a collection with an anchor begins.
    pub(super) fn open(&mut self, anchor: usize) {
        if anchor != NO_ANCHOR {
            self.nodes.insert(anchor, None);
        }
    }

    /// Stores a copy of a node if it has an anchor.
    pub(super) fn keep(&mut self, anchor: usize, tree: &Tree) -> Result<(), TooMuch> {
        if anchor != NO_ANCHOR {
            self.charge(tree)?;
            self.nodes.insert(anchor, Some(tree.clone()));
        }
        Ok(())
    }

    /// Returns another copy of a node, or `None` while the node is still being read.
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
