//! Reads what has to be done to verify a document: its fences in their order, and the comments that state how each is verified.
//!
//! | Comment | Written before | Effect |
//! |---|---|---|
//! | `run: SCRIPT` | anything | the script is run, such as to make files that the reader has |
//! | `in: FOLDER` | `sh` or `run` | it is run there, instead of at the root of the repository |
//! | `exits: 0 2` | `sh` or `run` | the exit code of each `callgate`, instead of 0 |
//! | `file: FILE` | `yaml` or `json` | it is stored in this file; a policy must compile, and decision cases must pass |
//! | `part of: FILE`, `part of: FILE at POINTER` | `yaml` or `json` | it is merged into this file, which must then be valid |
//! | `not run: REASON` | `sh`, `yaml` or `json` | a command is not run, a configuration is only parsed |
//! | `output`, `part of the output` | `text` | all, or some lines, of the output of the script before it; `…` matches anything |
//!
//! A fence of `sh` without a comment is run. A fence of `yaml` or `json` without one must be a complete policy.

use std::collections::BTreeMap;

use crate::reader::{Block, Document, Fence};

/// The comments before a fence, by the name before the colon.
pub(crate) type Notes = BTreeMap<String, String>;

/// What is done with a fence or a script.
pub(crate) enum Action {
    Run(String),
    Check(String),
    Compare(String),
}

/// A part of a document that is verified.
pub(crate) struct Step {
    /// The line in which it begins.
    pub(crate) line: usize,
    pub(crate) action: Action,
    pub(crate) notes: Notes,
}

const OF_SCRIPT: &[&str] = &["exits", "in"];
const OF_COMMANDS: &[&str] = &["exits", "in", "not run"];
const OF_CONFIGURATION: &[&str] = &["file", "not run", "part of"];
const OF_OUTPUT: &[&str] = &["output", "part of the output"];

/// Returns the steps of a document.
///
/// # Errors
/// Fails if a comment is unknown, or has no effect where it is.
pub(crate) fn steps(document: &Document) -> Result<Vec<Step>, String> {
    let (mut steps, mut notes, mut line) = (Vec::new(), Notes::new(), 0);
    for block in document.blocks() {
        match block {
            Block::Prose(text) => {
                read_prose(&text, line, &mut notes, &mut steps)?;
                line += text.lines().count();
            }
            Block::Fence(fence) => {
                let length = fence.text.split('\n').count() + 2;
                steps.extend(step(fence, line + 1, std::mem::take(&mut notes))?);
                line += length;
            }
        }
    }
    discard(notes, line)?;
    Ok(steps)
}

/// Drops comments that no fence follows, which belong to other tests and to generators.
fn discard(notes: Notes, line: usize) -> Result<(), String> {
    let ours = [OF_COMMANDS, OF_CONFIGURATION, OF_OUTPUT].concat();
    match notes.keys().find(|name| ours.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(format!("{line}: no fence follows the comment `{name}`")),
    }
}

/// Reads the comments in the text between two fences.
fn read_prose(text: &str, before: usize, notes: &mut Notes, steps: &mut Vec<Step>) -> Result<(), String> {
    let mut lines = text.lines().zip(before + 1..);
    while let Some((first, line)) = lines.next() {
        let Some(begin) = first.trim_start().strip_prefix("<!--") else {
            if !first.trim().is_empty() {
                discard(std::mem::take(notes), line)?;
            }
            continue;
        };
        let mut comment = begin.to_owned();
        while !comment.contains("-->") {
            let (next, _) = lines.next().ok_or_else(|| format!("{line}: the comment does not end"))?;
            comment = comment + "\n" + next;
        }
        let comment = comment.split("-->").next().unwrap_or_default().trim();
        match comment.split_once(':') {
            Some(("run", script)) => {
                let action = Action::Run(script.trim().to_owned());
                steps.push(Step { line, action, notes: known(std::mem::take(notes), OF_SCRIPT, line)? });
            }
            Some((name, value)) => {
                notes.insert(name.to_owned(), value.trim().to_owned());
            }
            None => {
                notes.insert(comment.to_owned(), String::new());
            }
        }
    }
    Ok(())
}

/// Returns what is done with a fence, if anything.
fn step(fence: Fence, line: usize, notes: Notes) -> Result<Option<Step>, String> {
    let (action, names) = match fence.language.as_str() {
        "sh" => (Action::Run(fence.text), OF_COMMANDS),
        "yaml" | "json" => (Action::Check(fence.text), OF_CONFIGURATION),
        "text" if !notes.is_empty() => (Action::Compare(fence.text), OF_OUTPUT),
        "text" | "mermaid" => return known(notes, &[], line).map(|_| None),
        other => return Err(format!("{line}: a fence of `{other}` is not verified; use a language that is")),
    };
    Ok(Some(Step { line, action, notes: known(notes, names, line)? }))
}

/// Returns the notes if their names are among these, and if what is not run has a reason.
fn known(notes: Notes, names: &[&str], line: usize) -> Result<Notes, String> {
    let is_wrong = |name: &str, value: &str| !names.contains(&name) || (name == "not run" && value.is_empty());
    let wrong = notes.iter().find(|(name, value)| is_wrong(name, value));
    let wrong = wrong.map(|(name, value)| format!("{line}: the comment `{name}: {value}` has no effect here"));
    wrong.map_or(Ok(notes), Err)
}
