//! Finds the issuer of a token in a policy.

use callgate::document::{Document, Issuer};
use serde_json::Value;

/// Returns the policy's name of the issuer of a token. One segment of an issuer's URL may be a variable, and a JWT-SVID names its issuer by
/// the trust domain of its subject.
pub(super) fn issuer_of<'d>(document: &'d Document, claims: &Value) -> Option<&'d str> {
    let claim = |name: &str| claims.get(name).and_then(Value::as_str);
    let find = |is_it: &dyn Fn(&Issuer) -> bool| {
        document.issuers.iter().find_map(|(name, issuer)| is_it(issuer).then_some(name.as_str()))
    };
    let by_url = |iss: &str| {
        let exact = find(&|issuer| issuer.issuer.as_deref() == Some(iss));
        exact.or_else(|| find(&|issuer| issuer.issuer.as_deref().is_some_and(|own| fits(own, iss))))
    };
    let by_trust_domain = |subject: &str| {
        let domain = subject.strip_prefix("spiffe://")?.split('/').next();
        find(&|issuer| issuer.trust_domain.is_some() && issuer.trust_domain.as_deref() == domain)
    };
    claim("iss").and_then(by_url).or_else(|| claim("sub").and_then(by_trust_domain))
}

/// Reports whether an `iss` fits an issuer's URL with a variable.
fn fits(own: &str, iss: &str) -> bool {
    own.split_once('{').is_some_and(|(before, rest)| {
        let after = rest.split_once('}').map_or("", |(_, after)| after);
        let tenant = iss.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
        tenant.is_some_and(|tenant| !tenant.contains('/'))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_issuer_is_found_by_its_url_or_its_trust_domain() {
        let issuer = |member: &str, value: &str| json!({ "profile": "at+jwt", "algorithms": ["ES256"], "max_lifetime": "1h", "keys": {}, member: value });
        let document: Document = serde_json::from_value(json!({
            "callgate": "v1", "name": "test", "mode": "enforce", "gateway": "envoy", "resource": "https://api.example.com",
            "hosts": ["api.example.com"], "agents": {}, "endpoints": [],
            "issuers": {
                "corp": issuer("issuer", "https://idp.example.com"),
                "tenants": issuer("issuer", "https://login.example.com/{tenant}/v2.0"),
                "workloads": issuer("trust_domain", "example.org"),
            },
            "upstream": { "authorization": "remove" }, "audit": { "log": { "allow": false, "deny": false } },
        }))
        .unwrap();
        for (claims, name) in [
            (json!({ "iss": "https://idp.example.com" }), Some("corp")),
            (json!({ "iss": "https://login.example.com/t1/v2.0" }), Some("tenants")),
            (json!({ "iss": "https://login.example.com/t1/t2/v2.0" }), None),
            (json!({ "sub": "spiffe://example.org/ns/prod/agent" }), Some("workloads")),
            (json!({ "iss": "https://spire.example.org", "sub": "spiffe://example.org/agent" }), Some("workloads")),
            (json!({ "sub": "spiffe://example.com/agent" }), None),
            (json!({ "sub": "example.org" }), None),
            (json!({}), None),
        ] {
            assert_eq!(issuer_of(&document, &claims), name, "{claims}");
        }
    }
}
