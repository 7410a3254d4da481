use std::time::{Duration, Instant};

use callgate_testbed::client::{self, Connection, Request, Response};
use serde_json::Value;
use tokio::net::TcpSocket;

use super::*;
use crate::gate::{CLIENT, Gate, RESOURCE, SCOPE, policy};

/// More than the gate accepts.
const HUGE: usize = 300 << 10;

fn get(server: &KeyServer, path: &str) -> anyhow::Result<Response> {
    client::call(server.address(), &Request::get(path).host("idp.example.com"))
}

fn document(server: &KeyServer, path: &str) -> Value {
    let response = get(server, path).unwrap();
    assert_eq!((response.status, response.header("content-type")), (200, Some("application/json")));
    serde_json::from_slice(&response.body).unwrap()
}

fn kids(jwks: &Value) -> Vec<&str> {
    jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap()).collect()
}

/// What the engine decides about a token under a policy with this key set.
fn decided(server: &KeyServer, jwks: &Value, token: &str) -> String {
    Gate::new(&policy(&server.issuer(), jwks)).unwrap().bearer("/items/1", token).unwrap()
}

fn claims() -> Value {
    json!({ "aud": RESOURCE, "sub": CLIENT, "client_id": CLIENT, "scope": SCOPE })
}

#[test]
fn serves_documents_and_counts_requests() {
    let server = KeyServer::start().unwrap();
    assert_eq!(document(&server, JWKS), server.jwks());
    for path in [OPENID, OAUTH] {
        let metadata = document(&server, path);
        assert_eq!((&metadata["issuer"], &metadata["jwks_uri"]), (&json!(server.issuer()), &json!(server.jwks_uri())));
    }
    assert_eq!(get(&server, "/other").unwrap().status, 404);
    assert_eq!((server.requests(JWKS), server.requests(OPENID), server.requests("/other")), (1, 1, 1));
    assert_eq!(server.requests("/never"), 0);
    assert_eq!(server.last_request(JWKS).unwrap().host, "idp.example.com");
}

#[test]
fn metadata_of_an_issuer_with_a_path_is_at_the_derived_paths() {
    let server = KeyServer::start_as("https://idp.example.com/realms/a").unwrap();
    let metadata = document(&server, "/realms/a/.well-known/openid-configuration");
    assert_eq!(metadata["issuer"], "https://idp.example.com/realms/a");
    assert_eq!(metadata["jwks_uri"], "https://idp.example.com/jwks");
    assert_eq!(document(&server, "/.well-known/oauth-authorization-server/realms/a"), metadata);
    assert_eq!(get(&server, OPENID).unwrap().status, 404);
}

#[test]
fn mints_tokens_that_the_engine_accepts_until_their_key_is_withdrawn() {
    let server = KeyServer::start().unwrap();
    let first = server.signing_key();
    let old = server.mint(&claims());
    assert_eq!(decided(&server, &document(&server, JWKS), &old), "allow");

    let kid = server.rotate().unwrap();
    let new = server.mint(&claims());
    assert_eq!(server.signing_key().kid(), Some(kid.as_str()));
    let both = document(&server, JWKS);
    assert_eq!(kids(&both), [first.kid().unwrap(), &kid]);
    assert_eq!((decided(&server, &both, &old), decided(&server, &both, &new)), ("allow".into(), "allow".into()));

    server.withdraw(first.kid().unwrap());
    let one = document(&server, JWKS);
    assert_eq!(kids(&one), [&kid]);
    assert_eq!((decided(&server, &one, &old), decided(&server, &one, &new)), ("token_key".into(), "allow".into()));

    // A key can sign before it is published, and be published before it signs.
    server.sign_with(first.clone());
    assert_eq!(decided(&server, &document(&server, JWKS), &server.mint(&claims())), "token_key");
    server.publish(first);
    assert_eq!(decided(&server, &document(&server, JWKS), &server.mint(&claims())), "allow");
}

#[test]
fn claims_of_the_caller_replace_the_defaults() {
    let server = KeyServer::start().unwrap();
    let claims = crate::client::claims(&server.mint(&json!({ "iss": "https://other.example", "exp": 1 }))).unwrap();
    assert_eq!((&claims["iss"], &claims["exp"]), (&json!("https://other.example"), &json!(1)));
    let claims = crate::client::claims(&server.mint(&json!({}))).unwrap();
    assert_eq!(claims["iss"], server.issuer());
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), LIFETIME);
}

