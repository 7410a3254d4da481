//! Tests of what holds for every request.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::decision::Ground;
use crate::decision::answer::Answer;
use crate::decision::trace::Check;
use crate::decision::upstream::Change;
use crate::identity::crypto::SoftwareVerifier;
use crate::request::CanonicalPath;
use crate::request::headers::Headers;
use crate::request::incoming::DecisionId;
use crate::testing::{self, NOW, alone};
use crate::text::time::Timestamp;

#[path = "gateway_tests.rs"]
mod gateways;

fn policy(mode: &str) -> Policy {
    testing::policy(document(mode))
}

fn document(mode: &str) -> Value {
    testing::document(json!({
        "mode": mode,
        "preflight": "pass",
        "reject_query": ["debug"],
        "issuers": { "corp": testing::issuer() },
        "agents": { "a": testing::agent("agent") },
        "endpoints": [
            { "id": "health", "methods": ["GET"], "path": "/health", "effect": "read", "access": "public" },
            { "id": "list", "methods": ["GET"], "path": "/x", "effect": "read", "scopes": ["read"] },
            { "id": "get", "methods": ["GET"], "path": "/x/{id}", "effect": "read", "scopes": ["read"],
              "bind": { "path.id": "token.org" } },
            { "id": "file", "methods": ["GET", "PUT"], "path": "/f/{name:text}", "effect": "write", "scopes": "none",
              "allow_escapes": ["%2F"], "upgrade": "websocket", "form_bodies": "reject" }
        ]
    }))
}

fn token(client: &str) -> String {
    token_at(client, NOW)
}

fn token_at(client: &str, issued: u64) -> String {
    let claims = json!({ "client_id": client, "iat": issued, "exp": issued + 900, "scope": "read", "org": "acme" });
    testing::bearer(claims).split_off("Bearer ".len())
}

/// A decision that borrows nothing.
#[derive(Debug, Clone, PartialEq)]
enum Decided {
    Allowed {
        grant: Ground,
        endpoint: Option<String>,
        agent: Option<String>,
        headers: Vec<(Vec<u8>, Vec<u8>)>,
        record: Value,
    },
    Denied {
        answer: Answer,
        reasons: Vec<Reason>,
        record: Value,
    },
}

fn decide(policy: &Policy, lines: &[(Vec<u8>, Vec<u8>)], end_of_stream: bool, trace: Option<&mut Trace>) -> Decided {
    let headers: Headers = lines.iter().map(|(name, value)| (name, value)).collect();
    let now = Timestamp::from_secs(NOW);
    let call = Request { headers: &headers, end_of_stream, source: None, certificate: None, now, id: DecisionId(7) };
    let mut cache = TokenCache::default();
    let recent = Recent::default();
    let context = alone(&mut cache, &recent, trace);
    let Outcome::Decided(decision) = evaluate(policy, call, None, context) else { panic!("nothing here is signed") };
    let record = serde_json::from_slice(&decision.record().to_json()).unwrap();
    match decision {
        Decision::Allow(allow) => Decided::Allowed {
            grant: allow.ground(),
            endpoint: allow.facts().endpoint().map(|endpoint| endpoint.id.to_string()),
            agent: allow.facts().caller().and_then(crate::decision::Caller::agent).map(|agent| agent.name.to_string()),
            headers: apply(lines, &allow.changes()),
            record,
        },
        Decision::Serve(serve) => panic!("nothing here is published: {serve:?}"),
        Decision::Deny(deny) => {
            let reasons = deny.facts().denials().iter().map(|denial| denial.reason).collect();
            Decided::Denied { answer: deny.answer(), reasons, record }
        }
    }
}

