//! Signed requests in a real Envoy: bodies that are held until they are verified, and signatures that are accepted once over all workers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use callgate::Headers;
use callgate::identity::signature::{Message, StructuredFields, base, read};
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use test_harness::client::{Connection, Request};
use test_harness::envoy::{Adapter, Bootstrap, Options};

use crate::envoy::configuration::await_stat;
use crate::envoy::fixture::{Asked, Gate, HOST, adapter, mark, module, policy, token, wasm_only};
use crate::envoy::grpc::Client;
use crate::envoy::http2;
use crate::envoy::limits::counted;

const VARIABLE: &str = "CALLGATE_TEST_SIGNING";
const SECRET: &str = "a secret of thirty-two bytes, or";
pub(crate) const BODY: &[u8] = b"{\"amount\": 12}";

/// Returns the test policy with signed requests.
pub(crate) fn signed_policy() -> Value {
    let mut policy = policy();
    for agent in ["robot", "other"] {
        policy["agents"][agent] = json!({
            "owner": "platform@example.com",
            "identity": { "issuer": "corp", "client_id": agent },
            "scopes": ["items:read", "items:write"],
            "signing_keys": [{ "secret": { "env": format!("{VARIABLE}_{agent}") }, "keyid": agent }],
        });
    }
    policy["limits"] = json!({ "calls": { "per": "agent", "rate": "200/1s", "burst": 2000 } });
    policy["requirements"] = json!({
        "read": { "authenticate": "signature", "limits": ["calls"] },
        "write": { "signature": "required", "limits": ["calls"] },
    });
    policy["max_body"] = json!("64KiB");
    let chat = policy["endpoints"].as_array().unwrap().iter().position(|endpoint| endpoint["id"] == "chat").unwrap();
    policy["endpoints"].as_array_mut().unwrap().remove(chat);
    policy
}

pub(crate) fn pass_secrets(bootstrap: &mut Bootstrap) {
    bootstrap.set_environment(&["robot", "other", "tables"].map(|whose| format!("{VARIABLE}_{whose}"))).unwrap();
}

fn dynamic_with_secrets(bootstrap: &mut Bootstrap) {
    pass_secrets(bootstrap);
    *bootstrap = bootstrap.clone().dynamic();
}

fn update(gate: &Gate, policy: &Value, number: u64) {
    gate.envoy.update(&gate.bootstrap.with_policy(&policy.to_string()).unwrap()).unwrap();
    await_stat(gate, "listener_manager.lds.update_success", number);
}

pub(crate) fn options(concurrency: u32) -> Options {
    let secret = |agent: &str| (format!("{VARIABLE}_{agent}"), format!("{SECRET}{agent}"));
    Options { concurrency, environment: ["robot", "other", "tables"].map(secret).to_vec(), ..Options::default() }
}

/// Starts a gate and waits until it can detect replays.
pub(crate) fn gate(policy: &Value, concurrency: u32) -> Gate {
    gate_with(policy, |_| (), concurrency)
}

/// Starts a gate with another change to its configuration, and waits until it can detect replays.
pub(crate) fn gate_with(policy: &Value, change: impl FnOnce(&mut Bootstrap), concurrency: u32) -> Gate {
    gate_of(module(), policy, change, concurrency)
}

/// Starts the same with this filter or module.
pub(crate) fn gate_of(module: &Path, policy: &Value, change: impl FnOnce(&mut Bootstrap), concurrency: u32) -> Gate {
    let changed = |bootstrap: &mut Bootstrap| {
        pass_secrets(bootstrap);
        change(bootstrap);
    };
    let gate = Gate::try_start(module, &policy.to_string(), changed, &options(concurrency)).unwrap();
    ripen(&gate);
    gate
}

/// Waits until fresh signatures are accepted.
pub(crate) fn ripen(gate: &Gate) {
    let start = Instant::now();
    loop {
        let response = gate.call(&Call::get("/items/1").nonce(&unique()).request());
        if response.status == 200 {
            return;
        }
        assert_eq!(response.code().as_deref(), Some("replay_table_young"), "{}", response.text());
        let wait: u64 = response.header("retry-after").unwrap().parse().unwrap();
        assert!(wait <= 8 && start.elapsed() < Duration::from_secs(20), "{wait}");
        thread::sleep(Duration::from_secs(wait.min(1)));
    }
}

fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("n{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A request to be signed.
pub(crate) struct Call {
    method: &'static str,
    path: String,
    headers: Vec<(String, String)>,
    components: String,
    nonce: String,
    created: u64,
    agent: &'static str,
}

impl Call {
    pub(crate) fn new(method: &'static str, path: &str) -> Self {
        Self {
            method,
            path: path.to_owned(),
            headers: Vec::new(),
            components: "\"@method\" \"@authority\" \"@path\"".to_owned(),
            nonce: unique(),
            created: now(),
            agent: "robot",
        }
    }

    pub(crate) fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// Creates a request with a token and a signed body.
    pub(crate) fn post(body: &[u8]) -> Self {
        Self::post_with(&token("items:write"), body)
    }

    /// Creates a request with another token and a signed body.
    pub(crate) fn post_with(token: &str, body: &[u8]) -> Self {
        let digest = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(body)));
        Self::new("POST", "/items")
            .header("authorization", &format!("Bearer {token}"))
            .header("content-digest", &digest)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self.components = format!("{} \"{name}\"", self.components);
        self
    }

    fn nonce(mut self, nonce: &str) -> Self {
        self.nonce = nonce.to_owned();
        self
    }

    fn created(mut self, created: u64) -> Self {
        self.created = created;
        self
    }

    pub(crate) fn agent(mut self, agent: &'static str) -> Self {
        self.agent = agent;
        self
    }

    /// Returns the headers, including those of the signature.
    fn lines(&self) -> Vec<(String, String)> {
        let Self { components, created, nonce, agent, .. } = self;
        let input = format!("sig=({components});created={created};keyid=\"{agent}\";nonce=\"{nonce}\"");
        let headers: Headers = self.headers.iter().map(|(name, value)| (name, value)).collect();
        let message = Message {
            method: self.method.as_bytes(),
            scheme: "https",
            authority: HOST,
            target: self.path.as_bytes(),
            headers: &headers,
            structured: &StructuredFields::default(),
        };
        let signed = base(&message, &read(input.as_bytes(), b"sig=:AA==:").unwrap()[0].input).unwrap();
        let signature = hmac_sha256::HMAC::mac(signed, format!("{SECRET}{agent}"));
        let mut lines = self.headers.clone();
        lines.push(("signature-input".to_owned(), input));
        lines.push(("signature".to_owned(), format!("sig=:{}:", STANDARD.encode(signature))));
        lines
    }

    pub(crate) fn request(&self) -> Request {
        let request = Request::new(self.method, &self.path).host(HOST);
        self.lines().iter().fold(request, |request, (name, value)| request.header(name, value))
    }
}

#[test]
fn forwards_nothing_before_the_body_is_checked() {
    let gate = gate(&signed_policy(), 1);
    let allowed = gate.ask(Call::post(BODY).request().body(BODY));
    allowed.assert_allowed();
    assert_eq!(allowed.record()["body_checked"], true);
    assert_eq!(allowed.record()["signed_by"], "robot");
    gate.ask(Call::post(BODY).request().chunked(&[b"{\"amount\"", b": ", b"12}"])).assert_allowed();
    gate.ask(Call::post(b"").request().body(b"")).assert_allowed();
    gate.ask(Call::post(b"").request().chunked(&[])).assert_allowed();

    let other = b"{\"amount\": 13}";
    gate.ask(Call::post(BODY).request().body(other)).assert_denied(403, "content_digest_mismatch");
    gate.ask(Call::post(BODY).request().chunked(&[&other[..5], &other[5..]]))
        .assert_denied(403, "content_digest_mismatch");
    gate.ask(Call::post(BODY).request().body(b"")).assert_denied(403, "content_digest_mismatch");
    gate.ask(Call::post(BODY).request()).assert_denied(403, "content_digest_mismatch");
    gate.ask(Call::post(BODY).request().chunked(&[])).assert_denied(403, "content_digest_mismatch");

    // A body was added to a request that has none.
    gate.ask(Call::get("/items/1").request().body(BODY)).assert_denied(403, "content_digest_missing");
    gate.ask(Call::get("/items/1").request().chunked(&[BODY])).assert_denied(403, "content_digest_missing");
    // An empty chunked body adds nothing.
    gate.ask(Call::get("/items/1").request().chunked(&[])).assert_allowed();

    let large = vec![b'x'; 65 * 1024];
    gate.ask(Call::post(&large).request().body(&large)).assert_denied(413, "body_too_large");
    let parts: Vec<&[u8]> = large.chunks(8 * 1024).collect();
    gate.ask(Call::post(&large).request().chunked(&parts)).assert_denied(413, "body_too_large");
    let fits = vec![b'x'; 64 * 1024];
    gate.ask(Call::post(&fits).request().body(&fits)).assert_allowed();

    // The first bytes arrive long before the last ones.
    let call = Call::post(BODY).request().header("X-Mark", "slow").body(BODY);
    let mut connection = Connection::open(gate.envoy.api().unwrap()).unwrap();
    let bytes = call.to_bytes();
    let (first, last) = bytes.split_at(bytes.len() - 3);
    connection.send(first).unwrap();
    thread::sleep(Duration::from_millis(300));
    assert_eq!(gate.upstream.saw("x-mark", "slow"), None);
    connection.send(last).unwrap();
    assert_eq!(connection.read(&call).unwrap().status, 200);
    assert!(gate.upstream.saw("x-mark", "slow").is_some());

    // A client that waits for `100 Continue` gets it before anything is decided.
    let call = Call::post(BODY).request().header("X-Mark", "waits").header("Expect", "100-continue");
    let mut connection = Connection::open(gate.envoy.api().unwrap()).unwrap();
    connection.send(&call.header("Content-Length", BODY.len().to_string()).to_bytes()).unwrap();
    assert_eq!(connection.read_head().unwrap().status, 100);
    assert_eq!(gate.upstream.saw("x-mark", "waits"), None);
    connection.send(BODY).unwrap();
    assert_eq!(connection.read_head().unwrap().status, 200);
    assert!(gate.upstream.saw("x-mark", "waits").is_some());
}

