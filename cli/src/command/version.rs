//! `callgate version`: identifies the filter in a file, and checks that the file is unchanged since its build.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use super::{Exit, Failure, Format};
use callgate::document::FormatVersion;
use callgate_kit::escape;
use callgate_kit::input::{bounded, unreadable};
use callgate_kit::module::{Fault, Module};

/// The largest file that is read, in bytes; far more than the size of any build of the filter.
const MAX_BYTES: u64 = 64 << 20;

/// Print the version, build id, policy formats and required host functions of a filter
///
/// Exits with 2 if the file was changed after it was built. An unchanged file does not prove its origin: compare its SHA-256
/// with one from a source that you trust. Without a file, prints the version of this command.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The filter, such as `callgate.wasm`
    module: Option<PathBuf>,
    /// `json` prints {version, policy_formats, rustc, build_id, sha256, bytes, abi, imports}; without a file, the first two
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// Prints the facts that the module contains about itself.
pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let Some(path) = &arguments.module else {
        return command(arguments.format, out);
    };
    let name = path.display();
    let file = File::open(path).map_err(|error| unreadable(&error));
    let bytes = file
        .and_then(|file| bounded(file, MAX_BYTES))
        .map_err(|problem| Failure::Trouble(format!("{name}: {problem}")))?;
    let module = match Module::read(&bytes) {
        Ok(module) => module,
        Err(Fault::Changed(problem)) => {
            eprintln!("callgate: {}: {}", escape::text(&name.to_string()), escape::text(&problem));
            return Ok(Exit::Failed);
        }
        Err(Fault::Other(problem)) => return Err(Failure::Trouble(format!("{name}: {problem}"))),
    };
    match arguments.format {
        Format::Json => writeln!(out, "{}", escape::json(&module)?)?,
        Format::Human => human(&module, out)?,
    }
    Ok(Exit::Fine)
}

fn human(module: &Module, out: &mut dyn Write) -> Result<(), Failure> {
    let list = |items: &[String]| escape::text(&items.join(", ")).to_string();
    writeln!(out, "callgate {}", escape::text(&module.facts.version))?;
    writeln!(out, "  build id       {}", module.build_id)?;
    writeln!(out, "  policy format  {}", list(&module.facts.policy_formats))?;
    writeln!(out, "  proxy-wasm     {}", list(&module.abi))?;
    writeln!(out, "  built with     {}", escape::text(&module.facts.rustc))?;
    writeln!(out, "  SHA-256        {}", module.sha256)?;
    writeln!(out, "  bytes          {}", module.bytes)?;
    for (interface, calls) in &module.imports {
        writeln!(out, "  requires from {}", escape::text(interface))?;
        for call in calls {
            writeln!(out, "    {}", escape::text(call))?;
        }
    }
    Ok(())
}

/// Prints the facts about the command itself.
fn command(format: Format, out: &mut dyn Write) -> Result<Exit, Failure> {
    let (version, formats) = (env!("CARGO_PKG_VERSION"), FormatVersion::NAMES);
    match format {
        Format::Json => {
            let about = serde_json::json!({ "version": version, "policy_formats": formats });
            writeln!(out, "{}", escape::json(&about)?)?;
        }
        Format::Human => {
            writeln!(out, "callgate {version}")?;
            writeln!(out, "  policy format  {}", formats.join(", "))?;
        }
    }
    Ok(Exit::Fine)
}
