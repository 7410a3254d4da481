//! No input stops the module.
//!
//! Envoy's own limits are raised. Otherwise it would respond with 431 and the filter would never run; the record of each request proves
//! that it did. Input that the codec rejects first is tested on the module alone, elsewhere.

use serde_json::json;
use test_harness::client::{Connection, Request};
use test_harness::envoy::{Bootstrap, Options};

use crate::envoy::fixture::{Gate, HOST, KEY, claims, good, header, policy, token};

/// Enough connections to make it almost certain that each of two workers has some: the probability that one worker gets all of them is 1 in
/// 2^31.
const CONNECTIONS: usize = 32;

fn raised(bootstrap: &mut Bootstrap) {
    let manager = bootstrap.manager().unwrap();
    manager["max_request_headers_kb"] = json!(1024);
    manager["common_http_protocol_options"] = json!({ "max_headers_count": 4000 });
}

fn get(target: impl AsRef<[u8]>) -> Request {
    Request::get(target).host(HOST).bearer(&token("items:read"))
}

fn bearing(token: &str) -> Request {
    Request::get("/items/1").host(HOST).bearer(token)
}

fn many(count: usize, line: impl Fn(usize) -> (String, String)) -> Request {
    (0..count).map(line).fold(good(), |request, (name, value)| request.header(name, value))
}

/// Header lines with unusual bytes, and very many lines.
fn odd_headers() -> Vec<(&'static str, Request)> {
    let obs_text: Vec<u8> = (0x80..=0xff).collect();
    let authorization = |value: &[u8]| Request::get("/items/1").host(HOST).header("Authorization", value);
    vec![
        ("a value that is not UTF-8", good().header("X-Odd", b"\xff\xfe")),
        ("every byte over 7F", good().header("X-Odd", &obs_text)),
        ("every character of a name", good().header("!#$%&'*+-.^_`|~0aZ", "1")),
        ("an empty value", good().header("X-Odd", "")),
        ("1,000 headers", many(1000, |index| (format!("x-{index}"), index.to_string()))),
        ("1,000 lines of one header", many(1000, |index| ("x-odd".into(), index.to_string()))),
        ("1,000 lines of the gate's own", many(1000, |index| (format!("x-callgate-{index}"), "1".into()))),
        ("3,000 headers", many(3000, |index| (format!("x-{index}"), String::new()))),
        ("a value of 200 KiB", good().header("X-Odd", "a".repeat(200 << 10))),
        ("odd content types", good().header("Content-Type", b"\xff/;;=").header("Content-Type", "multipart")),
        ("an odd traceparent", good().header("Traceparent", b"00-\xff-\xff-\xff")),
        ("an odd Connection", good().header("Connection", ",,;=\"")),
        ("credentials of odd bytes", authorization(b"Bearer \xff\xff.\xff.\xff")),
        ("no credentials but the scheme", authorization(b"Bearer")),
        ("empty credentials", authorization(b"")),
        ("only spaces", authorization(b"Bearer    ")),
        ("another scheme", authorization(b"Negotiate YII=")),
        ("a thousand credentials", (0..1000).fold(good(), |request, _| request.bearer("a.b.c"))),
    ]
}

