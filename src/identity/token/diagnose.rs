//! Details about a rejected token: the wrong claim or header parameter, its value and the expected value.
//!
//! Only `callgate explain` uses them, and reads the token a second time for that. The filter is built without this module: a rejected
//! token costs the gateway nothing more, and the response contains only the reason.

mod form;

use serde_json::Value;

use super::audience::{Audience, Audiences};
use super::claim::{self, ClaimName};
use super::delegation;
use super::fetched_keys::{FetchedKeys, KeySet};
use super::header::{REFUSED_HEADER, URL_HEADER};
use super::issuer::{Issuer, Issuers};
use super::jws::{Jws, MAX_TOKEN_BYTES};
use super::keys::{Key, Keys};
use super::shape::{ABSENT, Expected, Shape, identifier, read_scopes};
use super::svid;
use super::times::{Times, numeric_date};
use crate::document::ScopeForm;
use crate::identity::crypto::Algorithm;
use crate::reason::Reason;
use crate::text::time::Timestamp;
use form::{json_fault, malformed};

/// The maximum number of characters that an explanation shows of one value.
const SHOWN: usize = 200;

/// Facts by name, in the order of the checks.
pub(crate) type Facts = Vec<(&'static str, String)>;

/// A claim or header parameter with an unexpected value.
struct Mismatch<'t> {
    name: String,
    is: Option<&'t Value>,
    expected: String,
}

impl Mismatch<'_> {
    fn claim(self) -> Facts {
        vec![("claim", self.name), ("is", shown(self.is)), ("expected", self.expected)]
    }

    fn parameter(self) -> Facts {
        vec![("header parameter", self.name), ("is", shown(self.is)), ("expected", self.expected)]
    }
}

impl Issuers {
    /// Describes why [`verify`](Self::verify) rejected a token with this reason at this time. The result is empty if the reason is
    /// sufficient.
    ///
    /// `audiences` are those of the request's resource, as for [`verify_for`](Self::verify_for).
    pub(crate) fn diagnose(
        &self,
        audiences: Option<&Audiences>,
        token: &[u8],
        reason: Reason,
        now: Timestamp,
        fetched: &FetchedKeys,
    ) -> Facts {
        match reason {
            Reason::TokenTooLong => {
                vec![
                    ("length", format!("{} bytes", token.len())),
                    ("expected", format!("at most {MAX_TOKEN_BYTES} bytes")),
                ]
            }
            Reason::TokenMalformed => malformed(token),
            Reason::TokenEncrypted => {
                vec![
                    ("parts", "5, as an encrypted token (JWE) has".to_owned()),
                    ("expected", "a signed token (JWS)".to_owned()),
                ]
            }
            Reason::TokenJson => json_fault(token),
            _ => Jws::parse(token)
                .map(|jws| self.diagnose_members(audiences, &jws, reason, now, fetched))
                .unwrap_or_default(),
        }
    }