#[test]
fn wrong_statuses_come_with_the_right_document() {
    let server = KeyServer::start().unwrap();
    for status in [404, 500, 503] {
        server.set(Behavior::Status(status)).unwrap();
        let response = get(&server, JWKS).unwrap();
        assert_eq!((response.status, response.json()), (status, server.jwks()));
    }
    server.set(Behavior::Redirect).unwrap();
    let response = get(&server, JWKS).unwrap();
    assert_eq!((response.status, response.header("location")), (302, Some("/moved/jwks")));
    assert_eq!(server.requests("/moved/jwks"), 0);
    assert_eq!(document(&server, "/moved/jwks"), server.jwks());
    assert_eq!(server.requests("/moved/jwks"), 1);
    server.set(Behavior::HtmlError).unwrap();
    let response = get(&server, JWKS).unwrap();
    assert_eq!((response.status, response.header("content-type")), (200, Some("text/html")));
    server.set(Behavior::Correct).unwrap();
    assert_eq!(document(&server, JWKS), server.jwks());
}

#[test]
fn a_text_that_has_not_changed_is_confirmed() {
    let server = KeyServer::start().unwrap();
    let ask = |condition: Option<&str>| {
        let request = Request::get(JWKS).host("idp.example.com");
        let request = match condition {
            Some(tag) => request.header("If-None-Match", tag),
            None => request,
        };
        client::call(server.address(), &request).unwrap()
    };
    server.set(Behavior::Tagged("one".to_owned())).unwrap();
    let first = ask(None);
    let tag = first.header("etag").unwrap().to_owned();
    assert_eq!((first.status, first.text().as_str()), (200, "one"));
    for _ in 0..2 {
        let confirmed = ask(Some(&tag));
        assert_eq!((confirmed.status, confirmed.header("etag"), confirmed.body.len()), (304, Some(tag.as_str()), 0));
    }
    assert_eq!((ask(Some("\"other\"")).status, server.requests(JWKS), server.confirmations(JWKS)), (200, 4, 2));
    server.set(Behavior::Tagged("two".to_owned())).unwrap();
    let changed = ask(Some(&tag));
    assert_eq!((changed.status, changed.text().as_str()), (200, "two"));
    server.set(Behavior::NotModified).unwrap();
    assert_eq!((ask(None).status, server.confirmations(JWKS)), (304, 3));
}

#[test]
fn a_behavior_can_apply_to_one_path() {
    let server = KeyServer::start().unwrap();
    server.set_for(OPENID, Behavior::Status(500)).unwrap();
    assert_eq!(get(&server, OPENID).unwrap().status, 500);
    assert_eq!(get(&server, OAUTH).unwrap().status, 200);
    assert_eq!(get(&server, JWKS).unwrap().status, 200);
    server.set(Behavior::Correct).unwrap();
    assert_eq!(get(&server, OPENID).unwrap().status, 200);
}

#[test]
fn waits_before_the_head_or_inside_the_body() {
    const WAIT: Duration = Duration::from_millis(300);
    let server = KeyServer::start().unwrap();
    for (behavior, head_waits) in [(Behavior::SlowHead(WAIT), true), (Behavior::SlowBody(WAIT), false)] {
        server.set(behavior).unwrap();
        let request = Request::get(JWKS).host("idp.example.com");
        let mut connection = Connection::open(server.address()).unwrap();
        let start = Instant::now();
        connection.send(&request.to_bytes()).unwrap();
        let head = connection.read_head().unwrap();
        assert_eq!((head.status, start.elapsed() >= WAIT), (200, head_waits));
        let body = connection.read_until(b"]}").unwrap();
        assert!(start.elapsed() >= WAIT);
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), server.jwks());
    }
}