/// Tokens that are large, or contain values that no issuer would write.
fn odd_tokens() -> Vec<(&'static str, Request)> {
    let signed = |payload: &[u8]| bearing(&KEY.sign_raw(header().to_string().as_bytes(), payload));
    let headed = |header: &[u8]| bearing(&KEY.sign_raw(header, claims("items:read").to_string().as_bytes()));
    let claim = |name: &str, value: &str| {
        let claims = claims("items:read").to_string();
        signed(format!("{},\"{name}\":{value}}}", claims.trim_end_matches('}')).as_bytes())
    };
    let deep = |open: &str, close: &str| [&open.repeat(10_000), "1", &close.repeat(10_000)].concat();
    vec![
        ("60 KiB of one letter", bearing(&"a".repeat(60 << 10))),
        ("60 KiB of dots", bearing(&".".repeat(60 << 10))),
        ("claims of 60 KiB", claim("x", &format!("\"{}\"", "a".repeat(40 << 10)))),
        ("claims of 600 KiB", claim("x", &format!("\"{}\"", "a".repeat(400 << 10)))),
        ("10,000 arrays in one another", claim("x", &deep("[", "]"))),
        ("10,000 objects in one another", claim("x", &deep("{\"a\":", "}"))),
        ("arrays that do not end", signed("[".repeat(20_000).as_bytes())),
        ("a number with 10,000 digits", claim("exp", &"9".repeat(10_000))),
        ("an absurd exponent", claim("nbf", "1e999999999")),
        ("a negative time", claim("nbf", "-1e308")),
        ("a name twice", claim("iss", "\"https://evil.example.com\"")),
        (
            "10,000 names",
            claim("x", &format!("{{{}\"z\":0}}", (0..10_000).map(|i| format!("\"{i}\":0,")).collect::<String>())),
        ),
        ("claims that are no object", signed(b"null")),
        ("claims that are not JSON", signed(b"\x00\x01\x02")),
        ("claims that are not UTF-8", signed(b"{\"iss\":\"\xff\"}")),
        ("no claims", signed(b"")),
        ("half a surrogate", claim("sub", "\"\\ud800\"")),
        ("a NUL in the subject", claim("sub2", "\"\\u0000\"")),
        ("a header that is not JSON", headed(b"\xff")),
        ("a header without alg", headed(b"{}")),
        ("alg none", headed(br#"{"alg":"none","kid":"k1","typ":"at+jwt"}"#)),
        ("an alg that is no text", headed(br#"{"alg":[[[]]],"kid":{},"typ":1}"#)),
        ("a signature of no bytes", bearing(&format!("{}.", token("items:read").rsplit_once('.').unwrap().0))),
        ("a signature of 30 KiB", bearing(&format!("{}{}", token("items:read"), "A".repeat(30 << 10)))),
        ("ten thousand parts", bearing(&"e30.".repeat(10_000))),
    ]
}

/// Targets and hosts that no regular client would send.
fn odd_calls() -> Vec<(&'static str, Request)> {
    let host = |host: &str| Request::get("/items/1").host(host).bearer(&token("items:read"));
    vec![
        ("a path of 60 KiB", get(format!("/items/{}", "a".repeat(60 << 10)))),
        ("a path of 20,000 segments", get("/a".repeat(20_000))),
        ("a path of 20,000 slashes", get("/".repeat(20_000))),
        ("a path of escapes", get(format!("/items/{}", "%C3%A9".repeat(5_000)))),
        ("escapes that are not UTF-8", get("/items/%FF%FE%80")),
        ("an escape cut short", get("/items/%")),
        ("20,000 dot segments", get("/..".repeat(20_000))),
        ("a query of 60 KiB", get(format!("/items/1?{}", "a=b&".repeat(15 << 10)))),
        ("a query of separators", get(format!("/items/1?{}", "&=;".repeat(15 << 10)))),
        ("a query of broken escapes", get(format!("/items/1?{}", "%".repeat(15 << 10)))),
        ("a host of 10,000 labels", host(&"a.".repeat(10_000))),
        ("a host that is an address", host("[::1]:99999")),
        ("a port that is none", host("api.example.com:")),
    ]
}

#[test]
fn hostile_requests_never_stop_the_module() {
    let options = Options { concurrency: 2, ..Options::default() };
    let gate = Gate::start_with(&policy(), raised, &options);
    let address = gate.envoy.api().unwrap();
    let mut connections: Vec<_> = (0..CONNECTIONS).map(|_| Connection::open(address).unwrap()).collect();
    let mut good_everywhere = |after: &str| {
        let good = good();
        for connection in &mut connections {
            let response = connection.call(&good).unwrap();
            assert_eq!(response.status, 200, "after {after}: {}", response.text());
        }
    };
    good_everywhere("nothing");
    for worker in 0..2 {
        let served: u64 = gate
            .envoy
            .admin(&format!("/stats?filter=worker_{worker}.downstream_cx_active"))
            .unwrap()
            .lines()
            .filter_map(|line| line.rsplit_once(": ")?.1.parse::<u64>().ok())
            .sum();
        assert!(served > 0, "worker {worker} serves none of the connections");
    }

    for (name, request) in [odd_headers(), odd_tokens(), odd_calls()].into_iter().flatten() {
        let asked = gate.ask(request);
        let record = asked.record();
        let (decision, status) = (record["decision"].as_str().unwrap(), asked.response.status);
        match decision {
            "allow" => assert_eq!((status, asked.seen.is_some()), (200, true), "{name}: {record}"),
            "deny" => assert_eq!(
                ((400..500).contains(&status), asked.seen.is_some()),
                (true, false),
                "{name}: {status} {record}"
            ),
            other => panic!("{name}: {other}"),
        }
        good_everywhere(name);
    }
    assert_eq!(gate.envoy.stat("wasm.callgate.vm_reload").unwrap(), 0);
    assert!(!gate.envoy.log().contains("callgate stopped"), "{}", gate.envoy.log());
}
