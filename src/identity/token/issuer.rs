//! The issuers of a policy: validates their rules individually and together, and compiles them for lookups.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::audience::Audience;
use super::implied::ImpliedScopes;
use super::keys::{Keys, Secrets};
use super::shape::Shape;
use super::shared_keys::{check_shared_keys, check_sharing_is_mutual};
use super::svid::{self, Svid};
use super::tenant::{self, Template};
use crate::document::{self, AlgorithmName, Findings, IgnorableHeader, Place, Profile};
use crate::identity::crypto::{Algorithm, VerifyingKey};

/// The maximum `max_lifetime`. Kubernetes issues tokens for slightly more than a year to clients that do not renew them.
const LONGEST_LIFETIME: Duration = Duration::from_secs(366 * 86_400);

/// A longer `max_lifetime` causes a warning.
const LONG_LIFETIME: Duration = Duration::from_secs(86_400);

/// The issuers of a policy.
#[derive(Debug)]
pub struct Issuers {
    /// Sorted by name, so an [`IssuerId`] is the position in the policy's map.
    pub(super) issuers: Vec<Issuer>,
    /// Maps the exact `iss` to the issuer. Issuers with tenants are not in the map.
    pub(super) by_iss: BTreeMap<Arc<str>, IssuerId>,
    /// Maps the trust domain of JWT-SVIDs to the issuer, for issuers whose `iss` the policy does not state.
    pub(super) by_trust_domain: BTreeMap<Arc<str>, IssuerId>,
    /// The scopes that other scopes include.
    pub(super) implied: ImpliedScopes,
    /// How far the clocks of the issuer and Callgate may differ.
    pub(super) skew: Duration,
    /// The maximum number of actors of a token. `None` if the policy accepts none, and actors are not parsed.
    pub(super) max_actors: Option<u8>,
    /// Whether tokens may be bound to client certificates.
    pub(super) accepts_certificate_bindings: bool,
}

/// An issuer of the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IssuerId(usize);

impl IssuerId {
    /// Returns the issuer at this position in the order of the issuers' names.
    pub(super) fn at(position: usize) -> Self {
        Self(position)
    }

    /// Returns its position in the order of the issuers' names.
    pub(crate) fn position(self) -> usize {
        self.0
    }
}

/// One issuer, compiled for verifying its tokens.
#[derive(Debug)]
pub(super) struct Issuer {
    pub(super) name: Arc<str>,
    /// The exact `iss`, or the text with a variable. `None` if the trust domain identifies the issuer.
    pub(super) iss: Option<Arc<str>>,
    /// How `iss` names the tenant, if the issuer has tenants.
    pub(super) template: Option<Template>,
    pub(super) audience: Audience,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) keys: Keys,
    pub(super) ignored_header: Vec<IgnorableHeader>,
    pub(super) max_lifetime: Duration,
    pub(super) shape: Shape,
    /// The rules of JWT-SVIDs, if the tokens are JWT-SVIDs.
    pub(super) svid: Option<Svid>,
    /// The issuers that have the same keys.
    pub(super) shares_keys_with: Vec<Box<str>>,
}

impl Issuers {
    /// Returns the number of issuers, where each tenant that the policy lists counts as one.
    pub(crate) fn named(&self) -> usize {
        let tenants =
            |issuer: &Issuer| issuer.template.as_ref().and_then(|template| template.tenants()).map(<[_]>::len);
        self.issuers.iter().map(|issuer| tenants(issuer).unwrap_or(1)).sum()
    }

    /// Returns whether the policy accepts no tokens at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    /// Compiles the policy's `issuers`.
    ///
    /// `resource` is the audience of issuers that name none, `skew` how far clocks may differ. Problems are added to `findings`. If there
    /// is an error, the result still has the [`IssuerId`] of every issuer, and rejects every token of the affected issuers.
    pub fn compile(
        raw: &BTreeMap<String, document::Issuer>,
        resource: &str,
        skew: Duration,
        secrets: &dyn Secrets,
        findings: &mut Findings,
    ) -> Self {
        let place = Place::root().field("issuers");
        let issuers: Vec<_> = raw
            .iter()
            .map(|(name, issuer)| Issuer::compile(name, issuer, resource, &place.field(name), secrets, findings))
            .collect();
        let mut by_iss = BTreeMap::new();
        for (index, issuer) in issuers.iter().enumerate().filter(|(_, issuer)| issuer.template.is_none()) {
            let Some(iss) = &issuer.iss else { continue };
            if let Some(IssuerId(first)) = by_iss.insert(Arc::clone(iss), IssuerId(index)) {
                let first = place.field(issuers.get(first).map_or("", |issuer| &issuer.name));
                findings.error(
                    place.field(&issuer.name).field("issuer"),
                    format!("`{first}` has the same value; write one issuer with the keys of both"),
                );
            }
        }
        tenant::check_overlaps(&issuers, &place, findings);
        let by_trust_domain = svid::by_trust_domain(&issuers, &place, findings);
        check_sharing_is_mutual(raw, &place, findings);
        check_shared_keys(raw, &issuers, &place, findings);
        Self {
            issuers,
            by_iss,
            by_trust_domain,
            implied: ImpliedScopes::default(),
            skew,
            max_actors: None,
            accepts_certificate_bindings: false,
        }
    }

