//! The results of the scenarios, as text and as JSON.

use std::fmt;

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde::Serialize;

use super::scenario::{Level, Scenario};
use super::suite::Suite;

/// The result of every scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The scenarios, in order.
    pub rows: Vec<Row>,
}

/// The result of one scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The group and the name, separated by a dot.
    pub scenario: &'static str,
    /// The revision of MCP, or the name of another specification.
    pub specification: &'static str,
    /// The section of the specification.
    pub section: &'static str,
    /// How strict the requirement is.
    pub level: Level,
    /// The requirement.
    pub requirement: &'static str,
    /// The result.
    pub outcome: Outcome,
    /// What was seen, or why the scenario was skipped.
    pub seen: String,
}

/// The result of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The gateway meets the requirement.
    Passed,
    /// The gateway does not meet the requirement.
    Failed,
    /// Not executed.
    Skipped,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::Skipped => "skipped",
        })
    }
}

impl Row {
    /// Runs a scenario, unless the gateway lacks what it needs.
    pub(super) fn of(scenario: &Scenario, suite: &Suite) -> Self {
        let (outcome, seen) = match suite.target.lacks(scenario.needs) {
            Some(reason) => (Outcome::Skipped, reason),
            None => match (scenario.run)(suite) {
                Ok(check) if check.passed => (Outcome::Passed, check.seen),
                Ok(check) => (Outcome::Failed, check.seen),
                Err(error) => (Outcome::Failed, format!("{error:#}")),
            },
        };
        Self {
            scenario: scenario.id,
            specification: scenario.section.specification,
            section: scenario.section.title,
            level: scenario.level,
            requirement: scenario.requirement,
            outcome,
            seen,
        }
    }
}

impl Report {
    /// Returns how many scenarios of a level have a result.
    #[must_use]
    pub fn count(&self, level: Level, outcome: Outcome) -> usize {
        self.rows.iter().filter(|row| row.level == level && row.outcome == outcome).count()
    }

    /// Returns whether the gateway meets every requirement of the level MUST that was checked.
    #[must_use]
    pub fn meets_every_must(&self) -> bool {
        self.count(Level::Must, Outcome::Failed) == 0
    }

    /// Returns the requirements that the gateway does not meet.
    pub fn failures(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.outcome == Outcome::Failed)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header(["scenario", "section", "level", "result", "seen"]);
        for row in &self.rows {
            let section = format!("{}: {}", row.specification, row.section);
            table.add_row([
                row.scenario.to_owned(),
                section,
                row.level.to_string(),
                row.outcome.to_string(),
                row.seen.clone(),
            ]);
        }
        writeln!(f, "{table}")?;
        for row in self.failures() {
            writeln!(f, "{} {} {}: {}: {}", row.outcome, row.level, row.scenario, row.requirement, row.seen)?;
        }
        for level in [Level::Must, Level::Should, Level::May] {
            let [passed, failed, skipped] =
                [Outcome::Passed, Outcome::Failed, Outcome::Skipped].map(|outcome| self.count(level, outcome));
            writeln!(f, "{level}: {passed} passed, {failed} failed, {skipped} skipped")?;
        }
        Ok(())
    }
}
