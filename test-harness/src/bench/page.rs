//! The tables of `docs/reference/performance.md` that a measurement fills in. The text around them is written by hand.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result};

use super::report::{Bound, Report};
use crate::paths;

const DOCUMENT: &str = "docs/reference/performance.md";
const END: &str = "<!-- bench: end -->\n";

/// Returns the line before a table.
fn mark(part: &str) -> String {
    format!("<!-- bench: {part}: made by `cargo harness bench --write` -->\n")
}

/// Updates the tables in the document.
///
/// # Errors
/// When the document cannot be read or written, or has no place for a table.
pub(super) fn write(report: &Report) -> Result<()> {
    let file = paths::root().join(DOCUMENT);
    let document = fs::read_to_string(&file).with_context(|| format!("cannot read {DOCUMENT}"))?;
    fs::write(&file, filled(document, &tables(report))?).with_context(|| format!("cannot write {DOCUMENT}"))
}

/// Returns the document with these tables.
fn filled(mut document: String, tables: &[(&str, String)]) -> Result<String> {
    for (part, table) in tables {
        let (before, _, after) = place(&document, part)?;
        document = [before, &mark(part), table, END, after].concat();
    }
    Ok(document)
}

/// Returns what is before a table with its mark, the table, and what is after it.
fn place<'d>(document: &'d str, part: &str) -> Result<(&'d str, &'d str, &'d str)> {
    let marks = document
        .split_once(&mark(part))
        .and_then(|(before, rest)| rest.split_once(END).map(|(table, after)| (before, table, after)));
    marks.with_context(|| format!("{DOCUMENT} has no place for the table `{part}`"))
}

fn tables(report: &Report) -> [(&'static str, String); 3] {
    [("rows", rows(report)), ("ratios", ratios(&report.bounds())), ("footprints", footprints(report))]
}

fn rows(report: &Report) -> String {
    let mut table = "| Listener | µs added | quartiles |\n|---|---:|---:|\n".to_owned();
    for row in report.rows() {
        let added = row.added();
        // Writing to a string does not fail.
        let _ = writeln!(
            table,
            "| {} (`{}`) | {:.1} | {:.1} to {:.1} |",
            row.what, row.name, added.median, added.low, added.high
        );
    }
    table
}

fn ratios(bounds: &[Bound]) -> String {
    let mut table = "| | measured | required | |\n|---|---:|---:|---|\n".to_owned();
    for bound in bounds {
        let holds = if bound.holds() { "holds" } else { "fails" };
        let holds = bound.most.map_or("", |_| holds);
        let _ = writeln!(table, "| `{}` | {:.2} | {} | {holds} |", bound.name, bound.value, bound.required());
    }
    table
}

fn footprints(report: &Report) -> String {
    let mut table = "| Envoy with four workers | MiB | ready after, s |\n|---|---:|---:|\n".to_owned();
    for footprint in report.footprints() {
        let _ = writeln!(
            table,
            "| {} (`{}`) | {:.0} | {:.2} |",
            footprint.what, footprint.name, footprint.memory_mib, footprint.ready_s
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::report::RATIOS;
    use super::*;

    #[test]
    fn replaces_only_the_tables() {
        let page = format!("# A\n\n{}old\n{END}\ntext\n\n{}{END}end\n", mark("rows"), mark("ratios"));
        let tables = [("ratios", "| r |\n".to_owned()), ("rows", "| new |\n".to_owned())];
        let expected = format!("# A\n\n{}| new |\n{END}\ntext\n\n{}| r |\n{END}end\n", mark("rows"), mark("ratios"));
        assert_eq!(filled(page, &tables).unwrap(), expected);
        let missing = filled("# A\n".to_owned(), &tables).unwrap_err();
        assert_eq!(missing.to_string(), "docs/reference/performance.md has no place for the table `ratios`");
    }

    #[test]
    fn table_of_ratios_states_what_is_required() {
        let bounds = [("a", 0.5, Some(0.8)), ("b", 0.9, Some(0.8)), ("c", 3.0, None)]
            .map(|(name, value, most)| Bound { name, value, most });
        let rows =
            ["| `a` | 0.50 | at most 0.8 | holds |", "| `b` | 0.90 | at most 0.8 | fails |", "| `c` | 3.00 |  |  |"];
        assert_eq!(ratios(&bounds).lines().skip(2).collect::<Vec<_>>(), rows);
    }

    /// The figures differ from run to run, the ratios and their bounds do not.
    #[test]
    fn performance_page_has_every_ratio_with_its_bound() {
        let document = fs::read_to_string(paths::root().join(DOCUMENT)).unwrap();
        let (_, rows, _) = place(&document, "rows").unwrap();
        let (_, ratios, _) = place(&document, "ratios").unwrap();
        for (name, row, over, most) in RATIOS {
            for row in [row, over] {
                assert!(rows.contains(&format!("(`{row}`)")), "{DOCUMENT} lacks the row `{row}`");
            }
            let required = Bound { name, value: 0.0, most }.required();
            let line = ratios.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
            let line = line.unwrap_or_else(|| panic!("{DOCUMENT} lacks the ratio `{name}`"));
            assert_eq!(line.split('|').nth(3).map(str::trim), Some(&*required), "{line}");
        }
        place(&document, "footprints").unwrap();
    }

    /// A figure in two tables has two values after the next measurement.
    #[test]
    fn tables_by_hand_repeat_no_measured_figure() {
        let document = fs::read_to_string(paths::root().join(DOCUMENT)).unwrap();
        let (before, ratios, after) = place(&document, "ratios").unwrap();
        let measured: Vec<_> = ratios.lines().filter_map(|line| line.split('`').nth(1)).collect();
        assert!(measured.contains(&"memory_mib_most_keys"), "{measured:?}");
        let has_figure = |line: &str| line.split('|').any(|cell| cell.trim().parse::<f64>().is_ok());
        for line in before.lines().chain(after.lines()).filter(|line| line.starts_with('|')) {
            let repeats = measured.iter().any(|name| line.contains(&format!("`{name}`")));
            assert!(!repeats || !has_figure(line), "{DOCUMENT}: {line}");
        }
    }
}
