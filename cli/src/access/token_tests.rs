//! What the report says about a token, and what the engine decides about requests, agree for random policies and tokens.
//!
//! The requests are built here, without the code that the report uses: every combination of the values that occur.

use std::fmt::Write as _;

use callgate::{Decision, Headers};
use callgate_kit::document::parse;
use callgate_kit::policy::Loaded;
use rsa::sha2::{Digest as _, Sha256};

use super::*;
use crate::decide::{Asked, Body, decide};

const NOW: u64 = 1_800_000_000;

/// A generator of numbers (SplitMix64). Every run has the same numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn one_in(&mut self, most: u64) -> bool {
        self.next().is_multiple_of(most)
    }

    fn pick(&mut self, values: &[Value]) -> Value {
        let index = self.next() % u64::try_from(values.len()).unwrap();
        values[usize::try_from(index).unwrap()].clone()
    }

    /// Returns some of the values, at least one.
    fn some(&mut self, values: &[&str]) -> Value {
        let some: Vec<&str> = values.iter().copied().filter(|_| self.one_in(2)).collect();
        if some.is_empty() { json!([values[0]]) } else { json!(some) }
    }
}

const OWNERS: [&str; 5] = ["acme", "globex", "red", "blue", "other"];
const NUMBERS: [Option<&str>; 3] = [None, Some("7"), Some("seven")];
const TEAMS: [Option<&str>; 3] = [None, Some("red"), Some("blue")];
const EFFECTS: [&str; 3] = ["read", "write", "destructive"];

fn agent(random: &mut Random, client: &str, endpoints: &[String], delegates: bool) -> Value {
    let mut agent = json!({ "owner": "o", "identity": { "issuer": "corp", "client_id": client } });
    if delegates {
        agent["identity"]["actor"] = json!({ "issuer": "corp", "sub": client });
    }
    // The first agent has the attribute, because bindings need one that has it.
    if client == "a" || random.one_in(2) {
        agent["attributes"] = json!({ "team": random.pick(&[json!("red"), json!(["red", "blue"]), json!("blue")]) });
    }
    if random.one_in(3) {
        agent["scopes"] = random.some(&["x", "y"]);
    }
    if random.one_in(8) {
        agent["suspended"] = json!(true);
    }
    if random.one_in(8) {
        agent["expires"] = json!("2020-01-01");
    }
    if random.one_in(2) {
        let names: Vec<&str> = endpoints.iter().map(String::as_str).collect();
        let mut ceiling = json!({ "effects": random.some(&EFFECTS) });
        if random.one_in(2) {
            ceiling["scopes"] = random.some(&["x", "y", "z"]);
        }
        if random.one_in(2) {
            ceiling["endpoints"] = random.some(&names);
        }
        agent["at_most"] = ceiling;
    }
    agent
}

fn endpoint(random: &mut Random, id: &str, delegates: bool) -> Value {
    let mut endpoint = json!({
        "id": id, "methods": [random.pick(&[json!("GET"), json!("POST"), json!("DELETE")])], "path": format!("/{id}/{{owner}}"),
        "effect": random.pick(&EFFECTS.map(|effect| json!(effect)))
    });
    if random.one_in(6) {
        endpoint["access"] = json!("public");
        if random.one_in(2) {
            endpoint["credentials"] = json!("ignore");
        }
        return endpoint;
    }
    endpoint["scopes"] =
        random.pick(&[json!("none"), json!(["x"]), json!(["x", "y"]), json!({ "any": ["y", "z"] }), json!(["z"])]);
    let mut bind = json!({});
    if random.one_in(2) {
        let rules = [json!("token.org"), json!("agent.team"), json!({ "in": ["acme", "red"] })];
        bind["path.owner"] = random.pick(&rules);
    }
    if random.one_in(3) {
        bind["query.q"] = random.pick(&[json!("token.n"), json!({ "at_most": 9 })]);
    }
    if random.one_in(4) {
        bind["header.x-team"] = json!("agent.team");
    }
    endpoint["bind"] = bind;
    if random.one_in(4) {
        endpoint["agents"] =
            random.pick(&[json!(["a"]), json!(["b"]), json!(["a", "b"]), json!(["g"]), json!(["a", "g"])]);
    }
    if random.one_in(5) {
        endpoint["max_age"] = json!("1m");
    }
    if random.one_in(5) {
        endpoint["max_lifetime"] = random.pick(&[json!("10m"), json!("30m")]);
    }
    if delegates && random.one_in(2) {
        endpoint["delegation"] = random.pick(&[json!("allowed"), json!("allowed"), json!("required"), json!("none")]);
    }
    if random.one_in(8) {
        endpoint["suspended"] = json!(true);
    }
    if random.one_in(10) {
        endpoint["mode"] = json!("observe");
    }
    endpoint
}

