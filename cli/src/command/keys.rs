//! `callgate keys`: prints the key set of an issuer as a policy contains it, and reports the keys that a policy cannot use.

mod document;
mod review;

use std::io::Write;

use callgate::document::AlgorithmName;
use callgate::identity::crypto::Algorithm;
use serde_json::json;

use super::{Exit, Failure};
use crate::render::yaml;
use callgate_kit::diagnostic::{Diagnostic, Severity};
use callgate_kit::input::Input;
use review::{Remark, Review, review};

/// Print an issuer's key set (JWKS) as a policy contains it
///
/// Prints the keys that a policy can use, each with only the members that it needs, and the algorithms that they verify. Reports
/// each key that is left out, and why, on standard error. Copy the output into the issuer's entry in the policy.
///
/// A SPIFFE bundle is printed with its `spiffe_sequence` and with its keys for JWT-SVIDs. Its keys for certificates are left out.
///
/// A set with a private or secret key is rejected as a whole: whoever received it can sign tokens.
///
/// Exits with 2 if the document is not a key set, contains a private key, or has no usable key.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The key set, in JSON: a file, or - for standard input
    file: String,
    /// Print only keys for these algorithms, separated by commas, such as ES256,RS256
    #[arg(long, value_name = "ALGORITHMS", value_delimiter = ',', value_parser = algorithm)]
    algorithms: Vec<Algorithm>,
}

/// Prints the keys.
pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let input = match arguments.file.as_str() {
        "-" => Input::Stdin,
        file => Input::File(file.to_owned()),
    };
    let bytes = input.bytes().map_err(Failure::Trouble)?;
    let mut asked = arguments.algorithms.clone();
    asked.sort_unstable();
    asked.dedup();
    let asked = if asked.is_empty() { Algorithm::ALL.as_slice() } else { asked.as_slice() };
    let source = input.to_string();
    let tell = |severity: Severity, remarks: Vec<Remark>| {
        for Remark { place, message } in remarks {
            eprintln!("{}", Diagnostic { file: source.clone(), position: None, path: place, message, severity });
        }
    };
    match review(&bytes, asked) {
        Err(errors) => {
            tell(Severity::Error, errors);
            Ok(Exit::Failed)
        }
        Ok(Review { keys, algorithms, is_ambiguous, spiffe_sequence, warnings }) => {
            tell(Severity::Warning, warnings);
            let mut set = json!({ "keys": keys });
            if let (Some(number), Some(set)) = (spiffe_sequence, set.as_object_mut()) {
                set.insert("spiffe_sequence".to_owned(), json!(number));
            }
            let text = yaml(&json!({ "keys": { "jwks": set } })).map_err(Failure::Trouble)?;
            let names: Vec<_> = algorithms.iter().map(|algorithm| algorithm.jose_name()).collect();
            writeln!(out, "{}", explanation(is_ambiguous))?;
            writeln!(out, "# algorithms: [{}]", names.join(", "))?;
            out.write_all(text.as_bytes())?;
            Ok(Exit::Fine)
        }
    }
}

/// Returns the comment before the algorithms.
fn explanation(is_ambiguous: bool) -> &'static str {
    if is_ambiguous {
        "# These keys can verify the following algorithms. Keep only those that the issuer signs with:"
    } else {
        "# These keys verify the following algorithms:"
    }
}

/// Reads an algorithm as the policy names it.
fn algorithm(name: &str) -> Result<Algorithm, String> {
    let name: AlgorithmName = serde_json::from_value(json!(name)).map_err(|error| error.to_string())?;
    match Algorithm::from(name) {
        Algorithm::Hs256 => Err("`HS256` uses a secret, which does not belong in a key set".to_owned()),
        algorithm => Ok(algorithm),
    }
}
