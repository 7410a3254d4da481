//! Signed requests in the order of the checks: a signature that proves who calls, one that is asked for beside a token, and the
//! body whose digest it signs.

use super::awaited::Awaited;
use super::limits::guarded;
use super::{Evaluation, Stop};
use crate::authorize::{Binding, Origin};
use crate::decision::{BodySeen, Caller, Facts, Rule};
use crate::digest::{ContentDigest, Hashing};
use crate::headers::{Headers, name_reads_as};
use crate::policy::raw::SignatureAsked;
use crate::policy::{BodyCheck, Endpoint, ProfileName, SignatureRule};
use crate::reason::Reason;
use crate::signature::{
    Asked, Coverage, Lack, Message, SignatureAgent, SignatureFields, Signed, VerifiedSignature, is_signed, joined,
};
use crate::trace::Check;

impl<'a> Evaluation<'a, '_> {
    /// Whether a call without a token may be known by its signature. Which endpoint it asks for does not matter.
    pub(super) fn may_be_known_by_signature(&self) -> bool {
        !self.facts.policy.signatures.alone.is_empty() && is_signed(self.facts.call.headers)
    }

    /// 4. Who calls, where a signature alone says so.
    pub(super) fn authenticate_by_signature(&mut self) -> Result<(), Stop> {
        let policy = self.facts.policy;
        let mut verified = Err(Reason::SignatureMissing);
        let fields = SignatureFields::of(self.facts.call.headers);
        let signed = fields.read();
        for name in &policy.signatures.alone {
            verified = self.verify_one_of(&signed, *name);
            // A signature with another tag is judged by other rules.
            if !matches!(verified, Err(Reason::SignatureMissing)) {
                self.facts.signed_for = Some(*name);
                break;
            }
        }
        let Some(signature) =
            self.judge(Check::Credential, rule_of(&verified), verified, |signature| describe(signature))?
        else {
            return Ok(());
        };
        let agent = policy.agents.get(signature.key.agent).ok_or(Stop)?;
        let registered = agent.registered(self.facts.call.now).map(|()| agent);
        self.facts.agent = Some(agent);
        self.facts.signature = Some(signature);
        let agent = self.judge(Check::Agent, Rule::Agent(&agent.name), registered, |agent| {
            vec![("agent", agent.name.to_string())]
        })?;
        self.facts.caller = agent.map(|agent| Caller { token: None, agent: Some(agent) });
        Ok(())
    }

    /// The call is signed as the endpoint asks, by whoever calls.
    pub(super) fn signature(&mut self, endpoint: &'a Endpoint) -> Result<(), Stop> {
        let SignatureRule { asked, profile, alone, .. } = endpoint.signature;
        let Some(caller) = &self.facts.caller else { return Ok(()) };
        let has_token = caller.token.is_some();
        if !has_token && !alone {
            let missing = Err::<(), _>(self.no_credentials());
            self.judge(Check::Credential, Rule::Endpoint(endpoint.position, "authenticate"), missing, |()| Vec::new())?;
            return Ok(());
        }
        // A signature that shows the key of a token has to be as good as one that was asked for.
        let shown = self.facts.signature.as_ref().map(|_| (SignatureAsked::Required, Origin::Endpoint));
        let Some((asked, origin)) = asked.or(shown) else { return Ok(()) };
        if asked == SignatureAsked::Optional && !is_signed(self.facts.call.headers) {
            return Ok(());
        }
        let known = self.facts.signature.take();
        let verified = match known {
            Some(signature) if signature.profile == profile => Ok(signature),
            Some(_) => Err(Reason::SignatureMissing),
            None => self.verify_signature(profile),
        };
        let verified = verified.and_then(|signature| self.suits(signature));
        let rule = match &verified {
            Err(Reason::SignatureMissing) => Rule::asked_by(endpoint, Some(origin), "signature"),
            _ => rule_of(&verified),
        };
        self.facts.signature = self.judge(Check::Signature, rule, verified, |signature| describe(signature))?;
        Ok(())
    }

    /// Whether it is the caller's signature, over all that the endpoint asks for.
    fn suits(&self, signature: VerifiedSignature<'a>) -> Result<VerifiedSignature<'a>, Reason> {
        let Facts { policy, agent, .. } = &self.facts;
        let signer = policy.agents.get(signature.key.agent);
        if !signer.zip(*agent).is_some_and(|(signer, agent)| std::ptr::eq(signer, agent)) {
            return Err(Reason::SignatureSigner);
        }
        match signature.lacks {
            None => Ok(signature),
            Some(Lack::Digest) => Err(Reason::ContentDigestMissing),
            Some(Lack::Component) => Err(Reason::SignatureCoverage),
        }
    }

    pub(super) fn verify_signature(&mut self, profile: ProfileName) -> Result<VerifiedSignature<'a>, Reason> {
        let fields = SignatureFields::of(self.facts.call.headers);
        self.verify_one_of(&fields.read(), profile)
    }

    fn verify_one_of(
        &mut self,
        signed: &Result<Vec<Signed<'_>>, Reason>,
        profile: ProfileName,
    ) -> Result<VerifiedSignature<'a>, Reason> {
        let Self { facts, context, .. } = self;
        let signatures = &facts.policy.signatures;
        let (coverage, further) = coverage(facts, profile);
        let asked = Asked {
            name: profile,
            profile: signatures.profile(profile),
            keys: &facts.policy.signing_keys,
            coverage: &coverage,
            further: &further,
            now: facts.call.now,
        };
        let Some(message) = message(facts) else { return Err(Reason::SignatureComponent) };
        let verified = guarded(facts, context, |verifier, _| asked.verify(&message, signed, verifier));
        self.settle(verified)
    }

    /// 6. What the body has to be: the one whose digest is signed, or none. The call is held until that is known.
    pub(super) fn body(&mut self, endpoint: &'a Endpoint) -> Result<Option<Awaited>, Stop> {
        let Facts { policy, call, signature, head, .. } = &self.facts;
        let Some(signature) = signature.as_ref().filter(|_| !endpoint.streams && head.upgrade.count == 0) else {
            return Ok(None);
        };
        if !signature.covers_digest {
            let nothing = Awaited::Nothing(Reason::ContentDigestMissing);
            return Ok((!call.end_of_stream && may_be_empty(self.facts)).then_some(nothing));
        }
        let most = policy.signatures.max_body;
        let field = joined(call.headers, "content-digest").unwrap_or_default();
        let begun = match head.length() {
            Some(length) if length > most => Err(Reason::BodyTooLarge),
            _ => ContentDigest::parse(&field).map(|digest| digest.begin(most)),
        };
        let rule = body_rule(begun.as_ref().err());
        let begun = if begun.is_err() { self.judge(Check::Body, rule, begun, |_| Vec::new())? } else { begun.ok() };
        match begun {
            Some(hashing) if self.facts.call.end_of_stream => {
                self.settle_body(Ok(hashing))?;
                Ok(None)
            }
            begun => Ok(begun.map(|hashing| Awaited::Signed(Box::new(hashing)))),
        }
    }

    /// Whether the first byte of a body will be rejected, since the request is signed without a digest: until then it has none.
    pub(super) fn has_no_body_yet(&self, endpoint: &Endpoint) -> bool {
        let asked = endpoint.signature.asked.is_some() && !endpoint.streams;
        asked && may_be_empty(self.facts) && is_signed(self.facts.call.headers)
    }

    /// The body is the one that was signed.
    pub(super) fn settle_body(&mut self, hashed: Result<Hashing, Reason>) -> Result<(), Stop> {
        let result = hashed.and_then(|hashing| {
            let seen = hashing.seen();
            hashing.finish().map(|()| seen)
        });
        let rule = body_rule(result.as_ref().err());
        let checked = self.judge(Check::Body, rule, result, |seen| vec![("bytes", seen.to_string())])?;
        self.facts.body = checked.map(|_| BodySeen::Checked);
        Ok(())
    }

    /// The reason of a call that carries nothing by which anybody could be known.
    pub(super) fn no_credentials(&self) -> Reason {
        let policy = self.facts.policy;
        let takes_only_signatures = policy.issuers.is_empty() && !policy.signatures.alone.is_empty();
        if takes_only_signatures { Reason::SignatureMissing } else { Reason::CredentialsMissing }
    }
}