fn policy(random: &mut Random, key: &SigningKey) -> Loaded {
    let ids: Vec<String> = (0..5).map(|index| format!("e{index}")).collect();
    let delegates = random.one_in(2);
    let endpoints: Vec<Value> = ids.iter().map(|id| endpoint(random, id, delegates)).collect();
    let mut document = json!({
        "callgate": "v1", "name": "random", "mode": "enforce", "gateway": "envoy", "resource": "https://api.example.com",
        "hosts": ["api.example.com"], "unregistered": random.pick(&[json!("allow"), json!("reject"), json!("reject")]),
        "issuers": { "corp": {
            "issuer": "https://idp.example.com", "profile": "at+jwt", "algorithms": ["ES256"], "max_lifetime": "1h",
            "keys": { "jwks": { "keys": [key.public_jwk()] } }
        } },
        "agents": { "a": agent(random, "a", &ids, delegates), "b": agent(random, "b", &ids, delegates) },
        "groups": { "g": ["b"] },
        "limits": { "calls": { "per": "issuer", "rate": "600/1m", "burst": 100 } },
        "requirements": { "read": { "limits": ["calls"] } },
        "endpoints": endpoints,
        "upstream": { "authorization": "remove", "merges": [] }, "audit": { "log": { "allow": false, "deny": false } },
    });
    if delegates {
        document["delegation"] = json!({ "prior_actors": random.pick(&[json!("recorded"), json!("checked")]) });
    }
    if random.one_in(12) {
        document["issuers"]["corp"]["suspended"] = json!(true);
    }
    if random.one_in(3) {
        // The moment is between the two times at which tokens are issued, with the skew.
        document["revoked"] = json!([random.pick(&[
            json!({ "agent": "b" }),
            json!({ "agent": "a", "issued_before": "2027-01-15T07:58:00Z" }),
            json!({ "agent": "a", "until": "2027-01-15T07:58:00Z" }),
            json!({ "actor": "b" }),
            json!({ "issuer": "corp", "client": "b" }),
            json!({ "issuer": "corp", "subject": "a" }),
            json!({ "issuer": "corp", "subject": "ann" }),
            json!({ "issuer": "corp", "jti": "i" }),
        ])]);
    }
    loaded(&document)
}

