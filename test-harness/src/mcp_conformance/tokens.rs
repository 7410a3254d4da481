//! Access tokens and the metadata that leads to them.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::messages::{self, SCOPED_TOOL, SCOPES, TOOL};
use super::scenario::Need::{self, ExpiredToken, ForeignToken, Legacy, NarrowToken, Operations, Tokens};
use super::scenario::{Check, Scenario, must, should};
use super::sections::{CREDENTIALS, DISCOVERY, ERROR_HANDLING, METADATA_REQUEST, METADATA_VALIDATION, PRIVILEGE};
use super::sections::{REFRESH_TOKENS, SCOPE_ERRORS, SCOPE_SELECTION, SERVER_LOCATION, TOKEN_HANDLING};
use super::sections::{TOKEN_REQUIREMENTS, TOOLS};
use super::sent::{Exchange, Sent, parameter};
use super::suite::Suite;
use super::upstream::succeeds;

const NEEDS: &[Need] = &[Tokens];
const STEP_UP: &[Need] = &[NarrowToken, Operations, Tokens];

fn good(suite: &Suite) -> Sent {
    suite.call(TOOL, json!({}))
}

/// Returns a request with another token.
fn with(suite: &Suite, token: Option<&str>) -> Result<Sent> {
    let token = token.context("there is no such token")?;
    Ok(good(suite).set("authorization", format!("Bearer {token}")))
}

fn anonymous(suite: &Suite) -> Result<Exchange> {
    suite.exchange(&good(suite).without("authorization"), succeeds())
}

/// Sends a request for which the token lacks scopes.
fn lacking(suite: &Suite) -> Result<Exchange> {
    let token = suite.target.tokens.narrow.as_ref().context("there is no such token")?;
    let sent = suite.call(SCOPED_TOOL, json!({})).set("authorization", format!("Bearer {token}"));
    suite.exchange(&sent, succeeds())
}

