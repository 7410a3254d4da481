//! What one token reaches: the engine decides a request to each endpoint that satisfies the endpoint's bindings.
//!
//! Some requests cannot be made here: nobody but the token's sender has the key that a token is bound to, or the agent's signing key, and the
//! keys of an issuer may be unknown. What the engine denies for these reasons alone counts as reachable, and the report states what is
//! needed. To see the decisions behind a check that fails for such a reason, the token is issued again under a copy of the policy that has a
//! new key for its issuer. That token never leaves this process.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use callgate::document::{self, OperationEntry};
use callgate::identity::token::json;
use callgate::policy::Endpoint;
use callgate::{Reason, SecretLookup};
use callgate_kit::mint::{Algorithm, SigningKey};
use callgate_kit::moment;
use callgate_kit::policy::{compile, environment};
use serde_json::{Value, json};

use super::gate::{Answer, Gate, Sender, describe};
use super::issuer::issuer_of;
use super::request::{Draft, Known, draft, rounds};
use super::{Caller, Excluded, Kind, Operation, Rejected, State, Subject, TokenFacts, bindings, class_of, scopes};

/// A token, the key sets of issuers whose keys are fetched, by the issuer's name, and the list of revoked credentials that is fetched.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a> {
    pub(crate) token: &'a str,
    pub(crate) keys: &'a [(String, Vec<u8>)],
    pub(crate) revocations: Option<&'a [u8]>,
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
    let raw = agent.as_ref().and_then(|agent| subject.document.agents.get(agent));
    let (each, owner) = (raw.and_then(class_of), raw.map(|agent| agent.owner.clone()));
    let caller = Caller { agent, kind: Kind::Token, each, owner, state: State::Active, reaches, cannot_reach };
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
    signed_again: Option<Gate<'a>>,
    /// The same with a token that is bound to nothing, once it was needed.
    unbound: Option<Gate<'a>>,
    header: Value,
    claims: Value,
    facts: TokenFacts,
    /// Why the token itself was rejected, and whether it was accepted anywhere.
    rejected: Option<Reason>,
    accepted: bool,
}

/// The claims of a token that is issued again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Claims {
    /// Header and claims are those of the token.
    Same,
    /// The token is bound to nothing.
    Unbound,
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
        let Given { keys, revocations, .. } = given;
        let gate = Gate { policy, token: given.token.to_owned(), keys, revocations, time: subject.time };
        let (signed_again, unbound, rejected) = (None, None, None);
        Self { subject, given: gate, signed_again, unbound, header, claims, facts, rejected, accepted: false }
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
            if self.facts.agent.is_some() {
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
        let mut answer = self.given.ask(draft)?;
        let mut credential = self.credential(&answer);
        if matches!(credential, Credential::Unverifiable) {
            self.facts.verified = false;
            // Without its keys, nothing is known about the token where it is only observed.
            if answer.is_allowed {
                return Ok(None);
            }
            (answer, credential) = self.ask_again(draft, Claims::Same)?;
        }
        self.note(&answer, &credential);
        if answer.is_allowed {
            return Ok(None);
        }
        let sender = self.sender();
        if !self.facts.bound {
            return Ok(answer.blocking(sender).map(describe));
        }
        // Without a proof, the engine neither finds the agent nor looks at what it may do. Everything else was checked, also whether this
        // very token is revoked.
        let why = answer.blocking(Sender { signs: true, ..sender }).map(describe);
        if why.is_some() {
            return Ok(why);
        }
        let (again, _) = self.ask_again(draft, Claims::Unbound)?;
        self.facts.agent = self.facts.agent.take().or_else(|| again.agent.clone());
        if again.is_allowed { Ok(None) } else { Ok(again.blocking(self.sender()).map(describe)) }
    }

    /// Returns what the sender of the token can provide in addition.
    fn sender(&self) -> Sender {
        let Subject { loaded, document, .. } = self.subject;
        // A proof of possession belongs to the scheme `DPoP`, which only `Authorization` has.
        let takes_proofs =
            document.dpop.is_some() && loaded.policy.header_with_token("").0.eq_ignore_ascii_case("authorization");
        let agent = self.facts.agent.as_ref().and_then(|agent| document.agents.get(agent));
        Sender {
            proves: self.facts.bound && (takes_proofs || self.claims.pointer("/cnf/jkt").is_none()),
            signs: agent.is_some_and(|agent| agent.signing_keys.is_some()),
        }
    }

    /// Decides a request with a token that has a new key's signature.
    fn ask_again(&mut self, draft: &Draft, claims: Claims) -> Result<(Answer, Credential), String> {
        let kept = match claims {
            Claims::Same => self.signed_again.take(),
            Claims::Unbound => self.unbound.take(),
        };
        let gate = match kept {
            Some(gate) => gate,
            None => self.reissue(claims)?,
        };
        let answer = gate.ask(draft);
        match claims {
            Claims::Same => self.signed_again = Some(gate),
            Claims::Unbound => self.unbound = Some(gate),
        }
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

    /// Returns the policy with a new key for the token's issuer, and the token signed with it.
    fn reissue(&self, claims: Claims) -> Result<Gate<'a>, String> {
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
        let is_unbound = claims == Claims::Unbound;
        let algorithm = if is_unbound { Algorithm::Es256 } else { named };
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
            if is_unbound {
                members.insert("algorithms".to_owned(), json!([algorithm.jose_name()]));
            }
        }
        let mut changed = loaded.document.clone().with("issuers", issuers);
        if let Some(Value::Object(mut dpop)) = changed.value().get("dpop").cloned().filter(|_| is_unbound) {
            dpop.insert("required".to_owned(), json!(false));
            changed = changed.with("dpop", Value::Object(dpop));
        }
        let secrets = |name: &str| match &secret {
            Some(secret) if name == SECRET => SecretLookup::Found(secret.clone()),
            _ => environment(name),
        };
        let compiled = compile(changed, &secrets).map_err(|problems| problems.to_string())?;
        let token = if is_unbound {
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
        let Gate { keys, revocations, time, .. } = self.given;
        Ok(Gate { policy: compiled.policy, token, keys, revocations, time })
    }

    fn into_facts(self) -> TokenFacts {
        let Self { subject, given, mut facts, rejected, accepted, .. } = self;
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
        if subject.document.revocations.is_some() && given.revocations.is_none() {
            facts.notes.push(
                "the list of revoked credentials that the gate fetches is not known here, so the token may be revoked; give it with \
                 `--revocations`"
                    .to_owned(),
            );
        }
        facts
    }
}

/// Returns header and claims of a token.
fn decode(token: &str) -> Option<(Value, Value)> {
    let mut parts = token.split('.').map(|part| {
        let text = URL_SAFE_NO_PAD.decode(part).ok()?;
        json::parse(&text, json::Bounds { bytes: usize::MAX, depth: u8::MAX }).ok()
    });
    Some((parts.next()??, parts.next()??))
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
