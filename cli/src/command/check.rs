//! `callgate check`: everything that is wrong with a policy, or what it is when nothing is.

use std::io::Write;
use std::path::PathBuf;

use super::{Exit, Failure, Format};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::policy::Loaded;
use crate::{escape, policy};

/// Check a policy and print its version
///
/// Prints every error and warning with its place. Secrets that the policy takes from the environment are not needed.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The policy, in YAML or JSON
    policy: PathBuf,
    /// `json` prints an array of {file, line, column, path, message, severity}
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// Checks the policy.
pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let loaded = policy::load(&arguments.policy);
    match arguments.format {
        Format::Json => {
            let (found, exit): (&[Diagnostic], Exit) = match &loaded {
                Ok(loaded) => (&loaded.warnings, Exit::Fine),
                Err(wrong @ Diagnostics::Wrong(_)) => (wrong.as_slice(), Exit::Failed),
                Err(unreadable @ Diagnostics::Unreadable(_)) => (unreadable.as_slice(), Exit::Trouble),
            };
            writeln!(out, "{}", escape::json(&found)?)?;
            Ok(exit)
        }
        Format::Human => {
            let loaded = loaded?;
            for warning in &loaded.warnings {
                eprintln!("{warning}");
            }
            summary(&loaded, out)?;
            Ok(Exit::Fine)
        }
    }
}

fn summary(loaded: &Loaded, out: &mut dyn Write) -> Result<(), Failure> {
    let value = loaded.document.value();
    let text =
        |name: &str| escape::text(value.get(name).and_then(serde_json::Value::as_str).unwrap_or_default()).to_string();
    let count = |name: &str| match value.get(name) {
        Some(serde_json::Value::Array(items)) => items.len(),
        Some(serde_json::Value::Object(fields)) => fields.len(),
        _ => 0,
    };
    let warnings = match loaded.warnings.len() {
        0 => String::new(),
        1 => ", 1 warning".to_owned(),
        more => format!(", {more} warnings"),
    };
    writeln!(out, "{}: fine{warnings}", escape::text(loaded.document.file()))?;
    writeln!(out, "  name       {}", escape::text(&loaded.policy.name))?;
    writeln!(out, "  version    {}", loaded.policy.version)?;
    writeln!(out, "  mode       {}", text("mode"))?;
    writeln!(out, "  gateway    {}", text("gateway"))?;
    writeln!(out, "  issuers    {}", count("issuers"))?;
    writeln!(out, "  agents     {}", count("agents"))?;
    writeln!(out, "  endpoints  {}", count("endpoints"))?;
    writeln!(out, "  limits     {}", count("limits"))?;
    Ok(())
}
