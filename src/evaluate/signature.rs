//! Checks signed requests: a signature that authenticates the caller, a signature that is required in addition to a token, and
//! the digest of the body.

use std::borrow::Cow;

use super::limits::guarded;
use super::{CheckDetails, Denied, Evaluation};
use crate::allowlist::Origin;
use crate::decision::coverage::coverage;
use crate::decision::evidence::SignatureSuffices;
use crate::decision::trace::Check;
use crate::decision::{Facts, Proven, Rule};
use crate::document::SignatureAsked;
use crate::identity::signature::ProfileName;
use crate::identity::signature::{
    Asked, Message, MissingCoverage, SignatureFields, Signed, VerifiedSignature, is_signed,
};
use crate::policy::{Endpoint, SignatureRule};
use crate::reason::Reason;

impl<'a> Evaluation<'a, '_> {
    /// Returns whether a request without a token may be authenticated by its signature. This does not depend on the endpoint.
    pub(super) fn may_be_known_by_signature(&self) -> bool {
        !self.facts.policy.signatures.alone.is_empty() && is_signed(self.facts.request.headers)
    }

    /// 4. Authenticates the caller by a signature alone.
    pub(super) fn authenticate_by_signature(&mut self) -> Result<(), Denied> {
        let policy = self.facts.policy;
        let mut verified = Err(Reason::SignatureMissing);
        let fields = SignatureFields::of(self.facts.request.headers);
        let signed = fields.read();
        for name in &policy.signatures.alone {
            verified = self.verify_one_of(&signed, *name);
            // The profile does not apply to a signature with another tag.
            if !matches!(verified, Err(Reason::SignatureMissing)) {
                self.facts.signed_for = Some(*name);
                break;
            }
        }
        let Some(signature) =
            self.record_check(Check::Credential, rule_of(&verified), verified, |signature| describe(signature))?
        else {
            return Ok(());
        };
        let agent = policy.agents.get(signature.key.agent).ok_or(Denied)?;
        let profile = signature.profile;
        self.facts.signature = Some(signature);
        self.register(agent, Proven::Signature(profile))
    }

    /// Checks that the request is signed as the endpoint requires, however the caller was authenticated.
    pub(super) fn signature(&mut self, endpoint: &'a Endpoint) -> Result<Option<SignatureSuffices>, Denied> {
        let SignatureRule { asked, profile, alone, .. } = endpoint.signature;
        let Some(caller) = &self.facts.caller else { return Ok(None) };
        let is_accepted = endpoint.accepts(caller.by.kind());
        // The caller's credential was rejected, which is only observed.
        if !is_accepted && !alone {
            return Ok(None);
        }
        // If the endpoint accepts signatures and not what identified the caller, only a signature is enough.
        let asked = if is_accepted { asked } else { Some((SignatureAsked::Required, Origin::Endpoint)) };
        // A signature that proves possession of a token's key must meet the same requirements as a required one.
        let shown = self.facts.signature.as_ref().map(|_| (SignatureAsked::Required, Origin::Endpoint));
        let Some((asked, origin)) = asked.or(shown) else { return Ok(Some(SignatureSuffices::assertion())) };
        if asked == SignatureAsked::Optional && !is_signed(self.facts.request.headers) {
            return Ok(Some(SignatureSuffices::assertion()));
        }
        let known = self.facts.signature.take();
        let verified = match known {
            Some(signature) if signature.profile == profile => Ok(signature),
            Some(_) => Err(Reason::SignatureMissing),
            None => self.verify_signature(profile),
        };
        let verified = verified.and_then(|signature| self.suits(signature));
        let revoked = verified.as_ref().ok().and_then(|signature| self.revoked_key(signature));
        let verified = if revoked.is_some() { Err(Reason::TokenRevoked) } else { verified };
        let rule = match (&verified, revoked) {
            (_, Some(rule)) => rule,
            (Err(Reason::SignatureMissing), None) => Rule::asked_by(endpoint, Some(origin), "signature"),
            (_, None) => rule_of(&verified),
        };
        self.facts.signature = self.record_check(Check::Signature, rule, verified, |signature| describe(signature))?;
        Ok(self.facts.signature.as_ref().map(|_| SignatureSuffices::assertion()))
    }

    /// Checks that the signature is the caller's and covers everything that the endpoint requires.
    fn suits(&self, signature: VerifiedSignature<'a>) -> Result<VerifiedSignature<'a>, Reason> {
        let Facts { policy, agent, .. } = &self.facts;
        let signer = policy.agents.get(signature.key.agent);
        if !signer.zip(*agent).is_some_and(|(signer, agent)| std::ptr::eq(signer, agent)) {
            return Err(Reason::SignatureSigner);
        }
        match signature.lacks {
            None => Ok(signature),
            Some(MissingCoverage::Digest) => Err(Reason::ContentDigestMissing),
            Some(MissingCoverage::Component) => Err(Reason::SignatureCoverage),
        }
    }

    pub(super) fn verify_signature(&mut self, profile: ProfileName) -> Result<VerifiedSignature<'a>, Reason> {
        let fields = SignatureFields::of(self.facts.request.headers);
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
            now: facts.request.now,
        };
        let target = target_of_client(facts).ok_or(Reason::SignatureComponent)?;
        let message = message(facts, &target).ok_or(Reason::SignatureComponent)?;
        let verified = guarded(facts, context, |verifier, _, _| asked.verify(&message, signed, verifier));
        self.settle(verified)
    }

    /// Returns the reason for denying a request without any credentials.
    pub(super) fn no_credentials(&self) -> Reason {
        let policy = self.facts.policy;
        let takes_certificates = policy.certificates.as_ref().is_some_and(|rules| rules.alone);
        let takes_only_signatures = policy.issuers.is_empty()
            && policy.api_keys.is_none()
            && !takes_certificates
            && !policy.signatures.alone.is_empty();
        if takes_only_signatures { Reason::SignatureMissing } else { Reason::CredentialsMissing }
    }
}

