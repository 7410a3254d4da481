//! Reads the request: each header line once, and the method, host, path and query in the canonical form that is matched and
//! forwarded.

use super::{CheckDetails, Denied, Evaluation};
use crate::decision::evidence::PreflightAllowed;
use crate::decision::trace::Check;
use crate::decision::{Facts, Rule};
use crate::document::Overrides;
use crate::reason::Reason;
use crate::request::headers::name_reads_as;
use crate::request::{CanonicalPath, Host, Method, Query, split_target};

impl Evaluation<'_, '_> {
    /// 1. Reads each header line once, and rejects ambiguous ones.
    pub(super) fn read(&mut self) -> Result<(), Denied> {
        let policy = self.facts.policy;
        let mut refusals = Vec::new();
        let headers = self.facts.request.headers;
        let (prefix, added) = (&policy.prefix, &policy.override_headers);
        self.facts.head.fill(headers, prefix, policy.overrides, added, |reason| refusals.push(reason));
        // Headers with forwarded claims are the gate's own, so a client's are handled like those with its prefix.
        for claim in &policy.claims {
            let lines = headers.as_long_as(claim.header.as_bytes());
            let posing = lines.filter(|(name, _)| name_reads_as(name, &claim.header)).map(|(name, _)| name);
            self.facts.head.posing.extend(posing);
        }
        if !policy.features.tells_end {
            self.facts.request.end_of_stream = !self.facts.head.announces_body();
        }
        self.beyond_the_gateway()?;
        for reason in refusals {
            let rule = if reason == Reason::MethodOverride { Rule::Policy("overrides") } else { Rule::Gate };
            self.record_check(Check::Reading, rule, Err::<(), _>(reason), |_| CheckDetails::new())?;
        }
        self.read_other_places()?;
        self.read_api_key()?;
        if self.context.trace.is_some() && self.facts.denials.is_empty() {
            let lines = headers.len();
            self.record_check(Check::Reading, Rule::Gate, Ok(()), |()| vec![("lines", lines.to_string())])?;
        }
        Ok(())
    }

    /// Reads the tokens in other places than `Authorization`, if the policy has such places, and rejects a second token.
    fn read_other_places(&mut self) -> Result<(), Denied> {
        let policy = self.facts.policy;
        let Some(others) = &policy.credentials.others else { return Ok(()) };
        let mut refusals = Vec::new();
        let found = others.read(self.facts.request.headers, |reason| refusals.push(reason));
        self.facts.head.elsewhere = found;
        let also_in_authorization = policy.credentials.authorization && self.facts.head.authorization.count > 0;
        if found.count > 1 || found.count == 1 && also_in_authorization {
            refusals.push(Reason::DuplicateCredentials);
        }
        for reason in refusals {
            let rule = Rule::Policy("credentials_from");
            self.record_check(Check::Reading, rule, Err::<(), _>(reason), |_| CheckDetails::new())?;
        }
        Ok(())
    }

    /// Denies requests whose headers the gateway does not show completely, or has no means to remove. This is enforced in
    /// observation as well, because the upstream could mistake such headers for Callgate's own.
    fn beyond_the_gateway(&mut self) -> Result<(), Denied> {
        let Facts { policy, head, request, .. } = &self.facts;
        let features = &policy.features;
        // The host's list contains its own `:authority` in addition to these headers.
        let truncated = request.headers.is_truncated()
            || features.listed_headers.is_some_and(|most| request.headers.len().saturating_add(1) >= most);
        let twice = |names: &[&[u8]]| {
            let again = |(at, name): (usize, &&[u8])| names.iter().take(at).any(|own| own.eq_ignore_ascii_case(name));
            !features.removes_headers && names.iter().enumerate().any(again)
        };
        let posing = twice(&head.posing);
        let overriding = policy.overrides == Overrides::Remove && twice(&head.overrides);
        for (found, reason) in [(truncated, Reason::TooManyHeaders), (posing, Reason::UnremovableHeader)] {
            if found {
                self.deny(Check::Reading, Rule::Gate, reason, true, CheckDetails::new())?;
            }
        }
        if overriding {
            self.record_check(
                Check::Reading,
                Rule::Policy("overrides"),
                Err::<(), _>(Reason::UnremovableHeader),
                |()| CheckDetails::new(),
            )?;
        }
        Ok(())
    }

