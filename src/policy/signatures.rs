//! Compiles the rules for signed requests: the requirements on every signature, and those of an endpoint.

use std::time::Duration;

use super::endpoint::{Access, Endpoint};
use super::gateway::{BodyCheck, Features, Store};
use crate::allowlist::Origin;
use crate::document::names::is_plain_header;
use crate::document::{self, Authenticate, Lifetime};
use crate::document::{Findings, Place};
use crate::identity::signature::{
    FieldKind, Profile, ProfileName, SignatureAgent, StructuredFields, WEB_BOT_AUTH, is_string,
};
use crate::request::{CanonicalPath, Host};
use crate::text::ascii::is_token;

const USUAL_AGE: Duration = Duration::from_secs(60);
const MOST_AGE: Duration = Duration::from_secs(3_600);
const USUAL_AHEAD: Duration = Duration::from_secs(5);
const MOST_AHEAD: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
const USUAL_BODY: u64 = 1024 * 1024;
/// The default components that every signature covers.
const USUAL_COVERAGE: [&str; 4] = ["@method", "@authority", "@path", "@query"];

/// The rules for signed requests.
#[derive(Debug)]
pub(crate) struct Signatures {
    pub(crate) structured: StructuredFields,
    /// The scheme, the authority and the path prefix that clients sign, if they differ from `https` and the request's own.
    pub(crate) external: Option<External>,
    /// The maximum size of a body that is held, in bytes.
    pub(crate) max_body: u64,
    own: Profile,
    web_bot_auth: Profile,
    /// The profiles of signatures that some endpoint accepts without a token.
    pub(crate) alone: Vec<ProfileName>,
    /// Whether an endpoint that accepts a signature without a token requires that it covers the body.
    pub(crate) signs_bodies: bool,
}

/// The URL under which clients see the API.
#[derive(Debug)]
pub(crate) struct External {
    pub(crate) scheme: Box<str>,
    pub(crate) authority: Box<str>,
    /// The path before that of each request, without a slash at its end. Empty for most policies.
    pub(crate) prefix: Box<str>,
}

impl External {
    /// Parses a URL that has only a scheme and a host in canonical form, and at most a path.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (authority, prefix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let host = Host::parse(authority.as_bytes()).ok()?;
        // Clients sign the path literally, so only a path that everyone writes in the same way can be a part of it.
        let is_canonical = |path: CanonicalPath<'_>| path.restricted().is_empty() && !prefix.ends_with('/');
        let has_plain_prefix = prefix.is_empty() || CanonicalPath::parse(prefix.as_bytes()).is_ok_and(is_canonical);
        (matches!(scheme, "http" | "https") && host.as_str() == authority && has_plain_prefix).then(|| Self {
            scheme: scheme.into(),
            authority: authority.into(),
            prefix: prefix.into(),
        })
    }
}

/// An endpoint's requirements on signatures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SignatureRule {
    /// Whether a signature is required, and the field that requires it. `None` if signatures are ignored.
    pub(crate) asked: Option<(document::SignatureAsked, Origin)>,
    pub(crate) profile: ProfileName,
    /// Whether a signature alone authenticates the caller.
    pub(crate) alone: bool,
    /// Whether a signature is accepted only once.
    pub(crate) once: bool,
}

impl Signatures {
    /// Returns the headers that a signature must cover if they are sent.
    pub(crate) fn covered_headers(&self) -> impl Iterator<Item = &str> {
        self.own.cover.iter().map(|name| &**name).filter(|name| !name.starts_with('@'))
    }

