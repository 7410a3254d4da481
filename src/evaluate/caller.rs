//! Authenticates the caller: the credential, the registration, and whether the identity can be forwarded.

use std::rc::Rc;

use super::keys::Needs;
use super::{CheckDetails, Denied, Evaluation};
use crate::decision::evidence::{CredentialAccepted, IdentityFits};
use crate::decision::trace::Check;
use crate::decision::upstream;
use crate::decision::{Caller, Facts, Proven, Rule};
use crate::document::Authenticate;
use crate::identity::dpop::Held;
#[cfg(not(target_arch = "wasm32"))]
use crate::identity::token::FetchedKeys;
use crate::identity::token::{Refusal, VerifiedToken};
use crate::policy::{Access, Agent, Endpoint};
use crate::reason::Reason;
use crate::request::credential::{Credential, Scheme};
use crate::request::head::Lines;

impl<'a> Evaluation<'a, '_> {
    /// 4. Authenticates the caller. A caller without a valid credential gets the same answer on every path that is not public.
    pub(super) fn authenticate(&mut self, access: Access) -> Result<(), Denied> {
        if access == Access::PublicUnverified {
            return Ok(());
        }
        if self.facts.request.certificate.is_some() {
            self.read_certificate();
        }
        if self.facts.api_key_lines.count > 0 {
            return self.authenticate_by_api_key_header();
        }
        let head = &self.facts.head;
        let authorization =
            if self.facts.policy.credentials.authorization { head.authorization } else { Lines::default() };
        let elsewhere = head.elsewhere;
        let count = authorization.count.saturating_add(elsewhere.count);
        if count == 0 && access == Access::Known && self.may_be_known_by_signature() {
            return self.authenticate_by_signature();
        }
        if count == 0 && access == Access::Known && self.may_be_known_by_certificate() {
            return self.authenticate_by_certificate();
        }
        let credential = match (count, authorization.first, elsewhere.first) {
            (0, ..) | (_, None, None) => Err(self.no_credentials()),
            (1, Some(value), _) => Credential::read(value, self.facts.policy.dpop.is_some()),
            (1, None, Some(carried)) => carried.credential(),
            // Several credentials were denied when the headers were read. Callgate does not guess which one was meant.
            _ => return Ok(()),
        };
        let unverifiable = matches!(
            credential,
            Err(Reason::CredentialsMissing | Reason::SignatureMissing | Reason::CredentialsScheme)
        );
        if access == Access::Public && unverifiable {
            return Ok(());
        }
        let policy = self.facts.policy;
        if let (Some(keys), Ok(Credential { scheme: Scheme::Bearer, token })) = (&policy.api_keys, credential)
            && elsewhere.first.is_none()
            && keys.is_key(token)
        {
            return self.authenticate_by_api_key(keys, token);
        }
        // Only `Authorization` has a scheme. A client that sends a proof with a token in another place is asked for `DPoP`.
        self.facts.scheme = credential.ok().map(|credential| credential.scheme).filter(|_| elsewhere.first.is_none());
        let verified = credential.map_err(Refusal::from).and_then(|credential| self.verify(credential.token));
        let verified = match verified {
            Err(refusal) if refusal.awaits_keys => {
                Err(self.await_keys(refusal, credential.map_or(&[][..], |credential| credential.token))?)
            }
            other => {
                // What was reserved for the wait is free again before the body is held.
                if self.waited.as_ref().is_some_and(|wait| wait.needs != Needs::Revocations) {
                    self.waited = None;
                }
                other
            }
        };
        let issuer = verified.as_ref().map_or_else(|refusal| refusal.issuer, |token| Some(token.issuer_id()));
        let verified = verified.map_err(|refusal| refusal.reason);
        let rule = match (&verified, issuer) {
            (Err(Reason::CredentialsLimited), _) => Rule::Policy("auth_failure_limit"),
            (Err(Reason::HostError), _) => Rule::Gate,
            (Err(Reason::DelegationMalformed), _) => Rule::Policy("delegation"),
            (_, None) => Rule::Policy("issuers"),
            (Err(reason), Some(id)) => Rule::Issuer(policy.issuers.name(id), reason.issuer_field()),
            (Ok(_), Some(id)) => Rule::Issuer(policy.issuers.name(id), ""),
        };
        let details = self.context.trace.is_some().then(|| match (&verified, credential) {
            (Ok(token), _) => describe(token),
            (Err(reason), Ok(credential)) => self.diagnose(credential.token, *reason),
            (Err(Reason::TokenMalformed), Err(_)) => {
                let expected = elsewhere.first.map_or("the scheme, one space and the token", |carried| carried.form());
                vec![("expected", expected.to_owned())]
            }
            (Err(_), Err(_)) => CheckDetails::new(),
        });
        let Some(token) =
            self.record_check_with_details(Check::Credential, rule, verified, details.unwrap_or_default())?
        else {
            return Ok(());
        };
        // The record names the token's owner even if the sender may not use the token.
        self.facts.token = Some(Rc::clone(&token));
        match self.possession(token)? {
            Some(held) if held.token().is_delegated() => self.actor(held.token()),
            Some(held) => self.registration(&held),
            None => Ok(()),
        }
    }

    /// Returns what exactly is wrong with a rejected token.
    #[cfg(not(target_arch = "wasm32"))]
    fn diagnose(&self, token: &[u8], reason: Reason) -> CheckDetails {
        let (issuers, audiences) = (&self.facts.policy.issuers, self.facts.audiences());
        let now = self.facts.request.now;
        match self.context.documents.map(|documents| documents.all.try_borrow()) {
            Some(Ok(documents)) => issuers.diagnose(audiences, token, reason, now, documents.keys()),
            _ => issuers.diagnose(audiences, token, reason, now, &FetchedKeys::new()),
        }
    }

    /// Returns nothing. Gateways never request an explanation, and the filter is built without the code for it.
    #[cfg(target_arch = "wasm32")]
    fn diagnose(&self, _: &[u8], _: Reason) -> CheckDetails {
        CheckDetails::new()
    }

    /// Finds the registered agent that the token belongs to.
    fn registration(&mut self, held: &Held) -> Result<(), Denied> {
        let Facts { policy, request, .. } = &self.facts;
        let token = held.token();
        let found = policy.agents.find(token);
        let (registered, rule) = match found {
            Ok(agent) => (agent.registered(request.now).map(|()| Some(agent)), Rule::Agent(&agent.name)),
            Err(Reason::AgentUnknown) if policy.takes_unregistered => (Ok(None), Rule::Policy("unregistered")),
            Err(reason) => (Err(reason), Rule::Policy("agents")),
        };
        self.facts.agent = found.ok();
        let agent = self.record_check(Check::Agent, rule, registered, |agent| {
            vec![("agent", agent.map_or("unregistered", |agent| &agent.name).to_owned())]
        })?;
        self.facts.caller = agent.map(|agent| Caller { by: Proven::Token(Rc::clone(token)), agent, prior: Vec::new() });
        Ok(())
    }

    /// Checks the registration of the agent that a signature, an API key or a certificate belongs to.
    pub(super) fn register(&mut self, agent: &'a Agent, by: Proven<'a>) -> Result<(), Denied> {
        let registered = agent.registered(self.facts.request.now).map(|()| agent);
        self.facts.agent = Some(agent);
        let agent = self.record_check(Check::Agent, Rule::Agent(&agent.name), registered, |agent| {
            vec![("agent", agent.name.to_string())]
        })?;
        self.facts.caller = agent.map(|agent| Caller { by, agent: Some(agent), prior: Vec::new() });
        Ok(())
    }

    /// 5. Checks that the endpoint accepts the kind of credential that identified the caller.
    ///
    /// If it accepts certificates and not what identified the caller, the certificate of the same agent identifies the caller instead, but
    /// not next to a token with an actor: the request would count as one that the agent sends for itself.
    /// If it accepts signatures, the signature check decides about a caller who was identified by something else.
    pub(super) fn accepted_credential(&mut self, endpoint: &Endpoint) -> Result<Option<CredentialAccepted>, Denied> {
        let certificate = self.certificate_of_caller(endpoint);
        let Some(caller) = &mut self.facts.caller else { return Ok(None) };
        let rule = Rule::Endpoint(endpoint.position, "authenticate");
        let certificate = match certificate {
            Ok(certificate) => certificate,
            Err(reason) => {
                return self.record_check(Check::Certificate, rule, Err(reason), |_| CheckDetails::new());
            }
        };
        let is_accepted = endpoint.accepts(caller.by.kind());
        if let Some(certificate) = certificate.filter(|_| !is_accepted && endpoint.accepts(Authenticate::Certificate)) {
            // The certificate does not show for whom the agent acts.
            if caller.is_delegated() {
                let denied = Err(Reason::DelegationNotAllowed);
                return self.record_check(Check::Delegation, rule, denied, |_| CheckDetails::new());
            }
            caller.by = Proven::Certificate(certificate);
            return Ok(Some(CredentialAccepted::assertion()));
        }
        if is_accepted || endpoint.signature.alone {
            return Ok(Some(CredentialAccepted::assertion()));
        }
        self.record_check(Check::Credential, rule, Err(self.no_credentials()), |_| CheckDetails::new())
    }

    /// Rejects an identity that does not fit its headers, because it must not be truncated.
    pub(super) fn identity(&mut self) -> Result<Option<IdentityFits>, Denied> {
        let Some(caller) = &self.facts.caller else { return Ok(None) };
        let fits = upstream::identity_fits(caller, self.facts.policy);
        let result = if fits { Ok(IdentityFits::assertion()) } else { Err(Reason::IdentityTooLong) };
        self.record_check(Check::Identity, Rule::Gate, result, |_| CheckDetails::new())
    }
}

fn describe(token: &VerifiedToken) -> CheckDetails {
    let mut details = vec![("issuer", token.issuer_name().to_owned())];
    if let Some(tenant) = token.tenant() {
        details.push(("tenant", tenant.to_owned()));
    }
    if let Some(client) = token.client() {
        details.push(("client", client.to_owned()));
    }
    if let Some(subject) = token.subject() {
        details.push(("subject", subject.to_owned()));
    }
    details.extend(token.chain().map(|chain| ("chain", chain.line().to_owned())));
    details
}
