//! The documents of a policy, and the errors in its `remote` and `discover`.

use serde_json::{Value, json};

use super::super::tests::{compile as compile_policy, errors, with};
use super::*;

const KEYS: &str = "/issuers/corp/keys";

fn remote(changes: Value) -> Value {
    let remote = json!({ "url": "https://idp.example.com/jwks", "cluster": "idp" });
    json!({ "remote": crate::testing::with(remote, changes) })
}

fn discover(changes: Value) -> Value {
    json!({ "discover": crate::testing::with(json!({ "document": "openid", "cluster": "idp" }), changes) })
}

fn documents(keys: Value) -> Vec<FetchedDocument> {
    compile_policy(with(&[(KEYS, keys)])).unwrap().policy.documents
}

#[test]
fn a_remote_key_set_has_defaults() {
    let [document] = <[_; 1]>::try_from(documents(remote(json!({})))).unwrap();
    let FetchedDocument { source, kind, issuers } = document;
    assert_eq!(source.target.url(), "https://idp.example.com/jwks");
    assert_eq!(&*source.target.upstream, "idp");
    assert_eq!([source.refresh, source.timeout, source.stale_for].map(|span| span.as_secs()), [300, 5, 86_400]);
    assert!(matches!(kind, DocumentKind::KeySet));
    assert_eq!(issuers.len(), 1);
}

#[test]
fn the_metadata_of_an_issuer_has_a_well_known_url() {
    let urls = [
        ("https://idp.example.com", "openid", "https://idp.example.com/.well-known/openid-configuration"),
        ("https://idp.example.com/", "openid", "https://idp.example.com/.well-known/openid-configuration"),
        ("https://idp.example.com/a/b", "openid", "https://idp.example.com/a/b/.well-known/openid-configuration"),
        ("https://idp.example.com", "oauth", "https://idp.example.com/.well-known/oauth-authorization-server"),
        ("https://idp.example.com/", "oauth", "https://idp.example.com/.well-known/oauth-authorization-server"),
        ("https://idp.example.com/a/b", "oauth", "https://idp.example.com/.well-known/oauth-authorization-server/a/b"),
    ];
    for (issuer, document, url) in urls {
        let changes = [("/issuers/corp/issuer", json!(issuer)), (KEYS, discover(json!({ "document": document })))];
        let documents = compile_policy(with(&changes)).unwrap().policy.documents;
        assert_eq!(documents[0].source.target.url(), url);
        let DocumentKind::Metadata { issuer: own, key_hosts } = &documents[0].kind else { panic!() };
        assert_eq!((&**own, key_hosts.len()), (issuer, 1));
    }
}

#[test]
fn an_issuer_with_tenants_is_discovered_by_one_of_them() {
    let template = [
        ("/issuers/corp/issuer", json!("https://login.example.com/{tid}/v2.0")),
        ("/issuers/corp/tenants", json!("any")),
        ("/agents/a/identity/tenant", json!("acme")),
    ];
    let of = |keys: Value| [&template[..], &[(KEYS, keys)]].concat();
    let documents = compile_policy(with(&of(discover(json!({ "tenant": "common" }))))).unwrap().policy.documents;
    assert_eq!(
        documents[0].source.target.url(),
        "https://login.example.com/common/v2.0/.well-known/openid-configuration"
    );
    let place = "issuers.corp.keys.discover.tenant";
    assert_eq!(
        errors(&of(discover(json!({})))),
        [format!(
            "{place}: `issuer` has a variable; write the tenant whose metadata is fetched, such as `organizations`"
        )]
    );
    assert!(errors(&of(discover(json!({ "tenant": "../x" }))))[0].starts_with(place));
    assert_eq!(
        errors(&[(KEYS, discover(json!({ "tenant": "common" })))]),
        [format!("{place}: `issuer` has no variable for a tenant; remove this")]
    );
}

