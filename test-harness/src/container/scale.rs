//! Two gateways behind a third: the guarantees of each gateway alone, and of both together once the third hashes each credential to the
//! same one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use callgate::identity::signature::StructuredFields;
use callgate_kit::mint::SigningKey;
use callgate_kit::sign::{self, Input, text_parameter};
use serde_json::{Value, json};

use super::{API, resolve};
use crate::client::{self, Request, Response};
use crate::paths;
use crate::quickstart::{self, HOST, Issuer, set};

/// The services.
pub(super) const GATES: [&str; 2] = ["gate-a", "gate-b"];
/// The port at which the front distributes requests round-robin. At [`API`] it hashes.
pub(super) const SPREAD: u16 = 10001;
/// The response header that names the gate.
pub(super) const GATE: &str = "x-gate";

const AGENT: &str = "coding-agent";
const SCOPES: &str = "code:read code:write code:destroy pulls:write";
/// How many requests the limit of the policy allows.
const BURST: usize = 5;
/// How many requests are sent to show the limit: an even number that is more than twice the limit.
const CALLS: usize = 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// Returns the quickstart's policy with signatures on all requests that change something, and with a limit that refills too slowly to
/// matter while the tester counts.
pub(super) fn policy() -> Result<Value> {
    let mut policy = quickstart::policy_with_keys()?;
    let at = |pointer: &str| format!("the quickstart's policy has no value at {pointer}");
    for (pointer, name, value) in [
        ("/agents/coding-agent", "signing_keys", json!([{ "jwk": key()?.public_jwk() }])),
        ("/requirements/write", "signature", json!("required")),
        ("/requirements/destructive", "signature", json!("required")),
        ("/limits/changes", "rate", json!("1/1h")),
        ("/limits/changes", "burst", json!(BURST)),
    ] {
        set(policy.pointer_mut(pointer).with_context(|| at(pointer))?, name, value);
    }
    Ok(policy)
}

fn key() -> Result<SigningKey> {
    let file = paths::root().join("examples/signing/keys/build-agent.jwk.json");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    SigningKey::from_jwk(&serde_json::from_str(&text)?).with_context(|| format!("{} cannot sign", file.display()))
}

pub(super) fn run() -> Result<()> {
    let gates = [resolve((GATES[0], API))?, resolve((GATES[1], API))?];
    shown(&gates, resolve(("front", API))?, resolve(("front", SPREAD))?)
}

fn shown(gates: &[SocketAddr], hashed: SocketAddr, spread: SocketAddr) -> Result<()> {
    let caller = Caller { issuer: Issuer::new()?, key: key()? };
    await_both(spread, &caller)?;
    for gate in gates {
        ripen(*gate, &caller)?;
    }
    let token = caller.token(0);

    let passed = caller.limited(spread, "/repos/acme/gateway/pulls", &token)?;
    let each = passed.values().all(|count| *count == BURST) && passed.len() == 2;
    ensure!(each, "without hashing, a limit of {BURST} does not apply to each gate separately: {passed:?}");
    println!("without hashing: a limit of {BURST} allows {} requests, {BURST} at each gate", 2 * BURST);

    let passed = caller.replayed(spread, &token)?;
    ensure!(
        passed.len() == 2 && passed.iter().collect::<BTreeSet<_>>().len() == 2,
        "a replayed request was allowed at {passed:?}"
    );
    println!("without hashing: a signed request is allowed twice, once at each gate");

    let passed = caller.limited(hashed, "/repos/acme/gateway/pulls/7/reviews", &token)?;
    ensure!(passed.values().eq([&BURST]), "with hashing, a limit of {BURST} is not exact: {passed:?}");
    println!("with hashing: a limit of {BURST} allows {BURST} requests");

    let home = passed.keys().next().context("no gate sent its name")?;
    let passed = caller.replayed(hashed, &token)?;
    ensure!(passed == [home.as_str()], "with hashing, a replayed request was allowed at {passed:?}");
    println!("with hashing: a signed request is allowed once");

    // The limits of hashing: another token of the same agent may reach the other gate.
    let other = caller.elsewhere(hashed, home)?;
    let passed = caller.limited(hashed, "/repos/acme/gateway/pulls/7/reviews", &other)?;
    ensure!(
        passed.values().eq([&BURST]) && !passed.contains_key(home),
        "requests with another token of the agent were allowed at {passed:?}"
    );
    println!("with hashing: another token of the same agent may reach the other gate, which counts from zero");
    Ok(())
}

struct Caller {
    issuer: Issuer,
    key: SigningKey,
}

impl Caller {
    /// Returns a token that is unique to this number.
    fn token(&self, number: usize) -> String {
        self.issuer.with(AGENT, SCOPES, |_, claims| set(claims, "jti", format!("token-{number}")))
    }

