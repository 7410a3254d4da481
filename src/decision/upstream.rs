//! The headers of an allowed request for the upstream: which are removed and which are set.
//!
//! Only an [`Allow`] provides these changes. Headers are removed first and set afterwards, so nothing in the request can
//! imitate Callgate's headers.

use std::borrow::Cow;
use std::convert::Infallible;

use serde_json::Value;

use crate::decision::scopes::{added, granted};
use crate::decision::{Allow, Caller, Facts, Ground};
use crate::identity::token::VerifiedToken;
use crate::policy::{Access, HostName, Policy};
use crate::reason::Reason;
use crate::request::headers::name_is;
use crate::request::percent::encode;
use crate::request::places::PROTOCOLS;

/// The maximum length of an identity header's value, in bytes. Servers commonly accept 8 KiB for a whole line. An identity
/// longer than half of that is rejected, because it must not be truncated.
pub(crate) const MOST_VALUE: usize = 4096;

/// A change to the request's headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<'a> {
    /// Removes every line with exactly this name.
    Remove(&'a [u8]),
    /// Empties the only line with this name, because the gateway cannot remove it.
    Clear(&'a [u8]),
    /// Sets the header to this value.
    Set(&'a str, Cow<'a, str>),
    /// Adds a header that has no line yet. Unlike [`Set`](Self::Set), this does not make the gateway search for lines to
    /// replace.
    Add(&'a str, Cow<'a, str>),
}

impl Change<'_> {
    /// Applies the change to a list of header lines, as a gateway does. A line that a gateway can only empty is removed here.
    pub fn apply(&self, lines: &mut Vec<(Vec<u8>, Vec<u8>)>) {
        match self {
            Self::Remove(name) | Self::Clear(name) => lines.retain(|(own, _)| own != name),
            Self::Set(name, value) => {
                lines.retain(|(own, _)| !own.eq_ignore_ascii_case(name.as_bytes()));
                lines.push((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
            }
            Self::Add(name, value) => lines.push((name.as_bytes().to_vec(), value.as_bytes().to_vec())),
        }
    }
}

impl Allow<'_> {
    /// Returns the changes, in the order in which they must be made.
    #[must_use]
    pub fn changes(&self) -> Vec<Change<'_>> {
        let mut changes = Vec::new();
        let push = |change| -> Result<(), Infallible> {
            changes.push(change);
            Ok(())
        };
        let Ok(()) = self.change(Cow::Owned(self.facts.request.id.to_string()), push);
        changes
    }

    /// Passes each change to `make`, in the order in which they must be made, and stops at the first that fails.
    ///
    /// # Errors
    /// The error of the change that failed.
    pub fn each_change<E>(&self, make: impl FnMut(Change<'_>) -> Result<(), E>) -> Result<(), E> {
        self.facts.request.id.with_text(|id| self.change(Cow::Borrowed(id), make))
    }

    /// Does the same, with the decision id as text.
    fn change<'c, E>(&'c self, id: Cow<'c, str>, mut make: impl FnMut(Change<'c>) -> Result<(), E>) -> Result<(), E> {
        let facts = &self.facts;
        let head = &facts.head;
        let features = &facts.policy.features;
        let remove = if features.removes_headers { Change::Remove } else { Change::Clear };
        if !head.posing.is_empty() {
            self.unpose(&id, remove, &mut make)?;
        }
        // In observation, the upstream works as it did without Callgate, for allowed requests too: it may verify the token
        // itself.
        if !facts.is_observed() {
            head.overrides.iter().try_for_each(|name| make(remove(name)))?;
            self.remove_credentials(remove, &mut make)?;
            if let Some(host) = facts.host.as_ref().filter(|host| host.is_rewritten() && features.sets_host) {
                let name = match features.host {
                    HostName::Authority if !head.host_in_line => ":authority",
                    HostName::Authority | HostName::Header => "host",
                };
                make(Change::Set(name, host.as_str().into()))?;
            }
        }
        if self.filters_lists() {
            // A compressed answer could not be checked.
            make(Change::Set("accept-encoding", "identity".into()))?;
        }
        // If a header of the request imitated Callgate's, the new header replaces it, even if the removal failed.
        let is_new = head.posing.is_empty();
        self.own_headers(id, |name, value| {
            make(if is_new { Change::Add(name, value) } else { Change::Set(name, value) })
        })
    }

    /// Removes the verified credential, if the policy does not forward it, and an `Authorization` header that is no credential under
    /// the policy. An upstream must not mistake that header for one that was verified.
    fn remove_credentials<'c, E>(
        &'c self,
        remove: fn(&'c [u8]) -> Change<'c>,
        make: &mut impl FnMut(Change<'c>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Facts { head, policy, caller, endpoint, .. } = &*self.facts;
        let removes = caller.is_some() && !policy.keeps_authorization;
        let passes_all = endpoint.is_some_and(|endpoint| endpoint.access == Access::PublicUnverified);
        let is_unread = !policy.credentials.authorization && !passes_all;
        // A request that is authenticated by its signature may have none. Without one, there is nothing to remove or empty.
        if removes && policy.features.removes_headers || (removes || is_unread) && head.authorization.count > 0 {
            make(remove(b"authorization"))?;
        }
        if !removes {
            return Ok(());
        }
        if head.dpop.count > 0 {
            make(remove(b"dpop"))?;
        }
        if let Some(header) = self.facts.api_key_header() {
            let lines = self.facts.request.headers.iter().filter(|(name, _)| name_is(name, header));
            lines.map(|(name, _)| name).try_for_each(|name| make(remove(name)))?;
        }
        match head.elsewhere.first.map(|carried| (carried.line(), carried.rest())) {
            None => Ok(()),
            Some((_, Some(rest))) => make(Change::Set(PROTOCOLS, rest.into())),
            Some((line, None)) => make(remove(line)),
        }
    }

    /// Removes headers that imitate Callgate's. If the gateway can only replace lines, a line that Callgate's own header will
    /// replace is left unchanged, because an emptied line is hidden from the replacement.
    fn unpose<'c, E>(
        &'c self,
        id: &str,
        remove: fn(&'c [u8]) -> Change<'c>,
        make: &mut impl FnMut(Change<'c>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Facts { head, policy, .. } = &*self.facts;
        let mut own = Vec::new();
        if !policy.features.removes_headers {
            let push = |name, _| -> Result<(), Infallible> {
                own.push(name);
                Ok(())
            };
            let Ok(()) = self.own_headers(Cow::Borrowed(id), push);
        }
        let is_replaced = |name: &[u8]| own.iter().any(|own: &&str| name.eq_ignore_ascii_case(own.as_bytes()));
        head.posing.iter().filter(|name| !is_replaced(name)).try_for_each(|name| make(remove(name)))
    }

    /// Passes each header that Callgate adds for the upstream to `add`.
    fn own_headers<'c, 'v, E>(
        &'c self,
        id: Cow<'v, str>,
        mut set: impl FnMut(&'c str, Cow<'v, str>) -> Result<(), E>,
    ) -> Result<(), E>
    where
        'c: 'v,
    {
        let facts = &self.facts;
        let names = &facts.policy.header_names;
        // In observation, an identity that is too long is left out: the upstream gets what it would get without Callgate.
        if let Some(caller) = facts.caller.as_ref().filter(|_| !facts.denied(Reason::IdentityTooLong)) {
            let values = identity(caller);
            for (name, value) in names.identity.iter().zip(values) {
                if let Some(value) = value {
                    set(name, value)?;
                }
            }
            for (name, value) in forwarded(caller, facts.policy) {
                set(name, value)?;
            }
        }
        if let Some(endpoint) = facts.endpoint {
            set(&names.endpoint, Cow::Borrowed(&endpoint.id))?;
        }
        set(&names.decision, id)?;
        set(&names.policy, Cow::Borrowed(&facts.policy.label))?;
        if self.ground() == Ground::Observed {
            set(&names.observed, "1".into())?;
        }
        Ok(())
    }
}

/// Returns the values of a caller's identity headers: agent, issuer, tenant, client, subject, scopes and chain.
fn identity<'c>(caller: &'c Caller<'_>) -> [Option<Cow<'c, str>>; 7] {
    let token = caller.token();
    // The upstream must not act on scopes that do not count.
    let has_ceiling = caller.has_ceiling();
    let mut scopes = Cow::Borrowed(token.map_or("", VerifiedToken::scope_line));
    if has_ceiling {
        let permitted = token.into_iter().flat_map(VerifiedToken::scopes).filter(|scope| caller.permits_scope(scope));
        scopes = Cow::Owned(permitted.map(|scope| encode(scope)).collect::<Vec<_>>().join(" "));
    }
    for scope in added(token, caller.agent()).filter(|scope| !has_ceiling || caller.permits_scope(scope)) {
        let scopes = scopes.to_mut();
        if !scopes.is_empty() {
            scopes.push(' ');
        }
        scopes.push_str(&encode(scope));
    }
    [
        caller.agent().map(|agent| encode(&agent.name)),
        token.map(|token| encode(token.issuer_name())),
        // A tenant consists of characters that need no encoding.
        token.and_then(VerifiedToken::tenant).map(Cow::Borrowed),
        token.and_then(VerifiedToken::client).map(encode),
        caller.subject().map(encode),
        Some(scopes).filter(|scopes| !scopes.is_empty()),
        token.and_then(VerifiedToken::chain).map(|chain| Cow::Borrowed(chain.line())),
    ]
}

