//! Tests with access tokens in the format of real providers, and with other tokens of the same providers.

use serde_json::{Value, json};

use super::testing::{NOW, RESOURCE, Signs, at, compile, sign, with};
use super::{ClaimName, FetchedKeys, TokenCache};
use crate::identity::crypto::SoftwareVerifier;
use crate::reason::Reason;

const KEY: Signs = Signs::Rsa;

/// A provider: its issuer in a policy, one of its access tokens, and changes that turn it into another token of the provider.
struct Provider {
    issuer: Value,
    header: Value,
    claims: Value,
}

impl Provider {
    /// Creates a provider with a key set as this kind of provider publishes it.
    fn new(iss: &str, jwk: Value, issuer: Value, header: Value, claims: Value) -> Self {
        let base = json!({
            "issuer": iss, "profile": "jwt", "algorithms": ["RS256"], "max_lifetime": "1h",
            "keys": { "jwks": { "keys": [with(with(KEY.jwk(), json!({ "kid": "k", "use": "sig" })), jwk)] } },
        });
        let times = json!({ "iss": iss, "iat": NOW - 10, "exp": NOW + 290 });
        Self {
            issuer: with(base, issuer),
            header: with(json!({ "alg": "RS256", "kid": "k" }), header),
            claims: with(times, claims),
        }
    }

    fn verify(&self, header: Value, claims: Value) -> Result<std::rc::Rc<super::VerifiedToken>, Reason> {
        let token = sign(KEY, &with(self.header.clone(), header), &with(self.claims.clone(), claims));
        let issuers = compile(&json!({ "provider": self.issuer }));
        issuers
            .verify(&token, at(0), &SoftwareVerifier, &mut TokenCache::default(), &FetchedKeys::new())
            .map_err(|refusal| refusal.reason)
    }

    #[track_caller]
    fn takes(&self, client: Option<&str>, subject: &str, scopes: &[&str]) {
        let token = self.verify(json!({}), json!({})).unwrap();
        assert_eq!((token.client(), token.subject()), (client, Some(subject)));
        assert_eq!(token.scopes(), scopes);
    }

    #[track_caller]
    fn refuses(&self, header: Value, claims: Value, reason: Reason) {
        assert_eq!(self.verify(header, claims).map(|_| ()), Err(reason));
    }
}

#[test]
fn accepts_only_access_tokens_from_keycloak() {
    let provider = Provider::new(
        "https://sso.example.com/realms/agents",
        json!({ "alg": "RS256", "x5t": "AAAA" }),
        json!({ "token": {
            "typ": ["JWT"], "distinguished_by": "claims", "claims": { "typ": ["Bearer"] }, "client": "azp",
            "scopes": [{ "claim": "scope", "form": "string" }, { "claim": "/resource_access/api/roles", "form": "array" }],
        } }),
        json!({ "typ": "JWT" }),
        json!({
            "typ": "Bearer", "azp": "coding-agent", "sub": "f1e2", "aud": ["account", RESOURCE], "scope": "email profile",
            "jti": "trrtcc:1", "acr": "1", "resource_access": { "api": { "roles": ["write"] } }, "clientHost": "10.0.0.1",
        }),
    );
    provider.takes(Some("coding-agent"), "f1e2", &["email", "profile", "write"]);
    provider.refuses(json!({}), json!({ "typ": "ID" }), Reason::TokenClaim);
    provider.refuses(json!({}), json!({ "typ": "Refresh" }), Reason::TokenClaim);
    provider.refuses(json!({}), json!({ "typ": null }), Reason::TokenClaim);
    provider.refuses(json!({}), json!({ "aud": "account" }), Reason::TokenAudience);
    provider.refuses(json!({}), json!({ "resource_access": { "api": { "roles": "write" } } }), Reason::TokenClaim);
}

