//! What each agent can reach, with some credential that it can have.

use callgate::Timestamp;
use callgate::document::{self, DelegationAsked, SignatureAsked};
use callgate::policy::{Agent, Endpoint, Reachable, parse_expiry};

use super::request::Known;
use super::roles::{Held, applies};
use super::{Caller, Excluded, Kind, Operation, State, Subject, bindings, class_of, scopes};

/// Returns what agents can reach: all of them, or only the one of this name. Public endpoints come first, and unregistered clients last.
pub(crate) fn agents(subject: &Subject<'_>, only: Option<&str>) -> Vec<Caller> {
    let mut callers = Vec::new();
    if only.is_none() {
        callers.extend(anyone(subject).filter(|caller| !caller.reaches.is_empty()));
    }
    let policy = &subject.loaded.policy;
    let wanted = policy.registered_agents().filter(|agent| only.is_none_or(|only| *agent.name == *only));
    callers.extend(wanted.filter_map(|agent| {
        let raw = subject.document.agents.get(&*agent.name)?;
        Some(caller(subject, Some((agent, raw))))
    }));
    if only.is_none() && policy.accepts_unregistered() {
        callers.push(caller(subject, None));
    }
    callers
}

/// Returns what can be reached without a credential.
fn anyone(subject: &Subject<'_>) -> Option<Caller> {
    let public = subject.endpoints().filter(|(endpoint, _)| endpoint.is_public());
    let reaches = public.map(|(endpoint, raw)| subject.reached(endpoint, raw, None, Known::default())).collect();
    let (agent, each, owner, cannot_reach) = (None, None, None, Vec::new());
    Some(Caller { agent, kind: Kind::Anyone, each, owner, state: State::Active, reaches, cannot_reach })
}

fn caller(subject: &Subject<'_>, of: Option<(&Agent, &document::Agent)>) -> Caller {
    let policy = &subject.loaded.policy;
    let (agent, raw) = (of.map(|(agent, _)| agent), of.map(|(_, raw)| raw));
    let name = agent.map(|agent| &*agent.name);
    let known = Known { claims: None, attributes: raw.map(|raw| &raw.attributes) };
    let held =
        of.map_or(Held::UNREGISTERED, |(agent, raw)| Held::of(&subject.document, &agent.name, raw, subject.time));
    let (mut reaches, mut cannot_reach) = (Vec::new(), Vec::new());
    for (endpoint, own) in subject.endpoints().filter(|(endpoint, _)| !endpoint.is_public()) {
        let reachable =
            agent.map_or_else(|| policy.reach_of_unregistered(endpoint), |agent| policy.reach_of(agent, endpoint));
        let asked = subject.delegation(own);
        let roles = held.roles(endpoint, asked);
        let needs_key = !held.signing_key && endpoint.asks_signature() == Some(SignatureAsked::Required);
        let why = why_not(reachable)
            .or_else(|| own.suspended.then(|| "the endpoint is suspended".to_owned()))
            .or_else(|| roles.is_none().then(|| lacks_credential(endpoint, asked)))
            .or_else(|| needs_key.then(|| "requests must be signed, and it has no signing key".to_owned()))
            .or_else(|| lacks_attribute(raw, own.bind.iter()));
        let observed = subject.observes(endpoint);
        if let Some(why) = why.filter(|_| !observed) {
            cannot_reach.push(Excluded { endpoint: own.id.clone(), operation: None, why });
            continue;
        }
        let mut reached = subject.reached(endpoint, own, name, known);
        // Who may use no operation cannot ask for lists either.
        let (mut excluded, mut is_admitted) = (Vec::new(), own.rpc.is_none() || observed);
        for operation in policy.operations_of(agent, endpoint) {
            let mut entries = own.rpc.iter().flat_map(|rpc| rpc.operations());
            let is_it = |entry: &document::OperationEntry<'_>| {
                entry.name == operation.name && entry.list.strip_suffix('s') == Some(operation.kind)
            };
            let Some(entry) = entries.find(is_it) else { continue };
            let asked = subject.delegation_of(own, &entry).unwrap_or(asked);
            let roles = held.with_scopes(roles.limited_to(asked), &operation.scopes);
            let why =
                why_not(operation.reachable).or_else(|| roles.is_none().then(|| lacks_credential(endpoint, asked)));
            is_admitted |= why.is_none();
            let why = why.or_else(|| lacks_attribute(raw, entry.bind.iter()));
            match why.filter(|_| !observed) {
                Some(why) => excluded.push(Excluded {
                    endpoint: own.id.clone(),
                    operation: Some(operation.name.to_owned()),
                    why,
                }),
                None => reached.operations.push(Operation {
                    kind: operation.kind,
                    name: operation.name.to_owned(),
                    effect: operation.effect.name(),
                    scopes: scopes(operation.scopes.0, operation.scopes.1),
                    bindings: bindings(entry.bind.iter(), operation.bindings.into_iter(), known),
                }),
            }
        }
        if is_admitted {
            cannot_reach.append(&mut excluded);
            reaches.push(reached);
        } else {
            let why = excluded.into_iter().next().map_or_else(|| "it lists no operation".to_owned(), |first| first.why);
            cannot_reach.push(Excluded { endpoint: own.id.clone(), operation: None, why });
        }
    }
    let kind = if agent.is_some() { Kind::Agent } else { Kind::Unregistered };
    let revoked = |entry: &document::Revoked| {
        entry.agent.is_some() && entry.agent.as_deref() == name && applies(entry, subject.time)
    };
    let state = match raw {
        Some(raw) if raw.suspended || subject.document.revoked.iter().any(revoked) => State::Suspended,
        Some(raw) if raw.expires.as_deref().is_some_and(|expires| is_over(expires, subject.time)) => State::Expired,
        _ => State::Active,
    };
    Caller {
        agent: name.map(str::to_owned),
        kind,
        each: raw.and_then(class_of),
        owner: raw.map(|raw| raw.owner.clone()),
        state,
        reaches,
        cannot_reach,
    }
}

