//! Parses the project's documents for their tests, here and in `cli/tests/documents/`.

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) struct Document {
    /// The path relative to the root.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

pub(crate) struct Fence {
    pub(crate) language: String,
    pub(crate) text: String,
}

pub(crate) enum Block {
    Prose(String),
    Fence(Fence),
}

impl Document {
    /// Returns all documents.
    pub(crate) fn all() -> Vec<Self> {
        let mut paths = Vec::new();
        for folder in ["", "docs", "docs/guides", "docs/reference", "fuzz", "test-harness"] {
            paths.extend(files(folder).into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "md")));
        }
        let mut folders = ["envoy", "examples", "kong"].map(PathBuf::from).to_vec();
        while let Some(folder) = folders.pop() {
            let entries = entries(&folder);
            folders.extend(entries.iter().filter(|path| root().join(path).is_dir()).cloned());
            paths.extend(entries.into_iter().filter(|path| path.ends_with("README.md")));
        }
        paths.sort();
        let read = |path: PathBuf| Self { text: fs::read_to_string(root().join(&path)).unwrap(), path };
        paths.into_iter().map(read).collect()
    }

    /// Returns the text in its order.
    pub(crate) fn blocks(&self) -> Vec<Block> {
        let (mut blocks, mut prose) = (Vec::new(), String::new());
        let mut lines = self.text.lines();
        while let Some(line) = lines.next() {
            match line.trim_start().strip_prefix("```") {
                None => prose = prose + line + "\n",
                Some(language) => {
                    let inside = lines.by_ref().take_while(|line| line.trim_start() != "```");
                    let text = inside.collect::<Vec<_>>().join("\n");
                    blocks.push(Block::Prose(std::mem::take(&mut prose)));
                    blocks.push(Block::Fence(Fence { language: language.to_owned(), text }));
                }
            }
        }
        blocks.push(Block::Prose(prose));
        blocks
    }

    /// Returns the text outside of fences, and the fences.
    pub(crate) fn parts(&self) -> (String, Vec<Fence>) {
        let (mut prose, mut fences) = (String::new(), Vec::new());
        for block in self.blocks() {
            match block {
                Block::Prose(text) => prose += &text,
                Block::Fence(fence) => fences.push(fence),
            }
        }
        (prose, fences)
    }

    /// Returns the code spans, including those over several lines.
    pub(crate) fn spans(&self) -> Vec<String> {
        let (prose, _) = self.parts();
        let spans = prose.split("\n\n").flat_map(|paragraph| paragraph.split('`').skip(1).step_by(2));
        spans.map(|span| span.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    /// Returns the commands in its fences and spans, each with its arguments.
    pub(crate) fn commands(&self) -> Vec<Vec<String>> {
        let (_, fences) = self.parts();
        let shell = fences.into_iter().filter(|fence| fence.language == "sh").map(|fence| fence.text);
        let lines = shell.map(|text| text.replace("\\\n", " ")).collect::<Vec<_>>().join("\n");
        let lines = lines.lines().map(|line| line.split(" #").next().unwrap().to_owned());
        lines.chain(self.spans()).map(|line| words(&line)).filter(|words| is_ours(words)).collect()
    }
}

/// Returns the workspace's root. Every package with such tests is in a folder directly below it.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(crate) fn entries(folder: impl AsRef<Path>) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(root().join(&folder)) else { return Vec::new() };
    entries.map(|entry| folder.as_ref().join(entry.unwrap().file_name())).collect()
}

fn files(folder: &str) -> Vec<PathBuf> {
    entries(folder).into_iter().filter(|path| root().join(path).is_file()).collect()
}

/// Splits a command line into words, up to a redirection of its output.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in line.trim().trim_start_matches("$ ").chars() {
        match (c, quote) {
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            ('|' | '>' | ';' | '&', None) => break,
            (' ', None) => words.push(String::new()),
            (c, _) => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn is_ours(words: &[String]) -> bool {
    matches!(words.first().map(String::as_str), Some("cargo" | "callgate"))
}

/// Returns the documents with problems, and their problems.
pub(crate) fn faults<T: std::fmt::Debug>(of: impl Fn(&Document) -> Vec<T>) -> Vec<(PathBuf, Vec<T>)> {
    let documents = Document::all();
    assert!(documents.len() > 5, "the documents were not found");
    let faults = documents.iter().map(|document| (document.path.clone(), of(document)));
    faults.filter(|(_, faults)| !faults.is_empty()).collect()
}