    /// Sets whether tokens may be bound to client certificates (RFC 8705, section 3). The caller then compares the certificate of each
    /// request.
    #[must_use]
    pub fn with_certificate_bindings(self, accepts_certificate_bindings: bool) -> Self {
        Self { accepts_certificate_bindings, ..self }
    }

    /// Adds the scopes that other scopes include.
    #[must_use]
    pub fn with_implied_scopes(self, implied: ImpliedScopes) -> Self {
        Self { implied, ..self }
    }

    /// Sets the maximum number of actors of a token (`act`). Without one, actors are not parsed.
    #[must_use]
    pub(crate) fn with_delegation(self, max_actors: Option<u8>) -> Self {
        Self { max_actors, ..self }
    }

    /// Returns how far the clocks of issuers and Callgate may differ.
    pub(crate) fn skew(&self) -> Duration {
        self.skew
    }

    /// Returns the scopes that other scopes include.
    pub(crate) fn implied_scopes(&self) -> &ImpliedScopes {
        &self.implied
    }

    /// Returns the issuer with this name in the policy.
    #[must_use]
    pub fn id(&self, name: &str) -> Option<IssuerId> {
        self.issuers.binary_search_by(|issuer| (*issuer.name).cmp(name)).ok().map(IssuerId)
    }

    /// Returns the issuer with exactly this `iss`. Issuers with tenants are not found.
    pub(crate) fn id_of_iss(&self, iss: &str) -> Option<IssuerId> {
        self.by_iss.get(iss).copied()
    }

    /// Returns the policy's name of an issuer.
    #[must_use]
    pub fn name(&self, id: IssuerId) -> &str {
        self.get(id).map_or("", |issuer| &issuer.name)
    }

    /// Returns all keys, with the names of their issuers.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&str, &VerifyingKey)> {
        self.issuers.iter().flat_map(|issuer| issuer.keys.iter().map(|key| (&*issuer.name, key)))
    }

    /// Returns all issuers, in the order of their names.
    pub(super) fn ids(&self) -> impl Iterator<Item = IssuerId> + use<> {
        (0..self.issuers.len()).map(IssuerId)
    }

    /// Returns whether the tokens of an issuer have a tenant.
    pub(crate) fn has_tenants(&self, id: IssuerId) -> bool {
        self.get(id).is_some_and(|issuer| issuer.template.is_some())
    }

    /// Returns whether an issuer accepts tokens of this tenant.
    pub(crate) fn accepts_tenant(&self, id: IssuerId, tenant: &str) -> bool {
        self.get(id).and_then(|issuer| issuer.template.as_ref()).is_some_and(|template| template.accepts(tenant))
    }

    pub(super) fn get(&self, id: IssuerId) -> Option<&Issuer> {
        self.issuers.get(id.0)
    }
}

impl Issuer {
    fn compile(
        name: &str,
        raw: &document::Issuer,
        resource: &str,
        place: &Place,
        secrets: &dyn Secrets,
        findings: &mut Findings,
    ) -> Self {
        check_name(name, place, findings);
        check_iss(raw, place, findings);
        let svid = Svid::compile(raw, place, findings);
        // JWT-SVIDs have a trust domain instead of a tenant.
        let template = if svid.is_none() { Template::compile(raw, place, findings) } else { None };
        let audience = Audience::compile(raw.audience.as_ref(), resource, &place.field("audience"), findings);
        Audience::check_absent(raw, place, findings);
        check_lifetime(raw.max_lifetime.duration(), place, findings);
        let algorithms = compile_algorithms(&raw.algorithms, place, findings);
        let keys = Keys::compile(raw, &algorithms, place, secrets, findings);
        if let Some(Keys::Set(keys)) = &keys {
            for (index, algorithm) in algorithms.iter().enumerate() {
                if !keys.iter().any(|key| key.algorithms.contains(algorithm)) {
                    findings.warn(
                        place.field("algorithms").index(index),
                        format!("no key verifies `{}`; remove it, or add its key", algorithm.jose_name()),
                    );
                }
            }
        }
        let shape = Shape::compile(raw, place, findings);
        Self {
            name: name.into(),
            iss: raw.issuer.as_deref().map(Into::into),
            template,
            audience,
            algorithms,
            // If there is no error, both are present. If there is one, an issuer without keys and types rejects every token.
            keys: keys.unwrap_or(Keys::Secret(None)),
            ignored_header: raw.ignore_header.clone(),
            max_lifetime: raw.max_lifetime.duration(),
            shape: shape.unwrap_or_default(),
            svid,
            shares_keys_with: raw.shares_keys_with.iter().map(|name| name.as_str().into()).collect(),
        }
    }
}

