//! Credentials that are revoked while a body arrives.

use super::*;
use crate::evaluate::CallResult;

fn revoking(changes: Value) -> Value {
    let remote = json!({ "url": "https://r.example.com/list", "cluster": "r" });
    let list = json!({ "remote": remote, "trusted": true, "on_stale": "deny", "stale_after": "1m" });
    with(document(), with(json!({ "revocations": list }), changes))
}

/// A gateway that forwards the headers before the body.
fn after_headers() -> Value {
    revoking(json!({ "gateway": "envoy-gateway", "body_check": "after_headers" }))
}

impl Gate {
    /// Fires the timer at this second. If a fetch is due, the server answers with a list of these entries, or not at all.
    fn fetch(&self, second: u64, entries: Option<Value>) {
        self.0.set_clock(NOW + second);
        let list = entries.map(|entries| json!({ "iat": NOW + second, "exp": NOW + second + 600, "entries": entries }));
        let list = list.map(|list| list.to_string());
        for call in self.0.engine.fetch_documents().unwrap().calls {
            let result = match &list {
                Some(list) => CallResult::Response { status: 200, etag: None, body: list.as_bytes() },
                None => CallResult::NoResponse,
            };
            self.0.engine.receive_document(call.id(), result).unwrap();
        }
    }

    /// Returns the record of a request during whose body something happens, and whether its headers were forwarded before.
    fn record_with(&self, call: &[(String, String)], meanwhile: impl FnOnce()) -> (Value, bool) {
        self.outcome(call, false, |outcome| {
            let Outcome::Pending(mut pending) = outcome else { panic!("it is decided") };
            let forwards = pending.forwards().is_some();
            assert_eq!(pending.receive(BODY.as_bytes()), Need::More);
            meanwhile();
            let decision = self.resume(pending);
            (serde_json::from_slice(&decision.record().to_json()).unwrap(), forwards)
        })
    }
}

fn entry() -> Value {
    json!([{ "agent": "payer", "reason": "leaked" }])
}

#[test]
fn an_entry_that_arrives_with_the_body_denies() {
    for (document, late) in [(revoking(json!({})), false), (after_headers(), true)] {
        let gate = Gate::new(document);
        gate.fetch(0, Some(json!([])));
        let call = |nonce: &str| signed("POST", "/pay", &[DIGEST], &with_digest(nonce));
        let (record, forwards) = gate.record_with(&call("a"), || gate.fetch(20, Some(json!([]))));
        assert_eq!((&record["decision"], forwards), (&json!("allow"), late));
        let (record, forwards) = gate.record_with(&call("b"), || gate.fetch(40, Some(entry())));
        assert_eq!(
            (&record["decision"], &record["reason"], &record["revoked"], &record["rule"], forwards),
            (&json!("deny"), &json!("agent_suspended"), &json!("leaked"), &json!("revocations"), late)
        );
        // A request that was held has used up nothing. One whose headers were forwarded has used up its signature.
        gate.fetch(60, Some(json!([])));
        let expected = if late { Err(Reason::SignatureReplayed) } else { Ok(Ground::Endpoint) };
        assert_eq!(gate.decide(&call("b"), Some(BODY)), expected);
    }
}

#[test]
fn a_list_that_becomes_too_old_with_the_body_denies() {
    for document in [revoking(json!({})), after_headers()] {
        let gate = Gate::new(document);
        gate.fetch(0, Some(json!([])));
        let call = signed("POST", "/pay", &[DIGEST], &with_digest("a"));
        let (record, _) = gate.record_with(&call, || (1..=61).for_each(|second| gate.fetch(second, None)));
        assert_eq!(
            (&record["decision"], &record["reason"]),
            (&json!("deny"), &json!("revocations_unavailable")),
            "{record}"
        );
    }
}

#[test]
fn a_body_that_is_wrong_too_is_denied_for_the_body() {
    for mode in ["enforce", "observe"] {
        let gate = Gate::new(with(after_headers(), json!({ "mode": mode })));
        gate.fetch(0, Some(json!([])));
        let (name, digest) = DIGEST;
        let other = digest.replace("X48E", "X48F");
        let call = signed("POST", "/pay", &[(name, &other)], &with_digest("a"));
        let (record, _) = gate.record_with(&call, || gate.fetch(20, Some(entry())));
        assert_eq!(record["reason"], "content_digest_mismatch", "{record}");
    }
}

#[test]
fn an_observed_request_records_once_what_was_revoked() {
    for gateway in [json!({}), json!({ "gateway": "envoy-gateway", "body_check": "after_headers" })] {
        let gate = Gate::new(with(revoking(gateway), json!({ "mode": "observe" })));
        gate.fetch(0, Some(json!([])));
        let call = |nonce: &str| signed("POST", "/pay", &[DIGEST], &with_digest(nonce));
        let would = |record: &Value| {
            let denials = record["would_deny"].as_array().unwrap();
            denials.iter().map(|denial| denial["reason"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let (record, _) = gate.record_with(&call("a"), || gate.fetch(20, Some(entry())));
        assert_eq!((&record["decision"], would(&record)), (&json!("observe"), vec!["agent_suspended".to_owned()]));
        // It was recorded when the headers were checked.
        let (record, _) = gate.record_with(&call("b"), || gate.fetch(40, Some(entry())));
        assert_eq!((&record["decision"], would(&record)), (&json!("observe"), vec!["agent_suspended".to_owned()]));
    }
}
