//! What a policy tells every client, in its `metadata` (RFC 9728) and in challenges, derived from the document independently of the engine.

use serde_json::{Value, json};

use super::call::Call;

/// The path of the metadata of a resource without a path.
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// Returns the status with which the gate responds to a request for the metadata.
pub(super) fn status(call: &Call) -> u16 {
    if is_preflight(call) { 204 } else { 200 }
}

/// Returns the differences between the gate's own response and the metadata that the policy describes. Any origin can read them, and a
/// preflight request is told so.
pub(super) fn differences(document: &Value, call: &Call, headers: &[(String, Vec<u8>)], body: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let has = |wanted: &str, value: &[u8]| headers.iter().any(|(name, own)| name == wanted && own == value);
    if !has("access-control-allow-origin", b"*") {
        found.push("the response is not readable for any origin".to_owned());
    }
    if !is_preflight(call) && !has("content-type", b"application/json") {
        found.push("the response is not `application/json`".to_owned());
    }
    let got: Value = serde_json::from_slice(body).unwrap_or_default();
    let wanted = if is_preflight(call) { Value::Null } else { metadata(document, call) };
    if call.method != b"HEAD" && got != wanted {
        found.push(format!("expected the metadata {wanted}, got {got}"));
    }
    found
}

/// Returns the parameters that every challenge has because of the metadata of the request's resource. A challenge that names the scopes of
/// the request has no initial scopes.
pub(super) fn parameters(document: &Value, call: &Call, names_scopes: bool) -> String {
    let resource = resource_of(document, call);
    let Some(metadata) = resource.get("metadata") else { return String::new() };
    let (host, path) = parts(resource);
    let link = format!(", resource_metadata=\"https://{host}{WELL_KNOWN}{path}\"");
    let initial = metadata.get("initial_scopes").and_then(Value::as_array).into_iter().flatten();
    let initial: Vec<_> = initial.filter_map(Value::as_str).collect();
    if names_scopes || initial.is_empty() { link } else { format!("{link}, scope=\"{}\"", initial.join(" ")) }
}

/// Returns the names of the algorithms of proofs. An algorithm with two names is listed with both.
pub(super) fn proof_algorithms(dpop: &Value) -> Vec<&str> {
    let names = dpop.get("algorithms").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    names.flat_map(|name| std::iter::once(name).chain((name == "Ed25519").then_some("EdDSA"))).collect()
}

/// Returns the identifier of the request's resource.
pub(super) fn realm<'d>(document: &'d Value, call: &Call) -> &'d str {
    identifier(resource_of(document, call))
}

/// Returns the resource with the longest base that the path is under, or else the whole document, which has the policy's own.
fn resource_of<'d>(document: &'d Value, call: &Call) -> &'d Value {
    let path = path(call);
    let is_under =
        |base: &str| path.strip_prefix(base.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"));
    let based = resources(document).filter_map(|resource| Some((resource.get("base")?.as_str()?, resource)));
    let longest = based.filter(|(base, _)| is_under(base)).max_by_key(|(base, _)| base.len());
    longest.map_or(document, |(_, resource)| resource)
}

fn resources(document: &Value) -> impl Iterator<Item = &Value> {
    document.get("resources").and_then(Value::as_array).into_iter().flatten()
}

fn identifier(resource: &Value) -> &str {
    resource.get("resource").and_then(Value::as_str).unwrap_or_default()
}

/// Returns the host and the path of a resource's identifier. The path of a host alone is empty.
fn parts(resource: &Value) -> (&str, &str) {
    let rest = identifier(resource).strip_prefix("https://").unwrap_or_default();
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    (host, if path == "/" { "" } else { path })
}

fn path(call: &Call) -> &[u8] {
    call.target.split(|byte| *byte == b'?').next().unwrap_or_default()
}

/// Returns whether a challenge also asks for a signature, because some endpoint accepts it without a token.
pub(super) fn takes_signatures_alone(document: &Value) -> bool {
    let endpoints = document.get("endpoints").and_then(Value::as_array).into_iter().flatten();
    let requirements = document.get("requirements").and_then(Value::as_object).into_iter().flatten();
    let all = endpoints.chain(requirements.map(|(_, requirement)| requirement));
    let is_signature = |kind: &Value| kind == "signature" || kind == "web-bot-auth";
    let kinds = all.filter_map(|part| part.get("authenticate"));
    kinds.flat_map(|kinds| kinds.as_array().map_or(std::slice::from_ref(kinds), Vec::as_slice)).any(is_signature)
}

/// Returns whether the request used the scheme `DPoP`: its credential has that scheme, or it has a proof and no credential of
/// either scheme.
pub(super) fn used_dpop(call: &Call) -> bool {
    let line = |wanted: &[u8]| call.lines.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
    let credential = line(b"authorization").map(|(_, value)| value.trim_ascii_start().to_ascii_lowercase());
    let begins = |scheme: &[u8]| {
        credential.as_deref().and_then(|value| value.strip_prefix(scheme)).is_some_and(|rest| {
            rest.first().is_none_or(|next| !next.is_ascii_alphanumeric() && !b"!#$%&'*+-.^_`|~".contains(next))
        })
    };
    begins(b"dpop") || !begins(b"bearer") && line(b"dpop").is_some()
}

fn is_preflight(call: &Call) -> bool {
    call.method == b"OPTIONS"
}

/// Returns the metadata at the path of the request.
fn metadata(document: &Value, call: &Call) -> Value {
    let mut all = std::iter::once(document).chain(resources(document));
    let is_requested = |resource: &&Value| path(call) == [WELL_KNOWN, parts(resource).1].concat().as_bytes();
    let Some(resource) = all.find(is_requested) else { return Value::Null };
    let algorithms = document.get("dpop").map(|dpop| json!(proof_algorithms(dpop)));
    // A token that is bound to a certificate is enough, if the gate sees certificates.
    let always_dpop = |required: &Value| json!(*required == json!(true) && document.get("tls").is_none());
    let members = [
        ("resource", resource.get("resource").cloned()),
        ("authorization_servers", resource.pointer("/metadata/authorization_servers").cloned()),
        ("scopes_supported", resource.pointer("/metadata/scopes").cloned()),
        ("bearer_methods_supported", Some(json!(["header"]))),
        ("resource_documentation", resource.pointer("/metadata/documentation").cloned()),
        ("tls_client_certificate_bound_access_tokens", document.get("tls").map(|_| json!(true))),
        ("dpop_signing_alg_values_supported", algorithms),
        ("dpop_bound_access_tokens_required", document.pointer("/dpop/required").map(always_dpop)),
    ];
    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
