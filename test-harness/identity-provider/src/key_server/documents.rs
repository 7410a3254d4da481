//! The correct documents, and where they are.

use serde_json::{Value, json};

use super::{JWKS, OAUTH, OPENID};

/// A document of the issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Document {
    Jwks,
    /// For this server, the OpenID discovery document and the metadata of RFC 8414 have the same members.
    Metadata,
}

impl Document {
    /// Returns the document at a path. OpenID Connect Discovery appends its suffix to the issuer's path, and RFC 8414, section 3.1
    /// inserts its own before it.
    pub(super) fn at(path: &str, issuer: &str) -> Option<Self> {
        let below = issuer.strip_prefix(origin(issuer)).unwrap_or_default().trim_end_matches('/');
        let is_metadata = path.strip_suffix(OPENID) == Some(below) || path.strip_prefix(OAUTH) == Some(below);
        match path {
            JWKS => Some(Self::Jwks),
            _ if is_metadata => Some(Self::Metadata),
            _ => None,
        }
    }
}

/// Returns the issuer without its path.
pub(super) fn origin(issuer: &str) -> &str {
    let authority = issuer.find("://").map_or(0, |scheme| scheme + 3);
    let path = issuer.get(authority..).and_then(|rest| rest.find('/'));
    path.and_then(|path| issuer.get(..authority + path)).unwrap_or(issuer)
}

/// Returns the members that both specifications require.
pub(super) fn metadata(issuer: &str, jwks_uri: &str) -> Value {
    json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": jwks_uri,
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "grant_types_supported": ["client_credentials"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_documents_where_the_specifications_put_them() {
        let at = |path, issuer| Document::at(path, issuer);
        for (path, issuer) in [
            (OPENID, "https://idp.example.com"),
            (OAUTH, "https://idp.example.com"),
            ("/realms/a/.well-known/openid-configuration", "https://idp.example.com/realms/a"),
            ("/.well-known/oauth-authorization-server/realms/a", "https://idp.example.com/realms/a"),
            ("/realms/a/.well-known/openid-configuration", "https://idp.example.com/realms/a/"),
        ] {
            assert_eq!(at(path, issuer), Some(Document::Metadata), "{path} of {issuer}");
        }
        for (path, issuer) in [
            (OPENID, "https://idp.example.com/realms/a"),
            (OAUTH, "https://idp.example.com/realms/a"),
            ("/realms/a/.well-known/oauth-authorization-server", "https://idp.example.com/realms/a"),
            ("/.well-known/openid-configuration/realms/a", "https://idp.example.com/realms/a"),
            ("/realms/b/.well-known/openid-configuration", "https://idp.example.com/realms/a"),
        ] {
            assert_eq!(at(path, issuer), None, "{path} of {issuer}");
        }
        assert_eq!(at(JWKS, "https://idp.example.com/realms/a"), Some(Document::Jwks));
    }

    #[test]
    fn origin_ends_before_the_path() {
        assert_eq!(origin("https://idp.example.com:8443/realms/a"), "https://idp.example.com:8443");
        assert_eq!(origin("https://idp.example.com"), "https://idp.example.com");
    }
}