#[test]
fn accepts_only_access_tokens_from_entra_id() {
    let provider = Provider::new(
        "https://login.microsoftonline.com/8f2c1d34/v2.0",
        json!({ "x5c": ["MIIC"], "issuer": "https://login.microsoftonline.com/{tenantid}/v2.0" }),
        json!({
            "audience": "5d1e0c9a-7b42", "max_lifetime": "2h",
            "token": {
                "typ": ["JWT"], "distinguished_by": "claims", "claims": { "idtyp": ["app", "user"] }, "client": "azp",
                "scopes": [{ "claim": "roles", "form": "array" }, { "claim": "scp", "form": "string" }],
            },
        }),
        json!({ "typ": "JWT", "x5t": "k" }),
        json!({
            "aud": "5d1e0c9a-7b42", "azp": "c0ffee", "sub": "c0ffee", "idtyp": "app", "roles": ["Code.Write"], "ver": "2.0",
            "nbf": NOW - 300, "iat": NOW - 300, "exp": NOW + 3600, "uti": "x",
        }),
    );
    provider.takes(Some("c0ffee"), "c0ffee", &["Code.Write"]);
    let user =
        provider.verify(json!({}), json!({ "roles": null, "scp": "Code.Read Code.Write", "idtyp": "user" })).unwrap();
    assert_eq!(user.scopes(), ["Code.Read", "Code.Write"]);
    // If an application is its own API, its ID tokens have the same audience.
    provider.refuses(json!({}), json!({ "idtyp": null, "nonce": "n" }), Reason::TokenClaim);
    let other_tenant = "https://login.microsoftonline.com/00000000/v2.0";
    provider.refuses(json!({}), json!({ "iss": other_tenant }), Reason::TokenIssuer);
    // Tokens for Microsoft Graph are only meant for Microsoft Graph. Their header has a `nonce`.
    provider.refuses(json!({ "nonce": "n" }), json!({ "aud": "00000003-0000" }), Reason::TokenAudience);
}

#[test]
fn accepts_only_access_tokens_from_okta() {
    let provider = Provider::new(
        "https://example.okta.com/oauth2/aus1",
        json!({ "alg": "RS256" }),
        json!({ "token": {
            "typ": ["absent"], "distinguished_by": "claims", "claims": { "cid": [], "scp": [] }, "client": "cid",
            "scopes": [{ "claim": "scp", "form": "array" }],
        } }),
        json!({}),
        json!({ "ver": 1, "jti": "AT.1", "aud": RESOURCE, "cid": "0oa1", "sub": "0oa1", "scp": ["code.write", "code.read"] }),
    );
    provider.takes(Some("0oa1"), "0oa1", &["code.read", "code.write"]);
    provider.refuses(json!({}), json!({ "cid": null, "scp": null, "aud": "0oa1" }), Reason::TokenAudience);
    provider.refuses(json!({}), json!({ "cid": null, "scp": null }), Reason::TokenClaim);
    provider.refuses(json!({}), json!({ "scp": "code.write" }), Reason::TokenClaim);
    provider.refuses(json!({}), json!({ "scp": [] }), Reason::TokenClaim);
    provider.refuses(json!({}), json!({ "scp": ["code.write", 1] }), Reason::TokenClaim);
    provider.refuses(json!({ "typ": "JWT" }), json!({}), Reason::TokenType);
}

#[test]
fn accepts_only_access_tokens_from_auth0() {
    let provider = Provider::new(
        "https://example.eu.auth0.com/",
        json!({ "alg": "RS256", "x5c": ["MIIC"] }),
        json!({
            "audience": RESOURCE,
            "token": {
                "typ": ["JWT"], "distinguished_by": "audience", "client": "azp",
                "scopes": [{ "claim": "permissions", "form": "array" }, { "claim": "scope", "form": "string" }],
            },
        }),
        json!({ "typ": "JWT" }),
        json!({
            "aud": [RESOURCE, "https://example.eu.auth0.com/userinfo"], "azp": "abc", "sub": "abc@clients", "gty": "client-credentials",
            "scope": "openid", "permissions": ["write:code"], "https://example.com/org": "acme",
        }),
    );
    provider.takes(Some("abc"), "abc@clients", &["openid", "write:code"]);
    let token = provider.verify(json!({}), json!({})).unwrap();
    assert_eq!(token.claim(&ClaimName::parse("https://example.com/org").unwrap()), Some(&json!("acme")));
    provider.refuses(json!({}), json!({ "aud": "abc" }), Reason::TokenAudience);
    provider.refuses(json!({}), json!({ "iss": "https://example.eu.auth0.com" }), Reason::TokenIssuer);
}

