//! `callgate render`: prints a policy as the configuration of a gateway.

use std::io::Write;
use std::path::PathBuf;

use clap::ValueEnum;

use super::{Exit, Failure};
use crate::render::{self, Form, GATEWAYS, Setting};
use callgate_kit::policy;

/// Print a gateway's configuration with the policy in it
///
/// Replaces the policy's `gateway` with the one given here. If the two differ, the policy's version differs too. Reports every
/// feature of the policy that the gateway does not support, with its position.
/// Comments at the end list what the gateway also needs: the access log, labels of metrics, other hosts, and the servers
/// from which the filter fetches keys.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The policy, in YAML or JSON
    policy: PathBuf,
    /// The gateway
    #[arg(long = "for", value_name = "GATEWAY", value_parser = gateways())]
    gateway: String,
    /// The form of the configuration, for gateways that have several [default: the gateway's first form]
    #[arg(long = "as", value_name = "FORM", value_enum)]
    form: Option<Form>,
    /// The location of the module for the gateway: a file or an image
    #[arg(long, value_name = "PLACE")]
    module: Option<String>,
    /// The SHA-256 digest that the module must have, in hexadecimal
    #[arg(long, value_name = "DIGEST", value_parser = sha256)]
    sha256: Option<String>,
    /// Render for sidecars instead of a gateway (istio)
    #[arg(long)]
    sidecar: bool,
    /// The resource's namespace
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// A label of the workloads that the filter applies to (istio); can be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// The `Gateway` that the filter applies to (form `extension-policy`)
    #[arg(long, value_name = "NAME", default_value = "eg")]
    target: String,
    /// Print everything that the gateway needs, not only the filter: a complete configuration for envoy and envoy-module, further
    /// resources for the form `extension-policy`
    #[arg(long)]
    full: bool,
}

pub(super) fn gateways() -> Vec<&'static str> {
    GATEWAYS.iter().map(|(name, _)| *name).collect()
}

/// Prints the configuration.
pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let form = form(arguments)?;
    let loaded = policy::load_for(&arguments.policy, form.gateway(&arguments.gateway))?;
    let setting = Setting {
        module: arguments.module.clone(),
        sha256: arguments.sha256.clone(),
        sidecar: arguments.sidecar,
        namespace: arguments.namespace.clone(),
        labels: arguments.labels.iter().cloned().collect(),
        target: arguments.target.clone(),
        full: arguments.full,
    };
    out.write_all(render::render(&loaded, form, &setting).map_err(Failure::Trouble)?.as_bytes())?;
    for warning in &loaded.warnings {
        eprintln!("{warning}");
    }
    Ok(Exit::Fine)
}

fn form(arguments: &Arguments) -> Result<Form, Failure> {
    let gateway = arguments.gateway.as_str();
    let forms = GATEWAYS.iter().find(|(name, _)| *name == gateway).map_or::<&[Form], _>(&[], |(_, forms)| forms);
    match arguments.form.or_else(|| forms.first().copied()) {
        Some(form) if forms.contains(&form) => Ok(form),
        _ => {
            let names: Vec<_> = forms.iter().filter_map(ValueEnum::to_possible_value).collect();
            let names: Vec<_> = names.iter().map(|name| format!("`{}`", name.get_name())).collect();
            Err(Failure::Trouble(format!("--as: `{gateway}` does not have this form; expected {}", names.join(", "))))
        }
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("invalid label; expected `key=value`")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn sha256(text: &str) -> Result<String, String> {
    let fits = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if fits {
        Ok(text.to_owned())
    } else {
        Err("invalid SHA-256 digest; expected 64 hexadecimal digits in lower case".to_owned())
    }
}
