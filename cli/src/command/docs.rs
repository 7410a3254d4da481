//! `callgate docs`: generates reference pages from the code, for developers of Callgate.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use super::{Exit, Failure};
use crate::reference;

/// Compare the generated reference pages with the code, or write them
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Write the pages instead of comparing them
    #[arg(long)]
    write: bool,
    /// The folder that contains the pages
    #[arg(long, value_name = "FOLDER", default_value = "docs/reference")]
    folder: PathBuf,
}

/// Compares or writes the pages.
pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let mut stale = false;
    for (name, text) in reference::pages()? {
        let path = arguments.folder.join(name);
        if arguments.write {
            fs::write(&path, text)
                .map_err(|error| Failure::Trouble(format!("{}: cannot be written: {error}", path.display())))?;
        } else if fs::read_to_string(&path).ok().as_deref() != Some(&text) {
            writeln!(out, "{}: differs from the code; run `{}`", path.display(), reference::COMMAND)?;
            stale = true;
        }
    }
    Ok(if stale { Exit::Failed } else { Exit::Fine })
}
