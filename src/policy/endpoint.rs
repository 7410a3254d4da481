//! Compiles one endpoint: its access, scopes, bindings, bodies and other fields.
//!
//! Nothing in this module compares endpoints. Fields with many rules, such as `bind` and `limits`, have their own files in `src/policy/`,
//! which this module calls.

use std::collections::BTreeSet;

use super::content::{Content, Others};
use super::delegation::{self, DelegationRule};
use super::gateway::Features;
use super::reach::{self, AgentNames};
use super::signatures::SignatureRule;
use super::{authentication, bindings, dpop, hosts, limits, rpc};
use crate::allowlist::Template;
use crate::allowlist::operations::Rpc;
use crate::allowlist::{Binding, Bound, Origin, Reach, ScopesWanted};
use crate::document::names::{check_distinct, check_name, check_scope};
use crate::document::{self, Authenticate, Effect};
use crate::document::{Findings, Place};
use crate::request::EscapeSet;
use crate::text::ascii::is_token;

/// An entry of the allowlist.
#[derive(Debug)]
#[non_exhaustive]
pub struct Endpoint {
    /// The endpoint's name in the policy.
    pub id: Box<str>,
    /// The endpoint's position in the policy's list, counted from 0.
    pub position: u32,
    /// The endpoint's place in the policy, such as `endpoints[3]`.
    pub(crate) place: Box<str>,
    pub(crate) methods: Vec<Box<str>>,
    pub(crate) access: Access,
    /// The kinds of credentials of which one authenticates the caller.
    pub(crate) authenticate: Vec<Authenticate>,
    /// The field that requires a key-bound token, if there is one.
    pub(crate) needs_bound_token: Option<Origin>,
    pub(crate) scopes: ScopesWanted,
    /// The bound parts of the request, except for those of its body.
    pub(crate) bindings: Vec<Binding>,
    /// What the endpoint requires of a JSON body. `None` if it accepts any body.
    pub(crate) content: Option<Box<Content>>,
    pub(crate) escapes: EscapeSet,
    pub(crate) websocket: bool,
    /// The bodies that are rejected because the upstream merges them with the query, if there are any.
    pub(crate) rejected_bodies: Option<RejectedBodies>,
    /// Whether a request must have exactly one `Content-Type`, because another rule depends on it.
    pub(crate) one_content_type: bool,
    pub(crate) streams: bool,
    pub(crate) signature: SignatureRule,
    /// The limits that apply to a request, by their positions in the policy.
    pub(crate) limits: Vec<u32>,
    /// The number of requests that one request counts as.
    pub(crate) cost: u32,
    pub(crate) observe: bool,
    /// Whether every request is denied.
    pub(crate) suspended: bool,
    /// Whether open streams are checked again while data flows.
    pub(crate) rechecks: bool,
    /// The operations, if requests are JSON-RPC messages.
    pub(crate) rpc: Option<Box<Rpc>>,
    pub(crate) delegation: DelegationRule,
    pub(crate) effect: Effect,
    /// Who may use it, and how fresh the token must be. `None` if nothing is required.
    pub(crate) reach: Option<Box<Reach>>,
    /// The path as the policy writes it.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) path: Box<str>,
}

impl Endpoint {
    /// Returns whether this kind of credential is enough to authenticate the caller.
    pub(crate) fn accepts(&self, kind: Authenticate) -> bool {
        self.authenticate.contains(&kind)
    }

    /// Returns the kind of signature that is enough to authenticate the caller. An endpoint accepts at most one.
    pub(crate) fn accepted_signature(&self) -> Option<Authenticate> {
        self.authenticate.iter().copied().find(|kind| kind.is_signature())
    }
}

/// The media types of bodies that an endpoint rejects. A body without a media type is rejected as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RejectedBodies {
    /// The field that requires the rejection.
    pub(crate) origin: Origin,
    pub(crate) forms: bool,
    pub(crate) json: bool,
}

/// The callers that an endpoint allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Authenticated callers.
    Known,
    /// Anyone. A credential that the policy could verify must be valid.
    Public,
    /// Anyone. The upstream handles credentials.
    PublicUnverified,
}

pub(super) fn takes_text(template: &Template) -> bool {
    template.variables().iter().any(|variable| variable.kind.takes_escapes())
}

/// The state while one endpoint is compiled.
pub(super) struct Compiling<'a> {
    pub(super) document: &'a document::Document,
    pub(super) raw: &'a document::Endpoint,
    pub(super) place: &'a Place,
    /// Attributes that at least one agent has.
    pub(super) attributes: &'a BTreeSet<&'a str>,
    pub(super) names: &'a AgentNames<'a>,
}

