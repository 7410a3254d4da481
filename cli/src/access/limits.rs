//! The limits of an endpoint with the numbers that apply to a caller.

use callgate::document::{Dimension, Document, LimitKeyPart};
use callgate::identity::token::ClaimName;
use serde::Serialize;
use serde_json::Value;

/// A limit with its numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct LimitNumbers {
    pub(crate) name: String,
    pub(crate) per: Vec<String>,
    pub(crate) rate: String,
    pub(crate) burst: u32,
    pub(crate) numbers_of: Option<String>,
}

/// Returns a limit with the numbers that apply to an agent and to a token with these claims. `written` is the document as its author wrote
/// it, which has the rates as text.
pub(super) fn numbers(
    document: &Document,
    written: &Value,
    name: &str,
    agent: Option<&str>,
    claims: Option<&Value>,
) -> Option<LimitNumbers> {
    let limit = document.limits.get(name)?;
    let of_agent = agent.and_then(|agent| Some((agent, document.agents.get(agent)?)));
    let own = of_agent.and_then(|(agent, entry)| Some((agent, entry.limits.get(name)?)));
    let tier = limit.tier.as_deref().and_then(|tier| tier.split_once('.')).and_then(|(source, value)| match source {
        "agent" => of_agent.and_then(|(_, entry)| entry.attributes.get(value)?.as_str()),
        _ => ClaimName::parse(value).ok()?.find(claims?)?.as_str(),
    });
    let tier = tier.and_then(|tier| Some((tier, limit.tiers.get(tier)?)));
    let member = |path: [&str; 4]| {
        let mut value = written;
        for name in path.into_iter().filter(|name| !name.is_empty()) {
            value = value.get(name)?;
        }
        value.get("rate")?.as_str().map(str::to_owned)
    };
    let (burst, rate, numbers_of) = match (own, tier) {
        (Some((agent, numbers)), _) => {
            (numbers.burst, member(["agents", agent, "limits", name]), Some(format!("agent {agent}")))
        }
        (None, Some((tier, numbers))) => {
            (numbers.burst, member(["limits", name, "tiers", tier]), Some(format!("tier {tier}")))
        }
        (None, None) => (limit.burst, member(["limits", name, "", ""]), None),
    };
    let part = |part: &LimitKeyPart| match part {
        LimitKeyPart::Dimension(Dimension::Agent) => "agent".to_owned(),
        LimitKeyPart::Dimension(Dimension::Issuer) => "issuer".to_owned(),
        LimitKeyPart::Dimension(Dimension::Source) => "source".to_owned(),
        LimitKeyPart::Dimension(Dimension::Endpoint) => "endpoint".to_owned(),
        LimitKeyPart::Dimension(Dimension::Tool) => "tool".to_owned(),
        LimitKeyPart::Reference(written) => written.clone(),
    };
    let per = limit.per.0.iter().map(part).collect();
    Some(LimitNumbers { name: name.to_owned(), per, rate: rate.unwrap_or_default(), burst, numbers_of })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_numbers_of_the_agent_come_before_those_of_its_tier() {
        let written = json!({
            "callgate": "v1", "name": "test", "mode": "enforce", "gateway": "envoy", "resource": "https://api.example.com",
            "hosts": ["api.example.com"], "issuers": {}, "endpoints": [],
            "agents": {
                "a": { "owner": "o", "attributes": { "plan": "gold" } },
                "b": { "owner": "o", "attributes": { "plan": "gold" }, "limits": { "calls": { "rate": "3/1s", "burst": 3 } } },
                "c": { "owner": "o", "attributes": { "plan": ["gold"] } }
            },
            "limits": {
                "calls": {
                    "per": ["agent", "token.org"], "rate": "1/1s", "burst": 1,
                    "tiers": { "gold": { "rate": "2/1s", "burst": 2 } }, "tier": "agent.plan"
                },
                "org": {
                    "per": "issuer", "rate": "1/1s", "burst": 1,
                    "tiers": { "gold": { "rate": "2/1s", "burst": 2 } }, "tier": "token./org/plan"
                }
            },
            "upstream": { "authorization": "remove" }, "audit": { "log": { "allow": false, "deny": false } },
        });
        let document: Document = serde_json::from_value(written.clone()).unwrap();
        let of = |name: &str, agent: Option<&str>, claims: Value| {
            let numbers = numbers(&document, &written, name, agent, Some(&claims)).unwrap();
            (numbers.rate, numbers.burst, numbers.numbers_of)
        };
        let own = ("1/1s".to_owned(), 1, None);
        let gold = ("2/1s".to_owned(), 2, Some("tier gold".to_owned()));
        assert_eq!(of("calls", Some("a"), json!({ "plan": "lead" })), gold);
        assert_eq!(of("calls", Some("b"), json!({})), ("3/1s".to_owned(), 3, Some("agent b".to_owned())));
        assert_eq!(of("calls", Some("c"), json!({})), own);
        assert_eq!(of("calls", None, json!({ "plan": "gold" })), own);
        assert_eq!(of("org", None, json!({ "org": { "plan": "gold" } })), gold);
        assert_eq!(of("org", Some("a"), json!({ "org": { "plan": "lead" } })), own);
        let calls = numbers(&document, &written, "calls", None, None).unwrap();
        assert_eq!(calls.per, ["agent", "token.org"]);
    }
}