    pub(super) fn compile(document: &document::Document, findings: &mut Findings) -> Self {
        let raw = &document.signatures;
        let place = Place::root().field("signatures");
        let bounded =
            |span: Option<Lifetime>, field: &str, usual: Duration, most: Duration, findings: &mut Findings| {
                let span = span.map_or(usual, Lifetime::duration);
                if span.is_zero() || span > most {
                    findings
                        .error(place.field(field), format!("invalid duration; expected `1s` to `{}s`", most.as_secs()));
                }
                span.as_secs()
            };
        let clock_ahead = bounded(raw.clock_ahead, "clock_ahead", USUAL_AHEAD, MOST_AHEAD, findings);
        let own = Profile {
            tag: raw.tag.as_deref().map(Into::into),
            max_age: bounded(raw.max_age, "max_age", USUAL_AGE, MOST_AGE, findings),
            clock_ahead,
            nonce: raw.nonce == document::NonceAsked::Required,
            cover: coverage(raw.cover.as_deref(), &place.field("cover"), findings),
            web_bot_auth: None,
        };
        match raw.tag.as_deref() {
            Some(WEB_BOT_AUTH) => findings.error(
                place.field("tag"),
                "this tag is reserved for Web Bot Auth; choose another, or write `authenticate: web-bot-auth` at the endpoints",
            ),
            Some(tag) if tag.is_empty() || !is_string(tag) => {
                findings.error(place.field("tag"), "invalid tag; expected printable ASCII that is not empty");
            }
            _ => {}
        }
        let bots = document.web_bot_auth.as_ref();
        let max_age = bots.and_then(|bots| bots.max_age).map_or(DAY, Lifetime::duration);
        if max_age.is_zero() || max_age > DAY {
            findings.error(
                Place::root().field("web_bot_auth").field("max_age"),
                "signatures of Web Bot Auth are valid for at most 24 hours; write `24h` or less",
            );
        }
        let legacy = bots.is_some_and(|bots| bots.signature_agent.is_some());
        let web_bot_auth = Profile {
            tag: Some(WEB_BOT_AUTH.into()),
            max_age: max_age.as_secs(),
            clock_ahead,
            nonce: false,
            cover: vec!["@authority".into()],
            web_bot_auth: Some(if legacy { SignatureAgent::Legacy } else { SignatureAgent::Member }),
        };
        let fields = raw.structured_fields.iter().map(|(name, kind)| {
            if !is_token(name.as_bytes()) || name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                findings
                    .error(place.field("structured_fields").field(name), "invalid header name; expected lower case");
            }
            (name.as_str().into(), FieldKind::from(*kind))
        });
        Self {
            structured: StructuredFields::with(fields.collect::<Vec<_>>()),
            external: external(document, findings),
            max_body: max_body(document, findings),
            own,
            web_bot_auth,
            alone: Vec::new(),
            signs_bodies: false,
        }
    }

    /// Returns the rules for a profile's signatures.
    pub(crate) fn profile(&self, name: ProfileName) -> &Profile {
        match name {
            ProfileName::Own => &self.own,
            ProfileName::WebBotAuth => &self.web_bot_auth,
        }
    }

    /// Records the endpoints' requirements, and checks that at least one agent can meet them.
    pub(super) fn serve(&mut self, document: &document::Document, endpoints: &[Endpoint], findings: &mut Findings) {
        for name in [ProfileName::Own, ProfileName::WebBotAuth] {
            if endpoints.iter().any(|endpoint| endpoint.signature.alone && endpoint.signature.profile == name) {
                self.alone.push(name);
            }
        }
        let signs_body = |endpoint: &Endpoint| {
            endpoint.signature.alone && endpoint.signature.profile == ProfileName::Own && !endpoint.streams
        };
        self.signs_bodies = endpoints.iter().any(signs_body);
        let asked = endpoints.iter().find(|endpoint| endpoint.signature.asked.is_some());
        if let Some(endpoint) = asked.filter(|_| document.agents.values().all(|agent| agent.signing_keys.is_none())) {
            findings.error(
                Place::root().field("endpoints").index(endpoint.position as usize),
                "this endpoint requires signatures, but no agent has a key; write `signing_keys` at the agents that sign",
            );
        }
        // A signature can also replace a proof of possession.
        let shown = document.dpop.is_some() && document.agents.values().any(|agent| agent.signing_keys.is_some());
        let keeps_bodies = endpoints.iter().any(|endpoint| endpoint.content.is_some());
        if asked.is_none() {
            for (field, written) in [
                ("signatures", !shown && document.signatures != document::Signatures::default()),
                ("web_bot_auth", document.web_bot_auth.is_some()),
                ("max_body", !shown && document.max_body.is_some()),
                ("held_bodies", !shown && !keeps_bodies && document.held_bodies != document::HeldBodies::default()),
            ] {
                if written {
                    findings.warn(
                        Place::root().field(field),
                        "no endpoint requires a signature, so this has no effect; remove it",
                    );
                }
            }
        }
        check_bodies(document, endpoints, findings);
        for (endpoint, raw) in endpoints.iter().zip(&document.endpoints) {
            let bots = endpoint.signature.alone && endpoint.signature.profile == ProfileName::WebBotAuth;
            if bots && raw.effect != document::Effect::Read {
                findings.warn(
                    Place::root().field("endpoints").index(endpoint.position as usize).field("authenticate"),
                    "Web Bot Auth signs neither method nor path nor body, so a captured request can be sent as another one; \
                     write `signature` for endpoints that change something",
                );
            }
        }
        for endpoint in endpoints.iter().filter(|endpoint| !endpoint.signature.once) {
            findings.warn(
                Place::root().field("endpoints").index(endpoint.position as usize).field("replay"),
                format!(
                    "anyone who sees a signed request to this endpoint can replay it for {} s",
                    self.profile(endpoint.signature.profile).max_age
                ),
            );
        }
    }
}