    /// Signs a request that includes its token. Each call uses a new nonce.
    fn signed(&self, method: &str, path: &str, token: &str) -> Result<Request> {
        static NONCE: AtomicU64 = AtomicU64::new(0);
        let wrong = |why: String| anyhow!("the request cannot be signed: {why}");
        let bearer = format!("Bearer {token}");
        let mut request = sign::Request::new(method, &format!("https://{HOST}{path}")).map_err(wrong)?;
        request.headers.push(("authorization".to_owned(), bearer.clone().into_bytes()));
        let (lines, structured) = (request.lines(), StructuredFields::default());
        let nonce = format!("{}-{}", self.issuer.now, NONCE.fetch_add(1, Ordering::Relaxed));
        let input = Input {
            label: "sig".to_owned(),
            components: sign::usual(path.as_bytes(), &lines, false),
            parameters: vec![
                format!("created={}", Issuer::new()?.now),
                text_parameter("nonce", &nonce),
                text_parameter("keyid", self.key.kid().context("the key has no name")?),
            ],
        };
        let base = input.base(&request.message(&lines, &structured)).map_err(|why| wrong(why.to_string()))?;
        let request = Request::new(method, path).host(HOST).header("Authorization", bearer);
        let request = request.header("Signature-Input", input.field());
        Ok(request.header("Signature", input.signature(&self.key, &base)))
    }

    /// Sends requests until long after the limit is reached, and counts those that each gate allowed.
    fn limited(&self, gateway: SocketAddr, path: &str, token: &str) -> Result<BTreeMap<String, usize>> {
        let mut passed = BTreeMap::new();
        for _ in 0..CALLS {
            let answer = client::call(gateway, &self.signed("POST", path, token)?)?;
            match (answer.status, answer.code().as_deref()) {
                (200, _) => *passed.entry(gate_of(&answer)?).or_default() += 1,
                (429, Some("rate_limited")) => {}
                _ => return Err(unexpected(&answer)),
            }
        }
        Ok(passed)
    }

    /// Sends the same request six times, and returns the gates that allowed it.
    fn replayed(&self, gateway: SocketAddr, token: &str) -> Result<Vec<String>> {
        let call = self.signed("DELETE", "/repos/acme/gateway/labels/bug", token)?;
        let mut passed = Vec::new();
        for _ in 0..6 {
            let answer = client::call(gateway, &call)?;
            match (answer.status, answer.code().as_deref()) {
                (200, _) => passed.push(gate_of(&answer)?),
                (403, Some("signature_replayed")) => {}
                _ => return Err(unexpected(&answer)),
            }
        }
        Ok(passed)
    }

    /// Returns a token that the front hashes to another gate than this one.
    fn elsewhere(&self, hashed: SocketAddr, home: &str) -> Result<String> {
        for number in 1..100 {
            let token = self.token(number);
            let met = |_| read(hashed, &token).and_then(|answer| gate_of(&answer));
            let met: BTreeSet<String> = (0..4).map(met).collect::<Result<_>>()?;
            ensure!(met.len() == 1, "one credential reached several gates: {met:?}");
            if !met.contains(home) {
                return Ok(token);
            }
        }
        Err(anyhow!("a hundred credentials reached the same gate"))
    }
}

/// Waits until the front considers both gates healthy.
fn await_both(spread: SocketAddr, caller: &Caller) -> Result<()> {
    let (start, mut met) = (Instant::now(), BTreeSet::new());
    while met.len() < 2 {
        ensure!(start.elapsed() < PATIENCE, "the front reaches only some gates: {met:?}");
        let answer = read(spread, &caller.token(0))?;
        match answer.status {
            200 => _ = met.insert(gate_of(&answer)?),
            _ => thread::sleep(Duration::from_millis(100)),
        }
    }
    Ok(())
}

/// Waits until a gate has run long enough to distinguish fresh signatures from replayed ones.
fn ripen(gate: SocketAddr, caller: &Caller) -> Result<()> {
    let start = Instant::now();
    loop {
        let call = caller.signed("DELETE", "/repos/acme/gateway/labels/bug", &caller.token(0))?;
        let answer = client::call(gate, &call)?;
        match answer.code().as_deref() {
            Some("replay_table_young") if start.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(500)),
            _ if answer.status == 200 => return Ok(()),
            _ => return Err(unexpected(&answer)),
        }
    }
}

fn read(gateway: SocketAddr, token: &str) -> Result<Response> {
    client::call(gateway, &Request::get("/repos/acme/gateway").host(HOST).bearer(token))
}

fn gate_of(answer: &Response) -> Result<String> {
    Ok(answer.header(GATE).with_context(|| format!("no gate sent its name: {}", answer.status))?.to_owned())
}

fn unexpected(answer: &Response) -> anyhow::Error {
    anyhow!("unexpected response to a request: {} {}", answer.status, answer.text().trim())
}