/// Returns why the policy excludes an agent from something, in words.
fn why_not(reachable: Reachable) -> Option<String> {
    match reachable {
        Reachable::Yes => None,
        Reachable::NotListed => Some("`agents` does not list it".to_owned()),
        Reachable::Ceiling => Some("its `at_most` excludes this".to_owned()),
    }
}

/// States which credentials an endpoint accepts, for a caller that can have none of them.
fn lacks_credential(endpoint: &Endpoint, asked: DelegationAsked) -> String {
    let accepted: Vec<&str> = endpoint.accepted_credentials().iter().map(|kind| kind.name()).collect();
    match asked {
        DelegationAsked::None => format!("it has no {} of its own", accepted.join(" or ")),
        DelegationAsked::Allowed => format!("it has no {}", accepted.join(" or ")),
        DelegationAsked::Required => "only requests for somebody else are accepted, and it cannot send them".to_owned(),
    }
}

/// Returns the attribute that a binding needs and the agent lacks.
fn lacks_attribute<'b>(
    raw: Option<&document::Agent>,
    mut bindings: impl Iterator<Item = (&'b str, &'b document::BindingRule)>,
) -> Option<String> {
    let attributes = raw.map(|raw| &raw.attributes);
    bindings.find_map(|(part, rule)| {
        let document::Operand::Reference(written) = &rule.operand else { return None };
        let name = written.strip_prefix("agent.")?;
        let has = attributes.is_some_and(|attributes| attributes.contains_key(name));
        (!has).then(|| format!("`{part}` is bound to the attribute `{name}`, which it does not have"))
    })
}

/// Returns whether a registration that ends at this moment, or with this day in UTC, is over.
pub(super) fn is_over(expires: &str, time: u64) -> bool {
    parse_expiry(expires).is_some_and(|end| end <= Timestamp::from_secs(time))
}