    /// 2. Parses method, host, path and query into the canonical form that is matched and forwarded, or rejects them.
    pub(super) fn canonical(&mut self) -> Result<(), Denied> {
        let head = &self.facts.head;
        let (raw_method, raw_host) = (head.method, head.host);
        let (raw_path, raw_query) = split_target(head.target);
        self.facts.method = self.record_check(Check::Canonical, Rule::Gate, Method::parse(raw_method), |method| {
            vec![("method", method.as_str().to_owned())]
        })?;
        let host = raw_host.ok_or(Reason::HostMissing).and_then(Host::parse);
        self.facts.host =
            self.record_check(Check::Canonical, Rule::Gate, host, |host| vec![("host", host.as_str().to_owned())])?;
        let policy = self.facts.policy;
        // Characters that only text values may contain are rejected here if no path has such a value, and after authentication
        // otherwise.
        let path = if policy.endpoints.take_text {
            CanonicalPath::parse_with_text(raw_path)
        } else {
            CanonicalPath::parse(raw_path)
        };
        self.facts.path =
            self.record_check(Check::Canonical, Rule::Gate, path, |path| vec![("path", path.as_str().to_owned())])?;
        self.resource()?;
        let query = Query::parse(raw_query).and_then(|query| {
            query.reject_names(&policy.rejected_query)?;
            Ok(query)
        });
        let rule = if query == Err(Reason::QueryRefused) { Rule::Policy("reject_query") } else { Rule::Gate };
        self.facts.query = self.record_check(Check::Canonical, rule, query, |_| CheckDetails::new())?;
        self.early_data()
    }

    /// Finds the resource that the path belongs to, which decides the audience of tokens.
    fn resource(&mut self) -> Result<(), Denied> {
        let policy = self.facts.policy;
        let Some(path) = self.facts.path.filter(|_| !policy.resources.is_single()) else { return Ok(()) };
        let found = policy.resource_of(&path);
        let found = self.record_check(Check::Canonical, Rule::Policy("resources"), found, |resource| {
            vec![("resource", resource.identifier.to_string())]
        })?;
        if let Some(resource) = found {
            self.facts.resource = resource;
        }
        Ok(())
    }

    /// Accepts only safe methods in TLS early data, because anyone can replay it (RFC 8470, section 5.2).
    fn early_data(&mut self) -> Result<(), Denied> {
        if !self.facts.head.early_data {
            return Ok(());
        }
        let is_safe = |method: Method<'_>| matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS" | "TRACE");
        let result = if self.facts.method.is_some_and(is_safe) { Ok(()) } else { Err(Reason::EarlyData) };
        self.record_check(Check::Reading, Rule::Gate, result, |()| CheckDetails::new())?;
        Ok(())
    }

    /// Returns whether the policy forwards the request because it is a CORS preflight. A preflight carries no credentials and
    /// accesses no resource, on any path.
    pub(super) fn is_preflight(&self) -> bool {
        let Facts { policy, host, .. } = &self.facts;
        policy.passes_preflight
            && self.has_form_of_preflight()
            && host.as_ref().is_some_and(|host| policy.table(host.as_str()).is_some())
    }

    /// Returns whether the request has the form of a CORS preflight.
    pub(super) fn has_form_of_preflight(&self) -> bool {
        let Facts { head, api_key_lines, request, method, .. } = &self.facts;
        method.is_some_and(|method| method.as_str() == "OPTIONS")
            && head.has_origin
            && head.has_preflight_method
            && head.authorization.count == 0
            && head.elsewhere.count == 0
            && api_key_lines.count == 0
            && head.upgrade.count == 0
            && request.end_of_stream
    }

    /// Accepts the escapes that any endpoint of the policy allows. The answer does not depend on the path, and reveals nothing
    /// about it.
    pub(super) fn preflight(&mut self) -> Result<Option<PreflightAllowed>, Denied> {
        let allowed = self.facts.policy.endpoints.escapes;
        let fits = self.facts.path.as_ref().is_none_or(|path| path.restricted().is_subset(allowed));
        let result = if fits { Ok(PreflightAllowed::assertion()) } else { Err(Reason::PathEscapeNotAllowed) };
        self.record_check(Check::Escapes, Rule::Policy("preflight"), result, |_| CheckDetails::new())
    }
}