/// The request as the gate stands for it; none where it names no host.
fn message<'f>(facts: &'f Facts<'_>) -> Option<Message<'f>> {
    let Facts { policy, call, head, host, .. } = facts;
    let signatures = &policy.signatures;
    let (scheme, authority) = match &signatures.external {
        Some(external) => (&*external.scheme, &*external.authority),
        None => ("https", host.as_ref()?.as_str()),
    };
    Some(Message {
        method: head.method,
        scheme,
        authority,
        target: head.target,
        headers: call.headers,
        structured: &signatures.structured,
    })
}

/// Whether a header is sent, also under a name that only some servers read as this one: what is added under it has to be signed,
/// and cannot be.
fn is_sent(headers: &Headers, name: &str) -> bool {
    headers.as_long_as(name.as_bytes()).any(|(own, _)| name_reads_as(own, name))
}

/// What a signature of this call has to cover: whatever the endpoint, and what the endpoint asks for beside that.
fn coverage<'a>(facts: &Facts<'a>, profile: ProfileName) -> (Coverage<'a>, Coverage<'a>) {
    let Facts { policy, call, endpoint, query, .. } = facts;
    let profile = policy.signatures.profile(profile);
    let (mut coverage, mut further) = (Coverage::default(), Coverage::default());
    let has_query = query.as_ref().is_some_and(|query| !query.as_str().is_empty());
    let is_sent = |name: &str| is_sent(call.headers, name);
    for name in &profile.cover {
        if (&**name != "@query" || has_query) && (name.starts_with('@') || is_sent(name)) {
            coverage.ask(name);
        }
    }
    if let Some(agent) = profile.web_bot_auth {
        // Earlier drafts let agents leave out the header. One that is sent has to be covered in any case.
        if agent == SignatureAgent::Member || is_sent("signature-agent") {
            coverage.ask_agent(agent);
        }
        return (coverage, further);
    }
    ["authorization", "dpop"].into_iter().filter(|name| is_sent(name)).for_each(|name| coverage.ask(name));
    let Some(endpoint) = *endpoint else { return (coverage, further) };
    endpoint.bindings.iter().filter_map(Binding::header).for_each(|name| further.ask(name));
    if expects_body(facts, endpoint) {
        ask_body(&mut further, facts);
    }
    (coverage, further)
}