#[cfg(test)]
mod tests {
    use callgate_kit::document::parse;
    use callgate_kit::mint::{Algorithm, SigningKey};
    use callgate_kit::policy::{compile, environment};
    use serde_json::{Value, json};

    use super::*;

    /// 2027-01-15T08:00:00Z.
    const NOW: u64 = 1_800_000_000;

    /// Returns for each agent the endpoints and operations that it can reach, and its state.
    fn reached(changes: &Value) -> Vec<(String, Vec<String>, State)> {
        let new_key = || SigningKey::generate(Algorithm::Es256).unwrap().with_kid("k");
        let client = |name: &str| json!({ "owner": "o", "identity": { "issuer": "corp", "client_id": name } });
        let issuer = |iss: &str| {
            json!({ "issuer": iss, "profile": "at+jwt", "algorithms": ["ES256"], "max_lifetime": "1h",
                    "keys": { "jwks": { "keys": [new_key().public_jwk()] } } })
        };
        let endpoint = |id: &str, field: &str, value: Value| {
            let mut endpoint =
                json!({ "id": id, "methods": ["POST"], "path": format!("/{id}"), "effect": "read", "scopes": "none" });
            endpoint[field] = value;
            endpoint
        };
        let rpc = json!({ "protocol": "mcp", "revisions": ["2025-11-25"], "tools": [
            { "name": "wipe", "effect": "destructive", "scopes": "none" }
        ] });
        let mut tools = endpoint("tools", "rpc", rpc);
        tools["delegation"] = json!("allowed");
        let mut signed = endpoint("signed", "authenticate", json!(["token", "signature"]));
        signed["replay"] = json!(false);
        let mut document = json!({
            "callgate": "v1", "name": "roles", "mode": "enforce", "gateway": "envoy", "resource": "https://api.example.com",
            "hosts": ["api.example.com"],
            "issuers": { "corp": issuer("https://idp.example.com"), "other": issuer("https://other.example.com") },
            "delegation": {},
            "agents": {
                "actor": { "owner": "o", "identity": { "actor": { "issuer": "corp", "sub": "actor", "clients": ["web"] } } },
                "client": client("client"),
                "signer": { "owner": "o", "signing_keys": [{ "jwk": new_key().public_jwk() }] },
            },
            "requirements": { "destructive": { "delegation": "none" } },
            "endpoints": [
                endpoint("own", "delegation", json!("none")),
                endpoint("either", "delegation", json!("allowed")),
                endpoint("others", "delegation", json!("required")),
                signed,
                tools,
            ],
            "upstream": { "authorization": "remove" }, "audit": { "log": { "allow": false, "deny": false } },
        });
        document.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let text = document.to_string();
        let parsed = parse("roles.json", text.as_bytes()).unwrap_or_else(|problems| panic!("{problems}"));
        let loaded = compile(parsed, &environment).unwrap_or_else(|problems| panic!("{problems}"));
        let subject = Subject::new(&loaded, NOW, None).unwrap();
        let callers = agents(&subject, None).into_iter();
        callers
            .map(|caller| {
                let name = caller.agent.unwrap_or_default();
                (name, caller.reaches.into_iter().map(|reached| reached.endpoint).collect(), caller.state)
            })
            .collect()
    }

    fn row(name: &str, endpoints: &[&str], state: State) -> (String, Vec<String>, State) {
        (name.to_owned(), endpoints.iter().map(|id| (*id).to_owned()).collect(), state)
    }

    #[test]
    fn an_agent_reaches_only_what_accepts_a_credential_that_it_can_have() {
        assert_eq!(
            reached(&json!({})),
            [
                // The only tool accepts no delegation.
                row("actor", &["either", "others"], State::Active),
                row("client", &["own", "either", "signed", "tools"], State::Active),
                row("signer", &["signed"], State::Active),
            ]
        );
        let no_actors = json!({ "delegation": { "actors": ["actor"] }, "revoked": [{ "actor": "actor" }] });
        assert_eq!(reached(&no_actors)[0], row("actor", &[], State::Active));
    }

