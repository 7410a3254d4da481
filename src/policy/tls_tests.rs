//! Messages about errors in `tls`, and in what needs it. Each row breaks a valid policy in one place.

use serde_json::{Value, json};

use super::super::tests::{compile, errors, one_error, with};

type Changes = Vec<(&'static str, Value)>;

/// Returns the changes after which an endpoint accepts the certificate of an agent, and further ones.
fn accepting(changes: &[(&'static str, Value)]) -> Changes {
    let mut all = vec![
        ("/tls", json!({ "client_certificates": "validated", "trust_domains": ["example.org"] })),
        ("/agents/w", json!({ "owner": "o", "identity": { "spiffe": "spiffe://example.org/w" } })),
        ("/endpoints/2/authenticate", json!(["token", "certificate"])),
    ];
    all.extend(changes.iter().cloned());
    all
}

#[test]
fn a_policy_with_certificates_reads_them_and_others_do_not() {
    let policy = compile(with(&accepting(&[]))).unwrap().policy;
    let rules = policy.certificates.as_ref().unwrap();
    assert!(policy.reads_certificates() && rules.alone && !rules.takes_other_names);
    assert_eq!(errors(&[]), [""; 0]);
    assert!(!compile(with(&[])).unwrap().policy.reads_certificates());
    // Tokens can be bound to certificates although none identifies a caller.
    let tls = json!({ "client_certificates": "validated" });
    let policy = compile(with(&[("/tls", tls), ("/endpoints/2/token", json!("bound"))])).unwrap().policy;
    assert!(policy.reads_certificates() && !policy.certificates.unwrap().alone);
}

#[test]
fn trust_domains_and_proxies_are_valid_and_distinct() {
    for domain in ["", "Example.org", "spiffe://example.org", "example.org/a", "exa mple", "example.org:443"] {
        let tls = json!({ "client_certificates": "validated", "trust_domains": ["example.org", domain] });
        one_error(&accepting(&[("/tls", tls)]), "tls.trust_domains[1]", "invalid trust domain");
    }
    let twice = json!({ "client_certificates": "validated", "trust_domains": ["example.org", "example.org"] });
    one_error(&accepting(&[("/tls", twice)]), "tls.trust_domains[1]", "listed twice");
    for proxy in ["", "spiffe://example.org", "spiffe://example.org/*", "example.org/proxy", "https://example.org/a"] {
        one_error(&accepting(&[("/tls/proxies", json!([proxy]))]), "tls.proxies[0]", "invalid SPIFFE ID");
    }
    let twice = json!(["spiffe://example.org/p", "spiffe://example.org/p"]);
    one_error(&accepting(&[("/tls/proxies", twice)]), "tls.proxies[1]", "listed twice");
}

#[test]
fn the_listener_validates_certificates() {
    for tls in [json!({}), json!({ "client_certificates": "requested" }), json!({ "client_certificates": true })] {
        let errors = errors(&[("/tls", tls)]);
        assert!(errors.len() == 1 && errors[0].starts_with("tls"), "{errors:#?}");
    }
}

#[test]
fn no_agent_is_a_proxy() {
    for agent in ["spiffe://example.org/w", "spiffe://example.org/*"] {
        let changes = [
            ("/agents/w/identity/spiffe", json!(agent)),
            ("/tls/proxies", json!(["spiffe://example.org/edge", "spiffe://example.org/w"])),
        ];
        let errors = errors(&accepting(&changes));
        let says = "agents.w.identity.spiffe: this describes the proxy in `tls.proxies[";
        assert!(!errors.is_empty() && errors.iter().all(|error| error.starts_with(says)), "{errors:#?}");
    }
}

#[test]
fn certificates_need_tls_and_an_agent_that_has_one() {
    let without: Changes = accepting(&[("/tls", Value::Null), ("/agents/w", Value::Null)]);
    one_error(&without, "endpoints[2].authenticate", "identify nobody without `tls`");
    one_error(&accepting(&[("/agents/w", Value::Null)]), "endpoints[2].authenticate", "no agent is identified by one");
    // The workloads of an issuer's trust domain have JWT-SVIDs. Certificates of that trust domain are not accepted.
    let spire = json!({
        "profile": "jwt-svid", "trust_domain": "spire.example", "algorithms": ["ES256"], "max_lifetime": "5m",
        "keys": { "jwks": { "keys": [{
            "kty": "EC", "crv": "P-256", "kid": "spire-1",
            "x": "_0-7c2pfCQk3FmHuktK3EpiB4YwcSvx8Y1HRugGM83o", "y": "40n1jHDJk6-OHIJCYJgsYVw7V15HQF0Q_SRbX4JaRjU",
        }] } },
    });
    let of_issuer = [("/issuers/spire", spire), ("/agents/w/identity/spiffe", json!("spiffe://spire.example/w"))];
    one_error(&accepting(&of_issuer), "endpoints[2].authenticate", "one of `tls.trust_domains`");
}

#[test]
fn callers_with_certificates_have_no_claims() {
    one_error(
        &accepting(&[
            ("/endpoints/2/authenticate", Value::Null),
            ("/endpoints/1/authenticate", json!(["token", "certificate"])),
            ("/endpoints/1/bind", json!({ "path.id": "token.org" })),
        ]),
        "endpoints[1].bind[\"path.id\"]",
        "a caller with a certificate has no token",
    );
}

#[test]
fn a_policy_without_issuers_can_have_certificates() {
    let alone = accepting(&[
        ("/issuers", json!({})),
        ("/agents/a", Value::Null),
        (
            "/endpoints/1",
            json!({ "id": "get", "methods": ["GET"], "path": "/x/{id}", "effect": "read", "scopes": "none",
                                 "authenticate": "certificate" }),
        ),
        ("/endpoints/2/authenticate", json!("certificate")),
    ]);
    assert_eq!(errors(&alone), [""; 0]);
}

#[test]
fn gateways_without_certificates_say_why() {
    for (gateway, why) in [
        ("kong", Some("has no property for the digest or the content")),
        ("higress", Some("is not known to give filters the whole certificate")),
        ("portable", Some("gives filters no certificates")),
        ("envoy", None),
        ("envoy-module", None),
        ("istio", None),
        ("envoy-gateway", None),
    ] {
        let errors = errors(&accepting(&[("/gateway", json!(gateway))]));
        match why {
            None => assert_eq!(errors, [""; 0]),
            Some(why) => {
                let says = format!("tls: `{gateway}` {why}");
                assert!(errors.len() == 1 && errors[0].starts_with(&says), "{gateway}: {errors:#?}");
            }
        }
    }
}
