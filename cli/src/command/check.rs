//! `callgate check`: reports all problems of a policy, or describes a valid one, and finds ways around the gate in a gateway's
//! configuration.

use std::io::Write;
use std::path::PathBuf;

use super::{Exit, Failure, Format, render};
use callgate_gateway_check as gateway;
use callgate_gateway_check::Finding;
use callgate_kit::diagnostic::{Diagnostic, Diagnostics, Severity};
use callgate_kit::moment::Moment;
use callgate_kit::policy::Loaded;
use callgate_kit::{escape, policy};

/// Check a policy and print its version; with --gateway, find ways around the gate
///
/// Prints every error and warning with its position. Secrets that the policy reads from environment variables are not needed.
///
/// With --gateway, the command also reads the configuration of a gateway: Envoy bootstraps, listeners, discovery responses and
/// /config_dump, Kubernetes resources of Istio, Envoy Gateway and Higress, or a kong.yml. Give all files that belong together.
/// docs/reference/gateway-findings.md lists the findings, and describes how a comment accepts an intended one.
///
/// Exits with 2 if the policy is invalid or a finding is an error.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The policy, in YAML or JSON
    #[arg(required_unless_present = "files")]
    policy: Option<PathBuf>,
    /// Check the policy for this gateway instead of the one it names
    #[arg(long = "for", value_name = "GATEWAY", requires = "policy")]
    #[arg(value_parser = render::gateways().into_iter().chain(["portable"]).collect::<Vec<_>>())]
    gateway: Option<String>,
    /// The gateway's configuration files
    #[arg(long = "gateway", value_name = "FILE", num_args = 1..)]
    files: Vec<PathBuf>,
    /// `json` prints an array of {file, line, column, path, message, severity}; findings of --gateway also have a `code`
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// Checks the policy, the gateway or both.
pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let load = |file: &PathBuf| match &arguments.gateway {
        None => policy::load(file),
        Some(gateway) => policy::load_for(file, gateway),
    };
    let loaded = arguments.policy.as_ref().map(load).transpose();
    let checked = loaded.and_then(|mut loaded| {
        if let Some(loaded) = &mut loaded {
            loaded.add_warnings_at(Moment::default().resolve());
        }
        let found = match arguments.files.as_slice() {
            [] => Vec::new(),
            files => gateway::check(files, loaded.as_ref())?,
        };
        Ok((loaded, found))
    });
    match arguments.format {
        Format::Json => programs(&checked, out),
        Format::Human => {
            let (loaded, found) = checked?;
            if let Some(loaded) = &loaded {
                for warning in &loaded.warnings {
                    eprintln!("{warning}");
                }
                summary(loaded, out)?;
            }
            if !arguments.files.is_empty() {
                findings(&found, out)?;
            }
            Ok(exit(&found))
        }
    }
}

fn exit(found: &[Finding]) -> Exit {
    if found.iter().any(Finding::fails) { Exit::Failed } else { Exit::Fine }
}

fn programs(
    checked: &Result<(Option<Loaded>, Vec<Finding>), Diagnostics>,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let (list, exit): (&[Diagnostic], Exit) = match checked {
        Ok((loaded, found)) => (loaded.as_ref().map(|loaded| &*loaded.warnings).unwrap_or_default(), exit(found)),
        Err(wrong @ Diagnostics::Wrong(_)) => (wrong.as_slice(), Exit::Failed),
        Err(unreadable @ Diagnostics::Unreadable(_)) => (unreadable.as_slice(), Exit::Trouble),
    };
    let mut all = list.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>()?;
    for finding in checked.iter().flat_map(|(_, found)| found) {
        all.push(serde_json::to_value(finding)?);
    }
    writeln!(out, "{}", escape::json(&all)?)?;
    Ok(exit)
}

fn findings(found: &[Finding], out: &mut dyn Write) -> Result<(), Failure> {
    let mut counts =
        [("way around the gate", "ways around the gate", 0), ("warning", "warnings", 0), ("accepted", "accepted", 0)];
    for finding in found {
        let [ways, warnings, accepted] = &mut counts;
        match (&finding.accepted, finding.diagnostic.severity) {
            (Some(_), _) => accepted.2 += 1,
            (None, Severity::Error) => ways.2 += 1,
            (None, Severity::Warning) => warnings.2 += 1,
        }
        if finding.accepted.is_none() {
            eprintln!("{finding}");
        }
    }
    let [(_, _, ways), ..] = counts;
    let counted: Vec<String> = counts
        .iter()
        .filter(|(.., count)| *count > 0)
        .map(|(one, many, count)| format!("{count} {}", if *count == 1 { one } else { many }))
        .collect();
    let none = if ways == 0 { "no way around the gate found" } else { "" };
    let parts: Vec<&str> =
        std::iter::once(none).chain(counted.iter().map(String::as_str)).filter(|part| !part.is_empty()).collect();
    writeln!(out, "{}", parts.join(", "))?;
    Ok(())
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
    writeln!(out, "{}: valid{warnings}", escape::text(loaded.document.file()))?;
    writeln!(out, "  name       {}", escape::text(&loaded.policy.name))?;
    writeln!(out, "  version    {}", loaded.policy.version)?;
    writeln!(out, "  mode       {}", text("mode"))?;
    writeln!(out, "  gateway    {}", text("gateway"))?;
    writeln!(out, "  issuers    {}", count("issuers"))?;
    writeln!(out, "  agents     {}", count("agents"))?;
    writeln!(out, "  endpoints  {}", count("endpoints"))?;
    writeln!(out, "  limits     {}", count("limits"))?;
    long_lived(value, out)?;
    if let Some(zone) = loaded.zone() {
        writeln!(out, "  zone       {zone} for `nginx_wasm_shm_kv_callgate`; for several policies, add their sizes")?;
    }
    if let Some(zone) = loaded.document_zone() {
        writeln!(
            out,
            "  documents  {zone} for `nginx_wasm_shm_kv_callgate_documents`; for several policies, add their sizes"
        )?;
    }
    Ok(())
}

/// Lists the agents that use API keys, which are valid for long and for everyone who has them.
fn long_lived(policy: &serde_json::Value, out: &mut dyn Write) -> Result<(), Failure> {
    let agents = policy.get("agents").and_then(serde_json::Value::as_object).into_iter().flatten();
    for (name, agent) in agents {
        let keys = agent.get("api_keys").and_then(serde_json::Value::as_array).into_iter().flatten();
        let ends: Vec<_> = keys.filter_map(|key| key.get("not_after")?.as_str()).map(escape::text).collect();
        if !ends.is_empty() {
            let ends = ends.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            writeln!(out, "  long-lived {} uses API keys, valid until {ends}", escape::text(name))?;
        }
    }
    Ok(())
}