#[test]
fn accepts_only_expected_tokens_from_github_actions() {
    let provider = Provider::new(
        "https://token.actions.githubusercontent.com",
        json!({ "alg": "RS256", "x5c": ["MIIC"] }),
        json!({
            "audience": RESOURCE,
            "token": {
                "typ": ["JWT"], "distinguished_by": "audience", "client": "job_workflow_ref", "scopes": [],
                "claims": { "repository_owner_id": ["65"], "ref": ["refs/heads/main"] },
            },
        }),
        json!({ "typ": "JWT", "x5t": "k" }),
        json!({
            "aud": RESOURCE, "sub": "repo:octo/app:ref:refs/heads/main", "ref": "refs/heads/main", "repository_owner_id": "65",
            "repository": "octo/app", "job_workflow_ref": "octo/app/.github/workflows/agent.yml@refs/heads/main", "nbf": NOW - 10,
        }),
    );
    let workflow = "octo/app/.github/workflows/agent.yml@refs/heads/main";
    provider.takes(Some(workflow), "repo:octo/app:ref:refs/heads/main", &[]);
    provider.refuses(json!({}), json!({ "aud": "https://github.com/octo" }), Reason::TokenAudience);
    provider.refuses(json!({}), json!({ "ref": "refs/pull/1/merge" }), Reason::TokenClaim);
    provider.refuses(json!({}), json!({ "repository_owner_id": "66" }), Reason::TokenClaim);
    provider.refuses(json!({}), json!({ "job_workflow_ref": null }), Reason::TokenClaim);
}

#[test]
fn accepts_only_expected_kubernetes_service_account_tokens() {
    let provider = Provider::new(
        "https://kubernetes.default.svc.cluster.local",
        json!({ "alg": "RS256" }),
        json!({
            "audience": RESOURCE,
            "token": {
                "typ": ["absent"], "distinguished_by": "audience", "scopes": [],
                "claims": { "/kubernetes.io/pod/name": [], "/kubernetes.io/namespace": ["agents"] },
            },
        }),
        json!({}),
        json!({
            "aud": [RESOURCE], "sub": "system:serviceaccount:agents:coder", "nbf": NOW - 10,
            "kubernetes.io": {
                "namespace": "agents", "pod": { "name": "coder-0", "uid": "u" }, "serviceaccount": { "name": "coder" },
            },
        }),
    );
    provider.takes(None, "system:serviceaccount:agents:coder", &[]);
    // The token for the cluster's own API, one created manually, and one without a service account.
    provider.refuses(json!({}), json!({ "aud": ["https://kubernetes.default.svc"] }), Reason::TokenAudience);
    provider.refuses(json!({}), json!({ "kubernetes.io": { "namespace": "agents" } }), Reason::TokenClaim);
    provider.refuses(json!({}), json!({ "sub": null }), Reason::TokenClaim);
    // Tokens from secrets of old Kubernetes versions never expire.
    provider.refuses(json!({}), json!({ "iss": "kubernetes/serviceaccount", "exp": null }), Reason::TokenIssuer);
    provider.refuses(json!({}), json!({ "exp": null }), Reason::TokenClaim);
}