    fn diagnose_members(
        &self,
        audiences: Option<&Audiences>,
        jws: &Jws<'_>,
        reason: Reason,
        now: Timestamp,
        fetched: &FetchedKeys,
    ) -> Facts {
        let Jws { header, claims, .. } = jws;
        let found = self.issuer_of(claims).ok();
        let issuer = found.as_ref().map(|(_, issuer, _)| *issuer);
        let fetched = found.as_ref().and_then(|(id, ..)| fetched.of(*id));
        let audience = found.as_ref().and_then(|(id, issuer, _)| match audiences {
            None => Some(&issuer.audience),
            Some(audiences) => audiences.of(*id),
        });
        let algorithm = header.get("alg").and_then(Value::as_str).and_then(Algorithm::from_jose);
        let claim =
            |name: &str, expected: String| Mismatch { name: name.to_owned(), is: claims.get(name), expected }.claim();
        let parameter = |name: &str, expected: String| {
            Mismatch { name: name.to_owned(), is: header.get(name), expected }.parameter()
        };
        match (reason, issuer) {
            (Reason::TokenHeader, _) => {
                let ignored = |name: &str| issuer.is_some_and(|issuer| issuer.ignores(name));
                let mut names = REFUSED_HEADER.into_iter().chain(URL_HEADER.map(|(name, _)| name));
                let name = names.find(|name| header.get(name).is_some() && !ignored(name));
                let of_svid = || issuer.and_then(|issuer| issuer.svid.as_ref()).and(svid::foreign_parameter(header));
                let name = name.or_else(of_svid);
                name.map(|name| parameter(name, "absent".to_owned())).unwrap_or_default()
            }
            (Reason::TokenIssuer | Reason::TokenClaim, None) => match self.wrong_tenant(claims) {
                Some(mismatch) => mismatch.claim(),
                None if reason == Reason::TokenClaim => claim("iss", "a string".to_owned()),
                None => {
                    let known = self.issuers.iter().filter_map(|issuer| issuer.iss.as_deref());
                    claim("iss", format!("exactly one of {}", list(known)))
                }
            },
            (Reason::TokenAlgorithm, issuer) => {
                let accepted: Vec<_> = match (issuer, algorithm) {
                    (None, _) => Algorithm::ALL.into_iter().collect(),
                    (Some(issuer), Some(algorithm)) if issuer.algorithms.contains(&algorithm) => {
                        issuer.keys.algorithms_of(header.get("kid"), fetched).to_vec()
                    }
                    (Some(issuer), _) => issuer.algorithms.clone(),
                };
                parameter("alg", format!("one of {}", list(accepted.into_iter().map(Algorithm::jose_name))))
            }
            (Reason::TokenClaim, Some(issuer)) => {
                issuer.wrong_claim(audience, claims).map(Mismatch::claim).unwrap_or_default()
            }
            (Reason::TokenSubject, issuer) => claim("sub", self.expected_subject(issuer)),
            (Reason::TokenType, Some(issuer)) if issuer.svid.is_some() => parameter("typ", svid::expected_type()),
            (Reason::TokenType, Some(issuer)) => parameter("typ", format!("one of {}", list(issuer.shape.types()))),
            (Reason::TokenKey, Some(issuer)) => parameter("kid", issuer.keys.expected_kid(fetched)),
            (Reason::TokenAudience, Some(_)) => {
                claim("aud", audience.map_or_else(|| "absent".to_owned(), Audience::expected))
            }
            (Reason::TokenTime, _) => self.wrong_time(claims, now).map(Mismatch::claim).unwrap_or_default(),
            (Reason::TokenExpired, _) => {
                let skew = self.skew.as_secs();
                claim(
                    "exp",
                    format!("later than {} (now minus the clock skew of {skew} s)", now.minus(self.skew).as_secs()),
                )
            }
            (Reason::TokenNotYetValid, _) => {
                let skew = self.skew.as_secs();
                claim("nbf", format!("at most {} (now plus the clock skew of {skew} s)", now.plus(self.skew).as_secs()))
            }
            (Reason::TokenLifetime, Some(issuer)) => {
                let most = format!("at most {} s, the issuer's `max_lifetime`", issuer.max_lifetime.as_secs());
                let from_now = claims.get("iat").is_none();
                let lifetime =
                    Times::read(claims, false).map(|times| format!("{} s", times.lifetime(now).as_secs_f64()));
                let name = if from_now { "`exp` - now" } else { "`exp` - `iat`" };
                vec![(name, lifetime.unwrap_or_default()), ("expected", most)]
            }
            (Reason::TokenBound, _) => {
                let expected = if self.accepts_certificate_bindings {
                    "the thumbprint of a DPoP key (`jkt`), of a certificate (`x5t#S256`) or both, and no other member"
                } else {
                    "the thumbprint of a DPoP key (`jkt`), and no other member"
                };
                claim("cnf", expected.to_owned())
            }
            (Reason::DelegationMalformed, _) => claim(delegation::CLAIM, delegation::expected(self.max_actors)),
            (Reason::TokenSignature, Some(_)) => {
                vec![
                    ("kid", shown(header.get("kid"))),
                    (
                        "expected",
                        "a signature over the header and claims by the policy's key with this `kid`".to_owned(),
                    ),
                ]
            }
            _ => Facts::new(),
        }
    }

    /// Returns the claim with the tenant, if `iss` belongs to an issuer with tenants and is rejected because of that claim.
    fn wrong_tenant<'t>(&self, claims: &'t Value) -> Option<Mismatch<'t>> {
        let (_, _, template, tenant) = self.by_template(claims.get("iss").and_then(Value::as_str)?)?;
        let (name, expected) = template.expected(tenant);
        Some(Mismatch { name: name.to_owned(), is: claims.get(name), expected })
    }

    /// Checks in the same order as [`Times::read`] and [`Times::judge`].
    fn wrong_time<'t>(&self, claims: &'t Value, now: Timestamp) -> Option<Mismatch<'t>> {
        let wrong =
            |name: &str, expected: String| Some(Mismatch { name: name.to_owned(), is: claims.get(name), expected });
        let unreadable = ["iat", "nbf", "exp"]
            .into_iter()
            .find(|name| claims.get(name).is_some_and(|value| numeric_date(value).is_none()));
        if let Some(name) = unreadable {
            return wrong(name, "a nonnegative number of seconds since 1970".to_owned());
        }
        let time = |name: &str| claims.get(name).and_then(numeric_date);
        let (issued, not_before, expires) = (time("iat"), time("nbf"), time("exp")?);
        if issued.is_some_and(|issued| expires <= issued) {
            return wrong("exp", format!("later than `iat`, which is {}", shown(claims.get("iat"))));
        }
        if not_before.is_some_and(|not_before| not_before >= expires) {
            return wrong("nbf", format!("earlier than `exp`, which is {}", shown(claims.get("exp"))));
        }
        let latest = now.plus(self.skew);
        wrong("iat", format!("at most {} (now plus the clock skew of {} s)", latest.as_secs(), self.skew.as_secs()))
    }
}