#[test]
fn a_held_answer_follows_the_next_behavior() {
    let server = KeyServer::start().unwrap();
    server.set(Behavior::Held).unwrap();
    let request = Request::get(JWKS).host("idp.example.com");
    let [mut first, mut second] = [(); 2].map(|()| Connection::open(server.address()).unwrap());
    first.send(&request.to_bytes()).unwrap();
    second.send(&request.to_bytes()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while server.requests(JWKS) < 2 {
        assert!(Instant::now() < deadline, "the requests never arrived");
        std::thread::sleep(Duration::from_millis(1));
    }
    // A path without a document is not held.
    assert_eq!(get(&server, "/other").unwrap().status, 404);
    let kid = server.rotate().unwrap();
    server.set(Behavior::Correct).unwrap();
    for connection in [&mut first, &mut second] {
        let response = connection.read(&request).unwrap();
        assert_eq!((response.status, response.json()), (200, server.jwks()));
        assert_eq!(kids(&response.json()).last(), Some(&kid.as_str()));
    }
    assert_eq!(server.requests(JWKS), 2);
}

#[test]
fn truncated_and_reset_bodies_end_early() {
    use std::io::{ErrorKind, Read as _, Write as _};
    let server = KeyServer::start().unwrap();
    for (behavior, ending) in [(Behavior::Truncated, None), (Behavior::Reset, Some(ErrorKind::ConnectionReset))] {
        server.set(behavior.clone()).unwrap();
        let mut stream = std::net::TcpStream::connect(server.address()).unwrap();
        stream.write_all(&Request::get(JWKS).host("idp.example.com").to_bytes()).unwrap();
        let mut answer = Vec::new();
        assert_eq!(stream.read_to_end(&mut answer).err().map(|error| error.kind()), ending, "{behavior:?}");
        let text = String::from_utf8(answer).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let whole = server.jwks().to_string();
        assert!(head.contains(&format!("content-length: {}", whole.len())), "{head}");
        assert_eq!(body, whole.get(..whole.len() / 2).unwrap(), "{behavior:?}");
    }
}

#[test]
fn documents_can_have_any_length() {
    let server = KeyServer::start().unwrap();
    for content_length in [true, false] {
        server.set(Behavior::Padded { to: HUGE, content_length }).unwrap();
        for path in [JWKS, OPENID] {
            let response = get(&server, path).unwrap();
            assert_eq!((response.body.len(), response.header("content-length").is_some()), (HUGE, content_length));
        }
        assert_eq!(document(&server, JWKS)["keys"], server.jwks()["keys"]);
    }
}

#[test]
fn wrong_texts() {
    let server = KeyServer::start().unwrap();
    server.set(Behavior::InvalidJson).unwrap();
    let text = get(&server, JWKS).unwrap().text();
    assert_eq!(format!("{text}}}"), server.jwks().to_string());
    server.set(Behavior::Exactly("[]".to_owned())).unwrap();
    assert_eq!(get(&server, OPENID).unwrap().text(), "[]");
    server.set(Behavior::NoKeys).unwrap();
    assert_eq!(get(&server, JWKS).unwrap().text(), r#"{"keys":[]}"#);
    assert_eq!(document(&server, OPENID)["issuer"], server.issuer());
}

#[test]
fn odd_key_sets_contain_the_right_key_and_stay_the_same() {
    let server = KeyServer::start().unwrap();
    let own = server.signing_key().kid().unwrap().to_owned();
    let set = |behavior| {
        server.set(behavior).unwrap();
        let jwks = document(&server, JWKS);
        assert_eq!(document(&server, JWKS), jwks);
        assert!(kids(&jwks).contains(&own.as_str()));
        jwks
    };
    let many = set(Behavior::ManyKeys(150));
    assert_eq!((kids(&many).len(), kids(&many)[149]), (150, own.as_str()));
    let weak = set(Behavior::WeakKey);
    assert_eq!((kids(&weak), &weak["keys"][0]["kty"]), (vec!["weak", &own], &json!("RSA")));
    let encryption = set(Behavior::EncryptionKey);
    assert_eq!((kids(&encryption), &encryption["keys"][0]["use"]), (vec!["encryption", &own], &json!("enc")));
    for first in [true, false] {
        let repeated = set(Behavior::RepeatedKid { first });
        assert_eq!(kids(&repeated), [&own, &own]);
        let genuine = &server.jwks()["keys"][0];
        assert_eq!((&repeated["keys"][usize::from(first)], repeated["keys"][0] == *genuine), (genuine, !first));
    }
}

#[test]
fn the_engine_rejects_the_weak_key() {
    let server = KeyServer::start().unwrap();
    server.set(Behavior::WeakKey).unwrap();
    let error = Gate::new(&policy(&server.issuer(), &document(&server, JWKS))).err().unwrap().to_string();
    assert!(error.contains("under 2048 bits"), "{error}");
    let token = mint_with_weak_key(&claims()).unwrap();
    assert_eq!(crate::client::header(&token).unwrap()["kid"], "weak");
}

#[test]
fn metadata_can_name_another_issuer_or_key_set() {
    let server = KeyServer::start().unwrap();
    server.set(Behavior::Issuer("https://evil.example".to_owned())).unwrap();
    for path in [OPENID, OAUTH] {
        let metadata = document(&server, path);
        assert_eq!(
            (&metadata["issuer"], &metadata["jwks_uri"]),
            (&json!("https://evil.example"), &json!(server.jwks_uri()))
        );
    }
    server.set(Behavior::JwksUri("https://evil.example/jwks".to_owned())).unwrap();
    let metadata = document(&server, OPENID);
    assert_eq!(
        (&metadata["issuer"], &metadata["jwks_uri"]),
        (&json!(server.issuer()), &json!("https://evil.example/jwks"))
    );
    assert_eq!(document(&server, JWKS), server.jwks());
}

#[test]
fn closes_its_port_and_opens_it_again() {
    let server = KeyServer::start().unwrap();
    let request = Request::get(JWKS).host("idp.example.com");
    let mut kept = Connection::open(server.address()).unwrap();
    assert_eq!(kept.call(&request).unwrap().status, 200);
    for _ in 0..3 {
        server.close();
        server.close();
        assert!(kept.call(&request).is_err());
        assert!(get(&server, JWKS).is_err());
        assert!(TcpSocket::new_v4().unwrap().bind(server.address()).is_err(), "another server got the port");
        server.reopen().unwrap();
        server.reopen().unwrap();
        assert_eq!(document(&server, JWKS), server.jwks());
        kept = Connection::open(server.address()).unwrap();
        assert_eq!(kept.call(&request).unwrap().status, 200);
    }
}