#[test]
fn errors_name_the_field_and_what_is_expected() {
    let rows: &[(Value, &[&str])] = &[
        (
            json!({}),
            &["issuers.corp.keys: the issuer has no keys; write `jwks`, `remote` or `discover`, or `secret` for HS256"],
        ),
        (
            crate::testing::with(remote(json!({})), discover(json!({}))),
            &["issuers.corp.keys: `jwks`, `secret`, `remote` and `discover` cannot be combined; keep one of them"],
        ),
        (
            remote(json!({ "cluster": null })),
            &["issuers.corp.keys.remote: `cluster` is missing; write the gateway's cluster for this host"],
        ),
        (
            remote(json!({ "cluster": null, "address": "idp.example.com:443" })),
            &["issuers.corp.keys.remote.address: `envoy` does not use this; write `cluster` instead"],
        ),
        (
            remote(json!({ "cluster": "" })),
            &["issuers.corp.keys.remote.cluster: invalid value; expected the name of a cluster of the gateway"],
        ),
        (
            remote(json!({ "url": "idp.example.com/jwks" })),
            &[
                "issuers.corp.keys.remote.url: invalid URL; expected an absolute `https` URL without user information and \
               fragment, such as `https://idp.example.com/.well-known/jwks.json`",
            ],
        ),
        (
            remote(json!({ "refresh": "1s", "timeout": "1m", "stale_for": "31d" })),
            &[
                "issuers.corp.keys.remote.refresh: invalid duration; expected `30s` to `24h`",
                "issuers.corp.keys.remote.timeout: invalid duration; expected `1s` to `30s`",
                "issuers.corp.keys.remote.stale_for: invalid duration; expected at least `refresh`, and at most `30d`",
            ],
        ),
        (
            remote(json!({ "refresh": "1h", "stale_for": "59m" })),
            &["issuers.corp.keys.remote.stale_for: invalid duration; expected at least `refresh`, and at most `30d`"],
        ),
        (
            discover(json!({ "key_hosts": { "Keys.example.com": { "cluster": "keys" } } })),
            &[
                "issuers.corp.keys.discover.key_hosts[\"Keys.example.com\"]: invalid host; expected a host in lower case, with \
               its port if that is not 443",
            ],
        ),
        (
            discover(json!({ "key_hosts": { "keys": {} } })),
            &[
                "issuers.corp.keys.discover.key_hosts.keys: `cluster` is missing; write the gateway's cluster for this host",
            ],
        ),
    ];
    for (keys, expected) in rows {
        assert_eq!(errors(&[(KEYS, keys.clone())]), *expected, "{keys}");
    }
}

#[test]
fn each_gateway_names_servers_in_its_own_way() {
    let of = |gateway: &str, location: Value| {
        let keys = remote(crate::testing::with(json!({ "cluster": null }), location));
        errors(&[("/gateway", json!(gateway)), ("/tables", json!({ "key": { "env": "K" } })), (KEYS, keys)])
    };
    for gateway in ["envoy", "envoy-module", "istio", "envoy-gateway", "higress"] {
        assert!(of(gateway, json!({ "cluster": "idp" })).is_empty(), "{gateway}");
    }
    assert!(of("kong", json!({ "address": "idp.example.com:443" })).is_empty());
    assert_eq!(
        of("kong", json!({ "cluster": "idp" })),
        ["issuers.corp.keys.remote.cluster: `kong` does not use this; write `address` instead"]
    );
    assert_eq!(
        of("kong", json!({ "address": "idp.example.com" })),
        [
            "issuers.corp.keys.remote.address: invalid value; expected a host and its port, such as `idp.example.com:443`"
        ]
    );
    let portable = errors(&[("/gateway", json!("portable")), (KEYS, remote(json!({})))]);
    assert_eq!(
        portable,
        [
            "issuers.corp.keys.remote: `portable` gives the filter no means to fetch; write `jwks`, or choose another `gateway`"
        ]
    );
}