/// Issuer names appear in records, headers and metrics, and next to each other in messages.
fn check_name(name: &str, place: &Place, findings: &mut Findings) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        findings.error(place.clone(), "invalid issuer name; expected 1 to 64 characters of `a-z A-Z 0-9 - _ .`");
    }
}

/// Returns whether this is the identifier of an issuer: an absolute URL without query or fragment (RFC 8414, section 2).
pub(crate) fn is_issuer_url(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let of_url = |b: u8| {
        b.is_ascii_graphic()
            && !matches!(b, b'?' | b'#' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
    };
    !host.is_empty() && url.bytes().all(of_url)
}

/// `iss` is only compared and never fetched, so any value that providers use is accepted.
fn check_iss(raw: &document::Issuer, place: &Place, findings: &mut Findings) {
    let Some(iss) = &raw.issuer else {
        if raw.profile != Profile::JwtSvid {
            findings.error(place.field("issuer"), "the issuer has no `issuer`; write the exact `iss` of its tokens");
        }
        return;
    };
    // Only other tokens have a tenant.
    let exact = if raw.profile == Profile::JwtSvid { iss.clone() } else { tenant::without_variable(iss) };
    if !is_issuer_url(&exact) {
        findings.error(
            place.field("issuer"),
            "invalid value; expected the exact `iss` of its tokens, an absolute URL such as \
             `https://idp.example.com/realm` without query or fragment; one whole path segment may be the claim with the tenant, such as \
             `{tid}`",
        );
    }
}

fn check_lifetime(longest: Duration, place: &Place, findings: &mut Findings) {
    let place = place.field("max_lifetime");
    if longest.is_zero() {
        findings.error(place, "every token would be rejected; write the maximum lifetime, such as `15m` or `1h`");
    } else if longest > LONGEST_LIFETIME {
        findings.error(place, "`max_lifetime` must not exceed 366d; an hour or less is recommended");
    } else if longest > LONG_LIFETIME {
        findings
            .warn(place, "a leaked token remains valid for this long; use an hour or less if the issuer supports it");
    }
}

fn compile_algorithms(raw: &[AlgorithmName], place: &Place, findings: &mut Findings) -> Vec<Algorithm> {
    let place = place.field("algorithms");
    if raw.is_empty() {
        findings.error(place.clone(), "every token would be rejected; list the algorithms that this issuer signs with");
    }
    let mut algorithms = Vec::new();
    for (index, name) in raw.iter().enumerate() {
        let algorithm = Algorithm::from(*name);
        if algorithms.contains(&algorithm) {
            findings.error(place.index(index), format!("`{}` is listed twice; remove one", algorithm.jose_name()));
        } else {
            algorithms.push(algorithm);
        }
    }
    if algorithms.contains(&Algorithm::Hs256) && algorithms.len() > 1 {
        findings.error(
            place,
            "`HS256` cannot be combined with other algorithms; list either `HS256` alone or only public-key algorithms",
        );
    }
    algorithms
}

impl From<AlgorithmName> for Algorithm {
    fn from(name: AlgorithmName) -> Self {
        match name {
            AlgorithmName::ES256 => Self::Es256,
            AlgorithmName::ES384 => Self::Es384,
            AlgorithmName::RS256 => Self::Rs256,
            AlgorithmName::RS384 => Self::Rs384,
            AlgorithmName::RS512 => Self::Rs512,
            AlgorithmName::PS256 => Self::Ps256,
            AlgorithmName::PS384 => Self::Ps384,
            AlgorithmName::PS512 => Self::Ps512,
            AlgorithmName::Ed25519 => Self::Ed25519,
            AlgorithmName::HS256 => Self::Hs256,
        }
    }
}