impl Compiling<'_> {
    pub(super) fn endpoint(&self, index: usize, template: Option<&Template>, findings: &mut Findings) -> Endpoint {
        let Self { document, raw, place, .. } = self;
        check_name("an endpoint", &raw.id, &place.field("id"), findings);
        self.check_methods(findings);
        hosts::check_of_endpoint(raw, document, place, findings);
        let access = self.access(findings);
        let bindings = bindings::compile(document, raw, template, self.attributes, place, findings);
        if access != Access::Known && !bindings.is_empty() {
            findings.error(
                place.field("bind"),
                "a public endpoint does not identify clients; remove `bind` or `access: public`",
            );
        }
        let authenticate = authentication::of_endpoint(document, raw, access, place, findings);
        authentication::check_bindings(&authenticate, &bindings, place, findings);
        let (of_body, bindings): (Vec<_>, Vec<_>) =
            bindings.into_iter().partition(|binding| matches!(binding.part, Bound::Body(_)));
        let binds_query = bindings.iter().any(|binding| matches!(binding.part, Bound::Query(_)));
        let rejected_bodies = self.rejected_bodies(binds_query, findings);
        let signature = SignatureRule::compile(document, raw, access, &authenticate, place, findings);
        let others = Others { access, rejected_bodies, signature: &signature };
        let content = Content::compile(document, raw, of_body, &others, place, findings);
        let mut endpoint = Endpoint {
            id: raw.id.as_str().into(),
            position: u32::try_from(index).unwrap_or(u32::MAX),
            place: place.as_str().into(),
            methods: raw.methods.iter().map(|method| method.as_str().into()).collect(),
            access,
            needs_bound_token: dpop::needs_bound_token(self.document, raw, place, findings),
            scopes: self.scopes(access, findings),
            rejected_bodies,
            one_content_type: rejected_bodies.is_some() || binds_query,
            bindings,
            content,
            escapes: self.escapes(template, findings),
            websocket: self.websocket(findings),
            streams: raw.body.is_some(),
            signature,
            delegation: delegation::of_endpoint(document, raw, access, &authenticate, place, findings),
            reach: reach::of_endpoint(self, access, &authenticate, findings),
            authenticate,
            limits: limits::of_endpoint(self.document, raw, place, findings),
            cost: raw.cost.unwrap_or(1),
            observe: self.observe(findings),
            suspended: raw.suspended,
            rechecks: self.rechecks(findings),
            rpc: None,
            effect: raw.effect,
            #[cfg(not(target_arch = "wasm32"))]
            path: raw.path.as_str().into(),
        };
        endpoint.rpc = rpc::compile(self, &endpoint, findings);
        endpoint
    }

    fn check_methods(&self, findings: &mut Findings) {
        let place = self.place.field("methods");
        if self.raw.methods.is_empty() {
            findings.error(place.clone(), "an endpoint without a method never matches; write each method");
        }
        check_distinct("method", &self.raw.methods, &place, findings);
        for (index, method) in self.raw.methods.iter().enumerate() {
            let place = place.index(index);
            let upper = method.to_ascii_uppercase();
            // `*` is a valid token, but its author means any method.
            if !is_token(method.as_bytes()) || method.contains('*') {
                findings.error(
                    place,
                    format!("invalid method `{}`; write each method exactly, such as `GET`", method.escape_debug()),
                );
            } else if upper == "CONNECT" {
                findings.error(place, "`CONNECT` opens a tunnel and is always rejected; remove it");
            } else if *method != upper {
                findings.error(place, format!("methods are compared exactly; write `{upper}`"));
            }
        }
    }

    fn access(&self, findings: &mut Findings) -> Access {
        match (self.raw.access, self.raw.credentials) {
            (None, None) => Access::Known,
            (None, Some(_)) => {
                findings.error(
                    self.place.field("credentials"),
                    "this applies only to public endpoints, because other endpoints always verify credentials; remove it",
                );
                Access::Known
            }
            (Some(document::Access::Public), None | Some(document::Credentials::Verify)) => Access::Public,
            (Some(document::Access::Public), Some(document::Credentials::Ignore)) => Access::PublicUnverified,
        }
    }

    fn scopes(&self, access: Access, findings: &mut Findings) -> ScopesWanted {
        let place = self.place.field("scopes");
        let of_effect = self.document.requirements.get(&self.raw.effect).and_then(|asked| asked.scopes.as_ref());
        let own = self.raw.scopes.as_ref();
        if let Some(own) = own {
            check_scopes(own, &place, findings);
        }
        let mut wanted = ScopesWanted::default();
        if access != Access::Known {
            if own.is_some_and(|own| !own.none) {
                findings.error(place, "a public endpoint cannot check scopes; remove `scopes` or `access: public`");
            } else if of_effect.is_some_and(|asked| !asked.none) {
                findings.error(
                    self.place.field("effect"),
                    "this effect requires scopes, but a public endpoint cannot check them; remove `access: public` or choose \
                     another effect",
                );
            }
            return wanted;
        }
        if own.is_none() && of_effect.is_none() {
            findings.error(place, "`scopes` is required; write a list of scopes, or `none` for any registered agent");
        }
        of_effect.into_iter().for_each(|asked| wanted.add(Origin::Effect(self.raw.effect), asked));
        own.into_iter().for_each(|asked| wanted.add(Origin::Endpoint, asked));
        wanted
    }

    /// Returns the bodies that the endpoint rejects. `reject` rejects forms in every policy. Without a setting, the kinds that
    /// the upstream merges are rejected if a query parameter is bound.
    fn rejected_bodies(&self, binds_query: bool, findings: &mut Findings) -> Option<RejectedBodies> {
        let merges = |kind| self.document.upstream.merges.contains(&kind);
        let (forms, json) = (merges(document::MergedBody::Form), merges(document::MergedBody::Json));
        let refused = |origin| Some(RejectedBodies { origin, forms: true, json });
        let of_effect = self.document.requirements.get(&self.raw.effect).and_then(|asked| asked.form_bodies);
        match (self.raw.form_bodies, of_effect) {
            (Some(document::FormBodies::Allow), Some(document::FormBodies::Reject)) => {
                findings.error(
                    self.place.field("form_bodies"),
                    "the requirements of this effect reject form bodies, and both settings apply; remove one of them",
                );
                None
            }
            (Some(document::FormBodies::Reject), _) => refused(Origin::Endpoint),
            (None, Some(document::FormBodies::Reject)) => refused(Origin::Effect(self.raw.effect)),
            (Some(document::FormBodies::Allow), _) | (None, Some(document::FormBodies::Allow)) => None,
            (None, None) => {
                let merged = RejectedBodies { origin: Origin::Endpoint, forms, json };
                (binds_query && (forms || json)).then_some(merged)
            }
        }
    }

    fn escapes(&self, template: Option<&Template>, findings: &mut Findings) -> EscapeSet {
        let place = self.place.field("allow_escapes");
        let mut escapes = EscapeSet::default();
        for (index, escape) in self.raw.allow_escapes.iter().enumerate() {
            if escapes.contains(*escape) {
                findings.error(place.index(index), "this escape is listed twice; remove one");
            }
            escapes.insert(*escape);
        }
        if !escapes.is_empty() && template.is_some_and(|template| !takes_text(template)) {
            findings.error(
                place,
                "no variable of this path accepts escapes; write `{name:text}` for the variable that should, or remove this",
            );
        }
        escapes
    }

    fn websocket(&self, findings: &mut Findings) -> bool {
        let Some(document::Upgrade::Websocket) = self.raw.upgrade else { return false };
        if !self.raw.methods.iter().any(|method| method == "GET") {
            findings.error(
                self.place.field("upgrade"),
                "a WebSocket handshake is a `GET` (RFC 6455); add that method or remove `upgrade`",
            );
        }
        true
    }

    fn rechecks(&self, findings: &mut Findings) -> bool {
        let Some(document::Streams::Recheck) = self.raw.streams else { return false };
        let features = Features::of(self.document.gateway);
        if !features.ends_streams {
            findings.error(
                self.place.field("streams"),
                format!(
                    "the filter cannot end open streams on `{}`; remove this, or choose another `gateway`",
                    features.name
                ),
            );
        }
        true
    }

    fn observe(&self, findings: &mut Findings) -> bool {
        if self.raw.mode == Some(document::Mode::Enforce) && self.document.mode == document::Mode::Observe {
            findings.error(
                self.place.field("mode"),
                "the policy's `mode: observe` denies nothing; write `enforce` there, and `observe` on the other endpoints",
            );
        }
        self.raw.mode == Some(document::Mode::Observe)
    }
}

/// Checks the scopes that a field requires.
pub(super) fn check_scopes(asked: &document::ScopesAsked, place: &Place, findings: &mut Findings) {
    if !asked.none && asked.all.is_empty() && asked.any.is_empty() {
        findings.error(place.clone(), "an empty list requires nothing; write `none`");
    }
    for (field, scopes) in [("all", &asked.all), ("any", &asked.any)] {
        for scope in scopes {
            check_scope(scope, place, findings);
        }
        check_distinct("scope", scopes, &place.field(field), findings);
    }
}
