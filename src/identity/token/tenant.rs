//! Issuers with a tenant: the `iss` of their tokens contains a variable path segment, which is the value of a claim.
//!
//! The member `issuer` of a key, which limits the key to one tenant of a provider, is compared here too.

use serde_json::{Map, Value};

use super::issuer::{Issuer, IssuerId, Issuers};
use crate::document;
use crate::document::names::check_distinct;
use crate::document::{Findings, Place, Tenants};
use crate::identity::crypto::JwkError;
use crate::reason::Reason;

/// The maximum length of a tenant in bytes. Tenants are part of records and headers.
const LONGEST_TENANT: usize = 64;

/// The `iss` of an issuer with tenants.
#[derive(Debug)]
pub(super) struct Template {
    /// The text before the tenant.
    beginning: Box<str>,
    /// The text after the tenant.
    end: Box<str>,
    /// The claim with the tenant.
    claim: Box<str>,
    /// The accepted tenants. `None` accepts any.
    tenants: Option<Vec<Box<str>>>,
}

/// The tenant of a token, as a verified token needs it.
#[derive(Debug)]
pub(super) struct Tenant {
    pub(super) name: Box<str>,
    /// Whether the policy names this tenant at its issuer.
    pub(super) is_listed: bool,
}

/// Returns whether a text can be a tenant. All readers of a URL agree on such a path segment: it has no escapes and no upper-case letters,
/// and is no dot segment.
fn is_tenant(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
    first && text.len() <= LONGEST_TENANT && text.bytes().all(plain)
}

/// A URL with one path segment that is a variable.
struct Parts<'t> {
    beginning: &'t str,
    variable: &'t str,
    end: &'t str,
}

impl<'t> Parts<'t> {
    /// Splits a text at its variable. Returns `None` if it has none, or more than one, or one that is not a whole path segment.
    fn of(text: &'t str) -> Option<Self> {
        let (beginning, rest) = text.split_once('{')?;
        let (variable, end) = rest.split_once('}')?;
        let of_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        let is_name = !variable.is_empty() && variable.bytes().all(of_name);
        let is_whole = beginning.ends_with('/') && (end.is_empty() || end.starts_with('/'));
        let is_path = beginning.split_once("://").is_some_and(|(_, after)| after.find('/').is_some_and(|at| at > 0));
        let is_only = !beginning.contains('}') && !end.contains(['{', '}']);
        (is_name && is_whole && is_path && is_only).then_some(Self { beginning, variable, end })
    }

    /// Returns the segment of a URL that is in the place of the variable.
    fn segment<'u>(&self, url: &'u str) -> Option<&'u str> {
        segment(url, self.beginning, self.end)
    }
}

/// Returns the text between a beginning and an end if it is one nonempty path segment.
fn segment<'u>(url: &'u str, beginning: &str, end: &str) -> Option<&'u str> {
    let segment = url.strip_prefix(beginning)?.strip_suffix(end)?;
    (!segment.is_empty() && !segment.contains('/')).then_some(segment)
}

/// Returns an `iss` of the policy in the form in which its syntax can be checked: with an ordinary segment instead of the variable.
pub(super) fn without_variable(issuer: &str) -> String {
    Parts::of(issuer).map_or_else(|| issuer.to_owned(), |parts| format!("{}x{}", parts.beginning, parts.end))
}

/// Reports whether both are the same URL with a variable, whatever its name.
pub(super) fn is_same_template(one: &str, other: &str) -> bool {
    let parts = Parts::of(one).zip(Parts::of(other));
    parts.is_some_and(|(one, other)| one.beginning == other.beginning && one.end == other.end)
}

/// Returns an `iss` of the policy with this tenant instead of the variable. `None` if it has no variable.
pub(crate) fn with_tenant(issuer: &str, tenant: &str) -> Option<String> {
    Parts::of(issuer).map(|parts| format!("{}{tenant}{}", parts.beginning, parts.end))
}

