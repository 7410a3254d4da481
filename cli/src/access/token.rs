//! What one token reaches: the engine decides a request to each endpoint that satisfies the endpoint's bindings.
//!
//! Some requests cannot be made here: nobody but the token's sender has the key that a token is bound to, or the agent's signing key, and the
//! keys of an issuer may be unknown. What the engine denies for these reasons alone counts as reachable, and the report states what is
//! needed. To see the decisions behind a check that fails for such a reason, the token is issued again under a copy of the policy that has a
//! new key for its issuer. That token never leaves this process.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use callgate::document::{self, Document, OperationEntry};
use callgate::identity::token::json;
use callgate::policy::{Endpoint, Policy};
use callgate::{Check, Decision, Headers, Reason, SecretLookup, Trace, Traced};
use callgate_kit::mint::{Algorithm, SigningKey};
use callgate_kit::moment;
use callgate_kit::policy::{compile, environment};
use serde_json::{Value, json};

use super::request::{Draft, Known, draft, rounds};
use super::{Caller, Excluded, Kind, Operation, Rejected, State, Subject, TokenFacts, bindings, scopes};
use crate::decide::{Asked, Body, Undecidable, decide};

/// A token, and the key sets of issuers whose keys are fetched, by the issuer's name.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a> {
    pub(crate) token: &'a str,
    pub(crate) keys: &'a [(String, Vec<u8>)],
}

/// Returns what is known about a token, and what it reaches.
///
/// # Errors
/// States what is missing to evaluate the token.
pub(crate) fn token(subject: &Subject<'_>, given: Given<'_>) -> Result<(TokenFacts, Caller), String> {
    let mut bearer = Bearer::new(subject, given);
    bearer.identify()?;
    let (mut reaches, mut cannot_reach) = (Vec::new(), Vec::new());
    for (endpoint, raw) in subject.endpoints() {
        let exclude = |operation: Option<&str>, why: String| Excluded {
            endpoint: raw.id.clone(),
            operation: operation.map(str::to_owned),
            why,
        };
        let entries: Vec<OperationEntry<'_>> = raw.rpc.iter().flat_map(|rpc| rpc.operations()).collect();
        let mut operations = Vec::new();
        let mut why = None;
        if entries.is_empty() || !raw.methods.iter().any(|method| method == "POST") {
            why = bearer.why_not(endpoint, raw, None)?;
        } else {
            let mut excluded = Vec::new();
            for entry in &entries {
                match bearer.why_not(endpoint, raw, Some(entry))? {
                    None => operations.extend(operation(subject, endpoint, entry, bearer.known())),
                    Some(why) => excluded.push(exclude(Some(entry.name), why)),
                }
            }
            if operations.is_empty() {
                why = excluded.first().map(|first| first.why.clone());
            } else {
                cannot_reach.append(&mut excluded);
            }
        }
        match why {
            Some(why) => cannot_reach.push(exclude(None, why)),
            None => {
                let mut reached = subject.reached(endpoint, raw, bearer.facts.agent.as_deref(), bearer.known());
                reached.operations = operations;
                reaches.push(reached);
            }
        }
    }
    let agent = bearer.facts.agent.clone();
    let owner = agent.as_ref().and_then(|agent| subject.document.agents.get(agent)).map(|agent| agent.owner.clone());
    let caller = Caller { agent, kind: Kind::Token, owner, state: State::Active, reaches, cannot_reach };
    Ok((bearer.into_facts(), caller))
}

fn operation(
    subject: &Subject<'_>,
    endpoint: &Endpoint,
    entry: &OperationEntry<'_>,
    known: Known<'_>,
) -> Option<Operation> {
    let all = subject.loaded.policy.operations_of(None, endpoint);
    let own = all.into_iter().find(|own| own.name == entry.name && entry.list.strip_suffix('s') == Some(own.kind))?;
    Some(Operation {
        kind: own.kind,
        name: own.name.to_owned(),
        effect: own.effect.name(),
        scopes: scopes(own.scopes.0, own.scopes.1),
        bindings: bindings(entry.bind.iter(), own.bindings.into_iter(), known),
    })
}

/// The holder of a token.
struct Bearer<'a> {
    subject: &'a Subject<'a>,
    /// The policy and the token as given.
    given: Gate<'a>,
    /// The same with a new key for the token's issuer, once it was needed.
    reissued: Option<Gate<'a>>,
    header: Value,
    claims: Value,
    facts: TokenFacts,
    /// Why the token itself was rejected, and whether it was accepted anywhere.
    rejected: Option<Reason>,
    accepted: bool,
}

