//! The gate's decisions about requests that gateways and clients interpret differently.

use serde_json::json;
use test_harness::client::Request;

use crate::envoy::fixture::{Gate, HOST, good, policy, shared, token};

#[test]
fn matches_and_forwards_hosts_in_canonical_form() {
    let gate = shared();
    let call = |host: &str| gate.ask(Request::get("/items/1").host(host).bearer(&token("items:read")));
    for host in [HOST, "API.Example.Com", "api.example.com:443", "api.example.com:80"] {
        let asked = call(host);
        assert_eq!(asked.assert_allowed().host, HOST, "{host}");
    }
    call("api.example.com.").assert_denied(400, "host_malformed");
    call("api.example.com:8443").assert_denied(403, "endpoint_not_allowed");
    // Envoy does not route this spelling of another virtual host's name to that host, so the request reaches the gate.
    call("www.example.com:443").assert_denied(403, "endpoint_not_allowed");
    call("other.example.com").assert_denied(403, "endpoint_not_allowed");
}

#[test]
fn rejects_two_host_headers() {
    let gate = shared();
    let asked = gate.ask(good().header("Host", "www.example.com"));
    asked.assert_denied(400, "host_malformed");
}

#[test]
fn other_virtual_hosts_and_health_checks_skip_the_gate() {
    let gate = shared();
    let website = gate.ask(Request::get("/anything").host("www.example.com"));
    assert_eq!((website.response.status, website.response.text().as_str()), (200, "the website\n"));
    assert_eq!(website.line["callgate"], json!([]));
    let health = gate.ask(Request::get("/healthz").host(HOST));
    assert_eq!(health.response.status, 200);
    assert_eq!(health.line["callgate"], json!([]));
    assert_eq!((website.seen, health.seen), (None, None));
}

#[test]
fn envoy_answers_preflights_of_known_origins_only() {
    let gate = shared();
    let preflight = |origin: &str| {
        Request::new("OPTIONS", "/items/1")
            .host(HOST)
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "GET")
    };
    let known = gate.ask(preflight("https://console.example.com"));
    assert_eq!(known.response.status, 200);
    assert_eq!(known.response.header("access-control-allow-origin"), Some("https://console.example.com"));
    assert_eq!((&known.line["callgate"], known.seen), (&json!([]), None));
    gate.ask(preflight("https://evil.example.com")).assert_denied(401, "credentials_missing");
}

#[test]
fn forwards_preflights_without_identity_if_the_policy_allows() {
    let mut policy = policy();
    policy["preflight"] = json!("pass");
    let gate = Gate::start(&policy);
    let asked = gate.ask(
        Request::new("OPTIONS", "/not/listed")
            .host(HOST)
            .header("Origin", "https://evil.example.com")
            .header("Access-Control-Request-Method", "GET")
            .header("X-Callgate-Agent", "robot"),
    );
    assert_eq!(asked.record()["reason"], "preflight");
    assert_eq!(asked.assert_allowed().header("x-callgate-agent"), None);
}

#[test]
fn allows_upgrades_only_on_endpoints_that_accept_them() {
    let gate = shared();
    let upgrade = |path: &str| {
        Request::get(path)
            .host(HOST)
            .bearer(&token("items:read"))
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
    };
    let plain = |path: &str| upgrade(path).header("Connection", "upgrade");
    gate.ask(plain("/items/1")).assert_denied(403, "upgrade_not_allowed");
    gate.ask(plain("/stream/socket").body("x")).assert_denied(400, "upgrade_with_body");
    // Envoy forwards the headers that `Connection` nominates here, and the next hop would remove the headers that the gate sets.
    gate.ask(upgrade("/stream/socket").header("Connection", "upgrade, x-callgate-agent"))
        .assert_denied(400, "connection_nomination");
    let unknown =
        Request::get("/stream/socket").host(HOST).header("Connection", "upgrade").header("Upgrade", "websocket");
    gate.ask(unknown).assert_denied(401, "credentials_missing");
}

#[test]
fn records_the_connection_address_not_x_forwarded_for() {
    let gate = shared();
    let asked = gate.ask(good().header("X-Forwarded-For", "9.9.9.9"));
    asked.assert_allowed();
    assert_eq!(asked.record()["source"], "127.0.0.1");
}

#[test]
fn strips_inbound_headers_named_like_the_gates_own() {
    let gate = shared();
    let request = good()
        .header("X-Callgate-Agent", "admin")
        .header("x-callgate-unheard-of", "1")
        .header("X_Callgate_Agent", "admin")
        .header("X.Callgate.Agent", "admin");
    let asked = gate.ask(request);
    let seen = asked.assert_allowed();
    let ours: Vec<_> = seen
        .headers
        .iter()
        .filter(|(name, _)| name.replace(['_', '.'], "-").starts_with("x-callgate-"))
        .filter(|(_, value)| value == "admin" || value == "1")
        .collect();
    assert!(ours.is_empty(), "{ours:?}");
    assert_eq!(seen.header("x-callgate-agent"), Some("robot"));
    assert_eq!(seen.header("x-callgate-endpoint"), Some("items.get"));
    assert_eq!(seen.header("authorization"), None);
}

#[test]
fn forwards_the_path_exactly_as_evaluated() {
    let gate = shared();
    let call = |path: &str| gate.ask(Request::get(path).host(HOST).bearer(&token("items:read")));
    assert_eq!(call("/items/a-b_c.d~e?x=%2f//&y=[]").assert_allowed().path, "/items/a-b_c.d~e?x=%2f//&y=[]");
    for (path, reason) in [
        ("/items//1", "path_empty_segment"),
        ("/items/../items/1", "path_dot_segment"),
        ("/items/%2e%2e/1", "path_dot_segment"),
        ("/items/%41", "path_escape_unreserved"),
        ("/items/%0D%0A", "path_escape_control"),
        ("/items/%C0%AF", "path_escape_not_utf8"),
        ("/items/%zz", "path_escape_malformed"),
    ] {
        call(path).assert_denied(400, reason);
    }
    call("/items/a%2Fb").assert_denied(400, "path_escape_not_allowed");
}
