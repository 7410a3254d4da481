//! `callgate verify`: checks whether a request's signature verifies, and finds the cause if it does not.

use std::io::{self, Write};
use std::path::PathBuf;

use callgate::document;
use callgate::identity::crypto::{Algorithm, SoftwareVerifier, VerifySignature as _, VerifyingKey};
use callgate::identity::signature::{FieldKind, Input, Signed, StructuredFields, base, joined, read};
use callgate::request::digest::ContentDigest;
use callgate::{Policy, Reason, Source};
use serde::Serialize;

use super::request::{KeyArguments, RequestArguments};
use super::{Exit, Failure, Format};
use crate::decide::{Asked, Body, decide};
use callgate_kit::escape;
use callgate_kit::input;
use callgate_kit::moment::{self, Moment};
use callgate_kit::policy::{self, Loaded, environment};
use callgate_kit::sign::{Difference, Line, Request, Variant, differences, joined_otherwise, lines_of, variants};

mod keys;

use keys::{Verifying, key};

/// Verify the signature of a request, and find the cause of a failure
///
/// With a key, reports whether the signature verifies and whether the body is the signed one. With a policy, also reports whether
/// the policy accepts the key at that time, and what the gate decides about the request if it is the first one. If the signature
/// does not verify, tries the other scheme and the other ways to join several lines of a header, and reports which one verifies.
/// Prints the signature base that the gate computes, line by line; with the base that the client signed, the lines that differ.
/// Exits with 2 if the signature does not verify or the policy denies the request.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    request: RequestArguments,
    #[command(flatten)]
    key: KeyArguments,
    /// The policy that contains the signature's key and decides about the request
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "secret", "algorithm"])]
    policy: Option<PathBuf>,
    /// The label of the signature, if there are several
    #[arg(long)]
    label: Option<String>,
    /// The signature base that the client signed
    #[arg(long, value_name = "FILE")]
    base: Option<PathBuf>,
    /// The time of the decision: `2027-06-30T12:00:00Z`, seconds since 1970, or relative to now, such as `-5m`
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, requires = "policy")]
    at: Option<Moment>,
    /// The client's IP address
    #[arg(long, value_name = "ADDRESS", value_parser = super::explain::source, requires = "policy")]
    source: Option<Source>,
    /// `json` prints {verified, problem, would_verify, warnings, label, keyid, algorithm, created, lines: [{component, value, problem,
    /// meaning}], differences, decision}
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// The result of the checks.
#[derive(Debug, Default, Serialize)]
struct Found {
    verified: bool,
    /// Whether the lines should be inspected one by one, because at least one differs from the signed base.
    #[serde(skip)]
    suspicious: bool,
    /// Why the signature does not verify, in one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// The request for which the signature would verify, as its differences from the given one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    would_verify: Vec<String>,
    /// Possible causes of failure in other places.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    label: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    keyid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    algorithm: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    /// The signature base, as the gate computes it.
    lines: Vec<Line>,
    /// The lines that differ from the client's base.
    differences: Vec<Difference>,
    /// The gate's decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<Decided>,
}

/// The gate's decision about the request.
#[derive(Debug, Serialize)]
struct Decided {
    allowed: bool,
    /// The code of the reason for which the request is denied or forwarded.
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'static str>,
    /// The components that the response requires to be signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    accept_signature: Option<String>,
}

/// Checks the signature.
pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let mut request = arguments.request.read()?;
    let loaded = arguments.policy.as_ref().map(|path| policy::load_with(path, &environment)).transpose()?;
    let document = loaded.as_ref().map(document).transpose()?;
    if let Some(url) = document.as_ref().and_then(|document| document.external_url.as_deref())
        && arguments.request.external_url.is_none()
    {
        request.seen_as(url).map_err(|why| Failure::Trouble(format!("external_url: {why}")))?;
    }
    let policy = loaded.as_ref().map(|loaded| &*loaded.policy);
    let mut found = check(arguments, &request, document.as_ref(), policy)?;
    if let Some(loaded) = &loaded {
        found.decision = decided(arguments, loaded, document.as_ref(), &request);
    }
    let fine = found.verified && found.decision.as_ref().is_none_or(|decided| decided.allowed);
    match arguments.format {
        Format::Json => writeln!(out, "{}", escape::json(&found)?)?,
        Format::Human => people(&found, out)?,
    }
    Ok(if fine { Exit::Fine } else { Exit::Failed })
}

fn document(loaded: &Loaded) -> Result<document::Document, Failure> {
    Ok(serde_json::from_value(loaded.document.value().clone())?)
}