#[test]
fn accepts_only_expected_tokens_from_gitlab_ci() {
    let provider = Provider::new(
        "https://gitlab.com",
        json!({ "alg": "RS256" }),
        json!({
            "audience": RESOURCE,
            "token": {
                "typ": ["JWT"], "distinguished_by": "audience", "client": "project_path", "scopes": [],
                "claims": { "namespace_id": ["72"], "ref_protected": ["true"] },
            },
        }),
        json!({ "typ": "JWT" }),
        json!({
            "aud": RESOURCE, "sub": "project_path:acme/release:ref_type:branch:ref:main", "project_path": "acme/release",
            "namespace_id": "72", "ref_protected": "true", "ref": "main", "ref_type": "branch", "runner_id": 1, "nbf": NOW - 15,
        }),
    );
    provider.takes(Some("acme/release"), "project_path:acme/release:ref_type:branch:ref:main", &[]);
    provider.refuses(json!({}), json!({ "aud": "https://vault.example.com" }), Reason::TokenAudience);
    provider.refuses(json!({}), json!({ "ref_protected": "false" }), Reason::TokenClaim);
    provider.refuses(json!({}), json!({ "namespace_id": "73" }), Reason::TokenClaim);
    // Users sign in to applications with the same issuer and keys.
    provider.refuses(json!({}), json!({ "aud": "8f1d2c", "project_path": null, "sub": "1" }), Reason::TokenAudience);
    provider.refuses(json!({}), json!({ "iss": "https://gitlab.example.com" }), Reason::TokenIssuer);
}

#[test]
fn accepts_only_id_tokens_for_this_api_from_google_service_accounts() {
    let provider = Provider::new(
        "https://accounts.google.com",
        json!({ "alg": "RS256" }),
        json!({
            "audience": RESOURCE,
            "token": {
                "typ": ["JWT"], "distinguished_by": "audience", "scopes": [], "claims": { "email_verified": ["true"] },
            },
        }),
        json!({ "typ": "JWT" }),
        json!({
            "aud": RESOURCE, "azp": "112233", "sub": "112233", "email": "agent@acme.iam.gserviceaccount.com", "email_verified": true,
        }),
    );
    provider.takes(None, "112233", &[]);
    provider.refuses(json!({}), json!({ "aud": "1.apps.googleusercontent.com" }), Reason::TokenAudience);
    provider.refuses(json!({}), json!({ "email_verified": false }), Reason::TokenClaim);
    provider.refuses(json!({}), json!({ "email_verified": null }), Reason::TokenClaim);
    // Service accounts sign tokens for Google's APIs themselves, and old libraries expect an issuer without a scheme.
    provider.refuses(json!({}), json!({ "iss": "agent@acme.iam.gserviceaccount.com" }), Reason::TokenIssuer);
    provider.refuses(json!({}), json!({ "iss": "accounts.google.com" }), Reason::TokenIssuer);
}

#[test]
fn accepts_only_access_tokens_from_pingone() {
    let provider = Provider::new(
        "https://auth.pingone.com/0d1c2b3a/as",
        json!({ "alg": "RS256" }),
        json!({
            "audience": RESOURCE,
            "token": {
                "typ": ["absent", "at+jwt"], "distinguished_by": "audience", "claims": { "scope": [] }, "client": "client_id",
                "scopes": [{ "claim": "scope", "form": "string" }],
            },
        }),
        json!({}),
        json!({ "aud": [RESOURCE], "client_id": "6e5d4c3b", "sub": "3c4d5e6f", "scope": "code:write code:read", "sid": "7b6a" }),
    );
    provider.takes(Some("6e5d4c3b"), "3c4d5e6f", &["code:read", "code:write"]);
    // Tokens of client credentials name no subject.
    assert_eq!(provider.verify(json!({}), json!({ "sub": null })).unwrap().subject(), None);
    // PingOne writes `typ` from March 2027 on.
    provider.verify(json!({ "typ": "at+jwt" }), json!({})).unwrap();
    provider.refuses(json!({ "typ": "JWT" }), json!({}), Reason::TokenType);
    provider.refuses(json!({}), json!({ "aud": "6e5d4c3b", "scope": null, "client_id": null }), Reason::TokenAudience);
    provider.refuses(json!({}), json!({ "scope": null }), Reason::TokenClaim);
    provider.refuses(json!({}), json!({ "aud": ["https://api.pingone.com"] }), Reason::TokenAudience);
    provider.refuses(json!({}), json!({ "iss": "https://auth.pingone.eu/0d1c2b3a/as" }), Reason::TokenIssuer);
}
