//! What each agent can reach, with some credential that it can have.

use callgate::document;
use callgate::policy::{Agent, Endpoint, Reachable};
use callgate_kit::moment::Moment;

use super::request::Known;
use super::{Caller, Excluded, Kind, Operation, State, Subject, bindings, scopes};

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
    let (agent, owner) = (None, None);
    Some(Caller { agent, kind: Kind::Anyone, owner, state: State::Active, reaches, cannot_reach: Vec::new() })
}

fn caller(subject: &Subject<'_>, of: Option<(&Agent, &document::Agent)>) -> Caller {
    let policy = &subject.loaded.policy;
    let (agent, raw) = (of.map(|(agent, _)| agent), of.map(|(_, raw)| raw));
    let name = agent.map(|agent| &*agent.name);
    let known = Known { claims: None, attributes: raw.map(|raw| &raw.attributes) };
    let (mut reaches, mut cannot_reach) = (Vec::new(), Vec::new());
    for (endpoint, own) in subject.endpoints().filter(|(endpoint, _)| !endpoint.is_public()) {
        let reachable =
            agent.map_or_else(|| policy.reach_of_unregistered(endpoint), |agent| policy.reach_of(agent, endpoint));
        let why = why_not(reachable)
            .or_else(|| own.suspended.then(|| "the endpoint is suspended".to_owned()))
            .or_else(|| lacks_credential(raw, endpoint))
            .or_else(|| lacks_attribute(raw, own));
        if let Some(why) = why {
            cannot_reach.push(Excluded { endpoint: own.id.clone(), operation: None, why });
            continue;
        }
        let mut reached = subject.reached(endpoint, own, name, known);
        for operation in policy.operations_of(agent, endpoint) {
            let mut entries = own.rpc.iter().flat_map(|rpc| rpc.operations());
            let is_it = |entry: &document::OperationEntry<'_>| {
                entry.name == operation.name && entry.list.strip_suffix('s') == Some(operation.kind)
            };
            let Some(entry) = entries.find(is_it) else { continue };
            match why_not(operation.reachable) {
                Some(why) => cannot_reach.push(Excluded {
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
        reaches.push(reached);
    }
    let kind = if agent.is_some() { Kind::Agent } else { Kind::Unregistered };
    let state = match (raw, agent) {
        (Some(raw), _) if raw.suspended => State::Suspended,
        (Some(raw), _) if raw.expires.as_deref().is_some_and(|expires| is_over(expires, subject.time)) => {
            State::Expired
        }
        _ => State::Active,
    };
    Caller {
        agent: name.map(str::to_owned),
        kind,
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

/// Returns which credentials an endpoint accepts if the agent can have none of them.
fn lacks_credential(raw: Option<&document::Agent>, endpoint: &Endpoint) -> Option<String> {
    // An unregistered client has a token.
    let has_identity = raw.is_none_or(|raw| raw.identity.is_some());
    let has = |kind: &str| match kind {
        "signature" | "web-bot-auth" => raw.is_some_and(|raw| raw.signing_keys.is_some()),
        "api-key" => raw.is_some_and(|raw| raw.api_keys.is_some()),
        // A token, or a certificate that the entry describes.
        _ => has_identity,
    };
    let accepted: Vec<&str> = endpoint.accepted_credentials().iter().map(|kind| kind.name()).collect();
    let lacks = !accepted.iter().any(|kind| has(kind));
    lacks.then(|| format!("it has no {}", accepted.join(" or ")))
}

/// Returns the attribute that a binding of an endpoint needs and the agent lacks.
fn lacks_attribute(raw: Option<&document::Agent>, endpoint: &document::Endpoint) -> Option<String> {
    let attributes = raw.map(|raw| &raw.attributes);
    endpoint.bind.iter().find_map(|(part, rule)| {
        let document::Operand::Reference(written) = &rule.operand else { return None };
        let name = written.strip_prefix("agent.")?;
        let has = attributes.is_some_and(|attributes| attributes.contains_key(name));
        (!has).then(|| format!("`{part}` is bound to the attribute `{name}`, which it does not have"))
    })
}

/// Returns whether a registration that ends at this moment, or with this day in UTC, is over.
fn is_over(expires: &str, time: u64) -> bool {
    let is_moment = expires.contains(['T', 't']);
    let end = if is_moment { expires.to_owned() } else { format!("{expires}T23:59:59Z") };
    let last = end.parse::<Moment>().map(Moment::resolve);
    last.is_ok_and(|last| if is_moment { last <= time } else { last < time })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_ends_at_its_moment_or_after_its_day() {
        // 2027-06-30T12:00:00Z
        let noon = 1_814_356_800;
        assert!(!is_over("2027-06-30T12:00:00Z", noon - 1) && is_over("2027-06-30T12:00:00Z", noon));
        assert!(!is_over("2027-06-30", noon + 43_199) && is_over("2027-06-30", noon + 43_200));
    }
}
