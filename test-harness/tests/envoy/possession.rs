//! Tokens that are bound to a key, in a real Envoy: each proof is accepted once over all workers, and all workers accept the gate's nonces.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, LazyLock, Mutex, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use callgate_kit::mint::{Algorithm, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use test_harness::client::{Connection, Request, Response};
use test_harness::envoy::{Bootstrap, Options};

use crate::envoy::fixture::{Gate, HOST, KEY, claims, header, policy};
use crate::envoy::limits::counted;
use crate::envoy::signed::now;

/// The key of the agent `robot`.
static CLIENT: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate(Algorithm::Es256).unwrap());

/// Returns the test policy, which accepts only bound tokens.
fn bound_policy(nonce: &str) -> Value {
    let mut policy = policy();
    policy["dpop"] = json!({ "required": true, "algorithms": ["ES256"], "nonce": nonce });
    policy["limits"] = json!({ "calls": { "per": "agent", "rate": "100/1s", "burst": 1000 } });
    policy["requirements"] = json!({ "read": { "limits": ["calls"] }, "write": { "limits": ["calls"] } });
    policy
}

fn workers() -> Options {
    Options { concurrency: 4, ..Options::default() }
}

/// Returns a token that is bound to the client's key.
pub(crate) fn bound_token() -> String {
    let mut claims = claims("items:read");
    claims["cnf"] = json!({ "jkt": CLIENT.thumbprint() });
    KEY.sign(&header(), &claims)
}

/// Returns a request with a new proof.
fn call(token: &str, nonce: Option<&str>) -> Request {
    call_of("/items/1", token, nonce)
}

/// Returns the same for another path.
pub(crate) fn call_of(path: &str, token: &str, nonce: Option<&str>) -> Request {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut jwk = CLIENT.public_jwk();
    jwk.as_object_mut().unwrap().remove("alg");
    let header = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": jwk });
    let mut claims = json!({
        "jti": NEXT.fetch_add(1, Ordering::Relaxed).to_string(),
        "htm": "GET",
        "htu": format!("https://{HOST}{path}"),
        "iat": now(),
        "ath": URL_SAFE_NO_PAD.encode(Sha256::digest(token)),
    });
    if let Some(nonce) = nonce {
        claims["nonce"] = json!(nonce);
    }
    let request = Request::get(path).host(HOST).header("Authorization", format!("DPoP {token}"));
    request.header("DPoP", CLIENT.sign(&header, &claims))
}

/// Waits until fresh proofs are accepted, and returns the response to the first one.
fn ripen(gate: &Gate, token: &str, nonce: Option<&str>) -> Response {
    let start = Instant::now();
    loop {
        let response = gate.call(&call(token, nonce));
        if response.status == 200 {
            return response;
        }
        assert_eq!(response.code().as_deref(), Some("replay_table_young"), "{}", response.text());
        assert!(start.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_secs(1));
    }
}

#[test]
fn accepts_one_of_two_hundred_concurrent_equal_proofs() {
    const PROOFS: usize = 100;
    const CONNECTIONS: usize = 16;
    const EACH: usize = 13;
    let quiet = |bootstrap: &mut Bootstrap| bootstrap.manager().unwrap()["access_log"] = json!([]);
    let gate = Gate::start_with(&bound_policy("optional"), quiet, &workers());
    let token = bound_token();
    ripen(&gate, &token, None);
    let address = gate.envoy.api().unwrap();
    let barrier = Barrier::new(CONNECTIONS + 1);
    let mut passed = Vec::new();
    let outcomes = Mutex::new(BTreeMap::<(u16, Option<String>), usize>::new());
    let shared = RwLock::new(Request::get("/"));
    thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let mut connection = Connection::open(address).unwrap();
                for _ in 0..PROOFS {
                    barrier.wait();
                    let request = shared.read().unwrap().clone();
                    // The requests are not pipelined, because Envoy closes connections on which it has to send several local replies at
                    // once.
                    for _ in 0..EACH {
                        let response = connection.call(&request).unwrap();
                        *outcomes.lock().unwrap().entry((response.status, response.code())).or_default() += 1;
                    }
                    barrier.wait();
                }
            });
        }
        for proof in 1..=PROOFS {
            *shared.write().unwrap() = call(&token, None);
            barrier.wait();
            barrier.wait();
            // After each round, the number of allowed requests equals the number of proofs.
            passed.push(outcomes.lock().unwrap().get(&(200, None)).copied().unwrap_or_default() == proof);
        }
    });
    let replayed = (401, Some("dpop_replayed".to_owned()));
    let refused = PROOFS * (CONNECTIONS * EACH - 1);
    assert_eq!(outcomes.into_inner().unwrap(), BTreeMap::from([((200, None), PROOFS), (replayed, refused)]));
    assert_eq!(passed, [true; PROOFS]);
    assert_eq!(counted(&gate, "decisions.allow.allowed"), PROOFS as u64 + 1);
}

#[test]
fn every_worker_accepts_a_nonce_from_any_worker() {
    let gate = Gate::start_with(&bound_policy("required"), |_| (), &workers());
    let token = bound_token();
    let told = |response: &Response| response.header("dpop-nonce").map(str::to_owned);
    let asked = gate.ask(call(&token, None));
    asked.assert_denied(401, "dpop_nonce");
    let challenge = asked.response.header("www-authenticate").unwrap();
    assert!(challenge.starts_with("DPoP ") && challenge.contains("error=\"use_dpop_nonce\""), "{challenge}");
    let nonce = told(&asked.response).unwrap();
    // If the nonce is about to expire, the response contains its replacement.
    let nonce = told(&ripen(&gate, &token, Some(&nonce))).unwrap_or(nonce);

    let made_up = "A".repeat(nonce.len());
    let mut nonces = BTreeSet::new();
    for _ in 0..32 {
        // Each request uses a new connection, so every worker gets some.
        let request = call(&token, Some(&nonce));
        assert_eq!(gate.call(&request).status, 200);
        assert_eq!(gate.call(&request).code().as_deref(), Some("dpop_replayed"));
        for other in [None, Some(&*made_up)] {
            let refused = gate.call(&call(&token, other));
            assert_eq!((refused.status, refused.code().as_deref()), (401, Some("dpop_nonce")));
            nonces.insert(told(&refused).unwrap());
        }
    }
    // All workers issue the same nonce at a given time, but a minute boundary may have passed.
    assert!(nonces.len() <= 2, "{nonces:?}");
    for nonce in &nonces {
        assert_eq!(gate.call(&call(&token, Some(nonce))).status, 200);
    }
    // A client that does not hold the key gets no nonce.
    let bearer = gate.call(&Request::get("/items/1").host(HOST).bearer(&token));
    assert_eq!((bearer.code().as_deref(), told(&bearer)), (Some("token_bound"), None));
}
