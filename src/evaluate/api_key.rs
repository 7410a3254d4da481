//! Finds the API key of a request, and authenticates the caller by it.

use super::limits::guarded;
use super::{CheckDetails, Denied, Evaluation};
use crate::decision::trace::Check;
use crate::decision::{Facts, Proven, Rule};
use crate::identity::api_key::{ApiKeys, VerifiedApiKey};
use crate::reason::Reason;
use crate::request::head::Lines;
use crate::request::headers::{name_is, name_reads_as};

impl<'a> Evaluation<'a, '_> {
    /// 1. Reads the header in which the policy expects API keys, and rejects a second line of it.
    ///
    /// A header that some servers read as this one is rejected too.
    pub(super) fn read_api_key(&mut self) -> Result<(), Denied> {
        let Some(header) = self.facts.policy.api_keys.as_ref().and_then(ApiKeys::header) else { return Ok(()) };
        let mut lines = Lines::default();
        let mut has_lookalike = false;
        let alike = self.facts.request.headers.as_long_as(header.as_bytes());
        for (name, value) in alike.filter(|(name, _)| name_reads_as(name, header)) {
            if name_is(name, header) {
                lines.first.get_or_insert(value);
                lines.count = lines.count.saturating_add(1);
            } else {
                has_lookalike = true;
            }
        }
        self.facts.api_key_lines = lines;
        let Facts { head, policy, .. } = &self.facts;
        let has_token = policy.credentials.authorization && head.authorization.count > 0 || head.elsewhere.count > 0;
        let has_two = lines.count > 1 || lines.count > 0 && has_token;
        for (found, reason) in [(has_lookalike, Reason::HeaderLookalike), (has_two, Reason::DuplicateCredentials)] {
            if found {
                let rule = Rule::Policy("api_keys");
                self.record_check(Check::Reading, rule, Err::<(), _>(reason), |()| CheckDetails::new())?;
            }
        }
        Ok(())
    }

    /// 4. Authenticates the caller by the API key in its own header. Callgate does not guess which of two credentials was meant.
    pub(super) fn authenticate_by_api_key_header(&mut self) -> Result<(), Denied> {
        let policy = self.facts.policy;
        match (&policy.api_keys, self.facts.api_key_lines.only()) {
            (Some(keys), Some(presented)) if !self.facts.denied(Reason::DuplicateCredentials) => {
                self.authenticate_by_api_key(keys, presented)
            }
            // Several credentials were denied when the headers were read.
            _ => Ok(()),
        }
    }

    /// 4. Authenticates the caller by an API key.
    pub(super) fn authenticate_by_api_key(&mut self, keys: &'a ApiKeys, presented: &[u8]) -> Result<(), Denied> {
        let Self { facts, context, .. } = self;
        let now = facts.request.now;
        let verified = guarded(facts, context, |verifier, _, _| keys.verify(presented, now, verifier));
        let verified = self.settle(verified);
        let known = match &verified {
            Ok(verified) => Some(verified.key()),
            Err(rejected) => rejected.key,
        };
        // The record names the owner of an expired key as well.
        let policy = self.facts.policy;
        let agent = known.and_then(|key| policy.agents.get(key.agent));
        let verified = verified.map_err(|rejected| rejected.reason);
        let rule = match (&verified, agent) {
            (Err(Reason::CredentialsLimited), _) => Rule::Policy("auth_failure_limit"),
            (Err(Reason::HostError), _) => Rule::Gate,
            (_, Some(agent)) => Rule::Agent(&agent.name),
            (_, None) => Rule::Policy("api_keys"),
        };
        (self.facts.api_key, self.facts.agent) = (known, agent);
        let verified = self.record_check(Check::Credential, rule, verified, describe)?;
        match (verified, agent) {
            (Some(key), Some(agent)) => self.register(agent, Proven::ApiKey(key)),
            (None, _) => Ok(()),
            // INVARIANT: every key in the table belongs to an agent of the policy.
            (Some(_), None) => Err(Denied),
        }
    }
}

fn describe(verified: &VerifiedApiKey<'_>) -> CheckDetails {
    vec![("api key", verified.key().name.to_string())]
}
