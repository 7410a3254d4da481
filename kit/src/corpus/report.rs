//! The report on a run of cases, for people and for programs.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::{Suite, find, load, run};
use crate::diagnostic::{Diagnostics, Position};
use crate::escape;

/// The number of cases in one or more files, and the cases that failed.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The number of cases that ran.
    pub cases: usize,
    /// The failed cases, in the order of the files.
    pub differing: Vec<Differing>,
}

/// A case whose result differs from the expected one.
#[derive(Clone, Debug, Serialize)]
pub struct Differing {
    /// The file.
    pub file: String,
    /// The line on which the case begins.
    pub line: usize,
    /// The column at which it begins.
    pub column: usize,
    /// The case's name.
    pub name: String,
    /// What the case shows.
    pub intent: String,
    /// The differences, one sentence each.
    pub differences: Vec<String>,
}

/// Runs the cases at each path: a file, or a folder and its subfolders.
///
/// # Errors
/// Reports the first path or file that cannot be used, and why.
pub fn test<P: AsRef<Path>>(paths: &[P]) -> Result<Report, Diagnostics> {
    let mut report = Report { cases: 0, differing: Vec::new() };
    for path in paths {
        for file in find(path.as_ref())? {
            let suite = load(&file)?;
            report.add(&suite, &run::run(&suite)?);
        }
    }
    Ok(report)
}

impl Report {
    /// Returns whether all cases passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.differing.is_empty()
    }

    fn add(&mut self, suite: &Suite, outcomes: &[run::CaseResult]) {
        self.cases += outcomes.len();
        for outcome in outcomes.iter().filter(|outcome| !outcome.differences.is_empty()) {
            let Some(case) = suite.cases.get(outcome.case) else { continue };
            let Position { line, column } = case.position;
            self.differing.push(Differing {
                file: suite.file.clone(),
                line,
                column,
                name: case.name.clone(),
                intent: case.intent.clone(),
                differences: outcome.differences.clone(),
            });
        }
    }
}

impl fmt::Display for Report {
    /// Writes each failed case with its position, its intent and its differences, then the number of cases; safe for a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Differing { file, line, column, name, intent, differences } in &self.differing {
            writeln!(f, "{}:{line}:{column}: {}: {}", escape::text(file), escape::text(name), escape::text(intent))?;
            for difference in differences {
                writeln!(f, "    {}", escape::text(difference))?;
            }
        }
        let cases = if self.cases == 1 { "case" } else { "cases" };
        match self.differing.len() {
            0 => write!(f, "{} {cases}, all pass", self.cases),
            1 => write!(f, "{} {cases}, 1 fails", self.cases),
            differing => write!(f, "{} {cases}, {differing} fail", self.cases),
        }
    }
}