fn is_bearer(challenges: &str) -> bool {
    challenges.split(", ").any(|part| part.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer")))
}

/// Fetches a document without a token. Returns its status and content.
fn fetch(suite: &Suite, url: &str) -> Result<(u16, Value)> {
    let rest = url.split_once("://").with_context(|| format!("`{url}` is not a URL"))?.1;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let sent = Sent::new("GET", &format!("/{path}")).add("Host", host).add("Accept", "application/json");
    let response = suite.exchange(&sent, succeeds())?.response;
    Ok((response.status, response.json()))
}

/// Fetches the metadata at the URL that follows from the identifier of the resource.
fn metadata(suite: &Suite) -> Result<(u16, Value)> {
    let (scheme, rest) = suite.target.resource.split_once("://").context("the resource is not a URL")?;
    let (host, path) = rest.split_once('/').map_or((rest, String::new()), |(host, path)| (host, format!("/{path}")));
    fetch(suite, &format!("{scheme}://{host}/.well-known/oauth-protected-resource{path}"))
}

pub(super) const TOKENS: &[Scenario] = &[
    must(
        "tokens.missing",
        ERROR_HANDLING,
        NEEDS,
        "A request without a token is answered with 401 and a challenge of the scheme `Bearer`",
        |suite| {
            let exchange = anonymous(suite)?;
            let is_challenged = exchange.response.status == 401 && is_bearer(&exchange.challenges());
            Ok(Check::new(is_challenged && exchange.received.is_empty(), exchange.seen()))
        },
    ),
    must(
        "tokens.metadata-url",
        DISCOVERY,
        NEEDS,
        "The challenge names the URL of the metadata, or the metadata are at the well-known URL of the resource",
        |suite| {
            let exchange = anonymous(suite)?;
            let is_named = parameter(&exchange.challenges(), "resource_metadata").is_some();
            let is_found = is_named || metadata(suite)?.0 == 200;
            Ok(Check::new(exchange.response.status == 401 && is_found, exchange.seen()))
        },
    ),
    should("tokens.initial-scopes", SCOPE_SELECTION, NEEDS, "The challenge names the scopes to begin with", |suite| {
        let exchange = anonymous(suite)?;
        let challenges = exchange.challenges();
        let scope = parameter(&challenges, "scope").unwrap_or_default();
        Ok(Check::new(exchange.response.status == 401 && !scope.is_empty(), exchange.seen()))
    }),
    must(
        "tokens.streams",
        TOKEN_REQUIREMENTS,
        &[Legacy, Tokens],
        "Every HTTP request needs a token: `GET` and `DELETE` without one are rejected with 401",
        |suite| {
            let of = |method: &'static str| (method, suite.without_body(method).without("authorization"));
            suite.rejects_all(&["GET", "DELETE"].map(of), &[401])
        },
    ),
    must("tokens.invalid", TOKEN_HANDLING, NEEDS, "A token with another signature is rejected with 401", |suite| {
        let token = suite.target.tokens.full.as_ref().map(|token| {
            let (signed, signature) = token.rsplit_once('.').unwrap_or(("", token.as_str()));
            format!("{signed}.{}", signature.chars().rev().collect::<String>())
        });
        suite.rejects(&with(suite, token.as_deref())?, &[401])
    }),
    must(
        "tokens.malformed",
        CREDENTIALS,
        NEEDS,
        "An `Authorization` header without a token, or with something else, is rejected with 400 or 401",
        |suite| {
            let values = ["Bearer", "Bearer ", "Bearer a b", "Basic YTpi", "token"];
            let requests = values.map(|value| (value, good(suite).set("authorization", value)));
            suite.rejects_all(&requests, &[400, 401])
        },
    ),
    must("tokens.expired", TOKEN_HANDLING, &[ExpiredToken, Tokens], "An expired token is rejected with 401", |suite| {
        suite.rejects(&with(suite, suite.target.tokens.expired.as_deref())?, &[401])
    }),
    must(
        "tokens.of-another-resource",
        PRIVILEGE,
        &[ForeignToken, Tokens],
        "A token that was issued for another resource is rejected with 401",
        |suite| suite.rejects(&with(suite, suite.target.tokens.foreign.as_deref())?, &[401]),
    ),
    must("tokens.in-query", TOKEN_REQUIREMENTS, NEEDS, "A token in the query is not accepted", |suite| {
        let token = suite.target.tokens.full.as_deref().unwrap_or_default();
        let names = ["access_token", "access%5Ftoken"];
        let alone = |name: &'static str| (name, good(suite).without("authorization").query(&format!("{name}={token}")));
        suite.rejects_all(&names.map(alone), &[400, 401])
    }),
    must(
        "tokens.repeated",
        CREDENTIALS,
        NEEDS,
        "A request with two tokens is rejected with 400 or 401, in either order",
        |suite| {
            let token = suite.target.tokens.full.as_deref().unwrap_or_default();
            let (right, wrong) = (format!("Bearer {token}"), "Bearer a.b.c");
            let good = good(suite).without("authorization");
            let requests = [
                ("wrong last", good.clone().add("Authorization", &right).add("Authorization", wrong)),
                ("wrong first", good.add("Authorization", wrong).add("Authorization", &right)),
            ];
            suite.rejects_all(&requests, &[400, 401])
        },
    ),
    must(
        "tokens.not-passed-on",
        PRIVILEGE,
        NEEDS,
        "The token of the client does not reach the server, in no header",
        |suite| {
            let sent = good(suite);
            let exchange = suite.exchange(&sent, succeeds())?;
            let token = suite.target.tokens.full.as_deref().unwrap_or_default();
            let has_token = |(_, value): &(String, String)| value.contains(token);
            let is_kept =
                exchange.unchanged(&sent).is_some_and(|received| !received.head.headers.iter().any(has_token));
            let seen = if is_kept || exchange.received.is_empty() { "" } else { " with the token" };
            Ok(Check::new(is_kept, exchange.seen() + seen))
        },
    ),
    should(
        "tokens.insufficient-scope",
        SCOPE_ERRORS,
        STEP_UP,
        "A request for which the token lacks scopes is answered with 403 and the error `insufficient_scope`",
        |suite| {
            let exchange = lacking(suite)?;
            let is_named = parameter(&exchange.challenges(), "error") == Some("insufficient_scope");
            let is_denied = exchange.received.is_empty() && exchange.response.status == 403;
            Ok(Check::new(is_denied && is_named, exchange.seen()))
        },
    ),
    should(
        "tokens.needed-scopes",
        SCOPE_ERRORS,
        STEP_UP,
        "The challenge names all scopes that the request needs",
        |suite| {
            let exchange = lacking(suite)?;
            let challenges = exchange.challenges();
            let named: Vec<_> = parameter(&challenges, "scope").unwrap_or_default().split(' ').collect();
            let are_named = SCOPES.iter().all(|scope| named.contains(scope));
            Ok(Check::new(exchange.response.status == 403 && are_named, exchange.seen()))
        },
    ),
    should(
        "tokens.metadata-url-of-step-up",
        SCOPE_ERRORS,
        STEP_UP,
        "The challenge of a 403 names the URL of the metadata, as that of a 401 does",
        |suite| {
            let exchange = lacking(suite)?;
            let is_named = parameter(&exchange.challenges(), "resource_metadata").is_some();
            Ok(Check::new(exchange.response.status == 403 && is_named, exchange.seen()))
        },
    ),
    must("tokens.sufficient-scopes", SCOPE_ERRORS, &[], "The same request with these scopes is forwarded", |suite| {
        suite.forwards(&suite.call(SCOPED_TOOL, json!({})))
    }),
    must("tokens.without-scopes", TOOLS, STEP_UP, "A token without scopes is enough for what needs none", |suite| {
        let token = suite.target.tokens.narrow.as_ref().context("there is no such token")?;
        let sent = suite.modern(&messages::request(1, "tools/list", json!({})));
        suite.forwards(&sent.set("authorization", format!("Bearer {token}")))
    }),
];

pub(super) const METADATA: &[Scenario] = &[
    must(
        "metadata.well-known",
        METADATA_REQUEST,
        NEEDS,
        "The metadata are at the well-known URL, with the path of the resource after it, without authentication",
        |suite| {
            let (status, document) = metadata(suite)?;
            Ok(Check::new(status == 200 && document.get("resource").is_some(), status.to_string()))
        },
    ),
    must("metadata.of-challenge", DISCOVERY, NEEDS, "The URL in the challenge leads to metadata", |suite| {
        let challenges = anonymous(suite)?.challenges();
        let Some(url) = parameter(&challenges, "resource_metadata") else {
            return Ok(Check::failed("no URL in the challenge"));
        };
        let (status, document) = fetch(suite, url)?;
        Ok(Check::new(status == 200 && document.get("resource").is_some(), status.to_string()))
    }),
    must(
        "metadata.resource",
        METADATA_VALIDATION,
        NEEDS,
        "`resource` is the identifier of the resource, letter for letter",
        |suite| {
            let (status, document) = metadata(suite)?;
            let is_same = document.get("resource") == Some(&json!(suite.target.resource));
            Ok(Check::new(status == 200 && is_same, status.to_string()))
        },
    ),
    must(
        "metadata.authorization-servers",
        SERVER_LOCATION,
        NEEDS,
        "`authorization_servers` names at least one",
        |suite| {
            let (status, document) = metadata(suite)?;
            let servers = document.get("authorization_servers").and_then(Value::as_array);
            let are_named = servers.is_some_and(|servers| !servers.is_empty() && servers.iter().all(Value::is_string));
            Ok(Check::new(status == 200 && are_named, status.to_string()))
        },
    ),
    should(
        "metadata.no-offline-access",
        REFRESH_TOKENS,
        NEEDS,
        "Neither the metadata nor a challenge contain the scope `offline_access`",
        |suite| {
            let (status, document) = metadata(suite)?;
            let exchange = anonymous(suite)?;
            let is_absent = ![document.to_string(), exchange.challenges()].concat().contains("offline_access");
            Ok(Check::new(status == 200 && exchange.response.status == 401 && is_absent, status.to_string()))
        },
    ),
];
