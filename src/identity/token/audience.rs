//! The audiences that tokens must have, at the policy's resource and at its other resources.
//!
//! Which resource a request belongs to does not belong in this module.

use serde_json::Value;

use super::issuer::IssuerId;
use crate::document;
use crate::document::{DistinguishedBy, Findings, Place, Profile};
use crate::reason::Reason;

/// The audiences of one issuer's tokens.
#[derive(Debug)]
pub(crate) enum Audience {
    /// The tokens have no `aud`.
    Absent,
    /// `aud` contains one of these names.
    OneOf(Vec<Box<str>>),
}

/// The audiences of all issuers at one resource, in the order of the issuers' ids.
#[derive(Debug)]
pub struct Audiences(pub(crate) Vec<Audience>);

impl Audience {
    /// Compiles an `audience` of the policy. `default` is the audience of an issuer without one.
    pub(crate) fn compile(
        raw: Option<&document::Audience>,
        default: &str,
        place: &Place,
        findings: &mut Findings,
    ) -> Self {
        let names = match raw {
            None => return Self::OneOf(vec![default.into()]),
            Some(document::Audience::Absent) => return Self::Absent,
            Some(document::Audience::OneOf(names)) => names,
        };
        if names.is_empty() {
            findings.error(place.clone(), "the list is empty; write the `aud` of the issuer's tokens");
        }
        if names.iter().any(String::is_empty) {
            findings.error(
                place.clone(),
                "the value is empty; write the `aud` of the issuer's tokens, or remove the field to use `resource`",
            );
        }
        document::names::check_distinct("audience", names, place, findings);
        Self::OneOf(names.iter().map(|name| name.as_str().into()).collect())
    }

    /// Checks that tokens without `aud` are restricted in other ways: claims distinguish access tokens from the issuer's other tokens.
    pub(super) fn check_absent(raw: &document::Issuer, place: &Place, findings: &mut Findings) {
        let by_claims = raw.token.as_ref().is_some_and(|token| token.distinguished_by == DistinguishedBy::Claims);
        if raw.audience != Some(document::Audience::Absent) {
            return;
        }
        if raw.profile == Profile::JwtSvid {
            findings.error(
                place.field("audience"),
                "every JWT-SVID has an `aud`; write it, or remove the field to use `resource` (for an audience whose name is `absent`, \
                 write `[absent]`)",
            );
        } else if !by_claims {
            findings.error(
                place.field("audience"),
                "tokens without `aud` could be for any API; write `profile: jwt` with `distinguished_by: claims`, and require a \
                 claim that only access tokens for this API have (for an audience whose name is `absent`, write `[absent]`)",
            );
        }
    }

    /// Checks `aud`, which is a string or an array of strings (RFC 7519, section 4.1.3).
    pub(super) fn check(&self, claims: &Value) -> Result<(), Reason> {
        let names = match (self, claims.get("aud")) {
            (Self::Absent, None) => return Ok(()),
            // A token with an audience was issued for something else. This includes values that other readers treat as absent.
            (Self::Absent, Some(_)) => return Err(Reason::TokenAudience),
            (Self::OneOf(names), _) => names,
        };
        let is_named = |aud: &str| names.iter().any(|name| **name == *aud);
        let contains = match claims.get("aud") {
            Some(Value::String(aud)) => is_named(aud),
            Some(Value::Array(items)) if items.iter().all(Value::is_string) => {
                items.iter().filter_map(Value::as_str).any(is_named)
            }
            _ => return Err(Reason::TokenClaim),
        };
        if contains { Ok(()) } else { Err(Reason::TokenAudience) }
    }

    /// Returns what `aud` must be, for explanations.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn expected(&self) -> String {
        match self {
            Self::Absent => "absent".to_owned(),
            Self::OneOf(names) => match &names[..] {
                [name] => format!("`{name}`, or an array with it"),
                names => format!("one of `{}`, or an array with one", names.join("`, `")),
            },
        }
    }
}

impl Audiences {
    /// Checks the `aud` of a token of this issuer.
    pub(super) fn check(&self, issuer: IssuerId, claims: &Value) -> Result<(), Reason> {
        self.of(issuer).ok_or(Reason::TokenAudience)?.check(claims)
    }

