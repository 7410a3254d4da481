//! JWT-SVIDs: the rules of the profile `jwt-svid` that other tokens do not have (JWT-SVID, sections 2 to 4).
//!
//! A JWT-SVID names a workload by its SPIFFE ID, which `spiffe` parses. The trust domain of the ID chooses the issuer, and thereby the
//! keys. Which agent a workload is does not belong in this module.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::issuer::{Issuer, IssuerId, Issuers};
use super::shape::Bearer;
use crate::document::{self, AlgorithmName, Profile};
use crate::document::{Findings, Place};
use crate::identity::spiffe::{SpiffeId, is_trust_domain};
use crate::reason::Reason;

/// The only parameters of the header (section 2).
const PARAMETERS: [&str; 3] = ["alg", "kid", "typ"];

/// The values of `typ`, if it is present (section 2.3). They are compared exactly, as other implementations do.
const TYPES: [&str; 2] = ["JWT", "JOSE"];

/// The rules for the JWT-SVIDs of one issuer.
#[derive(Debug)]
pub(super) struct Svid {
    pub(super) trust_domain: Arc<str>,
}

impl Svid {
    /// Compiles the rules. Returns `None` for another profile.
    pub(super) fn compile(raw: &document::Issuer, place: &Place, findings: &mut Findings) -> Option<Self> {
        let trust_domain = place.field("trust_domain");
        if raw.profile != Profile::JwtSvid {
            if raw.trust_domain.is_some() {
                findings.error(
                    trust_domain,
                    "only issuers with the profile `jwt-svid` have a trust domain; write `profile: jwt-svid`, or remove this",
                );
            }
            return None;
        }
        match &raw.trust_domain {
            None => findings.error(
                trust_domain,
                "the profile `jwt-svid` requires `trust_domain`; write the trust domain of the workloads, such as `example.org`",
            ),
            Some(name) if !is_trust_domain(name) => findings.error(
                trust_domain,
                "invalid trust domain; expected lower-case letters, digits, `.`, `-` and `_`, such as `example.org`",
            ),
            Some(_) => {}
        }
        check_algorithms(&raw.algorithms, &place.field("algorithms"), findings);
        if !raw.ignore_header.is_empty() {
            findings.error(
                place.field("ignore_header"),
                "the header of a JWT-SVID contains only `alg`, `kid` and `typ`; remove this",
            );
        }
        if raw.tenants.is_some() {
            findings.error(place.field("tenants"), "JWT-SVIDs have a trust domain and no tenant; remove this");
        }
        // No subject is in an empty trust domain.
        Some(Self { trust_domain: raw.trust_domain.as_deref().unwrap_or_default().into() })
    }
}

/// Checks that JWT-SVIDs can have these algorithms (section 2.1).
fn check_algorithms(algorithms: &[AlgorithmName], place: &Place, findings: &mut Findings) {
    for (index, algorithm) in algorithms.iter().enumerate() {
        let name = match algorithm {
            AlgorithmName::Ed25519 => "Ed25519",
            AlgorithmName::HS256 => "HS256",
            AlgorithmName::ES256
            | AlgorithmName::ES384
            | AlgorithmName::RS256
            | AlgorithmName::RS384
            | AlgorithmName::RS512
            | AlgorithmName::PS256
            | AlgorithmName::PS384
            | AlgorithmName::PS512 => continue,
        };
        findings.error(
            place.index(index),
            format!(
                "`{name}` is no algorithm of JWT-SVIDs; expected one of `ES256`, `ES384`, `RS256`, `RS384`, `RS512`, `PS256`, `PS384`, \
                 `PS512`"
            ),
        );
    }
}

