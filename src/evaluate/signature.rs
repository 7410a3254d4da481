//! Signed requests in the order of the checks: a signature that proves who calls, one that is asked for beside a token, and the
//! body whose digest it signs.

use super::awaited::Awaited;
use super::limits::guarded;
use super::{Evaluation, Stop};
use crate::allowlist::Origin;
use crate::decision::coverage::{coverage, may_be_empty};
use crate::decision::trace::Check;
use crate::decision::{BodySeen, Caller, Facts, Rule};
use crate::document::SignatureAsked;
use crate::identity::signature::ProfileName;
use crate::identity::signature::{Asked, Lack, Message, SignatureFields, Signed, VerifiedSignature, is_signed, joined};
use crate::policy::{Endpoint, SignatureRule};
use crate::reason::Reason;
use crate::request::digest::{ContentDigest, Hashing};

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
