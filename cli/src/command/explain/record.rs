//! Describes a record in words, and finds its rules in a policy if one is given.

use std::io::Write;
use std::path::Path;

use serde_json::Value;

use super::super::{Exit, Failure, Format};
use callgate_kit::diagnostic::Position;
use callgate_kit::escape;
use callgate_kit::input::Input;
use callgate_kit::policy::{self, Loaded};
use callgate_kit::records::{Words, find};

/// The member of Envoy's access log that contains the record.
const MEMBER: &str = "callgate";

/// Explains the record.
pub(super) fn run(input: &Input, policy: Option<&Path>, format: Format, out: &mut dyn Write) -> Result<Exit, Failure> {
    if format == Format::Json {
        return Err(Failure::Trouble("--format: a record is already JSON; omit `--format json`".to_owned()));
    }
    let text = input.read().map_err(Failure::Trouble)?;
    let record = find(text.trim().as_bytes(), MEMBER)
        // A record that was formatted for reading spans several lines; otherwise several lines are several records.
        .filter(|_| !text.trim().contains('\n') || serde_json::from_str::<Value>(&text).is_ok())
        .ok_or_else(|| {
            Failure::Trouble(format!(
                "{input}: contains no decision record; expected one record, or one log line that contains one (`callgate records` \
                 reads whole logs)"
            ))
        })?;
    let loaded = policy.map(policy::load).transpose()?;
    let place = |rule: &str| loaded.as_ref().map(|loaded| place(loaded, rule));
    write!(out, "{}", Words { record: &record, place: &place })?;
    if let Some(loaded) = loaded.filter(|loaded| *loaded.policy.version != *record.policy_version) {
        let (file, version) = (escape::text(loaded.document.file()).to_string(), &loaded.policy.version);
        writeln!(out, "{:<8}  {file} has another version than the policy that decided: {version}", "note")?;
    }
    Ok(Exit::Fine)
}

fn place(loaded: &Loaded, rule: &str) -> String {
    let Position { line, column } = loaded.document.position_of(rule);
    format!("{}:{line}:{column}", loaded.document.file())
}
