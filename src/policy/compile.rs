//! Compiles the document to a [`Policy`]. All checks that need more than one field start here.

use std::time::Duration;

use serde_json::Value;

use super::agents::Agents;
use super::audit::Audit;
use super::audit::HeaderNames;
use super::endpoint::{self, Access};
use super::endpoints::Endpoints;
use super::held_bodies::HeldBodies;
use super::limits::Limits;
use super::metadata;
use super::newest;
use super::replay::Replay;
use super::resources::Resources;
use super::revocation::{self, Revocation};
use super::signatures::Signatures;
use super::tables_key::TablesKey;
use super::trailers::RemovedTrailers;
use super::version::version;
use super::{
    Features, Policy, advice, authentication, claims, credentials, delegation, documents, dpop, gateway, hosts,
    overrides, reach, reach_advice, scope_implies, tls, unregistered,
};
use crate::document;
use crate::document::names::check_name;
use crate::document::{Findings, Place};
use crate::identity::api_key::ApiKeys;
use crate::identity::certificate::CertificateRules;
use crate::identity::signature::SigningKeys;
use crate::identity::token::{Issuers, Secrets, json};
use crate::request::RejectedNames;
use crate::request::parameter::MOST_NAME;

/// The default clock skew.
const USUAL_SKEW: Duration = Duration::from_secs(60);
/// A larger skew would make an expired token valid for too long.
const MOST_SKEW: Duration = Duration::from_secs(900);
/// The maximum length of `help`, which every denial repeats.
const MOST_HELP: usize = 256;
/// The maximum size of a policy document. 10,000 endpoints and agents need a third of it.
const MOST_BYTES: usize = 16 * 1024 * 1024;
const MOST_DEPTH: u8 = 32;
/// The maximum number of tables for Ed25519 keys. A VM with this many uses 84 MB for them.
const MOST_KEY_TABLES: u32 = 256;

/// A compiled policy and its warnings.
#[derive(Debug)]
#[non_exhaustive]
pub struct Compiled {
    /// The policy, ready to evaluate requests.
    pub policy: Policy,
    /// Findings about a valid policy that may not express the author's intent.
    pub findings: Findings,
}

impl Policy {
    /// Compiles a policy from its JSON.
    ///
    /// # Errors
    /// Returns the first error in the structure of the policy, or else all errors in its meaning.
    pub fn from_json(json: &[u8], secrets: &dyn Secrets) -> Result<Compiled, Findings> {
        let value = json::parse(json, json::Bounds { bytes: MOST_BYTES, depth: MOST_DEPTH })
            .map_err(|fault| only(Place::root(), format!("the policy is not JSON: {fault}")))?;
        Self::from_value(value, secrets)
    }

    /// Compiles a policy from a JSON value that has no duplicate names.
    ///
    /// # Errors
    /// Same as [`Policy::from_json`].
    pub fn from_value(value: Value, secrets: &dyn Secrets) -> Result<Compiled, Findings> {
        let version = version(&value).map_err(|_| {
            let message =
                "the policy contains a fraction, or a whole number beyond 2^53; write it as text, such as `\"99.50\"`";
            only(Place::root(), message.to_owned())
        })?;
        let mut empty = Findings::default();
        // Places are built only if there is an error to report, because they allocate.
        if holds_null(&value) {
            refuse_null(&value, &Place::root(), &mut empty);
        }
        if !empty.errors.is_empty() {
            return Err(empty);
        }
        if let Some(rules) = rules_of_higress(&value) {
            return Err(rules);
        }
        let document = document(value)?;
        compile(&document, version, secrets)
    }
}

/// Reads the document from its canonical text, which gives each error a position.
fn document(value: Value) -> Result<document::Document, Findings> {
    let text = serde_json::to_vec(&value).map_err(|error| only(Place::root(), error.to_string()))?;
    // The memory of a VM never shrinks. At most two of text, value and document exist at the same time.
    drop(value);
    document::Document::from_line(&text).map_err(|error| only(error.place, error.message))
}

/// Detects `_rules_`. Higress puts the rules of a `WasmPlugin` into its configuration, which then contains several policies.
fn rules_of_higress(value: &Value) -> Option<Findings> {
    value.get("_rules_").map(|_| {
        let message = "`matchRules` of a Higress `WasmPlugin` replace this configuration for some requests; remove them, and \
                       write one policy under `defaultConfig`";
        only(Place::root().field("_rules_"), message.to_owned())
    })
}

fn holds_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(holds_null),
        Value::Object(fields) => fields.values().any(holds_null),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Rejects fields without a value. They would be read as absent fields, which are often less strict: an endpoint whose `hosts:`
