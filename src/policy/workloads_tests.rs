//! Agents with SPIFFE IDs and other names of certificates: what compiles, and whom a certificate identifies.

use serde_json::{Value, json};

use super::super::tests::{compile, errors, one_error, with};
use crate::identity::certificate::CertificateRules;
use crate::policy::Policy;
use crate::reason::Reason;
use crate::request::certificate::testing::Certificate;
use crate::text::time::Timestamp;

type Changes = Vec<(&'static str, Value)>;

fn tls() -> (&'static str, Value) {
    ("/tls", json!({ "client_certificates": "validated", "trust_domains": ["example.org", "other.example"] }))
}

/// Adds agents with these identities, named `w0`, `w1` and so on.
fn agents(identities: &[Value]) -> Changes {
    const PLACES: [&str; 4] = ["/agents/w0", "/agents/w1", "/agents/w2", "/agents/w3"];
    let agent = |identity: &Value| json!({ "owner": "o", "identity": identity });
    PLACES.into_iter().zip(identities.iter().map(agent)).chain([tls()]).collect()
}

fn spiffe(id: &str) -> Value {
    json!({ "spiffe": id })
}

#[test]
fn spiffe_ids_are_valid_and_of_an_accepted_trust_domain() {
    for id in [
        "",
        "spiffe://example.org",
        "spiffe://example.org/a/",
        "spiffe://example.org/a*",
        "spiffe://example.org/*/a",
        "spiffe://Example.org/a",
        "https://example.org/a",
        "spiffe://example.org/a/../b",
        "spiffe://example.org/a%20b",
    ] {
        one_error(&agents(&[spiffe(id)]), "agents.w0.identity.spiffe", "invalid SPIFFE ID");
    }
    one_error(
        &agents(&[spiffe("spiffe://foreign.example/a")]),
        "agents.w0.identity.spiffe",
        "no credential of the trust domain",
    );
    let mut without = agents(&[spiffe("spiffe://example.org/a")]);
    without.retain(|(place, _)| *place != "/tls");
    one_error(&without, "agents.w0.identity.spiffe", "`tls.trust_domains`");
    for id in [
        "spiffe://example.org/a",
        "spiffe://example.org/a/*",
        "spiffe://example.org/*",
        "spiffe://other.example/A.b-c_d",
    ] {
        assert_eq!(errors(&agents(&[spiffe(id)])), [""; 0], "{id}");
    }
}

#[test]
fn a_workload_is_one_agent() {
    for (one, other) in [
        ("spiffe://example.org/a", "spiffe://example.org/a"),
        ("spiffe://example.org/a/*", "spiffe://example.org/a/*"),
        ("spiffe://example.org/a/b", "spiffe://example.org/a/*"),
        ("spiffe://example.org/a/b/c", "spiffe://example.org/a/*"),
        ("spiffe://example.org/a/b/*", "spiffe://example.org/a/*"),
        ("spiffe://example.org/a/*", "spiffe://example.org/*"),
        ("spiffe://example.org/a", "spiffe://example.org/*"),
    ] {
        let (narrow, wide) = (spiffe(one), spiffe(other));
        for identities in [[narrow.clone(), wide.clone()], [wide, narrow]] {
            let errors = errors(&agents(&identities));
            assert!(errors.len() == 1 && errors[0].contains("must identify one agent"), "{one} {other} {errors:#?}");
        }
    }
    for (one, other) in [
        ("spiffe://example.org/a", "spiffe://example.org/a/*"),
        ("spiffe://example.org/ab", "spiffe://example.org/a/*"),
        ("spiffe://example.org/ab/*", "spiffe://example.org/a/*"),
        ("spiffe://example.org/a", "spiffe://other.example/a"),
        ("spiffe://example.org/*", "spiffe://other.example/*"),
        ("spiffe://example.org/a", "spiffe://example.org/A"),
    ] {
        assert_eq!(errors(&agents(&[spiffe(one), spiffe(other)])), [""; 0], "{one} {other}");
    }
}

#[test]
fn names_of_certificates_are_one_uri_or_one_dns_name() {
    let named = |name: Value| agents(&[json!({ "certificate": name })]);
    for (name, place, says) in [
        (json!({}), "", "exactly one of `uri` and `dns`"),
        (json!({ "uri": "urn:a:b", "dns": "a.example" }), "", "exactly one of `uri` and `dns`"),
        (json!({ "uri": "spiffe://example.org/a" }), ".uri", "write it as `identity.spiffe`"),
        (json!({ "uri": "SPIFFE://example.org/a" }), ".uri", "write it as `identity.spiffe`"),
        (json!({ "uri": "" }), ".uri", "invalid URI"),
        (json!({ "uri": "agent" }), ".uri", "invalid URI"),
        (json!({ "uri": "urn:a b" }), ".uri", "invalid URI"),
        (json!({ "uri": "1:a" }), ".uri", "invalid URI"),
        (json!({ "uri": format!("urn:{}", "a".repeat(2_048)) }), ".uri", "invalid URI"),
        (json!({ "dns": "" }), ".dns", "invalid DNS name"),
        (json!({ "dns": "*.example.com" }), ".dns", "invalid DNS name"),
        (json!({ "dns": "Agent.example.com" }), ".dns", "invalid DNS name"),
        (json!({ "dns": "agent.example.com." }), ".dns", "invalid DNS name"),
        (json!({ "dns": "agent..example.com" }), ".dns", "invalid DNS name"),
        (json!({ "dns": format!("{}.example", "a".repeat(64)) }), ".dns", "invalid DNS name"),
        (json!({ "dns": "a.".repeat(127) }), ".dns", "invalid DNS name"),
    ] {
        one_error(&named(name), &format!("agents.w0.identity.certificate{place}"), says);
    }
    for name in [
        json!({ "uri": "urn:example:agent" }),
        json!({ "uri": "https://example.com/a" }),
        json!({ "dns": "a" }),
        json!({ "dns": "agent_7.a-b.example" }),
    ] {
        assert_eq!(errors(&named(name.clone())), [""; 0], "{name}");
        let both = agents(&[json!({ "certificate": name }), json!({ "certificate": name })]);
        one_error(&both, "agents.w1.identity.certificate", "agent `w0` has the same");
    }
    let mut without = named(json!({ "dns": "a.example" }));
    without.retain(|(place, _)| *place != "/tls");
    one_error(&without, "agents.w0.identity.certificate", "identify nobody without `tls`");
}

#[test]
fn values_of_tokens_need_their_issuer() {
    for (field, value) in [
        ("client_id", json!("a")),
        ("subject", json!("a")),
        ("claims", json!({ "env": ["prod"] })),
        ("each", json!("client")),
        ("tenant", json!("acme")),
    ] {
        let errors = errors(&agents(&[json!({ "spiffe": "spiffe://example.org/a", field: value })]));
        let issuer = "agents.w0.identity.issuer: `";
        assert!(errors.iter().any(|error| error.starts_with(issuer) && error.contains(field)), "{field} {errors:#?}");
    }
    one_error(&agents(&[json!({})]), "agents.w0.identity", "nothing identifies this agent");
    let both = json!({ "issuer": "corp", "client_id": "b", "spiffe": "spiffe://example.org/a", "certificate": { "dns": "b" } });
    assert_eq!(errors(&agents(&[both])), [""; 0]);
}

#[test]
fn nothing_else_identifies_a_member_of_a_class() {
    let class = "spiffe://example.org/a/*";
    for (identity, place) in [
        (json!({ "spiffe": class, "issuer": "corp", "client_id": "b" }), "issuer"),
        (json!({ "spiffe": class, "certificate": { "dns": "b" } }), "certificate"),
        (json!({ "spiffe": class, "actor": { "issuer": "corp", "sub": "b", "clients": ["b"] } }), "actor"),
    ] {
        one_error(&agents(&[identity]), &format!("agents.w0.identity.{place}"), "describes many workloads");
    }
    let each = json!({ "issuer": "corp", "claims": { "env": ["prod"] }, "each": "client", "spiffe": "spiffe://example.org/b" });
    one_error(&agents(&[each]), "agents.w0.identity.spiffe", "`each: client` describes many clients");
    let policy = compile(with(&agents(&[spiffe(class), spiffe("spiffe://example.org/b")]))).unwrap().policy;
    let classes: Vec<_> = policy.agents.iter().map(|agent| agent.is_class).collect();
    assert_eq!(classes, [false, true, false]);
}

fn rules(policy: &Policy) -> &CertificateRules {
    policy.certificates.as_ref().unwrap()
}

/// Returns the agent that a certificate with these names identifies.
fn found(policy: &Policy, uris: &[&str], dns: &[&str]) -> Result<String, Reason> {
    let presented = Certificate { uris, dns, ..Certificate::default() }.presented();
    let certificate = rules(policy).verify(&presented, Timestamp::from_secs(0)).unwrap();
    policy.agents.find_certificate(&certificate).map(|agent| agent.name.to_string())
}

#[test]
fn a_certificate_identifies_the_agent_of_its_name() {
    let identities = [
        spiffe("spiffe://example.org/ns/prod/*"),
        spiffe("spiffe://example.org/ns/prod"),
        json!({ "certificate": { "dns": "agent.example.com" } }),
        json!({ "certificate": { "uri": "urn:example:agent" } }),
    ];
    let policy = compile(with(&agents(&identities))).unwrap().policy;
    for (uris, dns, expected) in [
        (&["spiffe://example.org/ns/prod/a"][..], &[][..], Ok("w0")),
        (&["spiffe://example.org/ns/prod/a/b"], &[], Ok("w0")),
        (&["spiffe://example.org/ns/prod"], &[], Ok("w1")),
        (&["spiffe://example.org/ns/production"], &[], Err(Reason::AgentUnknown)),
        (&["spiffe://example.org/ns"], &[], Err(Reason::AgentUnknown)),
        (&["spiffe://other.example/ns/prod/a"], &[], Err(Reason::AgentUnknown)),
        (&["spiffe://example.org/ns/PROD/a"], &[], Err(Reason::AgentUnknown)),
        (&[], &["AGENT.example.com"], Ok("w2")),
        (&[], &["a.example.com", "agent.example.com"], Ok("w2")),
        (&["urn:example:other"], &["agent.example.com"], Ok("w2")),
        (&[], &["*.example.com"], Err(Reason::AgentUnknown)),
        (&[], &["agent.example.com.evil.example"], Err(Reason::AgentUnknown)),
        (&["urn:example:agent"], &[], Ok("w3")),
        (&["URN:example:agent"], &[], Err(Reason::AgentUnknown)),
        (&["urn:example:agent"], &["agent.example.com"], Err(Reason::AgentAmbiguous)),
        // A SPIFFE ID alone counts.
        (&["spiffe://example.org/ns/none"], &["agent.example.com"], Err(Reason::AgentUnknown)),
    ] {
        assert_eq!(found(&policy, uris, dns), expected.map(str::to_owned), "{uris:?} {dns:?}");
    }
}

#[test]
fn an_id_with_many_segments_costs_as_many_lookups_as_the_policy_has_segments() {
    let policy = compile(with(&agents(&[spiffe("spiffe://example.org/a/b/*")]))).unwrap().policy;
    let deep = format!("spiffe://example.org{}", "/a".repeat(1_000));
    assert_eq!(found(&policy, &[&deep], &[]), Err(Reason::AgentUnknown));
    let below = format!("spiffe://example.org/a/b{}", "/a".repeat(1_000));
    assert_eq!(found(&policy, &[&below], &[]).as_deref(), Ok("w0"));
}
