//! Checks of the `identity` of an agent that need its issuer or the rest of the agent.

use crate::document;
use crate::document::{Findings, Place};
use crate::identity::token::{self, IssuerId, Issuers};

/// Checks an entry that describes many clients.
pub(super) fn check_class(
    agent: &document::Agent,
    identity: &document::Identity,
    place: &Place,
    findings: &mut Findings,
) {
    if identity.each.is_none() {
        return;
    }
    let of_identity = place.field("identity");
    if identity.claims.is_empty() {
        findings.error(
            of_identity.field("each"),
            "every client of this issuer would be such an agent; write `claims` that only these clients have",
        );
    }
    let is_one = [("client_id", identity.client_id.is_some()), ("subject", identity.subject.is_some())];
    for (field, _) in is_one.into_iter().filter(|(_, is_written)| *is_written) {
        findings.error(
            of_identity.field(field),
            format!("`each: client` describes many clients; remove `{field}`, or remove `each`"),
        );
    }
    if agent.signing_keys.is_some() {
        findings.error(
            place.field("signing_keys"),
            "`each: client` describes many clients, which cannot share a key; register the client with the key as a separate agent",
        );
    }
    if agent.api_keys.is_some() {
        findings.error(
            place.field("api_keys"),
            "`each: client` describes many clients, and an API key names none of them; register the client with the key as a separate agent",
        );
    }
}

/// Checks an identity that names no issuer: it has no values of tokens, and something else identifies the agent.
pub(super) fn check_issuer_is_written(identity: &document::Identity, place: &Place, findings: &mut Findings) {
    let of_tokens = [
        ("tenant", identity.tenant.is_some()),
        ("client_id", identity.client_id.is_some()),
        ("subject", identity.subject.is_some()),
        ("claims", !identity.claims.is_empty()),
        ("each", identity.each.is_some()),
    ];
    if let Some((field, _)) = of_tokens.into_iter().find(|(_, is_written)| *is_written) {
        findings.error(
            place.field("issuer"),
            format!("`{field}` is a value in the tokens of one issuer; write the name of that issuer from `issuers`"),
        );
    } else if identity.spiffe.is_none() && identity.certificate.is_none() && identity.actor.is_none() {
        findings.error(
            place.clone(),
            "nothing identifies this agent; write `issuer` with `client_id`, `subject` or `claims`, or write `spiffe` or `certificate`",
        );
    }
}

/// Checks that an identity names a tenant if its issuer has tenants. Returns whether the agent can be found.
pub(super) fn check_tenant(
    identity: &document::Identity,
    name: &str,
    issuer: IssuerId,
    issuers: &Issuers,
    place: &Place,
    findings: &mut Findings,
) -> bool {
    let name = name.escape_debug();
    let errors_before = findings.errors.len();
    match (&identity.tenant, issuers.has_tenants(issuer)) {
        (None, false) => {}
        (None, true) => findings.error(
            place.clone(),
            format!("clients of two tenants of `{name}` may have the same identifier; write the `tenant`"),
        ),
        (Some(_), false) => findings.error(
            place.field("tenant"),
            format!("`{name}` has no tenants; remove this field, or write the issuer with a variable"),
        ),
        (Some(tenant), true) => {
            token::check_tenant(tenant, &place.field("tenant"), findings);
            if !issuers.accepts_tenant(issuer, tenant) {
                findings.error(
                    place.field("tenant"),
                    format!(
                        "`{}` is not one of the tenants of `{name}`; add it there, or remove the agent",
                        tenant.escape_debug()
                    ),
                );
            }
        }
    }
    findings.errors.len() == errors_before
}
