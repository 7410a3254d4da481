//! The generated parts of `docs/reference/upstreams.md`. Each server has one, so a machine that lacks a server does not change its part.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result, ensure};

use super::{Measured, Report};
use crate::paths;

const DOCUMENT: &str = "docs/reference/upstreams.md";
const END: &str = "<!-- upstreams: end -->\n";
const MEASURED: &str = "Measured with ";

/// Returns the marker line that precedes a server's part.
fn mark(id: &str) -> String {
    format!("<!-- upstreams: {id}: made by `cargo harness upstreams --write` -->\n")
}

/// Renders a server's part.
pub(super) fn part(measured: &Measured) -> String {
    let mut text =
        format!("{MEASURED}{}.\n\n| Request | Without the gate | The gate |\n|---|---|---|\n", measured.versions);
    for row in &measured.rows {
        // Writing to a string does not fail.
        let _ = writeln!(text, "| {} | {} | {} |", row.request.replace('|', "\\|"), row.reading, row.gate);
    }
    text
}

/// Checks that the document matches the measurements; with `write`, updates it first. Skips a part that was measured with other versions.
///
/// # Errors
/// When the document cannot be read, lacks a part, or is stale and `write` is not set.
pub fn compare(report: &Report, write: bool) -> Result<()> {
    let path = paths::root().join(DOCUMENT);
    let mut text = fs::read_to_string(&path).with_context(|| format!("cannot read {DOCUMENT}"))?;
    let mut stale = Vec::new();
    for measured in &report.ran {
        let mark = mark(measured.id);
        let marks = text.split_once(&mark).and_then(|(before, rest)| Some((before, rest.split_once(END)?)));
        let (before, (standing, after)) =
            marks.with_context(|| format!("{DOCUMENT} has no part for `{}`", measured.id))?;
        let part = part(measured);
        let versions = format!("{MEASURED}{}.\n", measured.versions);
        if standing == part || !write && !standing.is_empty() && !standing.starts_with(&versions) {
            continue;
        }
        stale.push(format!("{}:\n{part}", measured.id));
        text = [before, &mark, &part, END, after].concat();
    }
    ensure!(
        write || stale.is_empty(),
        "{DOCUMENT} is stale; run `cargo harness upstreams --write`\n{}",
        stale.join("\n")
    );
    if !stale.is_empty() {
        fs::write(&path, text).with_context(|| format!("cannot write {DOCUMENT}"))?;
    }
    Ok(())
}