fn loaded(document: &Value) -> Loaded {
    let text = document.to_string();
    let document = parse("random.json", text.as_bytes()).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    compile(document, &environment).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

fn random_token(random: &mut Random, key: &SigningKey) -> String {
    let client = random.pick(&[json!("a"), json!("a"), json!("b"), json!("c")]);
    let issued = NOW - if random.one_in(3) { 300 } else { 10 };
    let mut claims = json!({
        "iss": "https://idp.example.com", "aud": "https://api.example.com", "sub": client, "client_id": client,
        "iat": issued, "exp": issued + 900, "jti": "j",
    });
    let scopes = random.some(&["x", "y", "z"]);
    if !random.one_in(6) {
        claims["scope"] =
            json!(scopes.as_array().unwrap().iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "));
    }
    if !random.one_in(4) {
        claims["org"] =
            random.pick(&[json!("acme"), json!(["globex", "acme"]), json!({ "id": "acme" }), json!("other")]);
    }
    if !random.one_in(4) {
        claims["n"] = random.pick(&[json!(7), json!("seven"), json!(["7", "seven"]), json!("7")]);
    }
    if random.one_in(3) {
        claims["sub"] = json!("ann");
        claims["act"] = random.pick(&[
            json!({ "sub": client }),
            json!({ "sub": client }),
            json!({ "sub": "a", "act": { "sub": "b" } }),
            json!({ "sub": "a", "act": { "sub": "c" } }),
            json!({ "sub": "ann" }),
        ]);
    }
    match random.next() % 16 {
        0 => claims["exp"] = json!(issued + 1),
        1 => claims["aud"] = json!("https://other.example.com"),
        _ => {}
    }
    let mut header = key.header();
    header["typ"] = json!("at+jwt");
    key.sign(&header, &claims)
}

/// Returns whether the engine allows some request to an endpoint, with any values.
fn is_allowed_somehow(loaded: &Loaded, endpoint: &document::Endpoint, token: &str) -> bool {
    let binds = |part: &str| endpoint.bind.binds(part);
    let used = |values: [Option<&'static str>; 3], bound: bool| values.into_iter().take(if bound { 3 } else { 1 });
    let mut owners = OWNERS.into_iter().take(if binds("path.owner") { 5 } else { 1 });
    owners.any(|owner| {
        used(NUMBERS, binds("query.q")).any(|number| {
            used(TEAMS, binds("header.x-team")).any(|team| {
                let mut path = format!("/{}/{owner}", endpoint.id);
                if let Some(number) = number {
                    write!(path, "?q={number}").unwrap();
                }
                let method = endpoint.methods[0].as_str();
                let credential = format!("Bearer {token}");
                let lines = [
                    (":method", method),
                    (":authority", "api.example.com"),
                    (":path", &*path),
                    ("authorization", &*credential),
                ];
                let headers: Headers = lines.into_iter().chain(team.map(|team| ("x-team", team))).collect();
                let asked = Asked {
                    policy: &loaded.policy,
                    headers: &headers,
                    body: Body::None,
                    source: None,
                    certificate: None,
                    time: NOW,
                    keys: &[],
                    revocations: None,
                };
                let Ok(is_allowed) = decide(&asked, None, |decision, _| matches!(decision, Decision::Allow(_))) else {
                    panic!("undecided")
                };
                is_allowed
            })
        })
    })
}

/// Returns whether a token has the scopes of an endpoint itself, if it has an actor. Any other token is not considered.
fn has_scopes_of_delegated(endpoint: &document::Endpoint, token: &str) -> bool {
    let (_, claims) = decode(token).unwrap();
    let (Some(_), Some(asked)) = (claims.get("act"), &endpoint.scopes) else { return true };
    let scopes = claims.get("scope").and_then(Value::as_str).unwrap_or_default();
    let has = |scope: &String| scopes.split(' ').any(|own| own == scope);
    asked.all.iter().all(has) && (asked.any.is_empty() || asked.any.iter().any(has))
}

#[test]
fn the_report_and_the_engine_agree() {
    let mut random = Random(0x0ca1_19a7);
    let key = SigningKey::generate(Algorithm::Es256).unwrap().with_kid("k");
    let (mut reached, mut excluded) = (0, 0);
    for round in 0..60 {
        let loaded = policy(&mut random, &key);
        let subject = Subject::new(&loaded, NOW, None).unwrap();
        for _ in 0..3 {
            let text = random_token(&mut random, &key);
            let (facts, caller) = token(&subject, Given { token: &text, keys: &[], revocations: None }).unwrap();
            assert_eq!(facts.verified, facts.rejected.is_none(), "{facts:?}");
            // What a token of an agent reaches is among what the agent can reach.
            let all = crate::access::agents(&subject, None);
            let own = all.iter().find(|own| facts.agent.is_some() && own.agent == facts.agent);
            let can_reach = |id: &str| own.is_none_or(|own| own.reaches.iter().any(|reached| reached.endpoint == id));
            for endpoint in &subject.document.endpoints {
                let is_listed = caller.reaches.iter().any(|own| own.endpoint == endpoint.id);
                let why = caller.cannot_reach.iter().find(|own| own.endpoint == endpoint.id);
                assert_ne!(is_listed, why.is_some());
                let is_allowed = is_allowed_somehow(&loaded, endpoint, &text);
                assert_eq!(
                    is_listed, is_allowed,
                    "round {round}: {} {why:?}\n{}\n{text}",
                    endpoint.id, loaded.policy_json
                );
                assert!(!is_listed || endpoint.access.is_some() || can_reach(&endpoint.id), "{}", endpoint.id);
                if is_listed && endpoint.access.is_none() && endpoint.mode.is_none() {
                    assert!(has_scopes_of_delegated(endpoint, &text), "round {round}: {}\n{text}", endpoint.id);
                }
                if is_listed { reached += 1 } else { excluded += 1 }
            }
        }
    }
    assert!(reached > 100 && excluded > 100, "{reached} {excluded}");
}

/// Returns a policy that grants scopes to an agent, and whose endpoints accept its requests for others.
fn granting(key: &SigningKey, scopes: &[&str], implies: &Value) -> Loaded {
    let endpoint = |id: &str, scopes: Value| {
        json!({ "id": id, "methods": ["GET"], "path": format!("/{id}/{{owner}}"), "effect": "read", "scopes": scopes,
                "delegation": "allowed" })
    };
    let identity = json!({ "issuer": "corp", "client_id": "a", "actor": { "issuer": "corp", "sub": "a" } });
    changed_policy(
        &json!({ "jwks": { "keys": [key.public_jwk()] } }),
        &json!({
            "dpop": null, "limits": null, "delegation": {}, "scope_implies": implies,
            "agents": { "a": { "owner": "o", "identity": identity, "scopes": scopes } },
            "endpoints": [
                endpoint("none", json!("none")),
                endpoint("x", json!(["x"])),
                endpoint("both", json!(["x", "y"])),
                endpoint("any", json!({ "any": ["x", "y"] })),
            ],
        }),
    )
}

#[test]
fn scopes_of_an_agent_count_for_its_own_tokens_only() {
    const OF_AGENT: [&[&str]; 3] = [&[], &["x"], &["y"]];
    const OF_TOKEN: [&[&str]; 4] = [&["z"], &["z", "x"], &["z", "y"], &["z", "x", "y"]];
    let key = SigningKey::generate(Algorithm::Es256).unwrap().with_kid("k");
    for implies in [json!({}), json!({ "x": ["y"] })] {
        let includes_y = implies.get("x").is_some();
        for of_agent in OF_AGENT {
            let loaded = granting(&key, of_agent, &implies);
            for of_token in OF_TOKEN {
                for is_own in [true, false] {
                    let mut claims = json!({ "scope": of_token.join(" ") });
                    if !is_own {
                        claims["sub"] = json!("ann");
                        claims["act"] = json!({ "sub": "a" });
                    }
                    let text = sign(&key, claims);
                    let counts = |scope: &str| of_token.contains(&scope) || is_own && of_agent.contains(&scope);
                    let (x, y) = (counts("x"), counts("y") || includes_y && counts("x"));
                    let expected = [("none", true), ("x", x), ("both", x && y), ("any", x || y)];
                    let expected: Vec<&str> =
                        expected.into_iter().filter(|(_, reaches)| *reaches).map(|(id, _)| id).collect();
                    let told = format!("agent {of_agent:?}, token {of_token:?}, own {is_own}, {implies}");
                    assert_eq!(reaches(&loaded, &text).1, expected, "{told}");
                    for endpoint in &Subject::new(&loaded, NOW, None).unwrap().document.endpoints {
                        let is_allowed = is_allowed_somehow(&loaded, endpoint, &text);
                        assert_eq!(is_allowed, expected.contains(&endpoint.id.as_str()), "{}: {told}", endpoint.id);
                    }
                }
            }
        }
    }
}

/// Returns a policy whose issuer has these keys, and which accepts bound tokens on one endpoint only.
fn bound_policy(keys: &Value) -> Loaded {
    changed_policy(keys, &json!({}))
}

/// Returns the same policy with other members. `null` removes one.
fn changed_policy(keys: &Value, changes: &Value) -> Loaded {
    let mut document = json!({
        "callgate": "v1", "name": "bound", "mode": "enforce", "gateway": "envoy", "resource": "https://api.example.com",
        "hosts": ["api.example.com"],
        "issuers": { "corp": {
            "issuer": "https://idp.example.com", "profile": "at+jwt", "algorithms": ["ES256"], "max_lifetime": "1h", "keys": keys
        } },
        "dpop": { "required": false, "algorithms": ["ES256"] },
        "agents": { "a": { "owner": "o", "identity": { "issuer": "corp", "client_id": "a" } } },
        "limits": { "calls": { "per": "agent", "rate": "60/1m", "burst": 10 } },
        "endpoints": [
            { "id": "bound", "methods": ["GET"], "path": "/bound", "effect": "read", "scopes": ["x"], "token": "bound", "limits": ["calls"] },
            { "id": "other", "methods": ["GET"], "path": "/other", "effect": "read", "scopes": ["y"], "limits": ["calls"] },
            { "id": "plain", "methods": ["GET"], "path": "/plain", "effect": "read", "scopes": ["x"], "limits": ["calls"] },
        ],
        "upstream": { "authorization": "remove" }, "audit": { "log": { "allow": false, "deny": false } },
    });
    let members = document.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        members.insert(name.clone(), value.clone());
    }
    members.retain(|_, value| !value.is_null());
    loaded(&document)
}

/// Returns keys that are not known here.
fn unknown_keys() -> Value {
    json!({ "remote": { "url": "https://idp.example.com/jwks", "cluster": "idp" } })
}

fn plain(changes: Value) -> Value {
    let mut endpoint =
        json!({ "id": "plain", "methods": ["GET"], "path": "/plain", "effect": "read", "scopes": ["x"] });
    endpoint.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    json!([endpoint])
}

fn sign(key: &SigningKey, changes: Value) -> String {
    let mut claims = json!({
        "iss": "https://idp.example.com", "aud": "https://api.example.com", "sub": "a", "client_id": "a", "iat": NOW - 10,
        "exp": NOW + 300, "jti": "j", "scope": "x",
    });
    claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let mut header = key.header();
    header["typ"] = json!("at+jwt");
    key.sign(&header, &claims)
}

fn reaches(loaded: &Loaded, token: &str) -> (TokenFacts, Vec<String>) {
    let subject = Subject::new(loaded, NOW, None).unwrap();
    let (facts, caller) = super::token(&subject, Given { token, keys: &[], revocations: None }).unwrap();
    (facts, caller.reaches.into_iter().map(|reached| reached.endpoint).collect())
}

#[test]
fn a_bound_token_reaches_what_its_sender_can_reach_with_the_key() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap().with_kid("k");
    let loaded = bound_policy(&json!({ "jwks": { "keys": [key.public_jwk()] } }));
    let jkt = SigningKey::generate(Algorithm::Es256).unwrap().thumbprint();
    let (facts, endpoints) = reaches(&loaded, &sign(&key, json!({ "cnf": { "jkt": jkt } })));
    assert_eq!(endpoints, ["bound", "plain"]);
    assert!(facts.verified && facts.bound && facts.agent.as_deref() == Some("a"), "{facts:?}");
    let (facts, endpoints) = reaches(&loaded, &sign(&key, json!({})));
    assert_eq!(endpoints, ["plain"]);
    assert!(facts.verified && !facts.bound);
}

#[test]
fn a_token_whose_keys_are_unknown_is_evaluated_and_not_called_verified() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap().with_kid("k");
    let loaded = bound_policy(&json!({ "remote": { "url": "https://idp.example.com/jwks", "cluster": "idp" } }));
    let (facts, endpoints) = reaches(&loaded, &sign(&key, json!({})));
    assert_eq!((facts.verified, facts.rejected.is_some()), (false, false));
    assert_eq!((endpoints, facts.agent.as_deref()), (vec!["plain".to_owned()], Some("a")));
    // Everything else about it is still judged.
    let (facts, endpoints) = reaches(&loaded, &sign(&key, json!({ "exp": NOW - 100, "iat": NOW - 400 })));
    assert_eq!(facts.rejected.map(|rejected| rejected.reason), Some("token_expired"));
    assert_eq!(endpoints, [""; 0]);
}