/// Checks the signature and the body against the key.
fn check(
    arguments: &Arguments,
    request: &Request,
    document: Option<&document::Document>,
    policy: Option<&Policy>,
) -> Result<Found, Failure> {
    let headers = request.lines();
    let (Some(inputs), Some(signatures)) = (joined(&headers, "signature-input"), joined(&headers, "signature")) else {
        return Err(Failure::Trouble(
            "the request is not signed; expected both `Signature-Input` and `Signature`".to_owned(),
        ));
    };
    let signed = read(&inputs, &signatures).map_err(|why| {
        Failure::Trouble(format!("the signature is malformed, and the gate responds with 400: {why}"))
    })?;
    let signed = chosen(arguments, &signed)?;
    let input = &signed.input;
    let mut found = Found {
        label: input.label.to_string(),
        keyid: input.keyid.as_ref().map(ToString::to_string),
        created: input.created.and_then(|created| u64::try_from(created).ok()).map(moment::show),
        ..Found::default()
    };
    let structured = structured(document);
    let message = request.message(&headers, &structured);
    found.lines = lines_of(&message, input);
    found.warnings = joined_otherwise(request, input)
        .into_iter()
        .map(|name| {
            format!(
                "`{name}` has several lines: Envoy joins them with `,` before the gate reads them, but RFC 9421 joins them with \
                 `, `, so the signature does not verify behind Envoy; send one line, or do not cover this header"
            )
        })
        .collect();
    let Verifying { key, algorithm, outside_validity } = key(arguments, input, policy)?;
    found.algorithm = algorithm.http_name();
    let computed = base(&message, input);
    if let (Some(file), Ok(computed)) = (&arguments.base, &computed) {
        let theirs = std::fs::read_to_string(file)
            .map_err(|error| Failure::Trouble(format!("{}: {}", file.display(), input::unreadable(&error))))?;
        found.differences = differences(&theirs, computed);
        if found.differences.is_empty() && theirs != *computed {
            found.problem =
                Some("the bases differ only in line breaks; expected LF after each line except the last".to_owned());
        }
    }
    found.suspicious = true;
    let problem = match computed {
        Err(unsignable) => Some(format!("the signature base cannot be computed: {unsignable}")),
        Ok(_) if input.alg.as_deref().is_some_and(|alg| Some(alg) != algorithm.http_name()) => {
            Some(format!("`alg` is `{}`, which is not the key's algorithm", input.alg.as_deref().unwrap_or_default()))
        }
        Ok(_) if outside_validity.is_some() => {
            found.suspicious = false;
            outside_validity
        }
        Ok(computed) => match SoftwareVerifier.verify(&key, algorithm, computed.as_bytes(), &signed.signature) {
            Ok(()) => {
                found.suspicious = false;
                body_problem(request, input)
            }
            Err(_) if would_verify(request, signed, &structured, &key, algorithm, &mut found) => {
                Some("the signature does not verify for this request, but for a similar one".to_owned())
            }
            Err(_) if arguments.base.is_some() && found.differences.is_empty() => found.problem.take().or_else(|| {
                Some(
                    "the signature bases are equal; the client signed with another key or another algorithm".to_owned(),
                )
            }),
            Err(_) => Some(
                "the signature does not verify; the client signed another base than the one below, or with another key"
                    .to_owned(),
            ),
        },
    };
    found.verified = problem.is_none();
    found.problem = problem;
    Ok(found)
}

/// Finds another request for which the signature verifies, and records how it differs.
fn would_verify(
    request: &Request,
    signed: &Signed<'_>,
    structured: &StructuredFields,
    key: &VerifyingKey,
    algorithm: Algorithm,
    found: &mut Found,
) -> bool {
    let verifies = |variant: &Variant| {
        let headers = variant.request.lines();
        let base = base(&variant.request.message(&headers, structured), &signed.input);
        base.is_ok_and(|base| SoftwareVerifier.verify(key, algorithm, base.as_bytes(), &signed.signature).is_ok())
    };
    let variant = variants(request, &signed.input).into_iter().find(verifies);
    found.would_verify = variant.map(|variant| variant.differs).unwrap_or_default();
    !found.would_verify.is_empty()
}

/// Returns the signature to check.
fn chosen<'s, 'a>(arguments: &Arguments, signed: &'s [Signed<'a>]) -> Result<&'s Signed<'a>, Failure> {
    let labels = || signed.iter().map(|signed| format!("`{}`", signed.input.label)).collect::<Vec<_>>().join(", ");
    match (&arguments.label, signed) {
        (Some(label), _) => signed.iter().find(|signed| signed.input.label == *label).ok_or_else(|| {
            Failure::Trouble(format!("--label: the request has no such signature; expected one of {}", labels()))
        }),
        (None, [only]) => Ok(only),
        (None, _) => {
            Err(Failure::Trouble(format!("--label: the request has several signatures; expected one of {}", labels())))
        }
    }
}

fn structured(document: Option<&document::Document>) -> StructuredFields {
    let fields = document.map(|document| &document.signatures.structured_fields).into_iter().flatten();
    StructuredFields::with(fields.map(|(name, kind)| (name.as_str().into(), FieldKind::from(*kind))))
}