#[test]
fn a_store_that_others_write_to_needs_a_key() {
    let found = errors(&[("/gateway", json!("istio")), (KEYS, remote(json!({})))]);
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("tables.key: other filters can write to the state that workers share"), "{found:?}");
}

#[test]
fn keys_over_plain_http_cause_a_warning() {
    let url = json!({ "url": "http://127.0.0.1:8080/jwks" });
    let compiled = compile_policy(with(&[(KEYS, remote(url))])).unwrap();
    let warnings: Vec<_> = compiled.findings.warnings.iter().map(ToString::to_string).collect();
    assert!(warnings.iter().any(|warning| warning.contains("anyone on the way can replace keys")), "{warnings:?}");
}

#[test]
fn issuers_with_one_document_share_it_and_must_say_so() {
    let mut policy = with(&[(KEYS, remote(json!({})))]);
    let other =
        crate::testing::with(policy["issuers"]["corp"].clone(), json!({ "issuer": "https://other.example.com" }));
    policy["issuers"]["other"] = other;
    let findings = compile_policy(policy.clone()).err().unwrap();
    assert_eq!(findings.errors.len(), 1, "{findings:?}");
    assert!(findings.errors[0].to_string().contains("list each in the other's `shares_keys_with`"));
    policy["issuers"]["corp"]["shares_keys_with"] = json!(["other"]);
    policy["issuers"]["other"]["shares_keys_with"] = json!(["corp"]);
    let documents = compile_policy(policy).unwrap().policy.documents;
    assert_eq!(documents.len(), 1);
    assert_eq!(documents[0].issuers.len(), 2);
}

#[test]
fn another_source_has_other_keys_in_the_store() {
    let of = |keys: Value| documents(keys).remove(0).source;
    let own = of(remote(json!({})));
    assert!(own.is_same_as(&of(remote(json!({ "refresh": "1h" })))));
    for changes in [json!({ "url": "https://idp.example.com/other" }), json!({ "cluster": "other" })] {
        assert!(!own.is_same_as(&of(remote(changes))));
    }
    let hosts = |cluster: &str| discover(json!({ "key_hosts": { "keys.example.com": { "cluster": cluster } } }));
    assert!(!of(hosts("a")).is_same_as(&of(hosts("b"))));
}

#[test]
fn an_authorization_is_read_from_the_environment_and_not_shown() {
    use crate::identity::token::SecretLookup;
    let policy = with(&[(KEYS, remote(json!({ "authorization": { "env": "A" } })))]);
    let compile = |value: &'static [u8]| {
        super::super::Policy::from_value(policy.clone(), &move |_: &str| SecretLookup::Found(value.to_vec()))
    };
    let compiled = compile(b"Bearer hunter2").unwrap().policy;
    let source = &compiled.documents[0].source;
    assert_eq!(source.target.authorization.as_ref().map(|value| &*value.0), Some("Bearer hunter2"));
    assert!(!format!("{compiled:?}").contains("hunter2"));
    for value in [&b"Bearer x\r\nx: y"[..], b"Bearer \xff"] {
        let findings = compile(value).err().unwrap();
        assert!(
            findings.errors[0].to_string().starts_with("issuers.corp.keys.remote.authorization.env: invalid value")
        );
    }
}

#[test]
fn only_an_issuer_with_a_known_iss_has_metadata() {
    let svid = [
        ("/issuers/corp/issuer", Value::Null),
        ("/issuers/corp/profile", json!("jwt-svid")),
        ("/issuers/corp/trust_domain", json!("example.org")),
        ("/agents/a/identity", json!({ "issuer": "corp", "subject": "spiffe://example.org/a" })),
    ];
    let of = |keys: Value| errors(&[&svid[..], &[(KEYS, keys)]].concat());
    assert_eq!(of(remote(json!({}))), [""; 0]);
    assert_eq!(
        of(discover(json!({}))),
        [
            "issuers.corp.keys.discover: only an issuer with `issuer` has metadata; write `issuer`, or `remote` with the URL of the keys"
        ]
    );
}
