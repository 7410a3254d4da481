//! Checks whether the caller holds the key and the certificate that its token is bound to, and whether the endpoint requires a
//! bound token.

use std::rc::Rc;

use super::certificate::short_hash;
use super::limits::guarded;
use super::{CheckDetails, Denied, Evaluation};
use crate::decision::evidence::TokenIsBound;
use crate::decision::trace::Check;
use crate::decision::{Facts, Proven, Rule};
use crate::identity::certificate::VerifiedCertificate;
use crate::identity::crypto::Thumbprint;
use crate::identity::dpop::{Expected, Held, Nonces, Proof, Shown, binding};
use crate::identity::signature::ProfileName;
use crate::identity::signature::is_signed;
use crate::identity::token::VerifiedToken;
use crate::policy::Endpoint;
use crate::reason::Reason;
use crate::request::credential::Scheme;

impl<'a> Evaluation<'a, '_> {
    /// Checks that the sender of a verified token may use it: the token is a bearer token sent as one, or a proof of possession
    /// comes with it, and the client presented the certificate that the token is bound to. Returns `None` if that was denied and the
    /// evaluation continues.
    pub(super) fn possession(&mut self, token: Rc<VerifiedToken>) -> Result<Option<Held>, Denied> {
        let policy = self.facts.policy;
        let scheme = self.facts.scheme.unwrap_or(Scheme::Bearer);
        // The clients of a proxy share its certificate, so a token that is bound to it would be bound to none of them.
        let presented = self.facts.certificate.filter(|certificate| !certificate.is_of_proxy());
        let certificate = presented.as_ref().map(VerifiedCertificate::sha256);
        let needs_certificate = token.certificate_bound_to().is_some();
        let shown = match (scheme, token.bound_to()) {
            // No signature is verified for a token that another check rejects.
            _ if needs_certificate && token.certificate_bound_to() != certificate => Err(Reason::CertificateBinding),
            (Scheme::Dpop, Some(key)) => match self.proof(&token, key) {
                // The proof or the data that it must match was ambiguous, and that was denied earlier.
                Ok(None) if self.is_ambiguous() => return Ok(None),
                Ok(None) => self.shown_by_signature(),
                Ok(Some(proof)) => {
                    self.facts.proof = Some(proof);
                    Ok(Some(proof.key))
                }
                Err(reason) => Err(reason),
            },
            _ => Ok(None),
        };
        let issuer = token.issuer_id();
        let unbound_is_taken = policy.dpop.as_ref().is_none_or(|rules| !rules.required);
        let held = shown.and_then(|key| binding(token, scheme, Shown { key, certificate }, unbound_is_taken));
        // A bearer token requires no proof, so there is no check to record.
        if scheme == Scheme::Bearer && held.is_ok() && !needs_certificate {
            return Ok(held.ok());
        }
        let rule = match (&held, &policy.dpop) {
            (Err(Reason::CredentialsLimited), _) => Rule::Policy("auth_failure_limit"),
            (Err(Reason::HostError), _) => Rule::Gate,
            (Err(Reason::CertificateBinding), _) => Rule::Policy("tls"),
            (Ok(_), _) if scheme == Scheme::Bearer => Rule::Policy("tls"),
            (_, Some(_)) => Rule::Policy("dpop"),
            (_, None) => Rule::Issuer(policy.issuers.name(issuer), ""),
        };
        self.record_check(Check::Possession, rule, held, |held| {
            let key = held.token().bound_to().map(|key| ("key", key.to_string()));
            let certificate = presented.filter(|_| needs_certificate);
            key.into_iter().chain(certificate.map(|own| ("certificate", short_hash(&own)))).collect()
        })
    }

    /// Verifies the proof that comes with the token. Returns `None` if there is none.
    fn proof(&mut self, token: &VerifiedToken, key: Thumbprint) -> Result<Option<Proof>, Reason> {
        let Facts { policy, head, request, method, host, path, .. } = &self.facts;
        let (policy, now) = (*policy, request.now);
        let (Some(rules), Some(line)) = (&policy.dpop, head.dpop.only()) else { return Ok(None) };
        let (Some(method), Some(host), Some(path)) = (*method, host.clone(), *path) else { return Ok(None) };
        let nonces = match self.context.shared {
            _ if !rules.nonce => None,
            Some(shared) => Some(Nonces::new(shared.namespace, now)),
            None => return Err(Reason::HostError),
        };
        let (origin, path) = (policy.origin(&host), policy.path_of_client(path.as_str()));
        let expected =
            Expected { token_hash: token.sha256(), key, method: method.as_str(), origin: &origin, path: &path, nonces };
        let Self { facts, context, .. } = self;
        let checked = guarded(facts, context, |verifier, _, _| Proof::check(line, rules, expected, now, verifier));
        let checked = self.settle(checked);
        let needs_nonce = checked.map_or_else(|reason| reason == Reason::DpopNonce, |proof| proof.nonce_ends);
        self.facts.dpop_nonce = nonces.filter(|_| needs_nonce).map(|nonces| nonces.current());
        checked.map(Some)
    }

    /// Returns the key of the request's signature, which proves possession as a proof does. Returns `None` if the request is
    /// not signed with a key of this policy, or not as the policy requires.
    fn shown_by_signature(&mut self) -> Result<Option<Thumbprint>, Reason> {
        if self.facts.policy.signing_keys.is_empty() || !is_signed(self.facts.request.headers) {
            return Ok(None);
        }
        match self.verify_signature(ProfileName::Own) {
            Ok(signature) => {
                let key = signature.key.thumbprint;
                self.facts.signature = Some(signature);
                Ok(key)
            }
            Err(reason @ (Reason::CredentialsLimited | Reason::HostError)) => Err(reason),
            Err(_) => Ok(None),
        }
    }

    /// Returns whether the proof, or a part of the request that the proof covers, is duplicated or malformed. Such a request
    /// was denied when it was read.
    fn is_ambiguous(&self) -> bool {
        let Facts { head, method, host, path, .. } = &self.facts;
        head.dpop.count > 1 || method.is_none() || host.is_none() || path.is_none()
    }

    /// 5. Checks that the token is bound to a key or a certificate if the endpoint requires it. The caller has already proven possession.
    pub(super) fn bound_token(&mut self, endpoint: &'a Endpoint) -> Result<Option<TokenIsBound>, Denied> {
        let Some(origin) = endpoint.needs_bound_token else { return Ok(Some(TokenIsBound::assertion())) };
        let Some(caller) = &self.facts.caller else { return Ok(None) };
        let bound = match &caller.by {
            Proven::Token(token) => token.bound_to().is_some() || token.certificate_bound_to().is_some(),
            Proven::Signature(_) | Proven::Certificate(_) => true,
            // Anyone who sees an API key can use it.
            Proven::ApiKey(_) => false,
        };
        let result = if bound { Ok(TokenIsBound::assertion()) } else { Err(Reason::ProofRequired) };
        let rule = Rule::asked_by(endpoint, Some(origin), "token");
        self.record_check(Check::Possession, rule, result, |_| CheckDetails::new())
    }
}