/// Returns the headers with the claims that the policy forwards, for those that the caller's token has.
fn forwarded<'c>(caller: &'c Caller<'_>, policy: &'c Policy) -> impl Iterator<Item = (&'c str, Cow<'c, str>)> {
    let claims = policy.claims.iter().filter_map(move |forwarded| Some((forwarded, caller.token()?)));
    claims.filter_map(|(forwarded, token)| Some((&*forwarded.header, shown(token.claim(&forwarded.claim)?)?)))
}

/// Returns a claim as the value of a header. Returns `None` for an empty claim, and for one that has no form that every reader
/// understands in the same way: objects, nested lists, and lists with anything but text.
fn shown(claim: &Value) -> Option<Cow<'_, str>> {
    match claim {
        Value::String(text) => Some(encode(text)).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(truth) => Some(Cow::Borrowed(if *truth { "true" } else { "false" })),
        Value::Array(items) => {
            let text =
                |item: &Value| item.as_str().filter(|text| !text.is_empty()).map(|text| encode(text).into_owned());
            let items: Option<Vec<_>> = items.iter().map(text).collect();
            items.filter(|items| !items.is_empty()).map(|items| Cow::Owned(items.join(" ")))
        }
        Value::Null | Value::Object(_) => None,
    }
}

/// Returns whether every identity header fits, including those with claims that the policy forwards.
pub(crate) fn identity_fits(caller: &Caller<'_>, policy: &Policy) -> bool {
    // Encoding makes a value at most three times as long, so most identities need no exact computation.
    let length = |text: Option<&str>| text.map_or(0, str::len);
    let token = caller.token();
    let names = length(caller.agent().map(|agent| &*agent.name)).max(length(token.map(VerifiedToken::issuer_name)));
    let claims = length(token.and_then(VerifiedToken::client)).max(length(caller.subject()));
    let scopes = granted(token, caller.agent()).map(|scope| scope.len() + 1).sum::<usize>();
    // A chain is encoded already.
    let chain = token.and_then(VerifiedToken::chain).map_or(0, |chain| chain.line().len());
    let identity_fits = (names.max(claims).max(scopes) * 3).max(chain) <= MOST_VALUE
        || identity(caller).iter().flatten().all(|value| value.len() <= MOST_VALUE);
    identity_fits && forwarded(caller, policy).all(|(_, value)| value.len() <= MOST_VALUE)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn shows_claims_in_one_form_each() {
        for (claim, value) in [
            (json!("ann@example.com"), Some("ann@example.com")),
            (json!("a b%\r\n\u{e9}"), Some("a%20b%25%0D%0A%C3%A9")),
            (json!(42), Some("42")),
            (json!(-7), Some("-7")),
            (json!(1.5), Some("1.5")),
            (json!(true), Some("true")),
            (json!(false), Some("false")),
            (json!(["a", "b c"]), Some("a b%20c")),
            (json!(["a"]), Some("a")),
            (json!(""), None),
            (json!(null), None),
            (json!([]), None),
            (json!([""]), None),
            (json!(["a", ""]), None),
            (json!(["a", 1]), None),
            (json!([["a"]]), None),
            (json!({ "a": "b" }), None),
        ] {
            assert_eq!(shown(&claim).as_deref(), value, "{claim}");
        }
    }
}
