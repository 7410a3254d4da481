//! What running cases showed, for people and for programs.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::{Suite, find, load, run};
use crate::diagnostic::{Diagnostics, Position};
use crate::escape;

/// The cases of one or more files, and those that came out otherwise.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// How many cases were run.
    pub cases: usize,
    /// Those that differ, in the order of the files.
    pub differing: Vec<Differing>,
}

/// A case that came out otherwise than it expects.
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
    /// What it shows.
    pub intent: String,
    /// How it differs, one sentence each.
    pub differences: Vec<String>,
}

/// Runs the cases at each path: a file, or a folder with everything below it.
///
/// # Errors
/// The first path or file that cannot be used, and why.
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
    /// Whether every case came out as it expects.
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
    /// Each case that differs with its place, its intent and its differences, and how many there are; safe for a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Differing { file, line, column, name, intent, differences } in &self.differing {
            writeln!(f, "{}:{line}:{column}: {}: {}", escape::text(file), escape::text(name), escape::text(intent))?;
            for difference in differences {
                writeln!(f, "    {}", escape::text(difference))?;
            }
        }
        let cases = if self.cases == 1 { "case" } else { "cases" };
        match self.differing.len() {
            0 => write!(f, "{} {cases}, all as expected", self.cases),
            1 => write!(f, "{} {cases}, 1 differs", self.cases),
            differing => write!(f, "{} {cases}, {differing} differ", self.cases),
        }
    }
}