/// Asks for what signs a body: its digest, and the headers that say how to read it.
fn ask_body(coverage: &mut Coverage<'_>, facts: &Facts<'_>) {
    coverage.ask("content-digest");
    ["content-type", "content-encoding"]
        .into_iter()
        .filter(|name| is_sent(facts.call.headers, name))
        .for_each(|name| coverage.ask(name));
}

/// What the answer asks a signature of this request to cover. A client that is authenticated is told what the endpoint requires.
/// For others it depends on request and policy alone: with a body, what signs one, so that the next request can succeed.
pub(crate) fn wanted_coverage<'a>(facts: &Facts<'a>, profile: ProfileName) -> Coverage<'a> {
    let (mut coverage, further) = coverage(facts, profile);
    let signatures = &facts.policy.signatures;
    if let Some(agent) = signatures.profile(profile).web_bot_auth {
        coverage.ask_agent(agent);
    } else if facts.caller.is_some() {
        coverage.join(further);
    } else if signatures.signs_bodies && !facts.call.end_of_stream && facts.head.upgrade.count == 0 {
        ask_body(&mut coverage, facts);
    }
    coverage
}

/// Whether a body is to come that is looked at.
fn expects_body(facts: &Facts<'_>, endpoint: &Endpoint) -> bool {
    !facts.call.end_of_stream && !endpoint.streams && facts.head.upgrade.count == 0 && !may_be_empty(facts)
}

/// Whether the request may turn out to have no body, though its head does not end it: HTTP/2 clients send an empty `DATA` frame
/// after a `POST` without a body, and chunks may be none. A request that brings a digest expects a body. Where the head cannot be
/// held, one that announces chunks is not forwarded to find out; and where the end is not told, that nothing comes is not told
/// either.
fn may_be_empty(facts: &Facts<'_>) -> bool {
    let Facts { policy, call, head, body, .. } = facts;
    let is_digest = |(name, _): (&[u8], &[u8])| name_reads_as(name, "content-digest");
    policy.features.tells_end
        && match policy.features.body {
            BodyCheck::Held => true,
            BodyCheck::Late => !head.has_transfer_encoding,
            BodyCheck::Unseen => false,
        }
        && *body != Some(BodySeen::Unsigned)
        && head.length().is_none_or(|length| length == 0)
        && !call.headers.as_long_as(b"content-digest").any(is_digest)
}

fn rule_of<'a>(verified: &Result<VerifiedSignature<'a>, Reason>) -> Rule<'a> {
    match verified {
        Err(Reason::CredentialsLimited) => Rule::Policy("failed_credentials"),
        Err(Reason::HostError) => Rule::Gate,
        _ => Rule::Policy("signatures"),
    }
}

pub(super) fn body_rule<'a>(refused: Option<&Reason>) -> Rule<'a> {
    match refused {
        Some(Reason::BodyTooLarge) => Rule::Policy("max_body"),
        Some(Reason::HeldBytesFull | Reason::BodyTimeout) => Rule::Policy("held_bodies"),
        _ => Rule::Gate,
    }
}

fn describe(signature: &VerifiedSignature<'_>) -> super::Said {
    vec![
        ("keyid", signature.key.keyid.to_string()),
        ("algorithm", signature.key.algorithm.http_name().unwrap_or_default().to_owned()),
    ]
}

#[cfg(test)]
#[path = "signature_tests.rs"]
mod tests;