/// What the engine decided about the token of a request.
enum Credential {
    Accepted,
    /// The keys or the secret of its issuer are not known here.
    Unverifiable,
    Rejected,
}

impl<'a> Bearer<'a> {
    fn new(subject: &'a Subject<'a>, given: Given<'a>) -> Self {
        let (header, claims) = decode(given.token).unwrap_or_default();
        let time = claims.get("exp").and_then(Value::as_u64);
        let facts = TokenFacts {
            verified: true,
            bound: claims.get("cnf").is_some(),
            expires: time.map(moment::show),
            ..TokenFacts::default()
        };
        let policy = Arc::clone(&subject.loaded.policy);
        let gate = Gate { policy, token: given.token.to_owned(), keys: given.keys, time: subject.time };
        Self { subject, given: gate, reissued: None, header, claims, facts, rejected: None, accepted: false }
    }

    fn known(&self) -> Known<'_> {
        let agent = self.facts.agent.as_deref();
        Known { claims: Some(&self.claims), attributes: self.subject.attributes(agent) }
    }

    /// Finds the agent, whose attributes later requests depend on.
    fn identify(&mut self) -> Result<(), String> {
        let subject = self.subject;
        for (_, raw) in subject.endpoints() {
            let draft = draft(
                &subject.document,
                raw,
                raw.rpc.iter().flat_map(|rpc| rpc.operations()).next().as_ref(),
                self.known(),
                0,
            );
            self.ask(&draft)?;
            if self.accepted {
                break;
            }
        }
        Ok(())
    }

    /// Returns why the token cannot be used for an endpoint, or for one of its operations.
    fn why_not(
        &mut self,
        endpoint: &Endpoint,
        raw: &document::Endpoint,
        operation: Option<&OperationEntry<'_>>,
    ) -> Result<Option<String>, String> {
        let accepted = endpoint.accepted_credentials();
        if !endpoint.is_public() && !accepted.iter().any(|kind| kind.name() == "token") {
            let names: Vec<&str> = accepted.iter().map(|kind| kind.name()).collect();
            return Ok(Some(format!("it accepts {} and no token", names.join(" or "))));
        }
        let mut why = None;
        for round in 0..rounds(raw, operation, self.known()) {
            let draft = draft(&self.subject.document, raw, operation, self.known(), round);
            why = self.ask(&draft)?;
            if why.is_none() {
                break;
            }
        }
        Ok(why)
    }

    /// Decides a request. Returns why it is denied, apart from what only the token's sender can provide.
    fn ask(&mut self, draft: &Draft) -> Result<Option<String>, String> {
        let bound = self.facts.bound;
        let answer = self.given.ask(draft)?;
        let credential = self.credential(&answer);
        if answer.is_allowed {
            self.note(&answer, &credential);
            return Ok(None);
        }
        match credential {
            Credential::Accepted => {
                self.note(&answer, &credential);
                let why = answer.blocking(bound).map(describe);
                // Without a proof, the engine does not look at what the caller may do.
                if why.is_some() || !bound {
                    return Ok(why);
                }
                let (again, _) = self.ask_reissued(draft)?;
                self.facts.agent = self.facts.agent.take().or_else(|| again.agent.clone());
                Ok(again.blocking(bound).map(describe))
            }
            Credential::Rejected => {
                self.note(&answer, &credential);
                Ok(answer.blocking(false).map(describe))
            }
            Credential::Unverifiable => {
                self.facts.verified = false;
                let (again, credential) = self.ask_reissued(draft)?;
                self.note(&again, &credential);
                if again.is_allowed { Ok(None) } else { Ok(again.blocking(bound).map(describe)) }
            }
        }
    }

    fn ask_reissued(&mut self, draft: &Draft) -> Result<(Answer, Credential), String> {
        let gate = match self.reissued.take() {
            Some(gate) => gate,
            None => self.reissue()?,
        };
        let answer = gate.ask(draft);
        self.reissued = Some(gate);
        let answer = answer?;
        let credential = match answer.credential().map(|traced| traced.denied) {
            Some(Some(_)) => Credential::Rejected,
            Some(None) | None => Credential::Accepted,
        };
        Ok((answer, credential))
    }

    fn credential(&self, answer: &Answer) -> Credential {
        let Some(traced) = answer.credential() else { return Credential::Accepted };
        match traced.denied.map(Reason::code) {
            None => Credential::Accepted,
            Some("keys_unavailable") => Credential::Unverifiable,
            Some("token_signature") if self.lacks_secret() => Credential::Unverifiable,
            Some(_) => Credential::Rejected,
        }
    }

    /// Reports whether the token's issuer has a secret that is not in the environment.
    fn lacks_secret(&self) -> bool {
        let issuer =
            issuer_of(&self.subject.document, &self.claims).and_then(|name| self.subject.document.issuers.get(name));
        let secret = issuer.and_then(|issuer| issuer.keys.secret.as_ref());
        secret.is_some_and(|secret| matches!(environment(&secret.env), SecretLookup::NotNeeded))
    }

    /// Takes over what an answer shows about the token.
    fn note(&mut self, answer: &Answer, credential: &Credential) {
        let Some(traced) = answer.credential() else { return };
        if matches!(credential, Credential::Rejected) {
            self.rejected = self.rejected.or(traced.denied);
            return;
        }
        self.accepted = true;
        let fact = |name: &str| traced.facts.iter().find(|(own, _)| *own == name).map(|(_, value)| value.clone());
        let TokenFacts { issuer, client, subject, agent, .. } = &mut self.facts;
        *issuer = issuer.take().or_else(|| fact("issuer"));
        *client = client.take().or_else(|| fact("client"));
        *subject = subject.take().or_else(|| fact("subject"));
        *agent = agent.take().or_else(|| answer.agent.clone());
    }

    /// Returns the policy with a new key for the token's issuer, and the token signed with it. A bound token loses its binding.
    fn reissue(&self) -> Result<Gate<'a>, String> {
        const SECRET: &str = "CALLGATE_ACCESS_SECRET";
        let Subject { loaded, document, .. } = self.subject;
        let issuer = issuer_of(document, &self.claims).ok_or("the token's issuer is not in the policy")?;
        let header = |name: &str| self.header.get(name).and_then(Value::as_str);
        let named = header("alg").and_then(Algorithm::from_jose).ok_or("the token has no known `alg`")?;
        let mut issuers = loaded.document.value().get("issuers").cloned().unwrap_or_default();
        let accepted = issuers.get(issuer).and_then(|issuer| issuer.get("algorithms")?.as_array());
        if !accepted.into_iter().flatten().any(|own| own.as_str().and_then(Algorithm::from_jose) == Some(named)) {
            return Err(format!("the issuer `{issuer}` does not sign with the `alg` of the token"));
        }
        let algorithm = if self.facts.bound { Algorithm::Es256 } else { named };
        let mut key = SigningKey::generate(algorithm).map_err(|error| error.to_string())?;
        if let Some(kid) = header("kid") {
            key = key.with_kid(kid);
        }
        let secret =
            key.private_jwk().get("k").and_then(Value::as_str).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let keys = match &secret {
            Some(_) => json!({ "secret": { "env": SECRET } }),
            None => json!({ "jwks": { "keys": [key.public_jwk()] } }),
        };
        if let Some(Value::Object(members)) = issuers.get_mut(issuer) {
            members.insert("keys".to_owned(), keys);
            if self.facts.bound {
                members.insert("algorithms".to_owned(), json!([algorithm.jose_name()]));
            }
        }
        let mut changed = loaded.document.clone().with("issuers", issuers);
        if let Some(Value::Object(mut dpop)) = changed.value().get("dpop").cloned() {
            dpop.insert("required".to_owned(), json!(false));
            changed = changed.with("dpop", Value::Object(dpop));
        }
        let secrets = |name: &str| match &secret {
            Some(secret) if name == SECRET => SecretLookup::Found(secret.clone()),
            _ => environment(name),
        };
        let compiled = compile(changed, &secrets).map_err(|problems| problems.to_string())?;
        let token = if self.facts.bound {
            let (mut header, mut claims) = (self.header.clone(), self.claims.clone());
            if let (Value::Object(header), Value::Object(claims)) = (&mut header, &mut claims) {
                header.insert("alg".to_owned(), json!(algorithm.jose_name()));
                claims.remove("cnf");
            }
            key.sign(&header, &claims)
        } else {
            let signed = self.given.token.rsplit_once('.').map_or("", |(signed, _)| signed);
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(key.signature(signed.as_bytes())))
        };
        Ok(Gate { policy: compiled.policy, token, keys: self.given.keys, time: self.given.time })
    }

    fn into_facts(self) -> TokenFacts {
        let Self { subject, mut facts, rejected, accepted, .. } = self;
        if let Some(reason) = rejected.filter(|_| !accepted) {
            facts.rejected = Some(Rejected { reason: reason.code(), title: reason.row().title });
            facts.verified = false;
        }
        if facts.rejected.is_none() && !facts.verified {
            facts.notes.push(
                "its signature was not verified, because the keys of its issuer are not known here; give them with `--keys`, or the \
                 secret in its environment variable"
                    .to_owned(),
            );
        }
        if facts.bound {
            facts.notes.push("its sender must prove to have the key or the certificate that it is bound to".to_owned());
        }
        if subject.document.revocations.is_some() {
            facts.notes.push("the revocations that the gate fetches are not known here".to_owned());
        }
        facts
    }
}