impl Template {
    /// Compiles the tenants of an issuer. Returns `None` if its `iss` has no variable.
    pub(super) fn compile(raw: &document::Issuer, place: &Place, findings: &mut Findings) -> Option<Self> {
        let place = place.field("tenants");
        let Some(parts) = raw.issuer.as_deref().and_then(Parts::of) else {
            if raw.tenants.is_some() {
                findings.error(
                    place,
                    "the issuer has no tenants; write the claim with the tenant as a path segment of `issuer`, such as \
                     `https://login.microsoftonline.com/{tid}/v2.0`, or remove `tenants`",
                );
            }
            return None;
        };
        let tenants = match &raw.tenants {
            Some(Tenants::Any) => None,
            Some(Tenants::OneOf(tenants)) => Some(compile_tenants(tenants, &place, findings)),
            None => {
                findings.error(
                    place,
                    format!("`issuer` has the variable `{{{}}}`; list the tenants, or write `any`", parts.variable),
                );
                // Without a list, no tenant is accepted.
                Some(Vec::new())
            }
        };
        let Parts { beginning, variable, end } = parts;
        Some(Self { beginning: beginning.into(), end: end.into(), claim: variable.into(), tenants })
    }

    /// Returns the accepted tenants. `None` means any.
    pub(super) fn tenants(&self) -> Option<&[Box<str>]> {
        self.tenants.as_deref()
    }

    /// Returns the tenant in an `iss`, or `None` if it is not an `iss` of this kind.
    pub(super) fn tenant_in<'i>(&self, iss: &'i str) -> Option<&'i str> {
        segment(iss, &self.beginning, &self.end).filter(|tenant| is_tenant(tenant))
    }

    /// Returns the tenant of a token whose `iss` contains this one.
    ///
    /// # Errors
    /// [`Reason::TokenClaim`] if the claim with the tenant is not a string, and [`Reason::TokenIssuer`] if `iss` contains another tenant,
    /// or if the tenant is not accepted.
    pub(super) fn tenant_of(&self, in_iss: &str, claims: &Value) -> Result<Tenant, Reason> {
        let claimed = claims.get(&*self.claim).and_then(Value::as_str).ok_or(Reason::TokenClaim)?;
        let accepted = self.accepts(in_iss);
        if claimed != in_iss || !accepted {
            return Err(Reason::TokenIssuer);
        }
        Ok(Tenant { name: in_iss.into(), is_listed: self.tenants.is_some() })
    }

    /// Returns whether this tenant's tokens are accepted.
    pub(crate) fn accepts(&self, tenant: &str) -> bool {
        self.tenants.as_ref().is_none_or(|accepted| accepted.iter().any(|own| **own == *tenant))
    }

    /// Returns whether some `iss` could belong to this issuer and to the other one.
    fn overlaps(&self, other: &Self) -> bool {
        let of = |template: &Self| format!("{}{{}}{}", template.beginning, template.end);
        let (own, other) = (of(self), of(other));
        let same = |(one, two): (&str, &str)| one == two || one == "{}" || two == "{}";
        own.split('/').count() == other.split('/').count() && own.split('/').zip(other.split('/')).all(same)
    }

    /// Returns the claim with the tenant, and what it must be in a token with this `iss`, for explanations.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn expected(&self, in_iss: &str) -> (&str, String) {
        let listed =
            || self.tenants.iter().flatten().map(|tenant| format!("`{tenant}`")).collect::<Vec<_>>().join(", ");
        let expected = if self.accepts(in_iss) {
            format!("`{in_iss}`, the tenant in `iss`")
        } else {
            format!("one of the issuer's `tenants`: {}", listed())
        };
        (&self.claim, expected)
    }
}

fn compile_tenants(raw: &[String], place: &Place, findings: &mut Findings) -> Vec<Box<str>> {
    if raw.is_empty() {
        findings.error(place.clone(), "every token would be rejected; list the tenants, or write `any`");
    }
    check_distinct("tenant", raw, place, findings);
    for (index, tenant) in raw.iter().enumerate() {
        check_tenant(tenant, &place.index(index), findings);
    }
    raw.iter().map(|tenant| tenant.as_str().into()).collect()
}

/// Checks that a text can be a tenant.
pub(crate) fn check_tenant(tenant: &str, place: &Place, findings: &mut Findings) {
    if !is_tenant(tenant) {
        findings.error(
            place.clone(),
            format!(
                "invalid tenant `{}`; expected 1 to {LONGEST_TENANT} lower-case letters, digits, `-`, `_` or `.`, beginning with a letter \
                 or digit",
                tenant.escape_debug()
            ),
        );
    }
}

