//! Whether the caller holds the key that its token is bound to, and where it has to.

use std::rc::Rc;

use super::limits::guarded;
use super::{CheckDetails, Denied, Evaluation};
use crate::decision::evidence::TokenIsBound;
use crate::decision::trace::Check;
use crate::decision::{Facts, Rule};
use crate::identity::crypto::Thumbprint;
use crate::identity::dpop::{Expected, Held, Nonces, Proof, binding};
use crate::identity::signature::ProfileName;
use crate::identity::signature::is_signed;
use crate::identity::token::VerifiedToken;
use crate::policy::Endpoint;
use crate::reason::Reason;
use crate::request::credential::Scheme;

impl<'a> Evaluation<'a, '_> {
    /// The sender of a verified token may use it: it is a bearer token and sent as one, or comes with a proof. None where that
    /// was denied and the evaluation goes on.
    pub(super) fn possession(&mut self, token: Rc<VerifiedToken>) -> Result<Option<Held>, Denied> {
        let policy = self.facts.policy;
        let scheme = self.facts.scheme.unwrap_or(Scheme::Bearer);
        let shown = match (scheme, token.bound_to()) {
            (Scheme::Dpop, Some(key)) => match self.proof(&token, key) {
                // What it would have to say is not known, which was denied before.
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
        let held = shown.and_then(|shown| binding(token, scheme, shown, unbound_is_taken));
        // Nothing was asked of a bearer token.
        if scheme == Scheme::Bearer && held.is_ok() {
            return Ok(held.ok());
        }
        let rule = match (&held, &policy.dpop) {
            (Err(Reason::CredentialsLimited), _) => Rule::Policy("failed_credentials"),
            (Err(Reason::HostError), _) => Rule::Gate,
            (_, Some(_)) => Rule::Policy("dpop"),
            (_, None) => Rule::Issuer(policy.issuers.name(issuer), ""),
        };
        self.record_check(Check::Possession, rule, held, |held| {
            held.token().bound_to().map(|key| ("key", key.to_string())).into_iter().collect()
        })
    }

    /// The proof that came with the token, checked; none where none came.
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
        let origin = policy.origin(&host);
        let expected = Expected {
            token_hash: token.sha256(),
            key,
            method: method.as_str(),
            origin: &origin,
            path: path.as_str(),
            nonces,
        };
        let Self { facts, context, .. } = self;
        let checked = guarded(facts, context, |verifier, _| Proof::check(line, rules, expected, now, verifier));
        let checked = self.settle(checked);
        let needs_nonce = checked.map_or_else(|reason| reason == Reason::DpopNonce, |proof| proof.nonce_ends);
        self.facts.dpop_nonce = nonces.filter(|_| needs_nonce).map(|nonces| nonces.current());
        checked.map(Some)
    }

    /// The key of the request's signature, which shows as much as a proof does; none where the request is not signed by a key of
    /// this policy, or not as it asks.
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

    /// Whether something was doubled or malformed that a proof is about. That is denied when it is read.
    fn is_ambiguous(&self) -> bool {
        let Facts { head, method, host, path, .. } = &self.facts;
        head.dpop.count > 1 || method.is_none() || host.is_none() || path.is_none()
    }

    /// 5. What the endpoint asks of the token: that it is bound to a key. Who calls has proven to hold it.
    pub(super) fn bound_token(&mut self, endpoint: &'a Endpoint) -> Result<Option<TokenIsBound>, Denied> {
        let Some(origin) = endpoint.needs_bound_token else { return Ok(Some(TokenIsBound::assertion())) };
        let Some(caller) = &self.facts.caller else { return Ok(None) };
        // Who calls without a token has shown a key in another way.
        let bound = caller.token().is_none_or(|token| token.bound_to().is_some());
        let result = if bound { Ok(TokenIsBound::assertion()) } else { Err(Reason::ProofRequired) };
        let rule = Rule::asked_by(endpoint, Some(origin), "token");
        self.record_check(Check::Possession, rule, result, |_| CheckDetails::new())
    }
}