/// A policy and a token with which requests are decided.
struct Gate<'a> {
    policy: Arc<Policy>,
    token: String,
    keys: &'a [(String, Vec<u8>)],
    /// Seconds since 1970.
    time: u64,
}

/// What the engine decided about a request.
struct Answer {
    is_allowed: bool,
    agent: Option<String>,
    trace: Trace,
}

impl Gate<'_> {
    fn ask(&self, draft: &Draft) -> Result<Answer, String> {
        let (name, value) = self.policy.header_with_token(&self.token);
        let lines = draft.lines.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let headers: Headers = lines.chain([(name, value.as_str())]).collect();
        let body = draft.body.as_deref().map_or(Body::None, Body::Known);
        let asked = Asked {
            policy: &self.policy,
            headers: &headers,
            body,
            source: None,
            certificate: None,
            time: self.time,
            keys: self.keys,
        };
        let mut trace = Trace::new();
        let decided = decide(&asked, Some(&mut trace), |decision, _| {
            let record = serde_json::to_value(decision.record()).unwrap_or_default();
            let agent = record.get("agent").and_then(Value::as_str).map(str::to_owned);
            (!matches!(decision, Decision::Deny(_)), agent)
        });
        match decided {
            Ok((is_allowed, agent)) => Ok(Answer { is_allowed, agent, trace }),
            Err(Undecidable::Body) => Err("a request to an endpoint cannot be decided".to_owned()),
            Err(Undecidable::Keys(problem)) => Err(format!("--keys: {problem}")),
        }
    }
}

