//! The generated parts of `docs/reference/mcp-conformance.md`: what the suite checks, and how Callgate does in it.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result, ensure};

use super::report::{Outcome, Report};
use super::scenario::Level;
use super::{GROUPS, KNOWN};
use crate::{envoy, paths};

const DOCUMENT: &str = "docs/reference/mcp-conformance.md";
const END: &str = "<!-- mcp-conformance: end -->\n";

/// Returns the marker line that precedes a generated part.
fn mark(part: &str) -> String {
    format!("<!-- mcp-conformance: {part}: made by `cargo harness mcp-conformance --write` -->\n")
}

/// Renders the list of scenarios.
fn scenarios() -> String {
    let mut text = String::new();
    for group in &GROUPS {
        // Writing to a string does not fail.
        let _ = writeln!(text, "### {}\n", group.title);
        text.push_str("| Scenario | Requirement | Level | Section | Needs |\n|---|---|---|---|---|\n");
        for scenario in group.scenarios {
            let section = format!("{}, {}", scenario.section.specification, scenario.section.title);
            let needs: Vec<_> = scenario.needs.iter().map(|need| format!("`{need}`")).collect();
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | [{section}]({}) | {} |",
                scenario.id,
                scenario.requirement.replace('|', "\\|"),
                scenario.level,
                scenario.section.url(),
                needs.join(", "),
            );
        }
        text.push('\n');
    }
    // A single line end precedes the end of the part.
    text.pop();
    text
}

/// Renders the results of Callgate.
fn results(report: &Report) -> Result<String> {
    let mut text = format!("Measured with Envoy {}.\n\n", envoy::pinned_version()?);
    text.push_str("| Level | Passed | Failed |\n|---|---|---|\n");
    for level in [Level::Must, Level::Should, Level::May] {
        let [passed, failed] = [Outcome::Passed, Outcome::Failed].map(|outcome| report.count(level, outcome));
        let _ = writeln!(text, "| {level} | {passed} | {failed} |");
    }
    if report.failures().next().is_some() {
        text.push_str("\n| Failed | Level | Seen | Why |\n|---|---|---|---|\n");
        for row in report.failures() {
            let why = KNOWN.iter().find(|(id, _)| *id == row.scenario).map_or("", |(_, why)| *why);
            let _ = writeln!(text, "| `{}` | {} | {} | {why} |", row.scenario, row.level, row.seen.replace('|', "\\|"));
        }
    }
    Ok(text)
}

/// Checks that the document lists the scenarios; with `write`, updates it first.
///
/// # Errors
/// When the document cannot be read, lacks the part, or is stale and `write` is not set.
pub fn compare_scenarios(write: bool) -> Result<()> {
    compare("scenarios", &scenarios(), write)
}

/// Checks that the document has these results of Callgate; with `write`, updates it first.
///
/// # Errors
/// When the document cannot be read, lacks the part, or is stale and `write` is not set.
pub fn compare_results(report: &Report, write: bool) -> Result<()> {
    compare("results", &results(report)?, write)
}

fn compare(name: &str, part: &str, write: bool) -> Result<()> {
    let path = paths::root().join(DOCUMENT);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {DOCUMENT}"))?;
    let mark = mark(name);
    let marks = text.split_once(&mark).and_then(|(before, rest)| Some((before, rest.split_once(END)?)));
    let (before, (old, after)) = marks.with_context(|| format!("{DOCUMENT} has no part `{name}`"))?;
    if old == part {
        return Ok(());
    }
    ensure!(write, "{DOCUMENT} is stale; run `cargo harness mcp-conformance --write`\n{name}:\n{part}");
    fs::write(&path, [before, &mark, part, END, after].concat()).with_context(|| format!("cannot write {DOCUMENT}"))
}
