//! The policy reference, in the order in which a reader needs it.
//!
//! The texts about fields are the schema's. `policy_chapters` decides the position of each definition. This module shows parts of one example
//! policy between them.

use std::fmt::Write;

use callgate::allowlist::Kind;
use serde_json::{Map, Value};

use super::policy_chapters::CHAPTERS;
use super::{about, details, generated, section};

/// A policy that compiles and has every field of the document. Each chapter shows its part.
const EXAMPLE: &str = include_str!("example.yaml");

const PATH_VALUES: &str = "Path values";
const OTHERS: &str = "Other definitions";

/// Returns the page for the schema of the policy document.
pub(super) fn page(schema: &Value) -> String {
    let none = Map::new();
    let definitions = schema.get("$defs").and_then(Value::as_object).unwrap_or(&none);
    let mut page = generated("The policy document");
    introduction(&mut page, schema);
    let listed = CHAPTERS.iter().map(|chapter| (chapter.title, chapter.definitions.to_vec()));
    let others = (OTHERS, unlisted(definitions));
    let contents = listed.chain([(PATH_VALUES, Vec::new()), others.clone()]);
    for (title, names) in contents.filter(|(title, names)| *title != OTHERS || !names.is_empty()) {
        let links: Vec<String> = names.iter().map(|name| link(name)).collect();
        let colon = if links.is_empty() { "" } else { ": " };
        // Writing to a string does not fail.
        let _ = writeln!(page, "- {}{colon}{}", link(title), links.join(", "));
    }
    page.push('\n');
    for (number, chapter) in CHAPTERS.iter().enumerate() {
        let _ = writeln!(page, "## {}\n\n{}\n", chapter.title, chapter.about);
        if !chapter.fields.is_empty() {
            let _ = writeln!(
                page,
                "<!-- not run: a test compiles all examples of this page as one policy -->\n```yaml\n{}```\n",
                example(chapter.fields)
            );
        }
        if number == 0 {
            details(&mut page, schema, &example_fields());
        }
        all(&mut page, definitions, chapter.definitions);
    }
    path_values(&mut page);
    if !others.1.is_empty() {
        let _ = writeln!(page, "\n## {OTHERS}\n");
        all(&mut page, definitions, &others.1);
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

fn introduction(page: &mut String, schema: &Value) {
    let id = schema.get("$id").and_then(Value::as_str).unwrap_or_default();
    // Writing to a string does not fail.
    let _ = writeln!(
        page,
        "{} It is written in YAML 1.2 or JSON. Fields that are not listed here are errors. `callgate check` reports all mistakes at once, \
         with their positions. [Write a policy](../guides/write-a-policy.md) explains one task at a time.\n\n\
         [policy.schema.json](policy.schema.json) is the JSON Schema of the document, and `callgate schema policy` prints it. Editors with \
         the YAML language server complete fields, show these descriptions and mark mistakes if the policy begins with this line. It names \
         the schema by its URL, or by a path relative to the policy:\n\n\
         <!-- not run: a comment -->\n```yaml\n# yaml-language-server: $schema={id}\n```\n\n\
         The examples on this page are parts of one policy.\n",
        about(schema)
    );
}

/// Appends these definitions.
fn all(page: &mut String, definitions: &Map<String, Value>, names: &[&str]) {
    for name in names {
        if let Some(definition) = definitions.get(*name) {
            section(page, 3, name, definition);
        }
    }
}

/// Returns the definitions that no chapter names.
fn unlisted(definitions: &Map<String, Value>) -> Vec<&str> {
    let is_listed = |name: &str| CHAPTERS.iter().any(|chapter| chapter.definitions.contains(&name));
    definitions.keys().map(String::as_str).filter(|name| !is_listed(name)).collect()
}

/// Returns a link to the heading with this text.
fn link(heading: &str) -> String {
    format!("[{heading}](#{})", heading.to_lowercase().replace(' ', "-"))
}

/// Returns the field of the document that a line of the example begins.
fn field(line: &str) -> Option<&str> {
    let (field, _) = line.split_once(':')?;
    field.starts_with(|first: char| first.is_ascii_lowercase()).then_some(field)
}

/// Returns the fields of the document, in the order of the example.
fn example_fields() -> Vec<&'static str> {
    EXAMPLE.lines().filter_map(field).collect()
}

/// Returns the part of the example with these fields.
fn example(fields: &[&str]) -> String {
    let mut part = String::new();
    let mut is_shown = false;
    for line in EXAMPLE.lines().filter(|line| !line.is_empty()) {
        is_shown = field(line).map_or(is_shown, |field| fields.contains(&field));
        if is_shown {
            part.push_str(line);
            part.push('\n');
        }
    }
    part
}

/// Appends the chapter on the values that the variables of path templates match.
fn path_values(page: &mut String) {
    // Writing to a string does not fail.
    let _ = writeln!(page, "## {PATH_VALUES}\n");
    page.push_str(
        "A path template matches segment by segment. Fixed text is compared exactly, including case; only the hexadecimal digits of escapes \
         are compared without case. A path is forwarded as the client sent it.\n\n\
         | Variable | Values that it matches |\n|---|---|\n",
    );
    for (written, _, matches) in Kind::DESCRIBED {
        let _ = writeln!(page, "| `{written}` | {} |", matches.replace('|', "\\|"));
    }
    page.push_str(
        "\nNo variable except `{x...}` matches an empty segment. A segment may have fixed text around one variable, such as \
         `{model}:generate`.\n\n\
         - Unnecessary escapes (`%7E` for `~`) and raw `[ ] ^ |` are accepted in values of `{x:text}` and `{x...}` only. Anywhere else the request \
         is rejected with `path_escape_unreserved` or `path_character`, after authentication if the policy has such a variable.\n\
         - `%2F`, `%5C`, `%25` and `;` are accepted in values of `{x:text}` and `{x...}` where the endpoint has `allow_escapes`. The value is \
         then checked in every form that a server could decode: decoded once or twice, split at the resulting slashes, cut at semicolons. A \
         request is rejected with `path_value_ambiguous` if one of these forms contains an empty or dot segment, or is the path of another \
         endpoint of the policy, regardless of its methods. `callgate check` lists the affected endpoints.\n\
         - `.` and `..` are rejected everywhere, escaped or not (`path_dot_segment`), and so are segments that consist only of dots and spaces.\n\
         - Escapes decode to UTF-8 without control characters. Bindings compare the decoded value.\n\
         - No variable matches a value that a server could read as fixed text that the policy lists at the same position: in another case, \
         escaped, followed by dots or spaces, by an escaped semicolon, or by a format suffix (`settings.json` if `/users/settings` is \
         listed; see `format_suffixes`). No endpoint matches such a request.\n\n\
         `callgate explain` lists the endpoints that a request nearly matched, and the mismatch with each.\n",
    );
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use callgate_kit::policy::{not_needed, schema};
    use callgate_kit::{document, policy};

    use super::*;

    #[test]
    fn every_definition_is_in_exactly_one_chapter() {
        let schema = schema();
        let definitions = schema["$defs"].as_object().unwrap();
        assert_eq!(unlisted(definitions), [""; 0], "add these to a chapter");
        let listed: Vec<&str> = CHAPTERS.iter().flat_map(|chapter| chapter.definitions).copied().collect();
        let distinct: BTreeSet<&str> = listed.iter().copied().collect();
        assert_eq!(listed.len(), distinct.len());
        assert_eq!(distinct, definitions.keys().map(String::as_str).collect());
    }

    #[test]
    fn a_definition_without_a_chapter_comes_last() {
        let mut schema = schema();
        schema["$defs"]["Later"] = serde_json::json!({ "description": "Added later.", "type": "string" });
        let page = page(&schema);
        assert!(page.ends_with("\n## Other definitions\n\n### Later\n\nAdded later.\n"), "{page}");
        assert!(page.contains("\n- [Other definitions](#other-definitions): [Later](#later)\n"));
    }

    #[test]
    fn headings_are_unique() {
        let page = page(&schema());
        let headings: Vec<String> = page
            .lines()
            .filter(|line| line.starts_with('#') && !line.starts_with("# yaml"))
            .map(|line| line.trim_start_matches('#').trim().to_lowercase())
            .collect();
        assert_eq!(headings.len(), headings.iter().collect::<BTreeSet<_>>().len(), "{headings:?}");
    }

    /// Every field of the document has its place in one example, and all examples together are a valid policy.
    #[test]
    fn the_examples_are_one_policy_with_every_field() {
        let schema = schema();
        let fields: BTreeSet<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(example_fields().into_iter().collect::<BTreeSet<_>>(), fields);
        let shown: Vec<&str> = CHAPTERS.iter().flat_map(|chapter| chapter.fields).copied().collect();
        assert_eq!(shown.len(), fields.len());
        assert_eq!(shown.iter().copied().collect::<BTreeSet<_>>(), fields);
        let parts: String = CHAPTERS.iter().map(|chapter| example(chapter.fields)).collect();
        let document = document::parse("example.yaml", parts.as_bytes()).unwrap();
        let loaded = policy::compile(document, &not_needed).unwrap_or_else(|wrong| panic!("{wrong}"));
        let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings, [""; 0]);
    }
}
