//! Compiles what an endpoint requires of a JSON body: the bound parts of it, and its maximum size.
//!
//! What other fields allow together with them is checked here as well. How a body is read does not belong here.

use super::endpoint::{Access, RejectedBodies};
use super::gateway::{BodyCheck, Features};
use super::signatures::SignatureRule;
use crate::allowlist::{Binding, Origin};
use crate::document;
use crate::document::{Findings, Place};

const KIB: u64 = 1024;
/// The default maximum size of a body, in bytes.
const USUAL_SIZE: u64 = 64 * KIB;
/// Each byte is kept twice until the body was checked.
const MOST_SIZE: u64 = 1024 * KIB;

/// What an endpoint requires of a JSON body.
#[derive(Debug)]
pub(crate) struct Content {
    /// The maximum size of a body, in bytes.
    pub(crate) max_json: usize,
    /// The bound parts of the body. There is at least one, unless the endpoint has operations.
    pub(crate) bindings: Vec<Binding>,
}

/// The fields of an endpoint that were compiled before.
pub(super) struct Others<'e> {
    pub(super) access: Access,
    pub(super) rejected_bodies: Option<RejectedBodies>,
    pub(super) signature: &'e SignatureRule,
}

impl Content {
    /// Compiles the bindings of the body. Returns `None` if there is none and the endpoint has no operations, because it then accepts any
    /// body.
    pub(super) fn compile(
        document: &document::Document,
        raw: &document::Endpoint,
        bindings: Vec<Binding>,
        others: &Others<'_>,
        place: &Place,
        findings: &mut Findings,
    ) -> Option<Box<Self>> {
        match bindings.first() {
            Some(first) => {
                check_gateway(document, &bindings, place, findings);
                check_combination(raw, others, &place.field("bind").field(&first.written.0), place, findings);
            }
            // Its messages are JSON.
            None if raw.rpc.is_some() => {}
            None => {
                check_unused(raw, place, findings);
                return None;
            }
        }
        let max_json = max_json(document, raw, others.signature, &place.field("max_json"), findings);
        Some(Box::new(Self { max_json: usize::try_from(max_json).unwrap_or(usize::MAX), bindings }))
    }

    /// Returns the maximum size of a body, in bytes.
    pub(crate) fn most_bytes(&self) -> u64 {
        u64::try_from(self.max_json).unwrap_or(u64::MAX)
    }
}

fn check_unused(raw: &document::Endpoint, place: &Place, findings: &mut Findings) {
    // A binding that did not compile is reported already.
    let binds_body = raw.bind.iter().any(|(part, _)| part.starts_with("body."));
    if raw.max_json.is_some() && !binds_body {
        findings.error(
            place.field("max_json"),
            "no part of the body is bound, so bodies are not read; bind a part, such as `body./owner`, or remove this",
        );
    }
}

fn check_gateway(document: &document::Document, bindings: &[Binding], place: &Place, findings: &mut Findings) {
    let features = Features::of(document.gateway);
    let why = match features.body {
        BodyCheck::Held => return,
        BodyCheck::Late => "forwards the headers of a request before it has the body",
        BodyCheck::Unseen => "does not pass bodies to the filter",
    };
    for binding in bindings {
        findings.error(
            place.field("bind").field(&binding.written.0),
            format!(
                "the gateway `{}` {why}, so a part of the body cannot decide; remove this, or choose another `gateway`",
                features.name
            ),
        );
    }
}

/// Checks the fields that contradict a binding of the body.
fn check_combination(
    raw: &document::Endpoint,
    others: &Others<'_>,
    first: &Place,
    place: &Place,
    findings: &mut Findings,
) {
    for (index, method) in raw.methods.iter().enumerate().filter(|(_, method)| is_without_content(method)) {
        findings.error(
            place.field("methods").index(index),
            format!(
                "a `{method}` request has no body, so its bound part would always be missing; list this method at another endpoint \
                 of the path"
            ),
        );
    }
    let contradictions = [
        (
            raw.body.is_some(),
            "body",
            "a bound part of the body is checked before the body is forwarded, so it cannot stream",
        ),
        (raw.upgrade.is_some(), "upgrade", "an upgrade has no body, so its bound part would always be missing"),
        (
            raw.form_bodies == Some(document::FormBodies::Allow),
            "form_bodies",
            "where a part of the body is bound, only JSON is accepted",
        ),
    ];
    for (written, field, why) in contradictions {
        if written {
            findings.error(place.field(field), format!("{why}; remove this, or the bindings of the body"));
        }
    }
    if others.access == Access::Known && others.rejected_bodies.is_some_and(|rejected| rejected.json) {
        let because = match others.rejected_bodies.map(|rejected| rejected.origin) {
            Some(Origin::Effect(_)) => "its effect has `form_bodies: reject`",
            _ if raw.form_bodies.is_some() => "it has `form_bodies: reject`",
            _ => "it binds a query parameter, which a JSON body could replace",
        };
        findings.error(
            first.clone(),
            format!(
                "`upstream.merges` lists `json`, so this endpoint rejects JSON bodies, because {because}; bind the body at an endpoint \
                 that accepts JSON, or remove `json` there if the upstream does not merge it"
            ),
        );
    }
}

/// Returns whether requests with this method have no body (RFC 9110, section 9.3).
fn is_without_content(method: &str) -> bool {
    matches!(method, "GET" | "HEAD")
}

fn max_json(
    document: &document::Document,
    raw: &document::Endpoint,
    signature: &SignatureRule,
    place: &Place,
    findings: &mut Findings,
) -> u64 {
    // A signed body is bounded by both.
    let max_body = document.max_body.map(document::Size::bytes).filter(|_| signature.asked.is_some());
    let Some(size) = raw.max_json.map(document::Size::bytes) else {
        return max_body.map_or(USUAL_SIZE, |most| most.min(USUAL_SIZE));
    };
    if size == 0 || size > MOST_SIZE {
        findings.error(
            place.clone(),
            "invalid size; expected `1KiB` to `1MiB`, which the gateway and the filter hold for each request",
        );
    }
    if let Some(most) = max_body.filter(|most| size > *most) {
        findings.error(
            place.clone(),
            format!(
                "requests to this endpoint are signed, and a signed body has at most `{}KiB` (`max_body`); write at most that, or raise \
                 `max_body`",
                most / KIB
            ),
        );
    }
    size
}

#[cfg(test)]
#[path = "content_tests.rs"]
mod tests;
