//! The order of the checks, from top to bottom.
//!
//! Each check returns its proof or the reason why there is none. Enforcement ends with the first denial; observation, and an
//! explanation, go on with every check whose proofs are there. No check logs, waits or asks for the time.

use crate::allowlist::equals;
use crate::allowlist::{self, Found};
use crate::decision::trace::{Check, Trace, Traced};
use crate::decision::upstream;
use crate::decision::{Allow, Decision, Denial, Deny, Facts, Grant, Rule};
use crate::document::Overrides;
use crate::identity::crypto::VerifySignature;
use crate::identity::token::TokenCache;
use crate::policy::{Access, BodyCheck, Endpoint, Policy};
use crate::quota::Recent;
use crate::quota::held::HeldBytes;
use crate::reason::Reason;
use crate::replay::Table;
use crate::request::call::Call;
use crate::request::head::{Head, is_form, is_json};
use crate::request::{CanonicalPath, Host, Method, Query, split_target};
use crate::state::Shared;
use crate::text::ascii::is_without;

mod awaited;
mod caller;
mod hold;
mod limits;
mod once;
mod possession;
pub(crate) mod shared;
mod signature;

use awaited::AwaitedBody;
use hold::go_on;
pub use hold::{Hold, Late, Wait};

/// How it goes on with a call whose head was judged.
#[derive(Debug)]
#[must_use]
pub enum Step<'a> {
    /// It is decided.
    Decided(Decision<'a>),
    /// It is held until its body has come: only then is there a decision.
    Hold(Hold<'a>),
    /// It goes on before its body has come, since its gateway does not hold it; of the body nothing may go on before it was
    /// checked.
    Late(Late<'a>),
}

/// What an evaluation asks of its host.
pub struct Context<'c> {
    /// Verifies signatures.
    pub verifier: &'c dyn VerifySignature,
    /// Tokens that were verified before, under this policy.
    pub cache: &'c mut TokenCache,
    /// Who verified something lately, under this policy.
    pub recent: &'c Recent,
    /// What the workers of the gateway share; needed where the policy [counts](Policy::counts) calls.
    pub shared: Option<Shared<'c>>,
    /// What is accepted once; none where the policy has no such thing.
    pub replay: Option<&'c Table>,
    /// The bytes of requests that this worker holds; none where no host holds any.
    pub held: Option<&'c HeldBytes>,
    /// Where each check is put into words; none on the request path.
    pub trace: Option<&'c mut Trace>,
}

impl Context<'_> {
    /// The same for another evaluation, while this one waits.
    #[must_use]
    pub fn again(&mut self) -> Context<'_> {
        let Self { verifier, cache, recent, shared, replay, held, trace } = self;
        Context {
            verifier: *verifier,
            cache,
            recent,
            shared: *shared,
            replay: *replay,
            held: *held,
            trace: trace.as_deref_mut(),
        }
    }
}

/// Judges the head of a call, and decides it where that is enough.
pub fn evaluate<'a>(policy: &'a Policy, call: Call<'a>, context: Context<'_>) -> Step<'a> {
    let mut facts = Box::new(Facts::new(policy, call));
    let mut evaluation = Evaluation::begin(&mut facts, context, policy.observe);
    let next = evaluation.run();
    let (awaited, observing) = (evaluation.awaited.take(), evaluation.observing);
    let ended = match next {
        Ok(Next::Hold(body)) => return Step::Hold(Hold::new(facts, observing, *body)),
        Ok(Next::Grant(grant)) => Ok(grant),
        Err(stop) => Err(stop),
    };
    let goes_on = ended.is_ok();
    evaluation.conclude(&ended);
    go_on(decided(facts, ended), awaited.filter(|_| goes_on), observing)
}

/// The decision, once nothing more is to be checked.
fn decided<'a>(facts: Box<Facts<'a>>, ended: Result<Grant, Stop>) -> Decision<'a> {
    // INVARIANT: whatever stopped the evaluation left a denial that is enforced; a grant comes only from the end of `run`.
    let enforced = facts.denials.iter().copied().find(|denial| denial.enforced);
    match (enforced, ended) {
        (Some(denial), _) => Decision::Deny(Deny { facts, denial }),
        (None, _) if !facts.denials.is_empty() => Decision::Allow(Allow { facts, grant: Grant::Observed }),
        (None, Ok(grant)) => Decision::Allow(Allow { facts, grant }),
        (None, Err(Stop)) => {
            let denial = Denial { reason: Reason::HostError, rule: Rule::Gate, enforced: true };
            Decision::Deny(Deny { facts, denial })
        }
    }
}