/// Maps trust domains to the issuers without `iss`. Two issuers with the same trust domain are an error: each could issue the names of
/// the other.
pub(super) fn by_trust_domain(
    issuers: &[Issuer],
    place: &Place,
    findings: &mut Findings,
) -> BTreeMap<Arc<str>, IssuerId> {
    let (mut all, mut without_iss) = (BTreeMap::new(), BTreeMap::new());
    for (position, issuer) in issuers.iter().enumerate() {
        let Some(svid) = issuer.svid.as_ref().filter(|svid| !svid.trust_domain.is_empty()) else { continue };
        if let Some(first) = all.insert(Arc::clone(&svid.trust_domain), &issuer.name) {
            findings.error(
                place.field(&issuer.name).field("trust_domain"),
                format!("`{}` has the same trust domain; write one issuer with the keys of both", place.field(first)),
            );
        }
        if issuer.iss.is_none() {
            without_iss.insert(Arc::clone(&svid.trust_domain), IssuerId::at(position));
        }
    }
    without_iss
}

/// Returns the first parameter of a header that a JWT-SVID cannot have.
pub(super) fn foreign_parameter(header: &Value) -> Option<&str> {
    header.as_object()?.keys().map(String::as_str).find(|name| !PARAMETERS.contains(name))
}

/// Checks the header's `typ`.
pub(super) fn check_type(header: &Value) -> Result<(), Reason> {
    match header.get("typ") {
        None => Ok(()),
        Some(Value::String(typ)) if TYPES.contains(&typ.as_str()) => Ok(()),
        Some(_) => Err(Reason::TokenType),
    }
}

impl Issuer {
    /// Checks that the subject of a JWT-SVID is a SPIFFE ID of the issuer's trust domain (section 3.1). Other tokens have any subject.
    pub(super) fn check_subject(&self, bearer: &Bearer) -> Result<(), Reason> {
        let Some(svid) = &self.svid else { return Ok(()) };
        let id = bearer.subject.as_deref().and_then(SpiffeId::parse).ok_or(Reason::TokenSubject)?;
        if *id.trust_domain() == *svid.trust_domain { Ok(()) } else { Err(Reason::TokenSubject) }
    }
}

impl Issuers {
    /// Returns the issuer of a JWT-SVID whose `iss` names no issuer of the policy.
    ///
    /// # Errors
    /// [`Reason::TokenSubject`] if the token seems to be a JWT-SVID, and its subject is not a SPIFFE ID of such an issuer. Otherwise
    /// [`Reason::TokenIssuer`], or [`Reason::TokenClaim`] if there is no `iss`.
    pub(super) fn by_subject(&self, iss: Option<&str>, claims: &Value) -> Result<(IssuerId, &Issuer), Reason> {
        let otherwise = if iss.is_some() { Reason::TokenIssuer } else { Reason::TokenClaim };
        if self.by_trust_domain.is_empty() {
            return Err(otherwise);
        }
        let subject = claims.get("sub").and_then(Value::as_str).ok_or(otherwise)?;
        let id = SpiffeId::parse(subject).and_then(|id| self.by_trust_domain.get(id.trust_domain()));
        if let Some(id) = id {
            return Ok((*id, self.get(*id).ok_or(otherwise)?));
        }
        // No other token can be without `iss`.
        let is_svid = iss.is_none() || is_like_spiffe_id(subject);
        Err(if is_svid { Reason::TokenSubject } else { otherwise })
    }

    /// Returns what the subject must be, for explanations. `issuer` is the issuer of the token if its `iss` names one.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn expected_subject(&self, issuer: Option<&Issuer>) -> String {
        let of_issuer = issuer.and_then(|issuer| issuer.svid.as_ref()).map(|svid| &*svid.trust_domain);
        let names: Vec<_> = match of_issuer {
            Some(name) => vec![name],
            None => self.by_trust_domain.keys().map(|name| &**name).collect(),
        };
        format!(
            "exactly `spiffe://{}/PATH`, where PATH has no empty segment, `.`, `..` or `%`",
            names.join("/PATH` or `spiffe://")
        )
    }
}

/// Returns whether a text has the scheme of SPIFFE IDs, in any case.
fn is_like_spiffe_id(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("spiffe"))
}

/// Returns the accepted values of `typ`, for explanations.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn expected_type() -> String {
    format!("`{}`, or absent", TYPES.join("` or `"))
}

#[cfg(test)]
#[path = "svid_tests.rs"]
mod tests;