/// Sends the beginning of a request, closes the connection, and returns the line of the access log.
fn leave_in_the_middle(gate: &Gate, call: &Call) -> Value {
    let mark = mark();
    let bytes = call.request().header("X-Mark", &mark).body(BODY).to_bytes();
    let mut connection = Connection::open(gate.envoy.api().unwrap()).unwrap();
    connection.send(&bytes[..bytes.len() - 3]).unwrap();
    // Long enough for Envoy to start processing the request. It ignores a request that it has not read.
    thread::sleep(Duration::from_millis(300));
    drop(connection);
    let line = gate.envoy.await_access_log(|line| line["mark"] == mark).unwrap();
    assert_eq!(gate.upstream.saw("x-mark", &mark), None);
    line
}

#[test]
fn an_abandoned_held_request_is_recorded_and_consumes_nothing() {
    let mut policy = signed_policy();
    policy["limits"]["writes"] = json!({ "per": "agent", "rate": "1/1h", "burst": 2 });
    policy["requirements"]["write"]["limits"] = json!(["writes"]);
    policy["audit"]["outcome"] = json!(true);
    policy["audit"]["log"]["deny"] = json!(true);
    let gate = gate(&policy, 1);
    let before = counted(&gate, "callgate.replay.entries");
    let calls: Vec<_> = (0..3).map(|_| Call::post(BODY)).collect();
    for call in &calls {
        let record = crate::envoy::fixture::record(&leave_in_the_middle(&gate, call));
        assert_eq!((&record["decision"], &record["reason"]), (&json!("deny"), &json!("body_incomplete")));
        assert_eq!((&record["agent"], &record["signed_by"]), (&json!("robot"), &json!("robot")));
        assert_eq!((&record["endpoint"], &record["body_checked"]), (&json!("items.create"), &Value::Null));
        assert_eq!(record["outcome"]["ended"], "client_gone", "{record}");
        assert!(gate.envoy.log().contains(record["id"].as_str().unwrap()));
    }
    assert_eq!(counted(&gate, "decisions.deny.body_incomplete"), 3);
    assert_eq!(counted(&gate, "callgate.replay.entries"), before);
    for call in &calls[..2] {
        gate.ask(call.request().body(BODY)).assert_allowed();
    }
    gate.ask(calls[2].request().body(BODY)).assert_denied(429, "rate_limited");
    gate.ask(calls[0].request().body(BODY)).assert_denied(403, "signature_replayed");
}

#[test]
fn records_an_abandoned_observed_request_as_observed() {
    let mut policy = signed_policy();
    policy["mode"] = json!("observe");
    let gate = Gate::start_with(&policy, pass_secrets, &options(1));
    let record = crate::envoy::fixture::record(&leave_in_the_middle(&gate, &Call::post(BODY)));
    assert_eq!((&record["decision"], &record["reason"]), (&json!("observe"), &json!("body_incomplete")));
    assert_eq!(record["would_deny"], json!([{ "reason": "body_incomplete" }]));
}