#[test]
fn a_forged_token_reaches_nothing() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap().with_kid("k");
    let loaded = bound_policy(&json!({ "jwks": { "keys": [key.public_jwk()] } }));
    let other = SigningKey::generate(Algorithm::Es256).unwrap().with_kid("k");
    let (facts, endpoints) = reaches(&loaded, &sign(&other, json!({})));
    assert_eq!(facts.rejected.map(|rejected| rejected.reason), Some("token_signature"));
    assert_eq!((facts.verified, endpoints.len()), (false, 0));
    for text in ["x", "a.b.c", "..."] {
        let (facts, endpoints) = reaches(&loaded, text);
        assert!(facts.rejected.is_some() && endpoints.is_empty(), "{text:?}");
    }
}

#[test]
fn a_token_reaches_nothing_without_what_the_gate_can_never_be_shown() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap().with_kid("k");
    let jkt = SigningKey::generate(Algorithm::Es256).unwrap().thumbprint();
    let known = json!({ "jwks": { "keys": [key.public_jwk()] } });
    let bound = sign(&key, json!({ "cnf": { "jkt": jkt } }));
    for keys in [known, unknown_keys()] {
        // Without `dpop`, no proof is read.
        let without = changed_policy(&keys, &json!({ "dpop": null, "endpoints": plain(json!({})) }));
        assert_eq!(reaches(&without, &bound).1, [""; 0], "{keys}");
        assert_eq!(reaches(&without, &sign(&key, json!({}))).1, ["plain"], "{keys}");
        // The gate knows no such confirmation.
        let unknown = sign(&key, json!({ "cnf": { "jkt": jkt, "osc": jkt } }));
        assert_eq!(reaches(&bound_policy(&keys), &unknown).1, [""; 0], "{keys}");
        // Tokens that are bound to nothing are not accepted.
        let required = changed_policy(&keys, &json!({ "dpop": { "required": true, "algorithms": ["ES256"] } }));
        assert_eq!(reaches(&required, &sign(&key, json!({}))).1, [""; 0], "{keys}");
        assert_eq!(reaches(&required, &bound).1, ["bound", "plain"], "{keys}");
    }
}

