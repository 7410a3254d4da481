//! `callgate sign`: prints the headers that sign a request.

use std::io::Write;

use callgate::identity::crypto::PublicJwk;
use callgate::identity::signature::StructuredFields;
use rsa::rand_core::{OsRng, RngCore as _};
use serde_json::json;

use super::request::{KeyArguments, RequestArguments};
use super::{Exit, Failure, Format};
use callgate_kit::escape;
use callgate_kit::input::Input;
use callgate_kit::mint::SigningKey;
use callgate_kit::moment::Moment;
use callgate_kit::sign::{self, Covered, Digest, Request, content_digest, text_parameter};

/// Sign a request (RFC 9421) and print the headers to send with it
///
/// By default, covers what a gate usually requires: method, authority, path, the query if there is one, the token, and for a
/// body its digest, content type and content encoding. If the gate rejects the signature, the `Accept-Signature` header of its
/// response lists the components that it requires.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    request: RequestArguments,
    #[command(flatten)]
    key: KeyArguments,
    /// `keyid` [default: the JWK's `kid`, or else the key's thumbprint]
    #[arg(long, value_name = "NAME")]
    keyid: Option<String>,
    /// A component to cover instead of the default ones: `@method`, `@query-param;name="a"`, or a header; can be given several times
    #[arg(long, value_name = "COMPONENT")]
    cover: Vec<String>,
    /// A component to cover in addition; can be given several times
    #[arg(long, value_name = "COMPONENT")]
    also: Vec<String>,
    /// The label of the signature
    #[arg(long, default_value = "sig")]
    label: String,
    /// `tag`: the application that the signature is for
    #[arg(long)]
    tag: Option<String>,
    /// `nonce` [default: a random one]
    #[arg(long, value_name = "TEXT")]
    nonce: Option<String>,
    /// Send no `nonce`; two equal requests within one second then have the same signature
    #[arg(long, conflicts_with = "nonce")]
    no_nonce: bool,
    /// `created`: `2027-06-30T12:00:00Z`, seconds since 1970, or relative to now, such as `-5m`
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    created: Option<Moment>,
    /// `expires`, in the same form
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    expires: Option<Moment>,
    /// The digest algorithm for the body; can be given several times
    #[arg(long, value_name = "ALGORITHM", value_parser = ["sha-256", "sha-512"], default_value = "sha-256")]
    digest: Vec<String>,
    /// Print a curl command that sends the request
    #[arg(long, conflicts_with_all = ["base", "format"])]
    curl: bool,
    /// Print the signature base, which is the text that is signed
    #[arg(long, conflicts_with = "format")]
    base: bool,
    /// `json` prints {headers: {name: value}, base}
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// Signs the request.
pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let key = arguments.key.signing()?;
    let mut request = arguments.request.read()?;
    let mut added = Vec::new();
    if let Some(body) = &request.body
        && request.header("content-digest").is_none()
    {
        let digests: Vec<_> = arguments.digest.iter().filter_map(|name| Digest::from_name(name)).collect();
        let value = content_digest(body, &digests);
        request.headers.push(("content-digest".to_owned(), value.clone().into_bytes()));
        added.push(("Content-Digest", value));
    }
    let input = input(arguments, &request, &key)?;
    let (headers, structured) = (request.lines(), StructuredFields::default());
    let base = input
        .base(&request.message(&headers, &structured))
        .map_err(|error| Failure::Trouble(format!("cannot sign this request: {error}")))?;
    added.push(("Signature-Input", input.field()));
    added.push(("Signature", input.signature(&key, &base)));
    match arguments.format {
        Format::Json => {
            let headers: serde_json::Map<_, _> =
                added.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
            writeln!(out, "{}", escape::json(&json!({ "headers": headers, "base": base }))?)?;
        }
        // The signature base ends without a line break.
        Format::Human if arguments.base => write!(out, "{base}")?,
        Format::Human if arguments.curl => writeln!(out, "{}", curl(&arguments.request, &request, &added)?)?,
        Format::Human => {
            for (name, value) in &added {
                writeln!(out, "{name}: {}", escape::text(value))?;
            }
        }
    }
    Ok(Exit::Fine)
}