/// Why the module does not run a test.
const ISTIO: &str = "Istio has no dynamic modules, and a module always holds heads";

/// Configures the gateway as Istio does: no head can be held, and all filters share the map.
fn as_in_istio(bootstrap: &mut Bootstrap) {
    pass_secrets(bootstrap);
    let config = bootstrap.gate().unwrap();
    config["allow_on_headers_stop_iteration"] = json!(false);
    config["vm_config"]["vm_id"] = json!("");
}

/// Returns the test policy for such a gateway.
fn policy_in_istio() -> Value {
    let mut policy = signed_policy();
    policy["gateway"] = json!("istio");
    policy["body_check"] = json!("after_headers");
    policy["tables"] = json!({ "key": { "env": format!("{VARIABLE}_tables") } });
    policy
}

#[test]
fn forwards_no_byte_of_a_wrong_body_after_its_headers() {
    if !wasm_only(ISTIO) {
        return;
    }
    let gate = Gate::start_with(&policy_in_istio(), as_in_istio, &options(2));
    ripen(&gate);
    let before = gate.upstream.body_bytes();
    for request in
        [Call::post(BODY).request().body(BODY), Call::post(BODY).request().chunked(&[b"{\"amount\"", b": ", b"12}"])]
    {
        let allowed = gate.ask(request);
        allowed.assert_allowed();
        assert_eq!((&allowed.record()["body_late"], &allowed.record()["body_checked"]), (&json!(true), &json!(true)));
    }
    let after = gate.upstream.body_bytes();
    assert_eq!(after - before, 2 * BODY.len() as u64);
    gate.ask(Call::post(b"").request()).assert_allowed();

    let other = b"{\"amount\": 13}";
    for request in [
        Call::post(BODY).request().body(other),
        Call::post(BODY).request().chunked(&[&other[..5], &other[5..]]),
        Call::post(BODY).request().chunked(&[&BODY[..5]]),
    ] {
        let denied = gate.ask(request);
        assert_eq!(denied.response.status, 403);
        let record = denied.record();
        assert_eq!((&record["decision"], &record["reason"]), (&json!("deny"), &json!("content_digest_mismatch")));
        assert_eq!((&record["body_late"], &record["body_checked"]), (&json!(true), &Value::Null));
    }
    // A denial that depends only on the head is decided before the head is forwarded.
    gate.ask(Call::post(BODY).request()).assert_denied(403, "content_digest_mismatch");
    gate.ask(Call::get("/items/1").request().body(BODY)).assert_denied(403, "content_digest_missing");
    let large = vec![b'x'; 65 * 1024];
    gate.ask(Call::post(&large).request().body(&large)).assert_denied(413, "body_too_large");
    assert_eq!(gate.upstream.body_bytes(), after, "not a byte of a body that was not checked");

    // If the client goes away in between, there is a record of the decision, and it does not claim that the body was checked.
    let call = Call::post(BODY).request().header("X-Mark", "gone").body(BODY);
    let mut connection = Connection::open(gate.envoy.api().unwrap()).unwrap();
    let bytes = call.to_bytes();
    connection.send(&bytes[..bytes.len() - 3]).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while gate.upstream.saw("x-mark", "gone").is_none() {
        assert!(Instant::now() < deadline, "the head does not go on");
        thread::sleep(Duration::from_millis(10));
    }
    drop(connection);
    let line = gate.envoy.await_access_log(|line| line["mark"] == "gone").unwrap();
    let record = crate::envoy::fixture::record(&line);
    assert_eq!((&record["decision"], &record["body_late"]), (&json!("allow"), &json!(true)));
    assert_eq!(record["body_checked"], Value::Null);
    assert_eq!(gate.upstream.body_bytes(), after);
}

