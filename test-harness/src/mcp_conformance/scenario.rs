//! What a scenario is: a requirement, where it comes from, and the check of whether a gateway meets it.

use std::fmt;

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;

use super::sections::Section;
use super::suite::Suite;

/// How strict a requirement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// The specification requires it.
    Must,
    /// The specification recommends it, or leaves the case open and the scenario shows what goes wrong.
    Should,
    /// The specification permits it.
    May,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Must => "MUST",
            Self::Should => "SHOULD",
            Self::May => "MAY",
        })
    }
}

/// What a gateway, or the person who runs the suite, must provide for a scenario. Scenarios that need something else are skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Need {
    /// The gateway reads the bodies of requests.
    Bodies,
    /// The gateway forwards the revisions before 2026-07-28.
    Legacy,
    /// The gateway removes what a client cannot use from lists.
    Lists,
    /// The gateway decides which tools, resources and prompts a client can use.
    Operations,
    /// The gateway checks `Origin`.
    Origins,
    /// The gateway compares the `Mcp-Param-*` headers of the tool `execute_sql` with its arguments.
    Parameters,
    /// The gateway knows which revisions the server supports.
    Revisions,
    /// The gateway verifies access tokens.
    Tokens,
    /// A second endpoint, which only supports 2026-07-28.
    ModernPath,
    /// A valid token without scopes.
    NarrowToken,
    /// A token for another resource.
    ForeignToken,
    /// An expired token.
    ExpiredToken,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// Whether a gateway meets a requirement, and what was seen. The text is the same in every run.
#[derive(Clone, Debug)]
pub(super) struct Check {
    pub(super) passed: bool,
    pub(super) seen: String,
}

impl Check {
    pub(super) fn new(passed: bool, seen: impl Into<String>) -> Self {
        Self { passed, seen: seen.into() }
    }

    pub(super) fn failed(seen: impl Into<String>) -> Self {
        Self::new(false, seen)
    }
}

/// A requirement on a gateway.
pub(super) struct Scenario {
    /// The group and the name, separated by a dot.
    pub(super) id: &'static str,
    /// Where the requirement comes from.
    pub(super) section: Section,
    pub(super) level: Level,
    pub(super) needs: &'static [Need],
    /// The requirement, as a sentence without its period.
    pub(super) requirement: &'static str,
    pub(super) run: fn(&Suite) -> Result<Check>,
}

/// A scenario for a requirement of the level MUST.
pub(super) const fn must(
    id: &'static str,
    section: Section,
    needs: &'static [Need],
    requirement: &'static str,
    run: fn(&Suite) -> Result<Check>,
) -> Scenario {
    Scenario { id, section, level: Level::Must, needs, requirement, run }
}

/// A scenario for a requirement of the level SHOULD.
pub(super) const fn should(
    id: &'static str,
    section: Section,
    needs: &'static [Need],
    requirement: &'static str,
    run: fn(&Suite) -> Result<Check>,
) -> Scenario {
    Scenario { id, section, level: Level::Should, needs, requirement, run }
}

/// A scenario for something that the specification permits.
pub(super) const fn may(
    id: &'static str,
    section: Section,
    needs: &'static [Need],
    requirement: &'static str,
    run: fn(&Suite) -> Result<Check>,
) -> Scenario {
    Scenario { id, section, level: Level::May, needs, requirement, run }
}
