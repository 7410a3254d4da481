//! Requirements for a token apart from its signature: `typ`, claims, and the claims with client and scopes.
//!
//! All profiles compile to the same [`Shape`]. `svid` has the rules that only JWT-SVIDs follow.

use serde_json::Value;

use super::claim::{self, ClaimName};
use crate::document::{self, DistinguishedBy, Profile, ScopeForm};
use crate::document::{Findings, Place};
use crate::reason::Reason;
use crate::text::sort;

/// The value of `typ` in a policy that accepts tokens without `typ`.
pub(super) const ABSENT: &str = "absent";

/// Claims that every token has, and those that OpenID Connect Core 1.0 (sections 2, 3.1.3.6 and 5.1) defines for ID tokens. Their
/// presence does not distinguish an access token from other tokens.
const CLAIMS_OF_OTHER_TOKENS: [&str; 21] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "auth_time",
    "nonce",
    "acr",
    "amr",
    "azp",
    "at_hash",
    "c_hash",
    "sid",
    "name",
    "email",
    "email_verified",
    "preferred_username",
    "given_name",
    "family_name",
];

/// The required shape of a token.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// The accepted media types, in lower case. `None` accepts a token without `typ`.
    pub(super) types: Vec<Option<String>>,
    pub(super) required: Vec<(ClaimName, Expected)>,
    /// The claim with the client.
    pub(super) client: Option<ClaimName>,
    /// Whether `sub` is required because it identifies the agent.
    pub(super) subject: bool,
    pub(super) scopes: Vec<(ClaimName, ScopeForm)>,
}

/// The required value of a claim.
#[derive(Debug)]
pub(super) enum Expected {
    Anything,
    Text,
    OneOf(Vec<String>),
}

/// The client and subject of a token, and its scopes.
#[derive(Debug)]
pub(super) struct Bearer {
    pub(super) client: Option<String>,
    pub(super) subject: Option<String>,
    /// Sorted, without duplicates.
    pub(super) scopes: Vec<String>,
}

impl Expected {
    pub(super) fn is_met_by(&self, value: &Value) -> bool {
        match self {
            Self::Anything => true,
            Self::Text => value.is_string(),
            Self::OneOf(taken) => taken.iter().any(|written| claim::is(value, written)),
        }
    }
}

impl Shape {
    /// Checks the header's `typ`.
    pub(super) fn check_type(&self, header: &Value) -> Result<(), Reason> {
        let typ = match header.get("typ") {
            None => None,
            Some(Value::String(typ)) => Some(media_type(typ)),
            Some(_) => return Err(Reason::TokenType),
        };
        if self.types.contains(&typ) { Ok(()) } else { Err(Reason::TokenType) }
    }

    /// Returns the client and the subject that a token names, even if the token is otherwise invalid.
    pub(super) fn names<'c>(&self, claims: &'c Value) -> (Option<&'c str>, Option<&'c str>) {
        let client = self.client.as_ref().and_then(|name| name.find(claims)).and_then(Value::as_str);
        (client, claims.get("sub").and_then(Value::as_str))
    }

    /// Checks the required claims and reads client, subject and scopes.
    pub(super) fn read(&self, claims: &Value) -> Result<Bearer, Reason> {
        for (name, expected) in &self.required {
            let value = name.find(claims).filter(|value| claim::says_something(value)).ok_or(Reason::TokenClaim)?;
            if !expected.is_met_by(value) {
                return Err(Reason::TokenClaim);
            }
        }
        let client = match &self.client {
            None => None,
            Some(name) => Some(identifier(name.find(claims))?.ok_or(Reason::TokenClaim)?),
        };
        let subject = identifier(claims.get("sub"))?;
        if self.subject && subject.is_none() {
            return Err(Reason::TokenClaim);
        }
        let mut scopes = Vec::new();
        for (name, form) in &self.scopes {
            if let Some(value) = name.find(claims) {
                read_scopes(value, *form, &mut scopes)?;
            }
        }
        sort::sort(&mut scopes);
        scopes.dedup();
        Ok(Bearer { client, subject, scopes })
    }

    /// Compiles the shape of an issuer's tokens. Returns `None` if there is an error, which is added to the findings.
    pub(super) fn compile(raw: &document::Issuer, place: &Place, findings: &mut Findings) -> Option<Self> {
        let token = place.field("token");
        match (raw.profile, &raw.token) {
            (Profile::AccessToken, None) => access_token(),
            (Profile::AccessToken, Some(_)) => {
                findings.error(
                    token,
                    "`token` cannot be combined with the profile `at+jwt`; remove `token`, or write `profile: jwt`",
                );
                None
            }
            (Profile::Jwt, Some(shape)) => compile_jwt(shape, raw.audience.is_some(), &token, findings),
            (Profile::Jwt, None) => {
                findings.error(
                    place.clone(),
                    "the profile `jwt` requires `token`; describe the access tokens of the issuer there",
                );
                None
            }
            // A JWT-SVID has the same claims as every token, and `svid` checks its header and its subject.
            (Profile::JwtSvid, None) => Some(Shape { subject: true, ..Shape::default() }),
            (Profile::JwtSvid, Some(_)) => {
                findings.error(
                    token,
                    "`token` cannot be combined with the profile `jwt-svid`; remove `token`, or write `profile: jwt`",
                );
                None
            }
        }
    }
}

