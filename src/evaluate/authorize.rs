//! Checks what the caller may do: the allowlist, scopes, and the parts of the request that are bound to the caller.

use super::{Denied, Evaluation};
use crate::allowlist::{Binding, BoundValue, Found, Side, rule};
use crate::decision::evidence::{BindingsHold, CallerEvidence, IdentityFits, NotRevoked, ScopesGranted};
use crate::decision::trace::Check;
use crate::decision::{Facts, Rule, scopes};
use crate::policy::Endpoint;
use crate::reason::Reason;
use crate::request::CanonicalPath;

impl<'a> Evaluation<'a, '_> {
    /// Rejects a request that matches no endpoint. Only authenticated callers get this answer.
    pub(super) fn allowlist(&mut self) -> Result<(), Denied> {
        let Facts { policy, endpoint, path, .. } = &self.facts;
        let opened_nowhere = path.as_ref().is_some_and(|path| !path.restricted().is_subset(policy.endpoints.escapes));
        let text_only = path.as_ref().and_then(CanonicalPath::text_only);
        let (result, rule) = match endpoint {
            Some(endpoint) => (Ok(*endpoint), Rule::Endpoint(endpoint.position, "")),
            None if opened_nowhere => (Err(Reason::PathEscapeNotAllowed), Rule::Policy("endpoints")),
            None => (Err(text_only.unwrap_or(Reason::EndpointNotAllowed)), Rule::Policy("endpoints")),
        };
        self.record_check(Check::Allowlist, rule, result, |endpoint| vec![("endpoint", endpoint.id.to_string())])?;
        Ok(())
    }

    /// 5. Checks what the authenticated caller may do.
    pub(super) fn authorize(
        &mut self,
        endpoint: &'a Endpoint,
        found: Option<&Found<'a, 'a>>,
        revocation: Option<NotRevoked>,
        identity: Option<IdentityFits>,
    ) -> Result<CallerEvidence, Denied> {
        Ok(CallerEvidence {
            revocation,
            identity,
            credential: self.accepted_credential(endpoint)?,
            delegation: self.delegation(endpoint)?,
            active: self.active(endpoint)?,
            bound_token: self.bound_token(endpoint)?,
            signature: self.signature(endpoint)?,
            reach: self.reach(endpoint)?,
            scopes: self.scopes(endpoint)?,
            bindings: self.bindings(endpoint, found)?,
        })
    }

    /// Checks that the caller has the scopes that the endpoint requires.
    fn scopes(&mut self, endpoint: &'a Endpoint) -> Result<Option<ScopesGranted>, Denied> {
        let Some(caller) = &self.facts.caller else { return Ok(None) };
        let missing = endpoint.scopes.missing(caller);
        let ceiling = missing.and_then(|_| caller.never_has(&endpoint.scopes));
        let result = match (missing, ceiling) {
            (None, _) => Ok(ScopesGranted::assertion()),
            (Some(_), None) => Err(Reason::InsufficientScope),
            (Some(_), Some(_)) => Err(Reason::AgentCeiling),
        };
        let details = self.context.trace.is_some().then(|| {
            let granted = scopes::granted(caller.token(), caller.agent).collect::<Vec<_>>().join(" ");
            let mut details = vec![("requires", endpoint.scopes.names().join(" ")), ("has", granted)];
            let implied = scopes::implied(caller.token(), caller.agent).collect::<Vec<_>>().join(" ");
            if !implied.is_empty() {
                details.push(("includes", implied));
            }
            let withheld = scopes::withheld(caller.token(), caller.agent).collect::<Vec<_>>().join(" ");
            if !withheld.is_empty() {
                details.push(("only for own requests", withheld));
            }
            if caller.has_ceiling() {
                let required = endpoint.scopes.names();
                let counted: Vec<_> = required.into_iter().filter(|scope| caller.permits_scope(scope)).collect();
                details.push(("within the ceiling", counted.join(" ")));
            }
            details
        });
        let rule = match ceiling {
            Some(agent) => Rule::AtMost(&agent.name),
            None => Rule::asked_by(endpoint, missing, "scopes"),
        };
        self.record_check_with_details(Check::Scopes, rule, result, details.unwrap_or_default())
    }

    /// Checks that the parts of the request that are bound to the caller match the caller's identity.
    fn bindings(
        &mut self,
        endpoint: &'a Endpoint,
        found: Option<&Found<'a, 'a>>,
    ) -> Result<Option<BindingsHold>, Denied> {
        let mut all_hold = true;
        for binding in &endpoint.bindings {
            let (Some(_), Some(query), Some(found)) = (&self.facts.caller, &self.facts.query, found) else {
                return Ok(None);
            };
            let value = binding.value(found, query, self.facts.request.headers);
            let rule = Rule::Binding(endpoint.position, &binding.written.0);
            all_hold &= self.binding(rule, binding, value)?;
        }
        Ok(all_hold.then(BindingsHold::assertion))
    }

    /// Checks the value of one bound part. Returns whether it fits; it does not if the denial is only observed.
    pub(super) fn binding(
        &mut self,
        rule: Rule<'a>,
        binding: &'a Binding,
        value: Result<Option<BoundValue<'_>>, Reason>,
    ) -> Result<bool, Denied> {
        let Some(caller) = &self.facts.caller else { return Ok(false) };
        let fact = caller.fact(&binding.side);
        let details = self.context.trace.is_some().then(|| {
            let shown = match &value {
                Ok(value) => value.as_ref().map_or("absent", BoundValue::shown),
                Err(_) => "ambiguous",
            };
            let mut details = vec![
                ("part", binding.written.0.to_string()),
                ("is", shown.to_owned()),
                (rule::demand(binding.operator), binding.written.1.to_string()),
            ];
            if !matches!(binding.side, Side::Literal(_)) {
                details.push(("which is", fact.map_or_else(|| "absent".to_owned(), ToString::to_string)));
            }
            let read = value.as_ref().ok().and_then(Option::as_ref);
            let form = read.and_then(|value| value.misfit(binding.operator, fact));
            details.extend(form.map(|form| ("both must be", form.to_owned())));
            details
        });
        let result = value.and_then(|value| match (value, fact) {
            (Some(value), Some(fact)) if value.fits(binding.operator, fact) => Ok(()),
            _ => Err(Reason::BindingMismatch),
        });
        let held = self.record_check_with_details(Check::Binding, rule, result, details.unwrap_or_default())?;
        Ok(held.is_some())
    }
}