impl Issuer {
    /// Checks in the same order as verification.
    fn wrong_claim<'t>(&self, audience: Option<&Audience>, claims: &'t Value) -> Option<Mismatch<'t>> {
        let missing = |name: &str, expected: &str| {
            Some(Mismatch { name: name.to_owned(), is: claims.get(name), expected: expected.to_owned() })
        };
        let is_audience = match claims.get("aud") {
            Some(Value::String(_)) => true,
            Some(Value::Array(items)) => items.iter().all(Value::is_string),
            _ => false,
        };
        let needs_audience = matches!(audience, Some(Audience::OneOf(_)));
        if needs_audience && !is_audience {
            return missing("aud", "a string or an array of strings");
        }
        if let Some(mismatch) = self.shape.mismatch(claims) {
            return Some(mismatch);
        }
        let needed: &[&str] = if self.svid.is_some() { &["exp"] } else { &["iat", "exp"] };
        let absent = needed.iter().find(|name| claims.get(**name).is_none())?;
        missing(absent, "a number of seconds since 1970")
    }
}

impl Shape {
    /// Returns the accepted media types, as a policy writes them.
    fn types(&self) -> impl Iterator<Item = &str> {
        self.types.iter().map(|typ| typ.as_deref().unwrap_or(ABSENT))
    }

    /// Returns the claim for which [`Self::read`] rejects a token.
    fn mismatch<'t>(&self, claims: &'t Value) -> Option<Mismatch<'t>> {
        let wrong = |name: &str, is: Option<&'t Value>, expected: String| {
            Some(Mismatch { name: name.to_owned(), is, expected })
        };
        for (name, expected) in &self.required {
            let value = name.find(claims);
            let says = value.filter(|value| claim::says_something(value));
            if !says.is_some_and(|value| expected.is_met_by(value)) {
                let expected = match expected {
                    Expected::Anything => "any nonempty value".to_owned(),
                    Expected::Text => "a nonempty string".to_owned(),
                    Expected::OneOf(taken) => format!("one of {}", list(taken.iter().map(String::as_str))),
                };
                return wrong(name.as_str(), value, expected);
            }
        }
        let text = "a nonempty string";
        let client = self.client.as_ref().map(|name| (name.as_str(), name.find(claims), true));
        for (name, value, needed) in client.into_iter().chain([("sub", claims.get("sub"), self.subject)]) {
            if identifier(value).map_or(true, |value| needed && value.is_none()) {
                return wrong(name, value, text.to_owned());
            }
        }
        let unreadable = |(name, form): &&(ClaimName, ScopeForm)| {
            name.find(claims).is_some_and(|value| read_scopes(value, *form, &mut Vec::new()).is_err())
        };
        let (name, form) = self.scopes.iter().find(unreadable)?;
        let expected = match form {
            ScopeForm::String => "a string of scopes, separated by spaces",
            ScopeForm::Array => "an array of nonempty strings",
            ScopeForm::Either => "a string of scopes, separated by spaces, or an array of nonempty strings",
            ScopeForm::Keys => "an object whose members have nonempty names",
        };
        wrong(name.as_str(), name.find(claims), expected.to_owned())
    }
}

impl Keys {
    fn all<'k>(&'k self, fetched: Option<&'k KeySet>) -> &'k [Key] {
        match (self, fetched) {
            (Self::Set(keys), _) => keys,
            (Self::Fetched, Some(set)) => &set.keys,
            (Self::Fetched, None) | (Self::Secret(_), _) => &[],
        }
    }

    /// Returns the algorithms of the key with this `kid`.
    fn algorithms_of<'k>(&'k self, kid: Option<&Value>, fetched: Option<&'k KeySet>) -> &'k [Algorithm] {
        let Some(kid) = kid.and_then(Value::as_str) else { return &[] };
        let named = self.all(fetched).iter().find(|key| key.kid.as_deref() == Some(kid));
        named.map_or(&[], |key| &key.algorithms)
    }

    fn expected_kid(&self, fetched: Option<&KeySet>) -> String {
        match self {
            Self::Secret(_) => "the secret, which was not looked up; set its environment variable".to_owned(),
            _ => format!("one of {}", list(self.all(fetched).iter().filter_map(|key| key.kid.as_deref()))),
        }
    }
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "absent".to_owned(), |value| cut(&value.to_string()))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}... ({} bytes)", text.get(..end).unwrap_or_default(), text.len()),
    }
}

fn list<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let quoted: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    if quoted.is_empty() { "nothing".to_owned() } else { quoted.join(", ") }
}

#[cfg(test)]
#[path = "diagnose_tests.rs"]
mod tests;
