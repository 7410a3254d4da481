//! `callgate import mcp`: drafts the operations of an endpoint from the lists of an MCP server.

use std::fmt::Write as _;
use std::io::Write;

use callgate_kit::diagnostic::Diagnostics;
use serde_json::Value;

use super::bindings::{suggested, variables};
use crate::command::mcp::{Entry, List, quoted, read, scalar};
use crate::command::{Exit, Failure};

/// Draft the tools, resources and prompts of an endpoint from the lists of an MCP server
///
/// Reads a server's answer to `tools/list`, `resources/list`, `resources/templates/list` or `prompts/list`, in the forms that `callgate mcp
/// pin` reads, and prints entries for the field `rpc` of an endpoint. Tools that the server calls read-only begin with the effect
/// `read`, everything else with `destructive`. The server chose these annotations and names, so check each entry.
///
/// Each entry has `scopes: TODO`, which `callgate check` rejects until somebody decides. Arguments whose names look like tenants or
/// owners are suggested as bindings, in comments. Entries that a policy cannot contain are left out and reported on standard error.
///
/// Exits with 2 if the answer cannot be read, if two entries have the same name, or if a definition has no pin.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The saved answer: a file, or - for standard input
    file: String,
    /// Add the pin of each tool
    #[arg(long)]
    pin: bool,
}

/// The comment at the beginning.
const INTRODUCTION: &str = "\
# A draft for the field `rpc` of an endpoint. Remove each operation that agents do not need: Callgate denies what is not listed.
# Decide each `effect`, and replace each `TODO`: in `scopes` with the required scopes or `none`, in `bind` with a claim of the token.
";

/// Prints the draft.
pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let answer = read(&arguments.file)?;
    let (mut draft, mut errors) = (INTRODUCTION.to_owned(), Vec::new());
    for (field, lists) in [
        ("tools", &[List::Tools][..]),
        ("resources", &[List::Resources, List::ResourceTemplates]),
        ("prompts", &[List::Prompts]),
    ] {
        let mut entries = String::new();
        for entry in answer.entries.iter().filter(|entry| lists.contains(&entry.list)) {
            if let Some(problem) = left_out(entry) {
                eprintln!("{}", answer.warning(&entry.place, problem));
                continue;
            }
            let wants_pin = arguments.pin && entry.list == List::Tools;
            match wants_pin.then(|| answer.pin(entry)).transpose() {
                Ok(pin) => add(entry, pin.as_deref(), &mut entries),
                Err(error) => errors.push(error),
            }
        }
        if !entries.is_empty() {
            // Writing to a string does not fail.
            let _ = write!(draft, "{field}:\n{entries}");
        }
    }
    if !errors.is_empty() {
        return Err(Diagnostics::Wrong(errors).into());
    }
    out.write_all(draft.as_bytes())?;
    Ok(Exit::Fine)
}

/// Returns why an entry is left out of the draft.
fn left_out(entry: &Entry) -> Option<String> {
    let name = &entry.name;
    match entry.list {
        List::Tools | List::Prompts => None,
        List::Resources if name.contains(['{', '}']) => Some(format!(
            "`{name}` is left out, because a policy reads braces as variables; ask the server's author to escape them"
        )),
        List::ResourceTemplates if variables(name).is_none() => Some(format!(
            "`{name}` is left out, because a policy's templates have only variables such as `{{name}}` and `{{path...}}`; write a template \
             for these resources"
        )),
        List::Resources | List::ResourceTemplates => None,
    }
}

/// Adds the lines of an entry.
fn add(entry: &Entry, pin: Option<&str>, lines: &mut String) {
    let is_read_only = entry.list == List::Tools
        && entry.definition.get("annotations").and_then(|hints| hints.get("readOnlyHint")) == Some(&Value::Bool(true));
    if is_read_only {
        lines.push_str("  # candidate: the server calls this read-only; check\n");
    }
    let name = match entry.list {
        List::Tools | List::Prompts => format!("name: {}", scalar(&entry.name)),
        List::Resources | List::ResourceTemplates => format!("uri: {}", quoted(&entry.name)),
    };
    let effect = if is_read_only { "read" } else { "destructive" };
    // Writing to a string does not fail.
    let _ = write!(lines, "  - {name}\n    effect: {effect}\n    scopes: TODO\n");
    let bindings: Vec<String> = suggested(entry).iter().map(|key| format!("{}: token.TODO", scalar(key))).collect();
    if !bindings.is_empty() {
        let _ = writeln!(lines, "    # bind: {{ {} }}", bindings.join(", "));
    }
    if let Some(pin) = pin {
        let _ = writeln!(lines, "    pin: [{}]", quoted(pin));
    }
}