/// How an evaluation goes on.
enum Next {
    /// It has come to its end, and nothing stood in the way.
    Grant(Grant),
    /// It needs the body.
    Hold(Box<AwaitedBody>),
}

/// The evaluation ends here: a denial is enforced.
struct Stop;

/// What a check found worth saying.
type Said = Vec<(&'static str, String)>;

struct Evaluation<'a, 'c> {
    facts: &'c mut Facts<'a>,
    context: Context<'c>,
    /// Whether denials are only recorded from here on.
    observing: bool,
    /// What the body has to be, where the call goes on before it has come.
    awaited: Option<AwaitedBody>,
}

impl<'a, 'c> Evaluation<'a, 'c> {
    fn begin(facts: &'c mut Facts<'a>, context: Context<'c>, observing: bool) -> Self {
        Self { facts, context, observing, awaited: None }
    }

    /// What is still to be learnt about a call that is denied.
    fn conclude(&mut self, ended: &Result<Grant, Stop>) {
        if ended.is_err() {
            self.look_at_limits();
        }
    }

    fn run(&mut self) -> Result<Next, Stop> {
        self.read()?;
        self.canonical()?;
        if self.is_preflight() {
            self.preflight()?;
            return Ok(Next::Grant(Grant::Preflight));
        }
        let found = self.look_up();
        let endpoint = self.facts.endpoint;
        let access = endpoint.map_or(Access::Known, |endpoint| endpoint.access);
        self.authenticate(access)?;
        self.identity()?;
        self.allowlist()?;
        self.escapes(found.as_ref())?;
        if let Some(endpoint) = endpoint {
            self.upgrade(endpoint)?;
            self.merged_bodies(endpoint)?;
            if access == Access::Known {
                self.bound_token(endpoint)?;
                self.signature(endpoint)?;
                self.scopes(endpoint)?;
                self.bindings(endpoint, found.as_ref())?;
                if let Some(awaited) = self.body(endpoint)? {
                    match self.facts.policy.features.body {
                        BodyCheck::Held => {
                            self.look_ahead(endpoint)?;
                            if let Some(body) = self.hold(awaited)? {
                                return Ok(Next::Hold(Box::new(body)));
                            }
                        }
                        BodyCheck::Late => self.await_body(awaited)?,
                        // INVARIANT: no such policy compiles.
                        BodyCheck::Unseen => return Err(Stop),
                    }
                }
            }
            self.await_none(endpoint);
        }
        self.finish().map(Next::Grant)
    }

    /// Before a body is held: what the last checks would deny is denied now, so that nobody holds bytes for a request that was
    /// captured or exceeds a limit. Nothing is charged or used up. Where denials are only recorded, the last checks record them.
    fn look_ahead(&mut self, endpoint: &'a Endpoint) -> Result<(), Stop> {
        if self.observing || self.context.trace.is_some() {
            return Ok(());
        }
        self.look_for_replays()?;
        self.look_at_limits_of(endpoint)
    }

    /// What comes last, once the body is known where it matters.
    fn finish(&mut self) -> Result<Grant, Stop> {
        let endpoint = self.facts.endpoint;
        if let Some(endpoint) = endpoint {
            let looked = self.look_for_replays()?;
            let charged = self.limits(endpoint)?;
            self.claim(looked, charged)?;
        }
        let access = endpoint.map_or(Access::Known, |endpoint| endpoint.access);
        match (access, &self.facts.caller) {
            (Access::Public | Access::PublicUnverified, _) => Ok(Grant::Public),
            (Access::Known, Some(_)) => Ok(Grant::Endpoint),
            (Access::Known, None) => Err(Stop),
        }
    }

    /// 1. Every line is read once, and what is ambiguous is refused.
    fn read(&mut self) -> Result<(), Stop> {
        let policy = self.facts.policy;
        let mut refusals = Vec::new();
        let headers = self.facts.call.headers;
        self.facts.head = Head::read(headers, &policy.prefix, policy.overrides, &policy.override_headers, |reason| {
            refusals.push(reason)
        });
        if !policy.features.tells_end {
            self.facts.call.end_of_stream = !self.facts.head.announces_body();
        }
        self.beyond_the_gateway()?;
        for reason in refusals {
            let rule = if reason == Reason::MethodOverride { Rule::Policy("overrides") } else { Rule::Gate };
            self.judge(Check::Reading, rule, Err::<(), _>(reason), |_| Vec::new())?;
        }
        if self.context.trace.is_some() && self.facts.denials.is_empty() {
            let lines = headers.len();
            self.judge(Check::Reading, Rule::Gate, Ok(()), |()| vec![("lines", lines.to_string())])?;
        }
        Ok(())
    }

    /// What the gateway does not show, and lines that it cannot remove. What it might leave out or send on could pose as the
    /// gate's, so that observation ends here as well.
    fn beyond_the_gateway(&mut self) -> Result<(), Stop> {
        let Facts { policy, head, call, .. } = &self.facts;
        let features = &policy.features;
        // The host lists its own `:authority` in addition to these.
        let truncated = call.headers.is_truncated()
            || features.listed_headers.is_some_and(|most| call.headers.len().saturating_add(1) >= most);
        let twice = |names: &[&[u8]]| {
            let again = |(at, name): (usize, &&[u8])| names.iter().take(at).any(|own| own.eq_ignore_ascii_case(name));
            !features.removes_headers && names.iter().enumerate().any(again)
        };
        let posing = twice(&head.posing);
        let overriding = policy.overrides == Overrides::Remove && twice(&head.overrides);
        for (found, reason) in [(truncated, Reason::TooManyHeaders), (posing, Reason::UnremovableHeader)] {
            if found {
                self.deny(Check::Reading, Rule::Gate, reason, true, Vec::new())?;
            }
        }
        if overriding {
            self.judge(Check::Reading, Rule::Policy("overrides"), Err::<(), _>(Reason::UnremovableHeader), |()| {
                Vec::new()
            })?;
        }
        Ok(())
    }

    /// 2. Method, host, path and query are in the one form that is matched and sent on, or refused.
    fn canonical(&mut self) -> Result<(), Stop> {
        let head = &self.facts.head;
        let (raw_method, raw_host) = (head.method, head.host);
        let (raw_path, raw_query) = split_target(head.target);
        self.facts.method = self.judge(Check::Canonical, Rule::Gate, Method::parse(raw_method), |method| {
            vec![("method", method.as_str().to_owned())]
        })?;
        let host = raw_host.ok_or(Reason::HostMissing).and_then(Host::parse);
        self.facts.host =
            self.judge(Check::Canonical, Rule::Gate, host, |host| vec![("host", host.as_str().to_owned())])?;
        let policy = self.facts.policy;
        // What only text values may contain is rejected here where no path has such a value; else after authentication.
        let path = if policy.endpoints.take_text {
            CanonicalPath::parse_with_text(raw_path)
        } else {
            CanonicalPath::parse(raw_path)
        };
        self.facts.path =
            self.judge(Check::Canonical, Rule::Gate, path, |path| vec![("path", path.as_str().to_owned())])?;
        let query = Query::parse(raw_query).and_then(|query| {
            query.reject_names(&policy.rejected_query)?;
            Ok(query)
        });
        let rule = if query == Err(Reason::QueryRefused) { Rule::Policy("refuse_query") } else { Rule::Gate };
        self.facts.query = self.judge(Check::Canonical, rule, query, |_| Vec::new())?;
        self.early_data()
    }

    /// What came in TLS early data can be sent again by anybody: only what changes nothing is taken (RFC 8470, section 5.2).
    fn early_data(&mut self) -> Result<(), Stop> {
        if !self.facts.head.early_data {
            return Ok(());
        }
        let is_safe = |method: Method<'_>| matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS" | "TRACE");
        let result = if self.facts.method.is_some_and(is_safe) { Ok(()) } else { Err(Reason::EarlyData) };
        self.judge(Check::Reading, Rule::Gate, result, |()| Vec::new())?;
        Ok(())
    }

    /// A CORS preflight carries no credential and asks for no resource, on whichever path.
    fn is_preflight(&self) -> bool {
        let Facts { policy, head, call, method, host, .. } = &self.facts;
        policy.passes_preflight
            && method.is_some_and(|method| method.as_str() == "OPTIONS")
            && head.has_origin
            && head.has_preflight_method
            && head.authorization.count == 0
            && head.upgrade.count == 0
            && call.end_of_stream
            && host.as_ref().is_some_and(|host| policy.table(host.as_str()).is_some())
    }

    /// The escapes that a preflight may have are the policy's: the answer says nothing about its path.
    fn preflight(&mut self) -> Result<(), Stop> {
        let taken = self.facts.policy.endpoints.escapes;
        let fits = self.facts.path.as_ref().is_none_or(|path| path.restricted().is_subset(taken));
        let result = if fits { Ok(()) } else { Err(Reason::PathEscapeNotAllowed) };
        self.judge(Check::Escapes, Rule::Policy("preflight"), result, |()| Vec::new())?;
        Ok(())
    }

    /// 3. The endpoint is found and held: what it asks for is used, and whether it exists is answered later.
    fn look_up(&mut self) -> Option<Found<'a, 'a>> {
        let Facts { policy, method, host, path, .. } = &self.facts;
        let table: Option<&'a allowlist::Table> = host.as_ref().and_then(|host| policy.table(host.as_str()));
        let found = table.zip(path.as_ref()).and_then(|(table, path)| table.find(path));
        let endpoint = found.as_ref().zip(*method).and_then(|(found, method)| {
            let candidates = found.endpoints().iter().filter_map(|index| policy.endpoints.list.get(*index as usize));
            candidates.into_iter().find(|endpoint| endpoint.methods.iter().any(|own| **own == *method.as_str()))
        });
        self.facts.endpoint = endpoint;
        self.observing |= endpoint.is_some_and(|endpoint| endpoint.observe);
        found
    }

    /// Only a caller that is known is told that the call is not on the allowlist.
    fn allowlist(&mut self) -> Result<(), Stop> {
        let Facts { policy, endpoint, path, .. } = &self.facts;
        let opened_nowhere = path.as_ref().is_some_and(|path| !path.restricted().is_subset(policy.endpoints.escapes));
        let text_only = path.as_ref().and_then(CanonicalPath::text_only);
        let (result, rule) = match endpoint {
            Some(endpoint) => (Ok(*endpoint), Rule::Endpoint(endpoint.position, "")),
            None if opened_nowhere => (Err(Reason::PathEscapeNotAllowed), Rule::Policy("endpoints")),
            None => (Err(text_only.unwrap_or(Reason::EndpointNotAllowed)), Rule::Policy("endpoints")),
        };
        self.judge(Check::Allowlist, rule, result, |endpoint| vec![("endpoint", endpoint.id.to_string())])?;
        Ok(())
    }

    /// Escapes that the endpoint must allow, and values that they could make ambiguous.
    fn escapes(&mut self, found: Option<&Found<'a, 'a>>) -> Result<(), Stop> {
        let Facts { endpoint, path, .. } = &self.facts;
        let (Some(endpoint), Some(path), Some(found)) = (*endpoint, path, found) else { return Ok(()) };
        let restricted = path.restricted();
        if restricted.is_empty() {
            return Ok(());
        }
        let result = if restricted.is_subset(endpoint.escapes) {
            found.check_opened_values()
        } else {
            Err(Reason::PathEscapeNotAllowed)
        };
        self.judge(Check::Escapes, Rule::Endpoint(endpoint.position, "allow_escapes"), result, |()| Vec::new())?;
        Ok(())
    }

    /// An upgrade is taken where the endpoint says so, and has no body.
    fn upgrade(&mut self, endpoint: &'a Endpoint) -> Result<(), Stop> {
        let head = &self.facts.head;
        if head.upgrade.count == 0 {
            return Ok(());
        }
        let websocket = head.upgrade.only().is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"));
        let result = if !(endpoint.websocket && websocket) {
            Err(Reason::UpgradeNotAllowed)
        } else if head.content_length.is_some() || head.has_transfer_encoding {
            Err(Reason::UpgradeWithBody)
        } else {
            Ok(())
        };
        self.judge(Check::Upgrade, Rule::Endpoint(endpoint.position, "upgrade"), result, |()| Vec::new())?;
        Ok(())
    }

    /// Bodies in which frameworks read parameters and methods are recognized by their media type. A body that names none is a form
    /// to some of them.
    fn merged_bodies(&mut self, endpoint: &'a Endpoint) -> Result<(), Stop> {
        if !endpoint.one_content_type {
            return Ok(());
        }
        let head = &self.facts.head;
        let types = head.content_type;
        let several = types.count > 1 || types.first.is_some_and(|value| !is_without::<b','>(value));
        let has_body = (!self.facts.call.end_of_stream || self.may_have_a_body_unseen()) && head.upgrade.count == 0;
        let named = types.first.filter(|value| !value.trim_ascii().is_empty());
        let untyped = named.is_none() && has_body && !self.has_no_body_yet(endpoint);
        // Many clients name JSON where they send no body, which does no harm where it is known that none follows.
        let may_be_json = has_body || !self.facts.policy.features.tells_end;
        let result = match endpoint.rejected_bodies {
            _ if several => Err(Reason::ContentTypeAmbiguous),
            Some(rejected) if rejected.forms && (untyped || named.is_some_and(is_form)) => Err(Reason::FormBody),
            Some(rejected) if rejected.json && (untyped || may_be_json && named.is_some_and(is_json)) => {
                Err(Reason::JsonBody)
            }
            _ => Ok(()),
        };
        let rule = Rule::asked_by(endpoint, endpoint.rejected_bodies.map(|rejected| rejected.origin), "forms");
        self.judge(Check::Forms, rule, result, |()| Vec::new())?;
        Ok(())
    }

    /// Over HTTP/2 a body may come that nobody announced. Where the gate will not see it either, methods that write are taken to
    /// have one.
    fn may_have_a_body_unseen(&self) -> bool {
        let Facts { policy, head, method, .. } = &self.facts;
        policy.features.body == BodyCheck::Unseen
            && head.content_length.is_none()
            && method.is_some_and(|method| !matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS"))
    }

    /// 5. What the caller may do: scopes first,
    fn scopes(&mut self, endpoint: &'a Endpoint) -> Result<(), Stop> {
        let Some(caller) = &self.facts.caller else { return Ok(()) };
        let missing = endpoint.scopes.missing(caller);
        let result = if missing.is_none() { Ok(()) } else { Err(Reason::InsufficientScope) };
        let said = self.context.trace.is_some().then(|| {
            let granted = upstream::granted(caller.token(), caller.agent).collect::<Vec<_>>().join(" ");
            vec![("takes", endpoint.scopes.names().join(" ")), ("has", granted)]
        });
        let rule = Rule::asked_by(endpoint, missing, "scopes");
        self.judge_saying(Check::Scopes, rule, result, said.unwrap_or_default())?;
        Ok(())
    }

    /// then the parts of the call that are bound to who calls.
    fn bindings(&mut self, endpoint: &'a Endpoint, found: Option<&Found<'a, 'a>>) -> Result<(), Stop> {
        for binding in &endpoint.bindings {
            let (Some(caller), Some(query), Some(found)) = (&self.facts.caller, &self.facts.query, found) else {
                return Ok(());
            };
            let value = binding.value(found, query, self.facts.call.headers);
            let fact = caller.fact(&binding.side);
            let said = self.context.trace.is_some().then(|| {
                let value = match &value {
                    Ok(Some(value)) => value.to_string(),
                    Ok(None) => "absent".to_owned(),
                    Err(_) => "ambiguous".to_owned(),
                };
                let fact = fact.map_or_else(|| "absent".to_owned(), ToString::to_string);
                vec![
                    ("part", binding.written.0.to_string()),
                    ("is", value),
                    ("must be", binding.written.1.to_string()),
                    ("which is", fact),
                ]
            });
            let result = value.and_then(|value| match (value, fact) {
                (Some(value), Some(fact)) if equals(fact, &value) => Ok(()),
                _ => Err(Reason::BindingMismatch),
            });
            let rule = Rule::Binding(endpoint.position, &binding.written.0);
            self.judge_saying(Check::Binding, rule, result, said.unwrap_or_default())?;
        }
        Ok(())
    }

    /// Takes the result of a check: its proof, or a denial, which ends the evaluation where it is enforced.
    fn judge<T>(
        &mut self,
        check: Check,
        rule: Rule<'a>,
        result: Result<T, Reason>,
        say: impl FnOnce(&T) -> Said,
    ) -> Result<Option<T>, Stop> {
        let said = match (&result, &self.context.trace) {
            (Ok(proof), Some(_)) => say(proof),
            _ => Vec::new(),
        };
        self.judge_saying(check, rule, result, said)
    }

    fn judge_saying<T>(
        &mut self,
        check: Check,
        rule: Rule<'a>,
        result: Result<T, Reason>,
        said: Said,
    ) -> Result<Option<T>, Stop> {
        match result {
            Ok(proof) => {
                if let Some(trace) = &mut self.context.trace {
                    trace.push(Traced { check, denied: None, rule: rule.to_string(), facts: said });
                }
                Ok(Some(proof))
            }
            Err(reason) => self.deny(check, rule, reason, !self.observing, said).map(|()| None),
        }
    }

    /// Notes a denial, which ends the evaluation where it is enforced.
    fn deny(&mut self, check: Check, rule: Rule<'a>, reason: Reason, enforced: bool, facts: Said) -> Result<(), Stop> {
        if let Some(trace) = &mut self.context.trace {
            trace.push(Traced { check, denied: Some(reason), rule: rule.to_string(), facts });
        }
        self.facts.denials.push(Denial { reason, rule, enforced });
        if !enforced || self.context.trace.is_some() { Ok(()) } else { Err(Stop) }
    }
}

#[cfg(test)]
mod possession_tests;
#[cfg(test)]
mod tests;
