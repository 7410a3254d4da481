//! What the engine decides about the server's tokens, without a gateway and in a real Envoy.

use anyhow::{Context as _, Result, ensure};
use callgate_kit::mint::{Algorithm, SigningKey};
use serde_json::{Value, json};

use super::{Glewlwyd, Installed, TENANT};
use crate::client::{header, prove};
use crate::envoy::EnvoyGate;
use crate::gate::{Gate, policy, policy_with};

const ITEM: &str = "/items/1";

/// Starts the server, and has the engine decide requests with its tokens: under a policy with its key set, and in an Envoy that discovers its
/// key set. Returns what was checked, one line for each.
///
/// # Errors
/// When the server or Envoy does not run, or the engine decides other than expected.
pub fn check(installed: &Installed) -> Result<Vec<String>> {
    let mut server = Glewlwyd::start(installed)?;
    let mut lines = vec![format!("Glewlwyd {}", installed.version()?)];
    let mut line = |text: &str| lines.push(format!("  {text}"));

    let metadata = server.metadata()?;
    is("the issuer in the metadata", metadata.get("issuer"), &json!(server.issuer()))?;
    is("`jwks_uri` in the metadata", metadata.get("jwks_uri"), &json!(server.jwks_uri()))?;
    line("metadata names the issuer and its keys");

    let token = server.token(None)?;
    is("the type of its tokens", header(&token)?.get("typ"), &json!("at+jwt"))?;
    let gate = gate(&server)?;
    decides(gate.bearer(ITEM, &token)?, "allow")?;
    line("its token is allowed");
    let of = |tenant| format!("/tenants/{tenant}/items");
    decides(gate.bearer(&of(TENANT.1), &token)?, "allow")?;
    decides(gate.bearer(&of("globex"), &token)?, "binding_mismatch")?;
    line("the client's property is a claim: its own tenant is allowed, another one is not");

    let key = SigningKey::generate(Algorithm::Es256).context("cannot generate a key")?;
    let bound = server.token(Some(&prove(&key, "POST", &server.token_url(), None)))?;
    decides(gate.bound(ITEM, &bound, &key)?, "allow")?;
    let other = SigningKey::generate(Algorithm::Es256).context("cannot generate a key")?;
    decides(gate.bound(ITEM, &bound, &other)?, "dpop_binding")?;
    decides(gate.bearer(ITEM, &bound)?, "token_bound")?;
    line("a token that is bound to a key is allowed only with a proof by that key");

    let kid = server.rotate()?;
    let new = server.token(None)?;
    is("the key of new tokens", header(&new)?.get("kid"), &json!(kid))?;
    decides(gate.bearer(ITEM, &new)?, "token_key")?;
    let both = self::gate(&server)?;
    decides(both.bearer(ITEM, &token)?, "allow")?;
    decides(both.bearer(ITEM, &new)?, "allow")?;
    server.withdraw_earlier_keys()?;
    let one = self::gate(&server)?;
    decides(one.bearer(ITEM, &token)?, "token_key")?;
    decides(one.bearer(ITEM, &new)?, "allow")?;
    line("after a rotation, tokens are allowed whose key is still in the key set");

    let keys = json!({ "discover": { "document": "openid", "cluster": EnvoyGate::CLUSTER, "timeout": "5s" } });
    let gateway = EnvoyGate::start(&policy_with(&server.issuer(), &keys), server.address())?;
    decides(gateway.bearer(ITEM, &new)?, "allow")?;
    decides(gateway.bearer(&of("globex"), &new)?, "binding_mismatch")?;
    decides(gateway.bearer(ITEM, &token)?, "token_key")?;
    decides(gateway.bearer(ITEM, &server.token_for(None, None)?)?, "token_audience")?;
    line("Envoy discovers its keys: its token is allowed, one for another audience or with a withdrawn key is not");
    server.rotate()?;
    decides(gateway.bearer(ITEM, &server.token(None)?)?, "allow")?;
    line("Envoy fetches them again when a token names a new key");
    Ok(lines)
}

fn gate(server: &Glewlwyd) -> Result<Gate> {
    Gate::new(&policy(&server.issuer(), &server.jwks()?))
}

fn decides(decided: String, wanted: &str) -> Result<()> {
    ensure!(decided == wanted, "the engine decides `{decided}` instead of `{wanted}`");
    Ok(())
}

fn is(what: &str, value: Option<&Value>, wanted: &Value) -> Result<()> {
    let value = value.with_context(|| format!("there is no value for {what}"))?;
    ensure!(value == wanted, "{what} is `{value}` instead of `{wanted}`");
    Ok(())
}