/// Returns the shape of JWT access tokens (RFC 9068, sections 2.1 and 2.2). `iss`, `aud`, `exp` and `iat` are required in every token and
/// not part of the shape.
fn access_token() -> Option<Shape> {
    let name = |text: &str| ClaimName::parse(text).ok();
    Some(Shape {
        types: vec![Some("at+jwt".to_owned())],
        required: vec![(name("jti")?, Expected::Text)],
        client: Some(name("client_id")?),
        subject: true,
        scopes: vec![(name("scope")?, ScopeForm::String)],
    })
}

fn compile_jwt(
    raw: &document::TokenShape,
    own_audience: bool,
    place: &Place,
    findings: &mut Findings,
) -> Option<Shape> {
    let errors_before = findings.errors.len();
    let shape = Shape {
        types: compile_types(&raw.typ, &place.field("typ"), findings),
        required: compile_claims(raw, &place.field("claims"), findings),
        client: raw.client.as_ref().and_then(|name| compile_name(name, place.field("client"), findings)),
        subject: raw.client.is_none(),
        scopes: compile_scopes(&raw.scopes, &place.field("scopes"), findings),
    };
    check_told_apart(raw, own_audience, &shape, place, findings);
    (findings.errors.len() == errors_before).then_some(shape)
}

fn compile_types(raw: &[String], place: &Place, findings: &mut Findings) -> Vec<Option<String>> {
    if raw.is_empty() {
        findings.error(
            place.clone(),
            "every token would be rejected; list the `typ` values, or `absent` for tokens without one",
        );
    }
    let mut types = Vec::new();
    for (index, typ) in raw.iter().enumerate() {
        let media_type = (typ != ABSENT).then(|| media_type(typ));
        if typ.is_empty() || !typ.bytes().all(|b| b.is_ascii_graphic()) {
            findings.error(place.index(index), "invalid `typ`; expected the value in the tokens, or `absent`");
        } else if types.contains(&media_type) {
            findings.error(place.index(index), "this `typ` is listed twice; remove one");
        } else {
            types.push(media_type);
        }
    }
    types
}

fn compile_claims(raw: &document::TokenShape, place: &Place, findings: &mut Findings) -> Vec<(ClaimName, Expected)> {
    let mut required = Vec::new();
    for (name, taken) in &raw.claims {
        let place = place.field(name);
        if let Some(index) = taken.iter().position(String::is_empty) {
            findings.error(place.index(index), "an empty value is never accepted; remove it");
        }
        let expected = if taken.is_empty() { Expected::Anything } else { Expected::OneOf(taken.clone()) };
        if let Some(name) = compile_name(name, place, findings) {
            required.push((name, expected));
        }
    }
    required
}