/// Returns path and query as the client sees them, with the prefix of the external URL. Returns `None` if the policy has a prefix
/// and the target has no path that could follow it.
fn target_of_client<'f>(facts: &'f Facts<'_>) -> Option<Cow<'f, [u8]>> {
    let target = facts.head.target;
    match &facts.policy.signatures.external {
        Some(external) if !external.prefix.is_empty() => {
            target.starts_with(b"/").then(|| Cow::Owned([external.prefix.as_bytes(), target].concat()))
        }
        _ => Some(Cow::Borrowed(target)),
    }
}

/// Returns the message whose signature is verified, with the external scheme and authority if the policy sets them. Returns
/// `None` if the request names no host.
fn message<'f>(facts: &'f Facts<'_>, target: &'f [u8]) -> Option<Message<'f>> {
    let Facts { policy, request, head, host, .. } = facts;
    let signatures = &policy.signatures;
    let (scheme, authority) = match &signatures.external {
        Some(external) => (&*external.scheme, &*external.authority),
        None => ("https", host.as_ref()?.as_str()),
    };
    Some(Message {
        method: head.method,
        scheme,
        authority,
        target,
        headers: request.headers,
        structured: &signatures.structured,
    })
}

fn rule_of<'a>(verified: &Result<VerifiedSignature<'a>, Reason>) -> Rule<'a> {
    match verified {
        Err(Reason::CredentialsLimited) => Rule::Policy("auth_failure_limit"),
        Err(Reason::HostError) => Rule::Gate,
        _ => Rule::Policy("signatures"),
    }
}

fn describe(signature: &VerifiedSignature<'_>) -> CheckDetails {
    vec![
        ("keyid", signature.key.keyid.to_string()),
        ("algorithm", signature.key.algorithm.http_name().unwrap_or_default().to_owned()),
    ]
}

#[cfg(test)]
#[path = "signature_tests.rs"]
mod tests;
