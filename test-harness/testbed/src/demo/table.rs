//! The table of the demo: at most 100 columns wide, so that it fits a terminal and the README.

use std::fmt::Write as _;

use super::Outcome;

/// Returns the table, one line for each request. The last heading names what is behind the gate.
pub(super) fn table<'o>(outcomes: impl Iterator<Item = &'o Outcome>, received: &str) -> String {
    let headings = ["request", "got", "reason", received];
    let outcomes: Vec<_> = outcomes.collect();
    let rows: Vec<[String; 4]> = outcomes.iter().map(|outcome| cells(outcome)).collect();
    let mut widths = headings.map(|heading| heading.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut table = line(" ", &headings.map(str::to_owned), widths);
    for (outcome, row) in outcomes.iter().zip(&rows) {
        table += &line(if outcome.is_expected() { "✓" } else { "✗" }, row, widths);
    }
    table
}

fn cells(outcome: &Outcome) -> [String; 4] {
    let received = outcome.upstream.as_ref().map_or("nothing".to_owned(), |received| {
        let agent = received.agent.as_deref().map_or(String::new(), |agent| format!(" by {agent}"));
        format!("{}{agent}", received.method)
    });
    [outcome.title.to_owned(), outcome.got.0.to_string(), outcome.got.1.clone(), received]
}

fn line(mark: &str, cells: &[String; 4], widths: [usize; 4]) -> String {
    let mut line = format!("{mark} ");
    for (cell, width) in cells.iter().zip(widths) {
        // Writing to a string does not fail.
        let _ = write!(line, "{cell:width$}   ");
    }
    line.truncate(line.trim_end().len());
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use crate::demo::{Received, calls};
    use crate::quickstart::Issuer;

    use super::*;

    #[test]
    fn table_fits_100_columns_and_marks_wrong_results() {
        let calls = calls::calls(&Issuer::new().unwrap()).unwrap();
        let received = || Received { method: "DELETE".into(), agent: Some("coding-agent".into()) };
        let mut outcomes: Vec<_> = calls
            .into_iter()
            .map(|call| Outcome {
                title: call.title,
                expected: (call.status, call.reason.to_owned()),
                got: (call.status, call.reason.to_owned()),
                is_forwarded: call.status == 200,
                upstream: (call.status == 200).then(received),
            })
            .collect();
        outcomes[0].got.0 = 500;
        let table = table(outcomes.iter(), "the API received");
        let longest = table.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(longest <= 100, "{longest} columns\n{table}");
        assert!(table.lines().nth(1).unwrap().starts_with('✗'));
        assert!(table.lines().skip(2).all(|line| line.starts_with('✓')), "{table}");
    }
}