impl SignatureRule {
    pub(super) fn compile(
        document: &document::Document,
        raw: &document::Endpoint,
        access: Access,
        authenticate: &[Authenticate],
        place: &Place,
        findings: &mut Findings,
    ) -> Self {
        let of_effect = document.requirements.get(&raw.effect);
        let effect = Origin::Effect(raw.effect);
        let alone = authenticate.iter().any(|kind| kind.is_signature());
        // Without a signature, nothing authenticates the caller.
        let is_only_kind = authenticate.iter().all(|kind| kind.is_signature());
        let profile =
            if authenticate.contains(&Authenticate::WebBotAuth) { ProfileName::WebBotAuth } else { ProfileName::Own };
        let own = raw.signature.map(|asked| (asked, Origin::Endpoint));
        let other = of_effect.and_then(|asked| asked.signature).map(|asked| (asked, effect));
        let required = |asked: &Option<(document::SignatureAsked, Origin)>| {
            asked.filter(|(asked, _)| *asked == document::SignatureAsked::Required)
        };
        let asked = required(&own).or(required(&other)).or(own).or(other);
        if is_only_kind && own.is_some_and(|(asked, _)| asked == document::SignatureAsked::Optional) {
            findings.error(
                place.field("signature"),
                "the signature authenticates the agent here, so it cannot be optional; remove this",
            );
        }
        if access != Access::Known && (raw.signature.is_some() || raw.authenticate.is_some()) {
            findings.error(
                place.field(if raw.signature.is_some() { "signature" } else { "authenticate" }),
                "requests to a public endpoint are not signed; remove this or `access: public`",
            );
        }
        let asked = match asked {
            _ if is_only_kind => Some((document::SignatureAsked::Required, Origin::Endpoint)),
            // A signature next to another credential must be valid as well.
            None if alone => Some((document::SignatureAsked::Optional, Origin::Endpoint)),
            asked => asked,
        };
        let asked = asked.filter(|_| access == Access::Known);
        if !raw.replay && raw.effect != document::Effect::Read {
            findings.error(
                place.field("replay"),
                "a replayed request to this endpoint takes effect again; remove this, or write `effect: read` if nothing changes",
            );
        }
        if !raw.replay && asked.is_none() {
            findings
                .error(place.field("replay"), "requests without a signature have no replay protection; remove this");
        }
        Self { asked, profile, alone: alone && access == Access::Known, once: raw.replay }
    }
}

