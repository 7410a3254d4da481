//! Loads files of cases.
//!
//! All problems in a file are reported, each with its line and what to write instead.

use std::path::{Path, PathBuf};

use callgate::document::Place;
use callgate::text::time::Timestamp;
use serde_json::Value;

use super::derive::Deriver;
use super::fixtures::{Fixtures, folder_of};
use super::merge::merge;
use super::reader::Reader;
use super::{Policy, Suite, format};
use crate::diagnostic::Diagnostics;
use crate::document;

/// Reads a file of cases and all files that it names.
///
/// # Errors
/// Reports why a file cannot be read, or all problems in it.
pub fn load(path: impl AsRef<Path>) -> Result<Suite, Diagnostics> {
    let path = path.as_ref();
    let document = document::read(path)?;
    let mut reader = Reader::of(&document);
    let root = Place::root();
    let Some(mut file) = reader.read::<format::File>(&root, document.value()) else { return Err(reader.wrong()) };

    let folder = folder_of(path);
    let mut fixtures = Fixtures::default();
    for name in &file.import {
        fixtures.import(&folder.join(name))?;
    }
    fixtures.add(&mut reader, folder, &file.take_fixtures());

    let policies = policies(&mut reader, folder, &file)?;
    let now = moment(&file.now).unwrap_or_else(|| {
        reader.error(&root.field("now"), "invalid timestamp; expected RFC 3339, such as `2026-06-01T12:00:00Z`");
        Timestamp::from_secs(0)
    });
    let mut deriver = Deriver {
        reader: &mut reader,
        fixtures: &fixtures,
        policies: &policies,
        now,
        api_keys: &file.api_keys,
        defaults: &file.request,
        cases: Vec::new(),
    };
    for (index, value) in file.cases.iter().enumerate() {
        deriver.case(&root.field("cases").index(index), value);
    }
    let cases = deriver.cases;
    if file.cases.is_empty() {
        reader.error(&root.field("cases"), "the file contains no cases; write at least one");
    }
    reader.finish()?;
    Ok(Suite { file: document.file().to_owned(), policies, environment: file.environment, now, cases })
}

fn moment(text: &str) -> Option<Timestamp> {
    let moment: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(moment.as_second()).ok().map(Timestamp::from_secs)
}

/// Returns the policy and its variants.
fn policies(reader: &mut Reader<'_>, folder: &Path, file: &format::File) -> Result<Vec<Policy>, Diagnostics> {
    let place = Place::root().field("policy");
    let (base, origin) = match &file.policy {
        Value::Object(policy) => (policy.clone(), None),
        Value::String(name) => {
            let path = folder.join(name);
            match document::read(&path)?.value() {
                Value::Object(policy) => (policy.clone(), Some(path)),
                _ => {
                    reader.error(&place, "the file named here contains no policy");
                    return Ok(Vec::new());
                }
            }
        }
        _ => {
            reader.error(&place, "expected the path of a policy relative to this file, or the policy itself");
            return Ok(Vec::new());
        }
    };
    let mut policies = vec![Policy { name: None, document: Value::Object(base.clone()), origin: origin.clone() }];
    for (name, patch) in &file.variants {
        let place = Place::root().field("variants").field(name);
        let Value::Object(patch) = patch else {
            reader.error(&place, "expected the members of the policy that differ");
            continue;
        };
        let mut policy = base.clone();
        merge(&mut policy, patch);
        policies.push(Policy { name: Some(name.clone()), document: Value::Object(policy), origin: origin.clone() });
    }
    Ok(policies)
}

/// Returns the files of cases at a path: the file itself, or every `cases.yaml` and `*.cases.yaml` in the folder and its
/// subfolders, in the order of their names.
///
/// # Errors
/// Fails if the path cannot be read, or if it contains no cases.
pub fn find(path: &Path) -> Result<Vec<PathBuf>, Diagnostics> {
    let unreadable = |message: String| Diagnostics::unreadable(&path.display().to_string(), message);
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|error| unreadable(format!("cannot be read: {error}")))?;
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(format!("cannot be read: {error}")))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                _ if name == "cases.yaml" || name.ends_with(".cases.yaml") => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(unreadable("contains no `cases.yaml` or `*.cases.yaml`; name a file with cases".to_owned()));
    }
    Ok(found)
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