/// Applies the changes as a host does.
fn apply(lines: &[(Vec<u8>, Vec<u8>)], changes: &[Change<'_>]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut lines = lines.to_vec();
    for change in changes {
        match change {
            Change::Remove(name) => lines.retain(|(line, _)| !line.eq_ignore_ascii_case(name)),
            Change::Clear(name) => {
                let line = lines.iter_mut().find(|(line, _)| line.eq_ignore_ascii_case(name));
                line.into_iter().for_each(|(_, value)| value.clear());
            }
            Change::Set(name, value) => {
                lines.retain(|(line, _)| !line.eq_ignore_ascii_case(name.as_bytes()));
                lines.push((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
            }
            Change::Add(name, value) => lines.push((name.as_bytes().to_vec(), value.as_bytes().to_vec())),
        }
    }
    lines
}

fn line(name: &str, value: impl AsRef<[u8]>) -> (Vec<u8>, Vec<u8>) {
    (name.as_bytes().to_vec(), value.as_ref().to_vec())
}

fn request(method: &str, path: &str, host: &str, credential: Option<&str>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut lines = vec![line(":method", method), line(":path", path), line(":authority", host)];
    lines.extend(credential.map(|credential| line("authorization", credential)));
    lines
}

/// Requests that match the policy's endpoints, almost match them or do not match at all, all in canonical form.
fn any_place() -> impl Strategy<Value = (String, String, String)> {
    let method = prop_oneof![Just("GET"), Just("PUT"), Just("POST"), Just("OPTIONS"), Just("get")];
    let path = prop_oneof![
        Just("/x".to_owned()),
        Just("/x/acme".to_owned()),
        Just("/f/a%2Fb".to_owned()),
        Just("/x/a%2Fb".to_owned()),
        Just("/x/%61cme".to_owned()),
        Just("/f/%7ea".to_owned()),
        Just("/f/a%2f%61dmin".to_owned()),
        Just("/he%61lth".to_owned()),
        Just("/x/a[0]".to_owned()),
        "/[a-z0-9_~-]{0,6}(/[a-z0-9:@%2F\\[|-]{1,3}){0,3}".prop_filter("canonical", |path| {
            CanonicalPath::parse_with_text(path.as_bytes()).is_ok() && path != "/health"
        }),
    ];
    let host = prop_oneof![Just("api.example.com"), Just("API.example.com:443"), Just("other.example.com")];
    (method, path, host).prop_map(|(method, path, host)| (method.to_owned(), path, host.to_owned()))
}

fn any_lines() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
    const NAMES: &[&[u8]] = &[
        b":method",
        b":path",
        b":authority",
        b"host",
        b"authorization",
        b"Authorization",
        b"connection",
        b"upgrade",
        b"content-type",
        b"content-length",
        b"origin",
        b"access-control-request-method",
        b"x-http-method",
        b"x-callgate-agent",
        b"X_CallGate.Subject",
        b"traceparent",
        b"x-request-id",
        b"\xff\xfe",
    ];
    let name = proptest::sample::select(NAMES);
    let value = prop_oneof![
        any::<Vec<u8>>(),
        Just(b"GET".to_vec()),
        Just(b"/x/acme".to_vec()),
        Just(b"/f/a%2Fb?q=1&q=2".to_vec()),
        Just(b"api.example.com".to_vec()),
        Just(b"websocket".to_vec()),
        Just(format!("Bearer {}", token("agent")).into_bytes()),
        Just(format!("Bearer {}", token("nobody")).into_bytes()),
    ];
    proptest::collection::vec((name.prop_map(<[u8]>::to_vec), value), 0..12)
}

fn poses(name: &[u8]) -> bool {
    crate::request::headers::name_begins_like(name, "x-callgate-")
}

proptest! {
    #[test]
    fn unauthenticated_clients_get_the_same_answer_on_every_path(
        (method, path, host) in any_place(),
        credential in prop_oneof![Just(None), Just(Some("Bearer x.y.z")), Just(Some("Basic dTpw"))],
    ) {
        let policy = policy("enforce");
        let Decided::Denied { answer, .. } = decide(&policy, &request(&method, &path, &host, credential), true, None) else {
            return Err(TestCaseError::fail("allowed"));
        };
        let elsewhere = decide(&policy, &request("DELETE", "/nowhere", "api.example.com", credential), true, None);
        let Decided::Denied { answer: expected, .. } = elsewhere else { panic!("allowed") };
        prop_assert_eq!(answer.status, 401);
        prop_assert_eq!(answer, expected);
    }

    #[test]
    fn unregistered_clients_get_the_same_answer_on_every_path((method, path, host) in any_place()) {
        let credential = format!("Bearer {}", token("nobody"));
        let policy = policy("enforce");
        let here = decide(&policy, &request(&method, &path, &host, Some(&credential)), true, None);
        let elsewhere = decide(&policy, &request("DELETE", "/nowhere", "api.example.com", Some(&credential)), true, None);
        match (here, elsewhere) {
            (Decided::Denied { answer: here, .. }, Decided::Denied { answer: elsewhere, .. }) => {
                prop_assert_eq!(here.status, 403);
                prop_assert_eq!(here, elsewhere);
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn decides_any_request_and_drops_forged_callgate_headers(lines in any_lines(), end_of_stream: bool) {
        match decide(&policy("enforce"), &lines, end_of_stream, None) {
            Decided::Denied { answer, record, .. } => {
                prop_assert!(answer.status >= 400);
                prop_assert_eq!(&record["decision"], "deny");
                prop_assert_eq!(format!("callgate_{}", record["reason"].as_str().unwrap()), answer.details);
            }
            Decided::Allowed { grant, endpoint, headers, .. } => {
                prop_assert!(grant != Ground::Observed);
                prop_assert_eq!(endpoint.is_some(), grant != Ground::Preflight);
                let ours: Vec<_> = headers.iter().filter(|(name, _)| poses(name)).collect();
                prop_assert!(ours.iter().any(|(name, _)| name == b"x-callgate-decision"));
                let mut names: Vec<_> = ours.iter().map(|(name, _)| name).collect();
                names.dedup();
                prop_assert_eq!(names.len(), ours.len());
                prop_assert!(ours.iter().all(|(_, value)| value.iter().all(|b| b.is_ascii_graphic() || *b == b' ')));
                let identified = ours.iter().any(|(name, _)| name == b"x-callgate-agent");
                prop_assert!(identified || grant != Ground::Endpoint);
            }
        }
    }

    #[test]
    fn explaining_does_not_change_the_decision(lines in any_lines(), end_of_stream: bool, observe: bool) {
        let policy = policy(if observe { "observe" } else { "enforce" });
        let mut trace = Trace::new();
        let explained = decide(&policy, &lines, end_of_stream, Some(&mut trace));
        // The record of an explained denial contains more, because the evaluation continued. The decision is the same.
        match (explained, decide(&policy, &lines, end_of_stream, None)) {
            (
                Decided::Denied { answer: one, record: explained, .. },
                Decided::Denied { answer: other, record, .. },
            ) => {
                prop_assert_eq!(one, other);
                prop_assert_eq!(&explained["reason"], &record["reason"]);
                prop_assert_eq!(&explained["rule"], &record["rule"]);
            }
            (explained, decided) => prop_assert_eq!(explained, decided),
        }
        prop_assert!(!trace.is_empty());
    }

    #[test]
    fn observe_mode_denies_nothing(lines in any_lines(), end_of_stream: bool) {
        let policy = policy("observe");
        match decide(&policy, &lines, end_of_stream, None) {
            Decided::Denied { answer, .. } => prop_assert!(false, "{answer:?}"),
            Decided::Allowed { grant, headers, record, .. } => {
                let kept: Vec<_> = headers.iter().filter(|(name, _)| !poses(name)).cloned().collect();
                if grant == Ground::Observed {
                    let came: Vec<_> = lines.iter().filter(|(name, _)| !poses(name)).cloned().collect();
                    prop_assert_eq!(kept, came);
                    prop_assert!(headers.contains(&line("x-callgate-observed", "1")));
                    prop_assert_eq!(&record["decision"], "observe");
                    prop_assert!(!record["would_deny"].as_array().unwrap().is_empty());
                } else {
                    prop_assert!(record.get("would_deny").is_none());
                }
            }
        }
    }
}

#[test]
fn allows_requests_that_match_an_endpoint() {
    let policy = policy("enforce");
    let credential = format!("bearer {}", token("agent"));
    for (method, path, id) in
        [("GET", "/x", "list"), ("GET", "/x/acme", "get"), ("PUT", "/f/a%2Fb", "file"), ("GET", "/f/a?b=c", "file")]
    {
        match decide(&policy, &request(method, path, "api.example.com", Some(&credential)), true, None) {
            Decided::Allowed { grant, endpoint, agent, headers, .. } => {
                assert_eq!(grant, Ground::Endpoint);
                assert_eq!((endpoint.as_deref(), agent.as_deref()), (Some(id), Some("a")));
                assert!(!headers.iter().any(|(name, _)| name == b"authorization"));
                assert!(headers.contains(&line("x-callgate-agent", "a")));
            }
            denied => panic!("{method} {path} {denied:?}"),
        }
    }
}

#[test]
fn a_denial_has_its_code_and_no_details_of_the_request() {
    let denied = decide(&policy("enforce"), &request("GET", "/x/secret-path", "api.example.com", None), true, None);
    let Decided::Denied { answer, reasons, .. } = denied else { panic!("allowed") };
    assert_eq!(reasons, [Reason::CredentialsMissing]);
    let problem: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(problem["code"], "credentials_missing");
    assert_eq!(problem["status"], 401);
    assert_eq!(problem["instance"], "urn:callgate:decision:00000000000000000000000000000007");
    assert!(!answer.body.contains("secret-path"));
    let challenge = answer.headers.iter().find(|(name, _)| *name == "www-authenticate").unwrap();
    assert_eq!(challenge.1, "Bearer realm=\"https://api.example.com\"");
}

#[test]
fn the_record_of_an_unknown_agent_names_its_client() {
    let credential = format!("Bearer {}", token("nobody"));
    let refused = decide(&policy("enforce"), &request("GET", "/x", "api.example.com", Some(&credential)), true, None);
    let Decided::Denied { record, .. } = refused else { panic!("allowed") };
    assert_eq!(record["reason"], "agent_unknown");
    assert_eq!(record["client"], "nobody");
    assert_eq!(record["issuer"], "corp");
    assert_eq!(record["token"].as_str().unwrap().len(), 16);
    assert!(record.get("agent").is_none());
}

#[test]
fn explanations_of_bindings_show_the_operator_and_the_form_of_values() {
    let mut document = document("enforce");
    document["endpoints"][2]["bind"] = json!({
        "path.id": { "at_most": 5 }, "query.a": { "in": ["eu", 7] }, "query.b": { "prefix": "token.org" }, "query.c": "token.org"
    });
    let good = format!("Bearer {}", token("agent"));
    let mut trace = Trace::new();
    let lines = request("GET", "/x/0x10?a=us&b=acme/a&c=acme", "api.example.com", Some(&good));
    decide(&testing::policy(document), &lines, true, Some(&mut trace));
    let explained: Vec<String> = trace
        .iter()
        .filter(|traced| traced.check == Check::Binding)
        .map(|traced| {
            let facts = traced.facts.iter().map(|(name, value)| format!("{name}: {value}"));
            facts.collect::<Vec<_>>().join(", ")
        })
        .collect();
    assert_eq!(
        explained,
        [
            "part: path.id, is: 0x10, must be at most: 5, both must be: a JSON number that is not negative and has at most 30 digits",
            "part: query.a, is: us, must be one of: [\"eu\",7]",
            "part: query.b, is: acme/a, must begin with: token.org, which is: \"acme\"",
            "part: query.c, is: acme, must be: token.org, which is: \"acme\"",
        ]
    );
}

#[test]
fn the_record_names_the_rule_that_denied() {
    let rule =
        |lines: &[(Vec<u8>, Vec<u8>)], end_of_stream| match decide(&policy("enforce"), lines, end_of_stream, None) {
            Decided::Denied { record, .. } => {
                [&record["reason"], &record["rule"]].map(|text| text.as_str().unwrap_or("itself")).join(" ")
            }
            allowed @ Decided::Allowed { .. } => panic!("{allowed:?}"),
        };
    let good = format!("Bearer {}", token("agent"));
    let mut forged = good.clone();
    forged.truncate(good.len() - 4);
    forged.push_str("AAAA");
    let get = |path, credential: &str| request("GET", path, "api.example.com", Some(credential));
    assert_eq!(rule(&get("/x", &forged), true), "token_signature issuers.corp.keys");
    assert_eq!(rule(&get("/x/other", &good), true), "binding_mismatch endpoints[2].bind[\"path.id\"]");
    assert_eq!(rule(&get("/nowhere", &good), true), "endpoint_not_allowed endpoints");
    let put = request("PUT", "/f/a", "api.example.com", Some(&good));
    assert_eq!(rule(&put, false), "form_body endpoints[3].form_bodies");
    let with = |name, value| [get("/x", &good), vec![line(name, value)]].concat();
    assert_eq!(rule(&with("x-http-method", "PUT"), true), "method_override overrides");
    assert_eq!(rule(&with("host", "other.example.com"), true), "duplicate_host itself");
    assert_eq!(rule(&get("/x?debug=1", &good), true), "query_refused reject_query");
    assert_eq!(rule(&get("/x?_method=PUT", &good), true), "method_override itself");
    assert_eq!(rule(&get("/x?%", &good), true), "query_escape_malformed itself");
}

#[test]
fn an_explanation_reports_rejected_headers() {
    let reading = |lines: &[(Vec<u8>, Vec<u8>)]| {
        let mut trace = Trace::new();
        decide(&policy("enforce"), lines, true, Some(&mut trace));
        let reading = trace.into_iter().filter(|traced| traced.check == Check::Reading);
        reading.map(|traced| traced.denied).collect::<Vec<_>>()
    };
    let good = request("GET", "/x", "api.example.com", None);
    assert_eq!(reading(&good), [None]);
    assert_eq!(reading(&[good, vec![line("host", "a")]].concat()), [Some(Reason::DuplicateHost)]);
}

#[test]
fn observe_mode_omits_an_identity_that_is_too_long() {
    let long = "a".repeat(5_000);
    let credential = format!("Bearer {}", token(&long));
    let mut document = document("observe");
    document["agents"]["a"]["identity"]["client_id"] = json!(long);
    let policy = testing::policy(document);
    match decide(&policy, &request("GET", "/x", "api.example.com", Some(&credential)), true, None) {
        Decided::Allowed { grant: Ground::Observed, headers, record, .. } => {
            assert_eq!(record["would_deny"][0]["reason"], "identity_too_long");
            assert!(!headers.iter().any(|(name, _)| name == b"x-callgate-client"));
        }
        other => panic!("{other:?}"),
    }
}

/// In encoded form, each byte that is not visible ASCII takes three bytes.
#[test]
fn limits_the_encoded_length_of_an_identity() {
    for (client, fits) in
        [("a".repeat(4_096), true), ("a".repeat(4_097), false), ("é".repeat(682), true), ("é".repeat(683), false)]
    {
        let credential = format!("Bearer {}", token(&client));
        let mut document = document("enforce");
        document["agents"]["a"]["identity"]["client_id"] = json!(client);
        let policy = testing::policy(document);
        let decided = decide(&policy, &request("GET", "/x", "api.example.com", Some(&credential)), true, None);
        assert_eq!(matches!(decided, Decided::Allowed { .. }), fits, "{} {decided:?}", client.len());
    }
}

mod limits {
    use super::*;
    use crate::state::Namespace;
    use crate::state::simulation::{Faults, FaultyStore};
    use crate::state::{Shared, StoreStats};

    fn limited() -> Policy {
        let mut document = document("enforce");
        document["limits"] = json!({
            "calls": { "per": "agent", "rate": "1/1h", "burst": 9 },
            "visits": { "per": "source", "rate": "1/1h", "burst": 9 }
        });
        document["auth_failure_limit"] = json!({ "rate": "1/1h", "burst": 9 });
        document["tables"] = json!({ "limits": 8 });
        document["endpoints"][0]["limits"] = json!(["visits"]);
        document["endpoints"][1]["limits"] = json!(["calls", "visits"]);
        testing::policy(document)
    }

    /// Decides with this store. Returns how the store was used, and whether the answer reports limits.
    fn decide(
        store: &FaultyStore,
        policy: &Policy,
        path: &str,
        authorization: Option<&str>,
        source: &str,
    ) -> (StoreStats, bool) {
        let namespace = Namespace::open(&store.store, &policy.name, policy.table_entries(), [1; 16]).unwrap().namespace;
        let now = Timestamp::from_secs(NOW);
        let pseudo = [(":method", "GET"), (":path", path), (":authority", "api.example.com")];
        let lines = pseudo.into_iter().chain(authorization.map(|value| ("authorization", value)));
        let headers: Headers = lines.collect();
        let source = crate::request::incoming::Source::parse(source.as_bytes());
        let call =
            Request { headers: &headers, end_of_stream: true, source, certificate: None, now, id: DecisionId(7) };
        let shared = Some(Shared { store, namespace: &namespace, clock: &now });
        let mut cache = TokenCache::default();
        let context = Context {
            verifier: &SoftwareVerifier,
            cache: &mut cache,
            recent: &Recent::default(),
            shared,
            replay: None,
            documents: None,
            newest: None,
            held: None,
            trace: None,
        };
        let Outcome::Decided(decision) = evaluate(policy, call, None, context) else {
            panic!("nothing here is signed")
        };
        (decision.facts().store_stats(), !decision.facts().limits().is_empty())
    }

    #[test]
    fn sums_store_retries_over_all_limits_of_a_request() {
        let policy = limited();
        let store = FaultyStore::new(Faults { mismatch: 2, ..Faults::default() });
        let bearer = format!("Bearer {}", token("agent"));
        // Every second write fails, so one of the two limits is charged at the second attempt.
        let (used, _) = decide(&store, &policy, "/x", Some(&bearer), "192.0.2.1");
        assert_eq!(used, StoreStats { retried: 1, ..StoreStats::default() });
        let forged = format!("{bearer}AAAA");
        let (used, _) = decide(&store, &policy, "/x", Some(&forged), "192.0.2.1");
        assert_eq!(
            used,
            StoreStats { retried: 1, ..StoreStats::default() },
            "the limit before authentication counts as well"
        );
    }

    #[test]
    fn reports_evictions_from_the_limit_table() {
        let (policy, store) = (limited(), FaultyStore::default());
        let evicted: Vec<_> =
            (0..9).map(|n| decide(&store, &policy, "/health", None, &format!("192.0.2.{n}")).0.evicted).collect();
        assert_eq!(evicted, [0, 0, 0, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn does_not_report_limits_on_unauthenticated_denials() {
        let (policy, store) = (limited(), FaultyStore::default());
        let bearer = format!("Bearer {}", token("agent"));
        let told = |path, authorization| decide(&store, &policy, path, authorization, "192.0.2.1").1;
        assert!(told("/x", Some(&bearer)) && told("/health", None));
        assert!(!told("/x", None) && !told("/x", Some("Bearer x")) && !told("/nowhere", Some(&bearer)));
        assert!(!told("/x/globex", Some(&bearer)), "an endpoint without limits has none to tell of");
    }

    /// The token is cached, so nothing of it is verified until the agent sends the next one.
    #[test]
    fn a_cached_token_keeps_its_agent_known_for_the_next_token() {
        let mut document = document("enforce");
        document["auth_failure_limit"] = json!({ "rate": "1/1h", "burst": 1 });
        let policy = testing::policy(document);
        let store = FaultyStore::default();
        let namespace = Namespace::open(&store.store, &policy.name, policy.table_entries(), [1; 16]).unwrap().namespace;
        let recent = Recent::default();
        let mut cache = TokenCache::default();
        let mut decide = |seconds: u64, token: &str| {
            let now = Timestamp::from_secs(NOW + seconds);
            let bearer = format!("Bearer {token}");
            let lines =
                [(":method", "GET"), (":path", "/x"), (":authority", "api.example.com"), ("authorization", &*bearer)];
            let headers: Headers = lines.into_iter().collect();
            let source = crate::request::incoming::Source::parse(b"192.0.2.1:80");
            let call =
                Request { headers: &headers, end_of_stream: true, source, certificate: None, now, id: DecisionId(7) };
            let shared = Some(Shared { store: &store, namespace: &namespace, clock: &now });
            let (verifier, cache, recent) = (&SoftwareVerifier, &mut cache, &recent);
            let context = Context {
                verifier,
                cache,
                recent,
                shared,
                replay: None,
                documents: None,
                newest: None,
                held: None,
                trace: None,
            };
            let Outcome::Decided(decision) = evaluate(&policy, call, None, context) else {
                panic!("nothing here is signed")
            };
            match decision {
                Decision::Allow(_) | Decision::Serve(_) => None,
                Decision::Deny(deny) => Some(deny.reason()),
            }
        };
        let (first, next, forged) = (token("agent"), token_at("agent", NOW + 700), format!("{}AAAA", token("agent")));
        assert_eq!(decide(0, &first), None);
        assert_eq!(decide(550, &first), None);
        assert_eq!(decide(560, &forged), Some(Reason::TokenSignature));
        assert_eq!(decide(705, &token_at("stranger", NOW + 700)), Some(Reason::CredentialsLimited));
        assert_eq!(decide(705, &next), None);
        assert_eq!(
            decide(1_400, &token_at("agent", NOW + 1_300)),
            Some(Reason::CredentialsLimited),
            "ten minutes later"
        );
    }
}

#[test]
fn rejects_json_without_a_body_only_if_one_could_follow() {
    let decided = |gateway: &str, media_type: &str, end_of_stream| {
        let mut document = document("enforce");
        document["gateway"] = json!(gateway);
        document["upstream"]["merges"] = json!(["form", "json"]);
        document["endpoints"][1]["bind"] = json!({ "query.org": "token.org" });
        let policy = testing::policy(document);
        let credential = format!("Bearer {}", token("agent"));
        let lines = request("GET", "/x?org=acme", "api.example.com", Some(&credential));
        let lines = [lines, vec![line("content-type", media_type)]].concat();
        match decide(&policy, &lines, end_of_stream, None) {
            Decided::Denied { record, .. } => record["reason"].as_str().map(str::to_owned),
            Decided::Allowed { .. } => None,
        }
    };
    for (gateway, media_type, end_of_stream, expected) in [
        ("envoy", "application/json", false, Some("json_body")),
        ("envoy", "application/json", true, None),
        ("kong", "application/json", true, Some("json_body")),
        ("portable", "application/json", true, Some("json_body")),
        ("envoy", "application/x-www-form-urlencoded", true, Some("form_body")),
        ("kong", "text/plain", true, None),
    ] {
        let found = decided(gateway, media_type, end_of_stream);
        assert_eq!(found.as_deref(), expected, "{media_type} on {gateway}, {end_of_stream}");
    }
}
