//! Compiles the claims that the upstream gets as headers.

use super::{credentials, reserved};
use crate::document;
use crate::document::{Findings, Place};
use crate::identity::token::ClaimName;
use crate::request::headers::name_reads_as;

/// The maximum number of claims. Each name is compared with every header of a request.
const MOST_CLAIMS: usize = 16;

/// A claim that the upstream gets as a header. Inbound headers that some server reads as this one are removed from every request.
#[derive(Debug)]
pub(crate) struct ForwardedClaim {
    /// The header's name, in lower case with hyphens.
    pub(crate) header: Box<str>,
    pub(crate) claim: ClaimName,
}

pub(super) fn compile(document: &document::Document, findings: &mut Findings) -> Vec<ForwardedClaim> {
    let place = Place::root().field("upstream").field("claims");
    let written = &document.upstream.claims;
    if written.len() > MOST_CLAIMS {
        findings.error(place.clone(), format!("too many claims; expected at most {MOST_CLAIMS}"));
    }
    if !written.is_empty() && document.issuers.is_empty() {
        findings.warn(place.clone(), "without an issuer, no request has a token with claims; remove this");
    }
    let mut claims = Vec::with_capacity(written.len());
    for (header, claim) in written {
        let place = place.field(header);
        let claim = ClaimName::parse(claim).map_err(|fault| findings.error(place.clone(), fault.to_string()));
        let is_free = is_free(header, document, &place, findings);
        if let (true, Ok(claim)) = (is_free, claim) {
            claims.push(ForwardedClaim { header: header.as_str().into(), claim });
        }
    }
    claims
}

/// Checks that only this claim uses the header.
fn is_free(header: &str, document: &document::Document, place: &Place, findings: &mut Findings) -> bool {
    if !reserved::check(header, "x-user-email", document, place, findings) {
        return false;
    }
    let api_key_header = document.api_keys.as_ref().and_then(|keys| keys.header.as_deref());
    let message = if credentials::carry(header, document) {
        "carries tokens (`credentials_from`); name another header"
    } else if api_key_header == Some(header) {
        "carries API keys (`api_keys`); name another header"
    } else if document.audit.include.iter().any(|own| name_reads_as(own.as_bytes(), header)) {
        "is in `audit.include`, and records would show what the client sent, which is removed; name another header"
    } else {
        return true;
    };
    findings.error(place.clone(), format!("`{header}` {message}"));
    false
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