#[test]
fn a_revoked_token_reaches_nothing_whatever_is_known_about_it() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap().with_kid("k");
    let jkt = SigningKey::generate(Algorithm::Es256).unwrap().thumbprint();
    for keys in [json!({ "jwks": { "keys": [key.public_jwk()] } }), unknown_keys()] {
        for claims in [json!({}), json!({ "cnf": { "jkt": jkt } })] {
            let token = sign(&key, claims);
            let signed = token.rsplit_once('.').unwrap().0;
            let hash: String = Sha256::digest(signed).iter().map(|byte| format!("{byte:02x}")).collect();
            let revoked = changed_policy(&keys, &json!({ "revoked": [{ "token_sha256": hash }] }));
            assert_eq!(reaches(&revoked, &token).1, [""; 0], "{keys} {token}");
            let other = changed_policy(&keys, &json!({ "revoked": [{ "token_sha256": "0a".repeat(32) }] }));
            assert!(reaches(&other, &token).1.contains(&"plain".to_owned()), "{keys} {token}");
        }
    }
}

#[test]
fn a_token_of_an_agent_without_a_key_reaches_nothing_that_must_be_signed() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap().with_kid("k");
    let signing = SigningKey::generate(Algorithm::Es256).unwrap().with_kid("s");
    let keys = json!({ "jwks": { "keys": [key.public_jwk()] } });
    let client = |name: &str| json!({ "owner": "o", "identity": { "issuer": "corp", "client_id": name } });
    let mut signer = client("b");
    signer["signing_keys"] = json!([{ "jwk": signing.public_jwk() }]);
    let loaded = changed_policy(
        &keys,
        &json!({
            "dpop": null, "limits": null,
            "agents": { "a": client("a"), "b": signer }, "endpoints": plain(json!({ "signature": "required", "replay": false }))
        }),
    );
    assert_eq!(reaches(&loaded, &sign(&key, json!({}))).1, [""; 0]);
    assert_eq!(reaches(&loaded, &sign(&key, json!({ "sub": "b", "client_id": "b" }))).1, ["plain"]);
}
