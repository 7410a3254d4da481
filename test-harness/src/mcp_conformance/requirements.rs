//! The published requirement lists: each requirement has a scenario of the suite, or a written reason why it has none. The lists are
//! third-party data, which are not part of the repository.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::GROUPS;

const FILE: &str = "requirements.yaml";
const TIES: &str = include_str!("requirements.yaml");

/// The requirements in the lists, and what is wrong with the ties.
#[derive(Clone, Debug, Default)]
pub struct Requirements {
    /// How many requirements were read.
    pub read: usize,
    /// How many of them have scenarios.
    pub with_scenarios: usize,
    /// How many the lists exclude because they are requirements on intermediaries.
    pub of_intermediaries: usize,
    /// Requirements with neither a scenario nor a reason, and ties that are wrong.
    pub problems: Vec<String>,
}

/// A requirement in a list.
struct Published {
    name: String,
    is_of_intermediaries: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ties {
    /// The ids of scenarios, by the name of a requirement.
    scenarios: BTreeMap<String, Vec<String>>,
    /// The names of requirements, by the reason why they have no scenario.
    reasons: BTreeMap<String, Vec<String>>,
}

/// Reads the lists in a folder, and ties each requirement to scenarios.
///
/// # Errors
/// When a file cannot be read, or is not a list.
pub fn requirements(folder: &Path) -> Result<Requirements> {
    tie(&load(folder)?, TIES)
}

/// Reads all lists, in the order of their names.
fn load(folder: &Path) -> Result<Vec<Published>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let list = serde_saphyr::from_str(&text).with_context(|| format!("{} is not YAML", file.display()))?;
        let published = read(&list);
        ensure!(!published.is_empty(), "{} has no requirements", file.display());
        all.extend(published);
    }
    ensure!(!all.is_empty(), "{} contains no lists", folder.display());
    Ok(all)
}

/// Returns the requirements of a list: that of a proposal, or that of a revision, which names scenarios of the published suite.
fn read(list: &Value) -> Vec<Published> {
    let items = |member: &str| list.get(member).and_then(Value::as_array).into_iter().flatten();
    let text = |item: &Value, member: &str| item.get(member).and_then(Value::as_str).map(str::to_owned);
    let of_proposal = items("requirements").filter_map(|item| {
        let name = text(item, "check").or_else(|| text(item, "text"))?;
        let is_of_intermediaries =
            text(item, "excluded").is_some_and(|why| why.starts_with("Intermediary requirement"));
        Some(Published { name, is_of_intermediaries })
    });
    let required = ["server", "client"]
        .into_iter()
        .flat_map(|leg| items(leg).filter_map(move |name| Some(format!("{leg} {}", name.as_str()?))));
    let others =
        items("not_scored").filter_map(|item| Some(format!("{} {}", text(item, "leg")?, text(item, "scenario")?)));
    let of_revision = required.chain(others).map(|name| Published { name, is_of_intermediaries: false });
    of_proposal.chain(of_revision).collect()
}

/// Finds the tie of each requirement.
fn tie(published: &[Published], ties: &str) -> Result<Requirements> {
    let ties: Ties = serde_saphyr::from_str(ties).with_context(|| format!("{FILE} is malformed"))?;
    let known: BTreeSet<_> = GROUPS.iter().flat_map(|group| group.scenarios).map(|scenario| scenario.id).collect();
    let mut found = Requirements { read: published.len(), ..Requirements::default() };
    let mut patterns: BTreeMap<&str, bool> = BTreeMap::new();
    for (name, scenarios) in &ties.scenarios {
        let unknown: Vec<_> = scenarios.iter().filter(|id| !known.contains(id.as_str())).map(String::as_str).collect();
        if scenarios.is_empty() || !unknown.is_empty() {
            found.problems.push(format!("{FILE}: `{name}` has no scenario, or unknown ones: {}", unknown.join(", ")));
        }
        patterns.insert(name, true);
    }
    for name in ties.reasons.values().flatten() {
        if patterns.insert(name, false).is_some() {
            found.problems.push(format!("{FILE}: `{name}` appears twice"));
        }
    }
    let mut used = BTreeSet::new();
    for Published { name, is_of_intermediaries } in published {
        found.of_intermediaries += usize::from(*is_of_intermediaries);
        let matching = patterns.iter().filter(|(pattern, _)| covers(pattern, name));
        let Some((pattern, has_scenarios)) = matching.max_by_key(|(pattern, _)| (**pattern == name, pattern.len()))
        else {
            found.problems.push(format!("`{name}` has neither a scenario nor a reason"));
            continue;
        };
        used.insert(*pattern);
        found.with_scenarios += usize::from(*has_scenarios);
        if *is_of_intermediaries && !has_scenarios {
            found.problems.push(format!("`{name}` is a requirement on intermediaries without a scenario"));
        }
    }
    let unused = patterns.keys().filter(|pattern| !used.contains(*pattern));
    found.problems.extend(unused.map(|pattern| format!("{FILE}: `{pattern}` is in no list")));
    Ok(found)
}

/// Returns whether a name, or a beginning of names, covers a requirement.
fn covers(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |beginning| name.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "
requirements:
  - check: sep-1-a
    text: a
  - check: sep-1-client-b
    text: b
  - text: 'Intermediaries MUST c.'
    excluded: 'Intermediary requirement; not tested'
";
    const REVISION: &str = "
server: [d]
client: [auth/e, f]
not_scored:
  - scenario: g
    leg: server
    reason: pending
";

    /// Returns what is wrong with these ties.
    fn problems(ties: &str) -> Vec<String> {
        let lists = [LIST, REVISION].map(|text| serde_saphyr::from_str::<Value>(text).unwrap());
        let published: Vec<_> = lists.iter().flat_map(read).collect();
        let found = tie(&published, ties).unwrap();
        assert_eq!((found.read, found.of_intermediaries), (7, 1));
        found.problems
    }

    #[test]
    fn finds_requirements_without_a_scenario_or_a_reason() {
        let scenarios = "
scenarios:
  sep-1-a: [headers.agree]
  'Intermediaries MUST*': [headers.agree, headers.empty]
  server d: [lists.tools]
  client auth/*: [tokens.missing]
";
        let reasons = "
reasons:
  a reason: [sep-1-client-*, client *, server g]
";
        assert_eq!(problems(&format!("{scenarios}{reasons}")), [""; 0]);
        for (from, to, problem) in [
            ("server g", "server h", "`server g` has neither a scenario nor a reason"),
            ("server g", "server h", "requirements.yaml: `server h` is in no list"),
            ("client *", "client f, sep-1-a", "requirements.yaml: `sep-1-a` appears twice"),
            (
                "lists.tools",
                "lists.nothing",
                "requirements.yaml: `server d` has no scenario, or unknown ones: lists.nothing",
            ),
            ("[lists.tools]", "[]", "requirements.yaml: `server d` has no scenario, or unknown ones: "),
        ] {
            let changed = format!("{scenarios}{reasons}").replace(from, to);
            assert!(problems(&changed).contains(&problem.to_owned()), "{to}: {:?}", problems(&changed));
        }
    }

    #[test]
    fn a_requirement_on_intermediaries_needs_a_scenario() {
        let excused = "
scenarios: {}
reasons:
  a reason: [sep-*, Intermediaries*, server *, client *]
";
        let problem = "`Intermediaries MUST c.` is a requirement on intermediaries without a scenario";
        assert_eq!(problems(excused), [problem]);
    }
}
