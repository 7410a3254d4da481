//! `callgate reason`: explains a reason code.

use std::io::Write;

use callgate::Reason;
use callgate::document::nearest;

use super::{Exit, Failure, Format};
use crate::reasons::{About, codes, with_code};
use callgate_kit::escape;

/// Explain a reason code: its meaning, its usual causes, and what client and operator do
///
/// Accepts the code of a record, of an answer (`code`), or of an access log (`callgate_CODE`). Without a code, lists all.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The code, such as `token_expired`
    code: Option<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// Explains the code, or lists all.
pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let reasons = match &arguments.code {
        None => Reason::ALL.to_vec(),
        Some(code) => with_code(code),
    };
    if let (Some(code), true) = (&arguments.code, reasons.is_empty()) {
        let help = match nearest(code.strip_prefix("callgate_").unwrap_or(code), codes()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`callgate reason` lists all codes".to_owned(),
        };
        return Err(Failure::Trouble(format!("unknown reason `{code}`; {help}")));
    }
    let about: Vec<About> = reasons.into_iter().filter_map(About::new).collect();
    match (arguments.format, &arguments.code) {
        (Format::Json, _) => writeln!(out, "{}", escape::json(&about)?)?,
        (Format::Human, None) => {
            for about in &about {
                writeln!(out, "{:<26} {}  {}", about.code, about.status, about.title)?;
            }
        }
        (Format::Human, Some(_)) => {
            for (index, about) in about.iter().enumerate() {
                if index > 0 {
                    writeln!(out)?;
                }
                explain(about, out)?;
            }
        }
    }
    Ok(Exit::Fine)
}

fn explain(about: &About, out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(out, "{}: {}", about.code, about.title)?;
    write!(out, "  status {}", about.status)?;
    if about.disclosed != about.code {
        write!(out, "; the response has the code `{}`", about.disclosed)?;
    }
    if let Some(challenge) = about.challenge {
        write!(out, "; challenge: {challenge}")?;
    }
    writeln!(out, "\n\n{}\n\nUsual causes:", about.meaning)?;
    for cause in about.causes {
        writeln!(out, "- {cause}")?;
    }
    writeln!(out, "\nClient: {}\n\nOperator: {}", about.client, about.operator)?;
    Ok(())
}
