//! `callgate keygen`: generates a key for signing requests, or an API key, and prints its entry for a policy.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use callgate::identity::crypto::{Algorithm, PublicJwk};
use clap::ValueEnum;
use serde_json::{Value, json};

mod api_key;

use super::{Exit, Failure, Format};
use callgate_kit::escape;
use callgate_kit::mint::SigningKey;

/// Generate a key for signing an agent's requests, or an API key
///
/// Writes the private key to a new file that only you can read. Prints the entry for the policy: the public key, or, for a shared
/// secret, the environment variable that the gateway reads it from.
///
/// With --api-key, the command writes no file. It prints a random API key once, and the entry for the policy, which contains only its
/// hash.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The type of the key
    #[arg(value_enum, required_unless_present = "api_key")]
    kind: Option<Kind>,
    /// The file for the private key, a JWK
    #[arg(required_unless_present = "api_key")]
    file: Option<PathBuf>,
    /// Generate an API key
    #[arg(long, conflicts_with_all = ["kind", "file", "keyid", "algorithm"])]
    api_key: bool,
    /// The first characters of the API key, as in `api_keys.bearer_prefix` of the policy
    #[arg(long, value_name = "PREFIX", requires = "api_key", conflicts_with_all = ["kind", "file"], value_parser = api_key::prefix)]
    prefix: Option<String>,
    /// The `keyid` of the key [default: its thumbprint; for hmac, the name of the file without its suffix]
    #[arg(long, value_name = "NAME")]
    keyid: Option<String>,
    /// The signature algorithm of an RSA key
    #[arg(long, value_name = "ALGORITHM", value_parser = ["rsa-pss-sha512", "rsa-v1_5-sha256"])]
    algorithm: Option<String>,
    /// The environment variable that the gateway reads an hmac key from
    #[arg(long, value_name = "NAME", default_value = "AGENT_SIGNING_SECRET")]
    env: String,
    /// `json` prints {file, keyid, algorithm, public_jwk, signing_key}, or {api_key, entry}
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// The type of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Ed25519: short and fast; use it unless you need another type
    Ed25519,
    /// ECDSA on P-256
    P256,
    /// ECDSA on P-384
    P384,
    /// RSA with 2048 bits
    Rsa,
    /// A secret for HMAC with SHA-256, shared with the gateway
    Hmac,
}

/// Generates the key.
pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    if arguments.api_key {
        return api_key::run(arguments.prefix.as_deref().unwrap_or_default(), arguments.format, out);
    }
    // INVARIANT: the command line requires both without `--api-key`.
    let (Some(kind), Some(path)) = (arguments.kind, &arguments.file) else {
        return Err(Failure::Trouble("write the type of the key and a file for it".to_owned()));
    };
    let key = generate(kind, path, arguments)?;
    let keyid = key.kid().unwrap_or_default().to_owned();
    let file = path.display().to_string();
    let private = escape::json(&key.private_jwk())?;
    write_private(path, &private).map_err(|error| Failure::Trouble(format!("{file}: {}", why_unwritten(&error))))?;
    let public = key.public_jwk();
    let signing_key = match kind {
        Kind::Hmac => json!({ "secret": { "env": arguments.env, "encoding": "base64url" }, "keyid": keyid }),
        _ => json!({ "jwk": public }),
    };
    match arguments.format {
        Format::Json => {
            let public = Some(&public).filter(|_| kind != Kind::Hmac);
            let made = json!({
                "file": file,
                "keyid": keyid,
                "algorithm": key.algorithm().http_name(),
                "public_jwk": public,
                "signing_key": signing_key,
            });
            writeln!(out, "{}", escape::json(&made)?)?;
        }
        Format::Human => {
            writeln!(out, "wrote {}, which only you can read; install it where the agent runs", escape::text(&file))?;
            writeln!(out)?;
            writeln!(out, "# for the policy, in the agent's entry")?;
            writeln!(out, "signing_keys:")?;
            writeln!(out, "  - {}", escape::visible_json(&signing_key.to_string()))?;
            if kind == Kind::Hmac {
                let name = escape::text(&arguments.env).to_string();
                writeln!(out)?;
                writeln!(out, "# for the gateway: set {name} to the member `k` of the file")?;
            }
        }
    }
    Ok(Exit::Fine)
}

fn generate(kind: Kind, file: &Path, arguments: &Arguments) -> Result<SigningKey, Failure> {
    let algorithm = match (kind, arguments.algorithm.as_deref()) {
        (Kind::Rsa, named) => named.and_then(Algorithm::from_http).unwrap_or(Algorithm::Ps512),
        (_, Some(_)) => {
            let message = "--algorithm: only RSA keys have several algorithms; omit it".to_owned();
            return Err(Failure::Trouble(message));
        }
        (Kind::Ed25519, None) => Algorithm::Ed25519,
        (Kind::P256, None) => Algorithm::Es256,
        (Kind::P384, None) => Algorithm::Es384,
        (Kind::Hmac, None) => Algorithm::Hs256,
    };
    let keyid = arguments.keyid.as_deref();
    if keyid.is_some_and(|keyid| keyid.is_empty() || !keyid.bytes().all(|byte| matches!(byte, b' '..=b'~'))) {
        return Err(Failure::Trouble("--keyid: invalid characters; expected printable ASCII".to_owned()));
    }
    let key = SigningKey::generate(algorithm).map_err(|error| Failure::Trouble(error.to_string()))?;
    let own = || match kind {
        Kind::Hmac => file.file_name()?.to_str()?.split('.').next().map(str::to_owned),
        _ => thumbprint(&key),
    };
    let name = keyid.map(str::to_owned).or_else(own).unwrap_or_default();
    Ok(key.with_kid(name))
}

fn thumbprint(key: &SigningKey) -> Option<String> {
    let jwk: Value = key.public_jwk();
    Some(PublicJwk::read(jwk.as_object()?).ok()?.key.thumbprint()?.to_string())
}

/// Creates a file that did not exist and that only its owner can read.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

fn why_unwritten(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AlreadyExists => {
            "already exists; name another file, because existing keys are not overwritten".to_owned()
        }
        io::ErrorKind::NotFound => "the folder does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => format!("cannot be written: {error}"),
    }
}