/// Checks whether and when the gateway gives Callgate access to signed bodies.
fn check_bodies(document: &document::Document, endpoints: &[Endpoint], findings: &mut Findings) {
    let features = Features::of(document.gateway);
    let late = document.body_check.is_some();
    let place = Place::root().field("body_check");
    // Any request may have a signature instead of a proof of possession.
    let shown = document.dpop.is_some() && document.agents.values().any(|agent| agent.signing_keys.is_some());
    let signed = |endpoint: &&Endpoint| {
        !endpoint.streams && (endpoint.signature.asked.is_some() || shown && endpoint.access == Access::Known)
    };
    match features.body {
        BodyCheck::Held if late => {
            findings.warn(place, "this gateway holds requests until their bodies are checked; remove this");
        }
        BodyCheck::Late if !late && endpoints.iter().any(|endpoint| signed(&endpoint)) => findings.error(
            place,
            "this gateway forwards the headers of a request before it has the body, so a changed body is detected late; write \
             `accept` if the upstream tolerates that, or `body: stream` at endpoints that need no digest",
        ),
        BodyCheck::Unseen => {
            if late {
                findings.warn(place, "this gateway does not pass bodies to the filter, so none is checked; remove this");
            }
            for endpoint in endpoints.iter().filter(signed) {
                findings.error(
                    Place::root().field("endpoints").index(endpoint.position as usize).field("body"),
                    "this gateway does not pass bodies to the filter, so no digest can be checked; write `stream`, or choose \
                     another `gateway`",
                );
            }
        }
        BodyCheck::Held | BodyCheck::Late => {}
    }
    if features.store == Store::None {
        for endpoint in
            endpoints.iter().filter(|endpoint| endpoint.signature.asked.is_some() && endpoint.signature.once)
        {
            findings.error(
                Place::root().field("endpoints").index(endpoint.position as usize).field("replay"),
                "workers share no state on this gateway, so a signed request could be replayed; write `false` if nothing \
                 changes, or choose another `gateway`",
            );
        }
    }
}

fn coverage(raw: Option<&[String]>, place: &Place, findings: &mut Findings) -> Vec<Box<str>> {
    let Some(raw) = raw else { return USUAL_COVERAGE.map(Into::into).to_vec() };
    crate::document::names::check_distinct("component", raw, place, findings);
    for (index, name) in raw.iter().enumerate() {
        let derived = ["@method", "@target-uri", "@authority", "@scheme", "@request-target", "@path", "@query"];
        let known = derived.contains(&name.as_str()) || is_plain_header(name);
        if !known {
            findings.error(
                place.index(index),
                format!(
                    "`{}` is not a component that can be required; expected {}, or a header in lower case with hyphens",
                    name.escape_debug(),
                    derived.map(|name| format!("`{name}`")).join(", ")
                ),
            );
        } else if name == "cookie" {
            findings.error(
                place.index(index),
                "cookies cannot be signed, because gateways split and join them; remove this",
            );
        }
    }
    let has = |wanted: &[&str]| raw.iter().any(|name| wanted.contains(&name.as_str()));
    for (part, within) in [
        ("@method", &["@method"][..]),
        ("@authority", &["@authority", "@target-uri"]),
        ("@path", &["@path", "@target-uri", "@request-target"]),
        ("@query", &["@query", "@target-uri", "@request-target"]),
    ] {
        if !has(within) {
            findings.warn(
                place.clone(),
                format!("a signature that does not cover `{part}` is also valid with another value of it; cover it"),
            );
        }
    }
    raw.iter().map(|name| name.as_str().into()).collect()
}

fn external(document: &document::Document, findings: &mut Findings) -> Option<External> {
    let url = document.external_url.as_deref()?;
    let external = External::parse(url);
    if external.is_none() {
        findings.error(
            Place::root().field("external_url"),
            format!(
                "invalid URL `{}`; expected scheme and host in lower case, and at most a path without a slash at its end, such as \
                 `https://api.example.com` or `https://example.com/orders`",
                url.escape_debug()
            ),
        );
    }
    external
}

fn max_body(document: &document::Document, findings: &mut Findings) -> u64 {
    let Some(size) = document.max_body.map(document::Size::bytes) else { return USUAL_BODY };
    const MOST: u64 = 64 * 1024 * 1024;
    if size == 0 || size > MOST {
        findings.error(
            Place::root().field("max_body"),
            "invalid size; expected `1KiB` to `64MiB`, which the gateway holds for each signed request",
        );
    }
    size
}

impl From<document::FieldType> for FieldKind {
    fn from(kind: document::FieldType) -> Self {
        match kind {
            document::FieldType::Dictionary => Self::Dictionary,
            document::FieldType::List => Self::List,
            document::FieldType::Item => Self::Item,
        }
    }
}