/// lost its list would match all hosts.
fn refuse_null(value: &Value, place: &Place, findings: &mut Findings) {
    match value {
        Value::Null => findings.error(place.clone(), "this field has no value; write one, or remove the field"),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| refuse_null(item, &place.index(index), findings));
        }
        Value::Object(fields) => {
            // Unknown members of a key or a key set are ignored (RFC 7517, section 4), including null values. The place is
            // checked as well because an agent or an issuer may have the same name.
            let is_key = |name: &str| match name {
                "jwks" => place.as_str().ends_with(".keys"),
                "jwk" => place.as_str().ends_with(']'),
                _ => false,
            };
            let fields = fields.iter().filter(|(name, _)| !is_key(name));
            fields.for_each(|(name, value)| refuse_null(value, &place.field(name), findings));
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn only(place: Place, message: String) -> Findings {
    let mut findings = Findings::default();
    findings.error(place, message);
    findings
}

fn compile(document: &document::Document, version: String, secrets: &dyn Secrets) -> Result<Compiled, Findings> {
    let mut findings = Findings::default();
    let root = Place::root();
    check_name("a policy", &document.name, &root.field("name"), &mut findings);
    gateway::check(document, &mut findings);
    check_help(document.help.as_deref(), &root.field("help"), &mut findings);
    for (effect, requirement) in &document.requirements {
        if let Some(asked) = &requirement.scopes {
            let place = root.field("requirements").field(effect.name()).field("scopes");
            endpoint::check_scopes(asked, &place, &mut findings);
        }
    }
    let credentials = credentials::compile(document, &mut findings);
    let dpop = dpop::compile(document, &mut findings);
    check_refused_parameters(&document.reject_query, &mut findings);
    let override_headers = overrides::compile(document, &mut findings);
    check_merges(&document.upstream.merges, &mut findings);
    let claims = claims::compile(document, &mut findings);
    let skew = skew(document, &mut findings);
    let hosts = hosts::compile(&document.hosts, &mut findings);
    let implied = scope_implies::compile(document, &mut findings);
    let issuers = Issuers::compile(&document.issuers, &document.resource, skew, secrets, &mut findings);
    let mut documents = documents::compile(document, &issuers, secrets, &mut findings);
    documents.extend(revocation::compile_list(document, secrets, &mut findings));
    let delegation = delegation::compile(document, &mut findings);
    let issuers = issuers
        .with_implied_scopes(implied)
        .with_delegation(delegation.map(|rules| rules.max_depth))
        .with_certificate_bindings(document.tls.is_some());
    let agents = Agents::compile(document, &issuers, &mut findings);
    let revocation = Revocation::compile(document, &issuers, &mut findings);
    let signing_keys = SigningKeys::compile(document, &issuers, secrets, &mut findings);
    let api_keys = ApiKeys::compile(document, &mut findings);
    authentication::check_requirements(document, &mut findings);
    let common = metadata::Common { document, hosts: &hosts, dpop: dpop.as_ref() };
    let resources = Resources::compile(&common, &mut findings);
    let endpoints = Endpoints::compile(document, &hosts, &resources, &mut findings);
    let certificates = CertificateRules::compile(document, &endpoints.list, &mut findings);
    let limits = Limits::compile(document, &mut findings);
    if document.tables.ed25519 > MOST_KEY_TABLES {
        let place = root.field("tables").field("ed25519");
        findings.error(
            place,
            format!("too many tables; expected at most {MOST_KEY_TABLES}, because each worker needs memory for them"),
        );
    }
    let tables_key = TablesKey::compile(document, secrets, &mut findings);
    let mut signatures = Signatures::compile(document, &mut findings);
    signatures.serve(document, &endpoints.list, &mut findings);
    let held_bodies = HeldBodies::compile(
        document,
        signatures.max_body,
        endpoints.largest_json(),
        endpoints.largest_answer(),
        &mut findings,
    );
    let replay = Replay::compile(
        document,
        &endpoints.list,
        &signatures,
        &signing_keys,
        dpop.as_ref(),
        &limits.list,
        &mut findings,
    );
    let audit = Audit::compile(document, secrets, &mut findings);
    if limits.any() || replay.is_some() || dpop.as_ref().is_some_and(|rules| rules.nonce) || !documents.is_empty() {
        TablesKey::require(document, &mut findings);
    }
    reach::check_groups(document, &mut findings);
    reach::check_requirements(document, &mut findings);
    reach_advice::check(document, &agents, &endpoints, &mut findings);
    check_callers(document, &endpoints, &mut findings);
    unregistered::check(document, &mut findings);
    advice::check(document, &signing_keys, &mut findings);
    if !findings.errors.is_empty() {
        return Err(findings);
    }
    let policy = Policy {
        name: document.name.as_str().into(),
        label: format!("{}@{}", document.name, version.get(..12).unwrap_or(&version)).into(),
        version: version.into(),
        features: Features::of(document.gateway),
        observe: document.mode == document::Mode::Observe,
        resources,
        help: document.help.as_deref().map(Into::into),
        dpop,
        trailers: RemovedTrailers::new(
            override_headers
                .iter()
                .map(|name| &**name)
                .chain(credentials.headers())
                .chain(claims.iter().map(|claim| &*claim.header)),
            &endpoints.list,
            &signatures,
            !signing_keys.is_empty(),
            api_keys.as_ref().and_then(ApiKeys::header),
        ),
        credentials,
        passes_preflight: document.preflight == document::Preflight::Pass,
        overrides: document.overrides,
        rejected_query: RejectedNames::new(&document.reject_query),
        override_headers,
        takes_unregistered: document.unregistered == document::Unregistered::Allow,
        issuers,
        revocation,
        published: newest::published(document, tables_key.is_some()),
        documents,
        agents,
        signing_keys,
        api_keys,
        certificates,
        key_tables: document.tables.ed25519,
        tables_key,
        endpoints,
        limits,
        signatures,
        held_bodies,
        replay,
        claims,
        keeps_authorization: document.upstream.authorization == document::AuthorizationHeader::Keep,
        prefix: document.audit.headers.prefix.as_str().into(),
        header_names: HeaderNames::new(&document.audit.headers.prefix),
        audit,
        delegation,
    };
    Ok(Compiled { policy, findings })
}

pub(super) fn check_resource(resource: &str, place: &Place, findings: &mut Findings) {
    let host = resource.strip_prefix("https://").unwrap_or_default();
    let visible = resource.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\' | b'#'));
    if host.is_empty() || host.starts_with('/') || !visible {
        findings.error(
            place.clone(),
            format!(
                "invalid resource `{}`; expected an absolute https URL without a fragment (RFC 8707), such as \
                 `https://api.example.com`",
                resource.escape_debug()
            ),
        );
    }
}

fn check_help(help: Option<&str>, place: &Place, findings: &mut Findings) {
    let Some(help) = help else { return };
    let is_printable = help.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if help.trim().is_empty() || help.len() > MOST_HELP || !is_printable {
        findings.error(
            place.clone(),
            format!("invalid help; expected a URL or a contact in at most {MOST_HELP} printable ASCII characters"),
        );
    }
}

fn check_refused_parameters(names: &[String], findings: &mut Findings) {
    let place = Place::root().field("reject_query");
    crate::document::names::check_distinct("parameter", names, &place, findings);
    for (index, name) in names.iter().enumerate() {
        if name.is_empty() || *name != name.to_ascii_lowercase() {
            findings.error(
                place.index(index),
                "parameters are compared decoded and in lower case; write the name in this form",
            );
        } else if name.len() > MOST_NAME {
            findings.error(place.index(index), format!("the name is too long; expected at most {MOST_NAME} bytes"));
        }
    }
}

fn check_merges(kinds: &[document::MergedBody], findings: &mut Findings) {
    for (index, kind) in kinds.iter().enumerate() {
        if kinds.iter().take(index).any(|earlier| earlier == kind) {
            let place = Place::root().field("upstream").field("merges").index(index);
            findings.error(place, "this kind is listed twice; remove one");
        }
    }
}

fn skew(document: &document::Document, findings: &mut Findings) -> Duration {
    let Some(skew) = document.clock_skew.map(document::Lifetime::duration) else { return USUAL_SKEW };
    let place = Place::root().field("clock_skew");
    if skew > MOST_SKEW {
        findings.error(place, "must not exceed `15m`");
    } else if skew > USUAL_SKEW {
        findings.warn(place, "this extends the lifetime of every token by this much; `60s` is usual");
    }
    skew
}

fn check_callers(document: &document::Document, endpoints: &Endpoints, findings: &mut Findings) {
    let closed = endpoints.list.iter().any(|endpoint| endpoint.access == Access::Known);
    let has_certificate =
        |agent: &document::Agent| document.tls.is_some() && tls::is_known_by_certificate(document, agent);
    let has_keys =
        |agent: &document::Agent| agent.signing_keys.is_some() || agent.api_keys.is_some() || has_certificate(agent);
    if closed && document.issuers.is_empty() && !document.agents.values().any(has_keys) {
        findings.error(
            Place::root().field("issuers"),
            "without an issuer, no agent can authenticate; write at least one, or `signing_keys` of agents",
        );
    }
    if closed && document.agents.is_empty() && document.unregistered == document::Unregistered::Reject {
        findings.error(
            Place::root().field("agents"),
            "without an agent, every request is denied; write at least one, or `unregistered: allow` for every client of the \
             issuers",
        );
    }
}
