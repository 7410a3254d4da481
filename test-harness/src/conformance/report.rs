//! The results of the vectors, as text and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

/// The results of all files.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The files, in order.
    pub files: Vec<FileReport>,
}

/// The result of one file.
#[derive(Clone, Debug, Serialize)]
pub struct FileReport {
    /// The path in the folder.
    pub file: &'static str,
    /// Why the whole file fails, regardless of its cases.
    pub problem: Option<String>,
    /// Its cases.
    pub cases: Vec<Checked>,
}

/// One case, with the same result natively and in the module.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// Its name in the file.
    pub id: String,
    /// The result.
    pub outcome: Outcome,
}

/// The result of a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As the vector states.
    Passed,
    /// An expected rejection of something that the vector accepts, with the reason.
    Refused(&'static str),
    /// Not executed, with the reason.
    Skipped(&'static str),
    /// Any other result.
    Failed(String),
}

impl Checked {
    pub(super) fn new(id: impl Into<String>, outcome: Outcome) -> Self {
        Self { id: id.into(), outcome }
    }
}

impl FileReport {
    pub(super) fn new(file: &'static str, checked: Result<Vec<Checked>>, least: usize) -> Self {
        let (cases, problem) = match checked {
            Ok(cases) => (cases, None),
            Err(error) => (Vec::new(), Some(format!("{error:#}"))),
        };
        let mut report = Self { file, problem, cases };
        let executed = report.count(|outcome| !matches!(outcome, Outcome::Skipped(_)));
        if report.problem.is_none() && executed < least {
            report.problem = Some(format!("only {executed} cases were executed; expected at least {least}"));
        }
        report
    }

    fn count(&self, of: impl Fn(&Outcome) -> bool) -> usize {
        self.cases.iter().filter(|case| of(&case.outcome)).count()
    }
}

impl Report {
    /// Returns whether every file passes.
    #[must_use]
    pub fn passes(&self) -> bool {
        let failed = |outcome: &Outcome| matches!(outcome, Outcome::Failed(_));
        !self.files.is_empty() && self.files.iter().all(|file| file.problem.is_none() && file.count(failed) == 0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header([
            "file",
            "passed",
            "rejected as expected",
            "skipped",
            "failed",
        ]);
        table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        for file in &self.files {
            let counts = [
                file.count(|outcome| *outcome == Outcome::Passed),
                file.count(|outcome| matches!(outcome, Outcome::Refused(_))),
                file.count(|outcome| matches!(outcome, Outcome::Skipped(_))),
                file.count(|outcome| matches!(outcome, Outcome::Failed(_))),
            ];
            table.add_row(std::iter::once(file.file.to_owned()).chain(counts.map(|count| count.to_string())));
        }
        writeln!(f, "{table}")?;
        for file in &self.files {
            let mut reasons = BTreeMap::<_, usize>::new();
            for case in &file.cases {
                match &case.outcome {
                    Outcome::Refused(why) => *reasons.entry(("rejected as expected", *why)).or_default() += 1,
                    Outcome::Skipped(why) => *reasons.entry(("skipped", *why)).or_default() += 1,
                    Outcome::Passed | Outcome::Failed(_) => {}
                }
            }
            for ((what, why), count) in reasons {
                writeln!(f, "{}: {count} {what}: {why}", file.file)?;
            }
        }
        for file in &self.files {
            for case in &file.cases {
                if let Outcome::Failed(why) = &case.outcome {
                    writeln!(f, "FAILED {}: {}: {why}", file.file, case.id)?;
                }
            }
            if let Some(problem) = &file.problem {
                writeln!(f, "FAILED {}: {problem}", file.file)?;
            }
        }
        Ok(())
    }
}
