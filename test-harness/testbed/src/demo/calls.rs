//! The requests of the demo: regular ones from two honest agents, mistakes, and attacks.

use anyhow::{Context as _, Result};
use callgate_kit::mint::{Algorithm, SigningKey};

use crate::client::Request;
use crate::quickstart::{HOST, Issuer, set};

/// A request and its expected result.
pub(super) struct Call {
    /// The description for the table.
    pub(super) title: &'static str,
    /// The request to send.
    pub(super) request: Request,
    /// How many such requests precede the one in the table.
    pub(super) earlier: usize,
    /// The expected status.
    pub(super) status: u16,
    /// The expected reason in the record.
    pub(super) reason: &'static str,
}

/// Returns all requests, in the order of the table.
///
/// # Errors
/// When the key for an impostor's token cannot be generated.
pub(super) fn calls(issuer: &Issuer) -> Result<Vec<Call>> {
    let coder = issuer.token("coding-agent", "code:read code:write pulls:write");
    let reviewer = issuer.token("review-agent", "code:read code:write reviews:write");
    let cleaner = issuer.sign(&issuer.ed25519, "coding-agent", "code:write code:destroy", |_, _| ());
    let id_token = issuer.with("coding-agent", "code:read", |header, _| set(header, "typ", "JWT"));
    let expired = issuer.with("coding-agent", "code:read", |_, claims| {
        set(claims, "iat", issuer.now - 900);
        set(claims, "exp", issuer.now - 300);
    });
    let elsewhere =
        issuer.with("coding-agent", "code:read", |_, claims| set(claims, "aud", "https://other.example.com"));
    let impostor = SigningKey::generate(Algorithm::Es256).context("no key for the impostor")?.with_kid("corp-es256");
    let forged = issuer.sign(&impostor, "coding-agent", "code:read", |_, _| ());
    let retired = issuer.token("migration-agent", "code:read");

    let get = |path: &str, token: &str| to(Request::get(path)).bearer(token);
    let post = |path: &str, token: &str| {
        to(Request::post(path)).bearer(token).header("Content-Type", "application/json").body(r#"{"title":"Fix"}"#)
    };
    let call = |title, request, status, reason| Call { title, request, earlier: 0, status, reason };
    Ok(vec![
        call("anyone asks whether the API is up", to(Request::get("/health")), 200, "public"),
        call("coding agent reads its repository", get("/repos/acme/gateway", &coder), 200, "allowed"),
        call("coding agent opens a pull request", post("/repos/acme/gateway/pulls", &coder), 200, "allowed"),
        call(
            "review agent posts a review, posing as root",
            post("/repos/acme/gateway/pulls/7/reviews", &reviewer).header("X-Callgate-Agent", "root"),
            200,
            "allowed",
        ),
        call(
            "coding agent deletes a label",
            to(Request::new("DELETE", "/repos/acme/gateway/labels/good%20first%20issue")).bearer(&cleaner),
            200,
            "allowed",
        ),
        call("a request without a token", to(Request::get("/repos/acme/gateway")), 401, "credentials_missing"),
        call("an ID token of the same issuer", get("/repos/acme/gateway", &id_token), 401, "token_type"),
        call("an expired token", get("/repos/acme/gateway", &expired), 401, "token_expired"),
        call("a token for another API", get("/repos/acme/gateway", &elsewhere), 401, "token_audience"),
        call("a token signed with another key", get("/repos/acme/gateway", &forged), 401, "token_signature"),
        call("a suspended agent", get("/repos/acme/gateway", &retired), 403, "agent_suspended"),
        call("coding agent in another organization", get("/repos/globex/gateway", &coder), 403, "binding_mismatch"),
        call("review agent in another repository", get("/repos/acme/website", &reviewer), 403, "binding_mismatch"),
        call(
            "review agent opens a pull request",
            post("/repos/acme/gateway/pulls", &reviewer),
            403,
            "insufficient_scope",
        ),
        call(
            "coding agent deletes the repository",
            to(Request::new("DELETE", "/repos/acme/gateway")).bearer(&coder),
            403,
            "endpoint_not_allowed",
        ),
        call(
            "a path with `..` to another repository",
            get("/repos/acme/gateway/../website", &coder),
            400,
            "path_dot_segment",
        ),
        call(
            "a GET that overrides its method",
            get("/repos/acme/gateway", &coder).header("X-HTTP-Method-Override", "DELETE"),
            400,
            "method_override",
        ),
        Call {
            earlier: 9,
            ..call(
                "coding agent's eleventh pull request",
                post("/repos/acme/gateway/pulls", &coder),
                429,
                "rate_limited",
            )
        },
        call(
            "coding agent runs a pipeline, only observed",
            post("/repos/acme/gateway/pipelines/deploy:run", &coder),
            200,
            "insufficient_scope",
        ),
    ])
}

fn to(request: Request) -> Request {
    request.host(HOST)
}