/// Checks that at most one issuer with tenants can be meant by an `iss`, and that no listed tenant is also another issuer.
pub(super) fn check_overlaps(issuers: &[Issuer], place: &Place, findings: &mut Findings) {
    let templates = || issuers.iter().filter_map(|issuer| Some((issuer, issuer.template.as_ref()?)));
    for (index, (issuer, template)) in templates().enumerate() {
        let place_of = |issuer: &Issuer| place.field(&issuer.name);
        if let Some((other, _)) = templates().take(index).find(|(_, other)| template.overlaps(other)) {
            findings.error(
                place_of(issuer).field("issuer"),
                format!(
                    "the same `iss` could belong to `{}`; write one issuer with the keys and tenants of both",
                    place_of(other)
                ),
            );
        }
        for exact in issuers.iter().filter(|issuer| issuer.template.is_none()) {
            let listed = template.tenants.iter().flatten().enumerate();
            let is_it = |tenant: &str| exact.iss.as_deref().and_then(|iss| template.tenant_in(iss)) == Some(tenant);
            for (index, _) in listed.filter(|(_, tenant)| is_it(tenant)) {
                findings.error(
                    place_of(issuer).field("tenants").index(index),
                    format!("`{}` is the issuer of this tenant; remove one of them", place_of(exact)),
                );
            }
        }
    }
}

impl Issuers {
    /// Returns the issuer of a token, and its tenant. An exact `iss` is preferred to one with a tenant. If `iss` names no issuer, the
    /// token may be a JWT-SVID.
    pub(super) fn issuer_of(&self, claims: &Value) -> Result<(IssuerId, &Issuer, Option<Tenant>), Reason> {
        let Some(iss) = claims.get("iss") else {
            let (id, issuer) = self.by_subject(None, claims)?;
            return Ok((id, issuer, None));
        };
        let iss = iss.as_str().ok_or(Reason::TokenClaim)?;
        if let Some(id) = self.by_iss.get(iss) {
            return Ok((*id, self.get(*id).ok_or(Reason::TokenIssuer)?, None));
        }
        if let Some((id, issuer, template, tenant)) = self.by_template(iss) {
            return Ok((id, issuer, Some(template.tenant_of(tenant, claims)?)));
        }
        let (id, issuer) = self.by_subject(Some(iss), claims)?;
        Ok((id, issuer, None))
    }

    /// Returns the issuer with tenants that an `iss` belongs to, and the tenant in it. At most one issuer is possible.
    pub(super) fn by_template<'s, 'i>(&'s self, iss: &'i str) -> Option<(IssuerId, &'s Issuer, &'s Template, &'i str)> {
        self.issuers.iter().enumerate().find_map(|(position, issuer)| {
            let template = issuer.template.as_ref()?;
            Some((IssuerId::at(position), issuer, template, template.tenant_in(iss)?))
        })
    }
}

/// Returns the tenant to which the member `issuer` of a key limits it, or `None` if the key verifies all tokens of this issuer.
///
/// Entra ID publishes one key set for all tenants. Most of its keys have `https://login.microsoftonline.com/{tenantid}/v2.0`, where the
/// variable means any tenant, and some have the `iss` of one tenant.
///
/// # Errors
/// [`JwkError::Unknown`] if the key verifies no token of this issuer, and [`JwkError::Wrong`] if the member is not text.
pub(super) fn only_tenant(jwk: &Map<String, Value>, issuer: &str) -> Result<Option<Box<str>>, JwkError> {
    let of_key = match jwk.get("issuer") {
        None => return Ok(None),
        Some(Value::String(of_key)) if !of_key.is_empty() => of_key,
        Some(_) => {
            return Err(JwkError::Wrong("issuer", "invalid value; expected a nonempty string".to_owned()));
        }
    };
    let other = || JwkError::Unknown(format!("its `issuer` is `{}`, which is another issuer", of_key.escape_debug()));
    match (Parts::of(of_key), Parts::of(issuer)) {
        (None, None) if of_key == issuer => Ok(None),
        (Some(any), None) if any.segment(issuer).is_some() => Ok(None),
        (Some(any), Some(own)) if any.beginning == own.beginning && any.end == own.end => Ok(None),
        (None, Some(own)) => own.segment(of_key).map(|tenant| Some(tenant.into())).ok_or_else(other),
        _ => Err(other()),
    }
}

#[cfg(test)]
#[path = "tenant_tests.rs"]
mod tests;