/// Returns what is wrong with the body of a request whose signature verifies.
fn body_problem(request: &Request, input: &Input<'_>) -> Option<String> {
    let covered =
        input.components.iter().any(|component| component.is_whole() && component.name.as_str() == "content-digest");
    if !covered {
        return request.body.as_ref().map(|_| "the body is not signed; cover `content-digest`".to_owned());
    }
    let headers = request.lines();
    let field = joined(&headers, "content-digest")?;
    let checked = ContentDigest::parse(&field).and_then(|digest| {
        let mut hashing = digest.begin(u64::MAX);
        hashing.update(request.body.as_deref().unwrap_or_default())?;
        hashing.finish()
    });
    checked.err().map(|reason| match reason {
        Reason::ContentDigestMissing => "`Content-Digest` has neither `sha-256` nor `sha-512`".to_owned(),
        other => other.row().title.to_owned(),
    })
}

fn decided(
    arguments: &Arguments,
    loaded: &Loaded,
    document: Option<&document::Document>,
    request: &Request,
) -> Option<Decided> {
    let host = request
        .header("host")
        .map_or_else(|| request.authority.clone(), |host| String::from_utf8_lossy(host).into_owned());
    let mut lines: Vec<(String, Vec<u8>)> = [
        (":method", request.method.as_str()),
        (":scheme", "https"),
        (":authority", &host),
        (":path", request.target_at_gateway()),
    ]
    .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
    .to_vec();
    let request = match document.map(|document| document.gateway) {
        Some(
            document::Gateway::Envoy
            | document::Gateway::EnvoyModule
            | document::Gateway::Istio
            | document::Gateway::EnvoyGateway
            | document::Gateway::Higress,
        ) => &request.behind_envoy(),
        _ => request,
    };
    // A gateway converts `Host` to `:authority`.
    lines.extend(request.headers.iter().filter(|(name, _)| name != "host").cloned());
    let headers = lines.into_iter().collect();
    let asked = Asked {
        policy: &loaded.policy,
        headers: &headers,
        body: request.body.as_deref().map_or(Body::None, Body::Known),
        source: arguments.source,
        certificate: None,
        time: arguments.at.unwrap_or_default().resolve(),
        keys: &[],
        revocations: None,
    };
    decide(&asked, None, |decision, _| match decision {
        callgate::Decision::Allow(allow) => {
            Decided { allowed: true, reason: allow.ground().code(), title: None, accept_signature: None }
        }
        callgate::Decision::Serve(serve) => {
            Decided { allowed: true, reason: serve.ground().code(), title: None, accept_signature: None }
        }
        callgate::Decision::Deny(deny) => {
            let row = deny.reason().row();
            let answer = deny.answer();
            let wanted = answer.headers.into_iter().find(|(name, _)| *name == "accept-signature");
            Decided {
                allowed: false,
                reason: row.code,
                title: Some(row.title),
                accept_signature: wanted.map(|(_, value)| value),
            }
        }
    })
    .ok()
}

/// The indentation of the details of a line.
const INDENT: &str = "        ";

fn people(found: &Found, out: &mut dyn Write) -> io::Result<()> {
    let by = found.keyid.as_deref().map_or_else(String::new, |keyid| format!(" by `{}`", escape::text(keyid)));
    let algorithm = found.algorithm.unwrap_or_default();
    let made = found.created.as_deref().map_or_else(String::new, |created| format!(", created {created}"));
    let verdict = if found.verified { "valid" } else { "INVALID" };
    writeln!(out, "{verdict:<9}signature `{}`{by} ({algorithm}){made}", escape::text(&found.label))?;
    if let Some(problem) = &found.problem {
        writeln!(out, "      {}", escape::text(problem))?;
    }
    for difference in &found.would_verify {
        writeln!(out, "      it would verify {}", escape::text(difference))?;
    }
    for warning in &found.warnings {
        writeln!(out, "      warning: {}", escape::text(warning))?;
    }
    if found.differences.is_empty() {
        for line in &found.lines {
            let value = line.value.as_deref().or(line.problem.as_deref()).unwrap_or_default();
            let mark = if line.value.is_some() { ":" } else { " cannot be computed:" };
            writeln!(out, "      {}{mark} {}", escape::text(&line.component), escape::text(value))?;
            if found.suspicious && !line.meaning.is_empty() {
                writeln!(out, "{INDENT}{}", line.meaning)?;
            }
        }
    }
    for difference in &found.differences {
        writeln!(out, "      {} differs", escape::text(&difference.component))?;
        let side = |value: &Option<String>| {
            value.as_deref().map_or("nothing".to_owned(), |value| escape::text(value).to_string())
        };
        writeln!(out, "{INDENT}the client signed   {}", side(&difference.client))?;
        writeln!(out, "{INDENT}the gate computes   {}", side(&difference.gate))?;
        if !difference.meaning.is_empty() {
            writeln!(out, "{INDENT}expected: {}", difference.meaning)?;
        }
    }
    match &found.decision {
        None => Ok(()),
        Some(Decided { allowed: true, reason, .. }) => writeln!(out, "ALLOW {reason}"),
        Some(Decided { reason, title, accept_signature, .. }) => {
            writeln!(out, "DENY  {reason}: {}", title.unwrap_or_default())?;
            match accept_signature {
                Some(wanted) => writeln!(out, "      required signature: {}", escape::text(wanted)),
                None => Ok(()),
            }
        }
    }
}