    #[test]
    fn an_actor_whose_tokens_carry_no_scope_reaches_only_what_requires_none() {
        let key = SigningKey::generate(Algorithm::Es256).unwrap().with_kid("k");
        let endpoint = |id: &str, delegation: &str, scopes: Value| {
            json!({ "id": id, "methods": ["POST"], "path": format!("/{id}"), "effect": "read", "scopes": scopes,
                    "delegation": delegation })
        };
        let tool = |name: &str, scopes: Value| json!({ "name": name, "effect": "read", "scopes": scopes });
        let mut tools = endpoint("tools", "required", json!("none"));
        tools["rpc"] =
            json!({ "protocol": "mcp", "revisions": ["2025-11-25"], "tools": [tool("scoped", json!(["x"]))] });
        let changed = |scopes: Value| {
            let identity = json!({ "issuer": "corp", "client_id": "a", "actor": { "issuer": "corp", "sub": "a" } });
            json!({
                "issuers": { "corp": {
                    "issuer": "https://idp.example.com", "profile": "jwt", "audience": "api", "algorithms": ["ES256"],
                    "max_lifetime": "1h",
                    "keys": { "jwks": { "keys": [key.public_jwk()] } },
                    "token": { "typ": ["at+jwt"], "distinguished_by": "typ", "client": "azp", "scopes": scopes }
                } },
                "agents": { "a": { "owner": "o", "identity": identity, "scopes": ["x"] } },
                "endpoints": [
                    endpoint("either", "allowed", json!(["x"])),
                    endpoint("others", "required", json!(["x"])),
                    endpoint("plain", "required", json!("none")),
                    tools,
                ],
                "requirements": {},
            })
        };
        // The scope in the entry counts for the agent's own requests.
        assert_eq!(reached(&changed(json!([]))), [row("a", &["either", "plain"], State::Active)]);
        let claim = json!([{ "claim": "scope", "form": "string" }]);
        assert_eq!(reached(&changed(claim)), [row("a", &["either", "others", "plain", "tools"], State::Active)]);
    }

    #[test]
    fn whoever_is_only_observed_reaches_everything() {
        let everything = &["own", "either", "others", "signed", "tools"][..];
        for (name, endpoints, _) in reached(&json!({ "mode": "observe" })) {
            assert_eq!(endpoints, everything, "{name}");
        }
    }

    #[test]
    fn what_the_policy_revokes_reaches_nothing() {
        for (entry, endpoints, state) in [
            (json!({ "agent": "client" }), &["own", "either", "signed", "tools"][..], State::Suspended),
            (json!({ "issuer": "corp" }), &[], State::Active),
            (json!({ "issuer": "corp", "client": "client" }), &[], State::Active),
            (json!({ "issuer": "corp", "client": "another" }), &["own", "either", "signed", "tools"], State::Active),
            (json!({ "issuer": "other" }), &["own", "either", "signed", "tools"], State::Active),
            // Others can be issued, or have been.
            (
                json!({ "agent": "client", "issued_before": "2027-01-01" }),
                &["own", "either", "signed", "tools"],
                State::Active,
            ),
            (json!({ "agent": "client", "until": "2027-01-14" }), &["own", "either", "signed", "tools"], State::Active),
            (
                json!({ "agent": "client", "until": "2027-01-15" }),
                &["own", "either", "signed", "tools"],
                State::Suspended,
            ),
        ] {
            let all = reached(&json!({ "revoked": [entry] }));
            assert_eq!(all[1], row("client", endpoints, state), "{entry}");
        }
    }

    #[test]
    fn a_registration_ends_at_its_moment_or_after_its_day() {
        // 2027-06-30T12:00:00Z
        let noon = 1_814_356_800;
        assert!(!is_over("2027-06-30T12:00:00Z", noon - 1) && is_over("2027-06-30T12:00:00Z", noon));
        assert!(!is_over("2027-06-30", noon + 43_199) && is_over("2027-06-30", noon + 43_200));
    }
}