impl Answer {
    /// Returns the check of the credential itself. A later one is about the kinds that the endpoint accepts.
    fn credential(&self) -> Option<&Traced> {
        self.trace.iter().find(|traced| traced.check == Check::Credential)
    }

    /// Returns the first denial for a reason that the sender of the token could not avoid.
    fn blocking(&self, bound: bool) -> Option<&Traced> {
        let is_avoidable = |traced: &Traced| match (traced.check, traced.denied.map(Reason::code)) {
            (_, None | Some("revocations_unavailable")) | (Check::Signature | Check::Body, _) => true,
            // Whoever has the key or the certificate can show it.
            (check, _) => bound && (check == Check::Possession || check.name() == "certificate"),
        };
        self.trace.iter().find(|traced| !is_avoidable(traced))
    }
}

/// Describes a denial: the reason, and the values that led to it.
fn describe(traced: &Traced) -> String {
    let reason = traced.denied.map_or("", Reason::code);
    // The value that the request had was chosen here.
    let facts = traced.facts.iter().filter(|(name, _)| *name != "is");
    let facts: Vec<String> = facts.map(|(name, value)| format!("{name}: {value}")).collect();
    if facts.is_empty() { reason.to_owned() } else { format!("{reason} ({})", facts.join(", ")) }
}

/// Returns header and claims of a token.
fn decode(token: &str) -> Option<(Value, Value)> {
    let mut parts = token.split('.').map(|part| {
        let text = URL_SAFE_NO_PAD.decode(part).ok()?;
        json::parse(&text, json::Bounds { bytes: usize::MAX, depth: u8::MAX }).ok()
    });
    Some((parts.next()??, parts.next()??))
}

/// Returns the policy's name of the issuer of a token. One segment of an issuer's URL may be a variable.
fn issuer_of<'d>(document: &'d Document, claims: &Value) -> Option<&'d str> {
    let iss = claims.get("iss")?.as_str()?;
    let exact = document.issuers.iter().find(|(_, issuer)| issuer.issuer.as_deref() == Some(iss));
    let with_variable = || {
        document.issuers.iter().find(|(_, issuer)| {
            issuer.issuer.as_deref().and_then(|own| own.split_once('{')).is_some_and(|(before, rest)| {
                let after = rest.split_once('}').map_or("", |(_, after)| after);
                let tenant = iss.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
                tenant.is_some_and(|tenant| !tenant.contains('/'))
            })
        })
    };
    exact.or_else(with_variable).map(|(name, _)| name.as_str())
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