    /// Returns the audiences of this issuer's tokens.
    pub(super) fn of(&self, issuer: IssuerId) -> Option<&Audience> {
        self.0.get(issuer.position())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{NOW, RESOURCE, Signs, at, compile, sign};
    use super::super::{FetchedKeys, TokenCache};
    use super::*;
    use crate::identity::crypto::SoftwareVerifier;

    fn one_of(names: &[&str]) -> Audience {
        Audience::OneOf(names.iter().map(|name| (*name).into()).collect())
    }

    #[test]
    fn accepts_each_audience_of_a_list_exactly() {
        let audience = one_of(&["api", "https://api.example.com"]);
        for aud in [json!("api"), json!(["api"]), json!(["x", "https://api.example.com"]), json!(["api", "api"])] {
            assert_eq!(audience.check(&json!({ "aud": aud })), Ok(()), "{aud}");
        }
        for aud in ["", "ap", "api2", "API", " api", "api ", "https://api.example.com/", "https://api.example.com/mcp"]
        {
            assert_eq!(audience.check(&json!({ "aud": aud })), Err(Reason::TokenAudience), "{aud}");
            assert_eq!(audience.check(&json!({ "aud": [aud] })), Err(Reason::TokenAudience), "{aud}");
        }
        assert_eq!(audience.check(&json!({ "aud": [] })), Err(Reason::TokenAudience));
        for aud in [json!(7), json!(["api", 7]), json!([["api"]]), json!({ "api": true }), json!(null), json!(true)] {
            assert_eq!(audience.check(&json!({ "aud": aud })), Err(Reason::TokenClaim), "{aud}");
        }
        assert_eq!(audience.check(&json!({})), Err(Reason::TokenClaim));
    }

    #[test]
    fn an_absent_audience_is_no_value_at_all() {
        assert_eq!(Audience::Absent.check(&json!({ "iss": "x" })), Ok(()));
        for aud in [json!(null), json!(""), json!([]), json!("absent"), json!(["absent"]), json!(7), json!({})] {
            assert_eq!(Audience::Absent.check(&json!({ "aud": aud })), Err(Reason::TokenAudience), "{aud}");
        }
        assert_eq!(one_of(&["absent"]).check(&json!({ "aud": "absent" })), Ok(()));
        assert_eq!(one_of(&["absent"]).check(&json!({})), Err(Reason::TokenClaim));
    }

    #[test]
    fn cached_tokens_are_checked_for_each_resource() {
        const KEY: Signs = Signs::P256(1);
        let issuers = compile(&json!({ "corp": {
            "issuer": "https://idp.example.com", "profile": "at+jwt", "algorithms": ["ES256"], "max_lifetime": "1h",
            "keys": { "jwks": { "keys": [KEY.jwk()] } },
        } }));
        let claims = |aud: Value| {
            json!({
                "iss": "https://idp.example.com", "aud": aud, "sub": "s", "client_id": "c", "jti": "1",
                "iat": NOW - 60, "exp": NOW + 300,
            })
        };
        let token = |aud: Value| sign(KEY, &json!({ "typ": "at+jwt", "alg": "ES256" }), &claims(aud));
        let (own, mcp) = (Audiences(vec![one_of(&[RESOURCE])]), Audiences(vec![one_of(&["mcp"])]));
        let mut cache = TokenCache::default();
        let mut verify = |audiences: Option<&Audiences>, token: &[u8], offset: i64| {
            let verified =
                issuers.verify_for(audiences, token, at(offset), &SoftwareVerifier, &mut cache, &FetchedKeys::new());
            (verified.map(drop).map_err(|refusal| refusal.reason), cache.len())
        };
        let (one, both) = (token(json!(RESOURCE)), token(json!([RESOURCE, "mcp"])));
        assert_eq!(verify(Some(&mcp), &one, 0), (Err(Reason::TokenAudience), 0));
        assert_eq!(verify(Some(&own), &one, 0), (Ok(()), 1));
        assert_eq!(verify(Some(&mcp), &one, 0), (Err(Reason::TokenAudience), 1), "the token is in the cache");
        assert_eq!(verify(Some(&own), &one, 0), (Ok(()), 1));
        assert_eq!(verify(Some(&mcp), &both, 0), (Ok(()), 2));
        assert_eq!(verify(Some(&own), &both, 0), (Ok(()), 2));
        // The reason is the same as for a token that is not in the cache, and an expired token leaves the cache.
        assert_eq!(verify(Some(&mcp), &one, 400), (Err(Reason::TokenAudience), 1));
        assert_eq!(verify(Some(&mcp), &one, 400), (Err(Reason::TokenAudience), 1));
        assert_eq!(verify(Some(&own), &one, 400), (Err(Reason::TokenExpired), 1));
        // An issuer without an entry is accepted nowhere.
        assert_eq!(verify(Some(&Audiences(Vec::new())), &both, 0), (Err(Reason::TokenAudience), 1));
    }
}
