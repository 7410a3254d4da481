//! What the gate records and where, and which data never appears in any output.

use serde_json::{Value, json};
use test_harness::client::{self, Request};
use test_harness::envoy::{Bootstrap, Options};

use crate::envoy::fixture::{Gate, HOST, KEY, claims, good, header, log_as_well, policy, token};

#[test]
fn records_counts_and_logs_decisions_as_the_policy_requires() {
    let mut policy = policy();
    policy["audit"]["log"]["deny"] = json!(true);
    let with_request_id = |bootstrap: &mut Bootstrap| log_as_well(bootstrap, r#""request_id":"%REQ(X-REQUEST-ID)%""#);
    let gate = Gate::start_with(&policy, with_request_id, &Options::default());
    let allowed = gate.ask(good());
    let record = allowed.record();
    for (name, value) in [
        ("decision", "allow"),
        ("reason", "allowed"),
        ("agent", "robot"),
        ("issuer", "corp"),
        ("client", "robot"),
        ("subject", "robot"),
        ("endpoint", "items.get"),
        ("method", "GET"),
        ("path", "/items/1"),
        ("policy", "tests"),
        ("source", "127.0.0.1"),
    ] {
        assert_eq!(record[name], value, "{name} in {record}");
    }
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let traced = |request: Request| request.header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"));
    let denied = gate.ask(traced(Request::get("/items/1").host(HOST)));
    let traced = gate.ask(traced(good()));
    // Three ids connect the record of a request with the data of the gateway, the client and the upstream.
    for asked in [&traced, &denied] {
        let record = asked.record();
        assert!(record["request_id"].as_str().is_some_and(|id| !id.is_empty()), "{record}");
        assert_eq!(record["request_id"], asked.line["request_id"]);
        assert_eq!(record["trace_id"], trace);
    }
    let told = traced.assert_allowed().header("x-callgate-decision").map(str::to_owned);
    assert_eq!(told.as_deref(), traced.record()["id"].as_str());
    denied.assert_denied(401, "credentials_missing");
    let instance = denied.response.json()["instance"].as_str().unwrap().to_owned();
    assert!(instance.ends_with(denied.record()["id"].as_str().unwrap()), "{instance}");

    let log = gate.envoy.log();
    let in_log = |asked: &crate::envoy::fixture::Asked| log.contains(asked.record()["id"].as_str().unwrap());
    assert!(in_log(&denied) && !in_log(&allowed), "{log}");

    let metrics = gate.envoy.prometheus().unwrap();
    for counted in
        ["{outcome=\"allow\",reason=\"allowed\"} 2\n", "{outcome=\"deny\",reason=\"credentials_missing\"} 1\n"]
    {
        assert!(metrics.contains(counted), "{metrics}");
    }
}

/// The access log has a text format, which escapes nothing.
#[test]
fn client_input_cannot_break_an_access_log_line() {
    let gate = Gate::start(&policy());
    let address = gate.envoy.api().unwrap();
    let hostile = [r#"""#, r"\", r#"","callgate":[{}],"x":""#, "%REQ(:PATH)%"];
    let mut sent = 0;
    for text in hostile {
        for request in [
            good().header("X-Request-Id", text).header("User-Agent", text).header("X-Forwarded-For", text),
            good().header("X-Envoy-External-Address", text).header("Forwarded", format!("for={text}")),
            Request::get(format!("/items/{text}")).host(HOST),
            Request::get("/anything").host("www.example.com").header("X-Request-Id", text),
            Request::get("/items/1").host(text),
            Request::new(text, "/items/1").host(HOST),
        ] {
            // Envoy closes the connection if it does not accept the request.
            let _ = client::call(address, &request);
            sent += 1;
        }
    }
    gate.ask(good()).assert_allowed();
    let lines = gate.envoy.access_log();
    assert!(lines.len() > sent / 2, "{lines:?}");
    for line in lines {
        let names: Vec<_> = line.as_object().unwrap().keys().map(String::as_str).collect();
        let named = ["callgate", "details", "duration_ms", "flags", "mark", "source", "status", "time", "upstream"];
        assert_eq!(names, named, "{line}");
        assert!(line["callgate"].as_array().unwrap().len() < 2, "{line}");
    }
}

#[test]
fn records_the_headers_and_query_values_the_policy_selects() {
    let mut policy = policy();
    policy["audit"]["include"] = json!(["x-agent-run-id"]);
    policy["audit"]["query"] = json!("values");
    let gate = Gate::start(&policy);
    let request = Request::get("/items/1?page=2&api_key=hunter2").host(HOST).bearer(&token("items:read"));
    let asked = gate.ask(request.header("X-Agent-Run-Id", b"run\t1\xff".as_slice()));
    asked.assert_allowed();
    assert_eq!(asked.record()["headers"], json!({ "x-agent-run-id": "run\\t1\\xff" }));
    assert_eq!(asked.record()["query"], json!(["page=2", "api_key"]));
    assert!(!asked.line.to_string().contains("hunter2"));
}

#[test]
fn never_writes_a_token_key_or_secret() {
    let secret = "correct-horse-battery-staple-and-more-of-it";
    let mut policy = policy();
    policy["issuers"]["shared"] = json!({
        "issuer": "https://shared.example.com",
        "profile": "at+jwt",
        "algorithms": ["HS256"],
        "max_lifetime": "15m",
        "keys": { "secret": { "env": "CALLGATE_TEST_SECRET" } },
    });
    policy["agents"]["other"] =
        json!({ "owner": "platform@example.com", "identity": { "issuer": "shared", "client_id": "robot" } });
    policy["audit"]["log"] = json!({ "allow": true, "deny": true });
    let pass_environment = |bootstrap: &mut Bootstrap| {
        bootstrap.set_environment(&["CALLGATE_TEST_SECRET"]).unwrap();
    };
    let options = Options { environment: vec![("CALLGATE_TEST_SECRET".into(), secret.into())], ..Options::default() };
    let gate = Gate::start_with(&policy, pass_environment, &options);

    let key = callgate_kit::mint::SigningKey::from_jwk(&json!({ "kty": "oct", "k": base64url(secret) })).unwrap();
    let mut shared = claims("items:read");
    shared["iss"] = json!("https://shared.example.com");
    let shared = key.sign(&json!({ "alg": "HS256", "typ": "at+jwt" }), &shared);
    let good_token = token("items:read");
    let mut expired = claims("items:read");
    (expired["iat"], expired["exp"]) = (json!(0), json!(1));
    let expired = KEY.sign(&header(), &expired);
    let spoiled = format!("{}AAAA", good_token.trim_end_matches(|c| c != '.'));

    let call = |token: &str| Request::get("/items/1").host(HOST).bearer(token);
    let mut said = String::new();
    let mut ask = |request: Request| {
        let asked = gate.ask(request);
        said += &format!("{asked:?} {}", asked.response.text());
        asked
    };
    ask(call(&shared)).assert_allowed();
    ask(call(&good_token)).assert_allowed();
    ask(call(&expired));
    ask(call(&spoiled)).assert_denied(401, "token_signature");
    ask(Request::get(format!("/items/1?access_token={good_token}")).host(HOST)).assert_denied(400, "query_credential");
    ask(call(&good_token).header("Cookie", "session=delicious-cookie").header("X-HTTP-Method-Override", "PUT"));

    let everything = [
        said,
        gate.envoy.log(),
        gate.envoy.access_log().iter().map(Value::to_string).collect(),
        gate.envoy.admin("/config_dump").unwrap(),
        gate.envoy.admin("/stats/prometheus").unwrap(),
        format!("{:?}", gate.upstream.seen()),
    ]
    .concat();
    let tokens = [&shared, &good_token, &expired];
    let signatures = tokens.iter().map(|token| token.rsplit_once('.').unwrap().1);
    let payloads = tokens.iter().map(|token| token.split('.').nth(1).unwrap());
    let private = KEY.private_jwk()["d"].as_str().unwrap().to_owned();
    for what in signatures.chain(payloads).chain([secret, &base64url(secret), &private]) {
        assert!(!everything.contains(what), "{what} was written somewhere");
    }
    // Only the upstream may see the cookie, and this request was not forwarded.
    assert!(!everything.contains("delicious-cookie"));
}

#[test]
fn observe_mode_forwards_requests_as_without_the_gate() {
    let mut observed = policy();
    observed["mode"] = json!("observe");
    let gate = Gate::start(&observed);
    let bare = Gate::start_with(
        &policy(),
        |bootstrap| {
            let filters = bootstrap.manager().unwrap()["http_filters"].as_array_mut().unwrap();
            filters.retain(|filter| filter["name"] != "callgate");
        },
        &Options::default(),
    );
    let get = |path: &str, scopes: &str| Request::get(path).host(HOST).bearer(&token(scopes));
    for (reason, request) in [
        ("method_override", get("/items/1", "items:read").header("X-HTTP-Method-Override", "DELETE")),
        ("query_credential", get("/items/1?access_token=x", "items:read")),
        // Envoy joins the two lines before the gate sees them.
        ("token_malformed", get("/items/1", "items:read").bearer("a.b.c")),
        ("path_dot_segment", get("/items/../x", "items:read")),
        ("path_escape_unreserved", get("/items/%41", "items:read")),
        ("credentials_missing", Request::get("/items/1").host(HOST)),
        ("token_malformed", Request::get("/items/1").host(HOST).bearer("x")),
        ("endpoint_not_allowed", get("/nowhere", "items:read")),
        ("insufficient_scope", get("/items/1", "none")),
        ("insufficient_scope", Request::post("/items").host("API.example.com").bearer(&token("none")).body("x")),
    ] {
        let with = gate.ask(request.clone());
        let without = bare.ask(request.clone());
        assert_eq!(with.record()["reason"], reason);
        assert_eq!(with.record()["decision"], "observe");
        let (with, without) = (with.seen.unwrap(), without.seen.unwrap());
        assert_eq!((&with.method, &with.path, &with.host), (&without.method, &without.path, &without.host), "{reason}");
        let mut headers = with.headers.clone();
        headers.retain(|(name, _)| !name.starts_with("x-callgate-"));
        let own = |(name, value): &(String, String)| match name.as_str() {
            // Envoy sets this header, differently for each request.
            "x-request-id" | "x-mark" => (name.clone(), String::new()),
            _ => (name.clone(), value.clone()),
        };
        let sorted = |headers: &[(String, String)]| {
            let mut headers: Vec<_> = headers.iter().map(own).collect();
            headers.sort();
            headers
        };
        assert_eq!(sorted(&headers), sorted(&without.headers), "{reason}");
        assert_eq!(with.header("x-callgate-observed"), Some("1"), "{reason}");
    }
}

fn base64url(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}