fn compile_scopes(raw: &[document::ScopeClaim], place: &Place, findings: &mut Findings) -> Vec<(ClaimName, ScopeForm)> {
    let mut scopes: Vec<(ClaimName, ScopeForm)> = Vec::new();
    for (index, scope) in raw.iter().enumerate() {
        let place = place.index(index).field("claim");
        let Some(name) = compile_name(&scope.claim, place.clone(), findings) else { continue };
        if scopes.iter().any(|(taken, _)| *taken == name) {
            findings.error(place, "this claim is listed twice; remove one, because its scopes have one form");
        } else {
            scopes.push((name, scope.form));
        }
    }
    scopes
}

fn compile_name(text: &str, place: Place, findings: &mut Findings) -> Option<ClaimName> {
    ClaimName::parse(text).map_err(|error| findings.error(place, error.to_string())).ok()
}

/// Checks that the policy's requirements exclude ID tokens, which an issuer signs with the same keys.
fn check_told_apart(
    raw: &document::TokenShape,
    own_audience: bool,
    shape: &Shape,
    place: &Place,
    findings: &mut Findings,
) {
    let place = place.field("distinguished_by");
    match raw.distinguished_by {
        DistinguishedBy::Audience if !own_audience => findings.error(
            place,
            "the issuer has no `audience`; write the audience that only its access tokens have, or distinguish them by \
             `claims` or `typ`",
        ),
        DistinguishedBy::Claims => {
            let tells = |(name, expected): &(ClaimName, Expected)| match expected {
                // Every token of the issuer has these claims, with the same values.
                Expected::OneOf(_) => !matches!(name.as_str(), "iss" | "sub" | "aud" | "/iss" | "/sub" | "/aud"),
                Expected::Anything | Expected::Text => {
                    let top = name.as_str().strip_prefix('/').unwrap_or(name.as_str());
                    !CLAIMS_OF_OTHER_TOKENS.contains(&top)
                }
            };
            if !shape.required.iter().any(tells) {
                findings.error(
                    place,
                    "no claim in `claims` distinguishes access tokens from ID tokens; require a claim that only access tokens \
                     have, or a value that it has only in them",
                );
            }
        }
        DistinguishedBy::Typ => {
            if shape.types.iter().any(|typ| typ.as_deref().is_none_or(|typ| typ == "jwt")) {
                findings.error(
                    place,
                    "`typ` accepts tokens without a type or with `JWT`, which ID tokens have too; list only the types of access \
                     tokens, or distinguish them by `claims` or `audience`",
                );
            }
        }
        DistinguishedBy::Audience => {}
    }
}

/// Returns a `typ` in the form in which it is compared (RFC 7515, section 4.1.9): in lower case, and without `application/` if the rest
/// contains no other slash.
fn media_type(typ: &str) -> String {
    let lower = typ.to_ascii_lowercase();
    match lower.strip_prefix("application/") {
        Some(rest) if !rest.contains('/') => rest.to_owned(),
        _ => lower,
    }
}

/// Reads a claim that identifies a client or subject: a nonempty string. An empty string is rejected like a value of another type.
pub(super) fn identifier(value: Option<&Value>) -> Result<Option<String>, Reason> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.clone())),
        Some(_) => Err(Reason::TokenClaim),
    }
}

pub(super) fn read_scopes(value: &Value, form: ScopeForm, scopes: &mut Vec<String>) -> Result<(), Reason> {
    match (form, value) {
        // Some providers send an empty string if there are no scopes.
        (ScopeForm::String | ScopeForm::Either, Value::String(list)) => {
            scopes.extend(list.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned));
        }
        (ScopeForm::Array | ScopeForm::Either, Value::Array(items)) => {
            for item in items {
                match item {
                    Value::String(scope) if !scope.is_empty() => scopes.push(scope.clone()),
                    _ => return Err(Reason::TokenClaim),
                }
            }
        }
        (ScopeForm::Keys, Value::Object(members)) => {
            for (scope, value) in members {
                match value {
                    _ if scope.is_empty() => return Err(Reason::TokenClaim),
                    // `{ "admin": false }` says that the scope is not granted.
                    Value::Null | Value::Bool(false) => {}
                    _ => scopes.push(scope.clone()),
                }
            }
        }
        _ => return Err(Reason::TokenClaim),
    }
    Ok(())
}