fn input(arguments: &Arguments, request: &Request, key: &SigningKey) -> Result<sign::Input, Failure> {
    let has_body = request.body.is_some();
    let mut components = match arguments.cover.as_slice() {
        [] => sign::usual(request.target.as_bytes(), &request.lines(), has_body),
        cover => cover.iter().map(|name| Covered::written(name)).collect(),
    };
    components.extend(arguments.also.iter().map(|name| Covered::written(name)));
    let own = || key.kid().map(str::to_owned).or_else(|| thumbprint(key));
    let keyid = arguments.keyid.clone().or_else(own).ok_or_else(|| {
        Failure::Trouble("--keyid: the key has no name; give the name that the policy uses for it".to_owned())
    })?;
    let nonce = match (&arguments.nonce, arguments.no_nonce) {
        (Some(nonce), _) => Some(nonce.clone()),
        (None, true) => None,
        (None, false) => Some(fresh_nonce()),
    };
    let texts = [("nonce", nonce), ("keyid", Some(keyid)), ("tag", arguments.tag.clone())];
    for (name, text) in &texts {
        if text.as_ref().is_some_and(|text| !text.bytes().all(|byte| matches!(byte, b' '..=b'~'))) {
            return Err(Failure::Trouble(format!("--{name}: invalid characters; expected printable ASCII")));
        }
    }
    let mut parameters = vec![format!("created={}", arguments.created.unwrap_or_default().resolve())];
    parameters.extend(arguments.expires.map(|expires| format!("expires={}", expires.resolve())));
    parameters.extend(texts.into_iter().filter_map(|(name, text)| Some(text_parameter(name, &text?))));
    Ok(sign::Input { label: arguments.label.clone(), components, parameters })
}

fn thumbprint(key: &SigningKey) -> Option<String> {
    let jwk = key.public_jwk();
    Some(PublicJwk::read(jwk.as_object()?).ok()?.key.thumbprint()?.to_string())
}

/// Returns 128 random bits.
fn fresh_nonce() -> String {
    let mut bytes = [0; 16];
    OsRng.fill_bytes(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns a shell command. Values from the environment or a file are read from there again, so no token appears in the output.
fn curl(given: &RequestArguments, request: &Request, added: &[(&str, String)]) -> Result<String, Failure> {
    let url = given
        .url
        .as_deref()
        .map_or_else(|| format!("{}://{}{}", request.scheme, request.authority, request.target), str::to_owned);
    let mut words = vec!["curl".to_owned(), "-X".to_owned(), quoted(&request.method)];
    let of_token = given.token.as_ref().map(|token| match token {
        Input::Environment(name) => format!("-H \"Authorization: Bearer ${{{name}}}\""),
        Input::File(file) => format!("-H \"Authorization: Bearer $(cat {})\"", quoted(file)),
        Input::Text(text) => format!("-H {}", quoted(&format!("Authorization: Bearer {text}"))),
        Input::Stdin => "-H \"Authorization: Bearer $TOKEN\"".to_owned(),
    });
    let has_token = of_token.is_some();
    words.extend(of_token);
    let is_added = |name: &str| added.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
    for (name, value) in &request.headers {
        let implied = matches!(name.as_str(), "content-length" | "host") || has_token && name == "authorization";
        if !implied && !is_added(name) {
            let value = std::str::from_utf8(value).map_err(|_| {
                Failure::Trouble(format!(
                    "--curl: the value of the header `{name}` is not UTF-8; a shell command cannot contain it"
                ))
            })?;
            words.push(format!("-H {}", quoted(&format!("{name}: {value}"))));
        }
    }
    words.extend(added.iter().map(|(name, value)| format!("-H {}", quoted(&format!("{name}: {value}")))));
    if request.body.is_some() {
        // By default, curl sends every body with a content type of a form, and the gate requires a signed content type if one is
        // sent.
        if request.header("content-type").is_none() {
            words.push("-H 'Content-Type:'".to_owned());
        }
        let data = match &given.body {
            Some(Input::File(file)) => quoted(&format!("@{file}")),
            Some(Input::Environment(name)) => format!("\"${{{name}}}\""),
            Some(Input::Text(text)) if !text.starts_with('@') => quoted(text),
            _ => {
                let why = "--curl: the command needs the body in a file; give it with --body @FILE";
                return Err(Failure::Trouble(why.to_owned()));
            }
        };
        words.push(format!("--data-binary {data}"));
    }
    words.push(quoted(&url));
    Ok(words.join(" "))
}

/// Quotes a word for a shell.
fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@=,+%".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}
