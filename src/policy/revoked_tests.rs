use serde_json::{Value, json};

use super::*;

const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn revoked(entry: Value) -> Revoked {
    serde_json::from_value(entry).unwrap()
}

#[test]
fn each_kind_has_its_own_mark() {
    let cases = [
        (json!({ "token_sha256": HASH }), Kind::Token, Mark::of_hash(&decode(HASH).unwrap())),
        (json!({ "issuer": "corp", "jti": "j" }), Kind::Jti, Mark::of_value("corp", None, "j")),
        (json!({ "issuer": "corp", "subject": "s" }), Kind::Subject, Mark::of_value("corp", None, "s")),
        (
            json!({ "issuer": "corp", "tenant": "acme", "subject": "s" }),
            Kind::Subject,
            Mark::of_value("corp", Some("acme"), "s"),
        ),
        (json!({ "issuer": "corp", "client": "c" }), Kind::Client, Mark::of_value("corp", None, "c")),
        (json!({ "agent": "a" }), Kind::Agent, Mark::of_name("a")),
        (json!({ "actor": "a" }), Kind::Actor, Mark::of_name("a")),
        (json!({ "issuer": "corp", "kid": "k" }), Kind::Kid, Mark::of_value("corp", None, "k")),
        (json!({ "thumbprint": HASH }), Kind::Thumbprint, Mark::of_hash(&decode(HASH).unwrap())),
        (json!({ "issuer": "corp" }), Kind::Issuer, Mark::of_issuer("corp", None)),
        (json!({ "issuer": "corp", "tenant": "acme" }), Kind::Issuer, Mark::of_issuer("corp", Some("acme"))),
    ];
    for (written, kind, mark) in cases {
        let raw = revoked(written.clone());
        let read = read(&raw).unwrap();
        assert_eq!((read.entry.kind, read.entry.mark), (kind, mark), "{written}");
        assert_eq!(read.agent.is_some(), matches!(kind, Kind::Agent | Kind::Actor), "{written}");
    }
}

#[test]
fn a_thumbprint_has_two_spellings() {
    let base64 = URL_SAFE_NO_PAD.encode(decode(HASH).unwrap());
    for text in [HASH, &HASH.to_uppercase(), &base64] {
        let raw = revoked(json!({ "thumbprint": text }));
        assert_eq!(read(&raw).unwrap().entry.mark, Mark::of_hash(&decode(HASH).unwrap()), "{text}");
    }
}

#[test]
fn times_and_reason_are_read() {
    let raw = revoked(json!({
        "agent": "a", "issued_before": "2026-11-30T14:00:00Z", "until": "2026-12-01", "reason": "leaked in ticket 42",
    }));
    let Entry { issued_before, until, reason, .. } = read(&raw).unwrap().entry;
    assert_eq!(issued_before.map(Timestamp::as_secs), Some(1_796_047_200));
    assert_eq!(until.map(Timestamp::as_secs), Some(1_796_169_600));
    assert_eq!(reason, Some("leaked in ticket 42"));
}

#[test]
fn entries_that_could_mean_something_else_are_rejected() {
    let long = "x".repeat(129);
    let cases = [
        (json!({}), "", "names nothing"),
        (json!({ "tenant": "acme" }), "", "names nothing"),
        (json!({ "reason": "r" }), "", "names nothing"),
        (json!({ "agent": "a", "actor": "a" }), "actor", "`agent` too"),
        (json!({ "issuer": "corp", "subject": "s", "client": "c" }), "client", "`subject` too"),
        (json!({ "jti": "j" }), "jti", "`issuer` is missing"),
        (json!({ "subject": "s" }), "subject", "`issuer` is missing"),
        (json!({ "client": "c", "tenant": "acme" }), "client", "`issuer` is missing"),
        (json!({ "kid": "k" }), "kid", "`issuer` is missing"),
        (json!({ "agent": "a", "issuer": "corp" }), "issuer", "all issuers"),
        (json!({ "token_sha256": HASH, "issuer": "corp" }), "issuer", "all issuers"),
        (json!({ "thumbprint": HASH, "issuer": "corp" }), "issuer", "all issuers"),
        (json!({ "agent": "a", "tenant": "acme" }), "tenant", "all tenants"),
        (json!({ "issuer": "corp", "tenant": "acme", "jti": "j" }), "tenant", "all tenants"),
        (json!({ "issuer": "corp", "tenant": "acme", "kid": "k" }), "tenant", "all tenants"),
        (json!({ "issuer": "corp", "tenant": "", "client": "c" }), "tenant", "empty"),
        (json!({ "issuer": "" }), "issuer", "empty"),
        (json!({ "issuer": "corp", "subject": "" }), "subject", "empty"),
        (json!({ "agent": "" }), "agent", "empty"),
        (json!({ "token_sha256": HASH.trim_start_matches('b') }), "token_sha256", "invalid hash"),
        (json!({ "token_sha256": format!("{HASH}00") }), "token_sha256", "invalid hash"),
        (json!({ "token_sha256": URL_SAFE_NO_PAD.encode([7; 32]) }), "token_sha256", "invalid hash"),
        (json!({ "thumbprint": URL_SAFE_NO_PAD.encode([7; 31]) }), "thumbprint", "invalid thumbprint"),
        (json!({ "thumbprint": format!("{}=", URL_SAFE_NO_PAD.encode([7; 32])) }), "thumbprint", "invalid thumbprint"),
        (json!({ "agent": "a", "until": "tomorrow" }), "until", "invalid time"),
        (json!({ "agent": "a", "issued_before": "2026-11-30 14:00" }), "issued_before", "invalid time"),
        (json!({ "agent": "a", "reason": " " }), "reason", "invalid reason"),
        (json!({ "agent": "a", "reason": "a\nb" }), "reason", "invalid reason"),
        (json!({ "agent": "a", "reason": "é" }), "reason", "invalid reason"),
        (json!({ "agent": "a", "reason": long }), "reason", "invalid reason"),
    ];
    for (written, field, message) in cases {
        let raw = revoked(written.clone());
        let fault = read(&raw).unwrap_err();
        assert_eq!(fault.field, field, "{written}: {}", fault.message);
        assert!(fault.message.contains(message), "{written}: {}", fault.message);
    }
}