#[test]
fn observe_mode_forwards_a_wrong_body_and_records_the_mismatch() {
    if !wasm_only(ISTIO) {
        return;
    }
    let mut policy = policy_in_istio();
    let endpoints = policy["endpoints"].as_array_mut().unwrap();
    let create = endpoints.iter_mut().find(|endpoint| endpoint["id"] == "items.create").unwrap();
    create["mode"] = json!("observe");
    let gate = Gate::start_with(&policy, as_in_istio, &options(1));
    ripen(&gate);
    let before = gate.upstream.body_bytes();
    let other = b"{\"amount\": 13}";
    let observed = gate.ask(Call::post(BODY).request().body(other));
    let record = observed.record();
    assert_eq!((&record["decision"], &record["reason"]), (&json!("observe"), &json!("content_digest_mismatch")));
    assert_eq!((&record["body_late"], &record["body_checked"]), (&json!(true), &Value::Null));
    assert_eq!(observed.response.status, 200);
    assert_eq!(gate.upstream.body_bytes() - before, other.len() as u64);
    // The forwarded head is that of an allowed request, which keeps its credential under observation.
    let seen = observed.seen.unwrap();
    assert_eq!(seen.header("x-callgate-observed"), None);
    assert!(seen.header("authorization").is_some());
    // If the head alone shows the problem, the upstream's header reports it.
    let told = gate.ask(Call::post(BODY).request());
    assert_eq!(told.record()["decision"], "observe");
    assert_eq!(told.seen.unwrap().header("x-callgate-observed"), Some("1"));
}

/// Sends a request over HTTP/2 with its body in these frames, optionally followed by trailers.
pub(crate) async fn over_http_2(gate: &Gate, call: &Call, frames: &'static [&'static [u8]], trailers: bool) -> Asked {
    let mark = mark();
    let request = hyper::Request::builder().method(call.method).uri(format!("http://{HOST}{}", call.path));
    let request =
        call.lines().iter().fold(request.header("x-mark", &mark), |request, (name, value)| request.header(name, value));
    let data = frames.iter().map(|frame| Frame::data(Bytes::from_static(frame)));
    let end =
        trailers.then(|| Frame::trailers([("x-end".parse().unwrap(), "1".parse().unwrap())].into_iter().collect()));
    let body = StreamBody::new(futures_util::stream::iter(data.chain(end).map(Ok::<_, std::convert::Infallible>)));
    let response = http2::exchange(gate, request.body(body).unwrap()).await;
    gate.asked(&mark, response)
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http_2_forwards_nothing_before_the_body_is_checked() {
    let gate = gate(&signed_policy(), 1);
    for trailers in [false, true] {
        let call = Call::post(BODY);
        over_http_2(&gate, &call, &[b"{\"amount\"", b": ", b"12}"], trailers).await.assert_allowed();
        let call = Call::post(BODY);
        let other = over_http_2(&gate, &call, &[b"{\"amount\"", b": ", b"13}"], trailers).await;
        other.assert_denied(403, "content_digest_mismatch");
        let call = Call::post(BODY);
        over_http_2(&gate, &call, &[], trailers).await.assert_denied(403, "content_digest_mismatch");
        over_http_2(&gate, &Call::post(b""), &[], trailers).await.assert_allowed();
        // Data without a declared length in a request that has no body.
        let call = Call::get("/items/1");
        over_http_2(&gate, &call, &[BODY], trailers).await.assert_denied(403, "content_digest_missing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn does_not_hold_a_signed_stream() {
    let mut policy = signed_policy();
    policy["endpoints"].as_array_mut().unwrap().push(json!({
        "id": "chat", "methods": ["POST"], "path": "/echo.Echo/{method}", "effect": "write", "scopes": ["items:write"],
        "body": "stream", "authenticate": "signature",
    }));
    let gate = gate(&policy, 1);
    let mut client = Client::connect(gate.envoy.api().unwrap()).await;
    // Waits for the answer to the first message before it sends the second.
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let receiver = futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|message| (message, receiver))
    });
    sender.send(Bytes::from("first")).await.unwrap();
    let lines = Call::new("POST", "/echo.Echo/Chat").header("content-type", "application/grpc").lines();
    let mut answers = client.streaming_with("/echo.Echo/Chat", &lines, receiver).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap(), "first");
    sender.send(Bytes::from("second")).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap(), "second");
    drop(sender);
    assert!(answers.message().await.unwrap().is_none());
}

#[test]
fn a_signed_websocket_handshake_opens_without_waiting() {
    let gate = gate(&signed_policy(), 1);
    let upgrade = |call: Call| {
        let lines = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        lines.iter().fold(call.request(), |request, (name, value)| request.header(name, value))
    };
    let mut connection = Connection::open(gate.envoy.api().unwrap()).unwrap();
    connection.send(&upgrade(Call::get("/stream/socket")).to_bytes()).unwrap();
    assert_eq!(connection.read_head().unwrap().status, 101);
    let with_body = upgrade(Call::get("/stream/socket")).body(BODY);
    gate.ask(with_body).assert_denied(400, "upgrade_with_body");
}

#[path = "replayed.rs"]
mod replayed;
