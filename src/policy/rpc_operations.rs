//! Compiles the entries of `rpc`: tools, resources, prompts and methods.

use std::collections::BTreeSet;

use super::endpoint::{self, Compiling, Endpoint};
use super::{api_keys, authentication, bindings, delegation, reach, rpc_limits};
use crate::allowlist::operations::methods::{Needs, defined};
use crate::allowlist::operations::{Lookup, Operation, OperationKind, Resources, UriTemplate};
use crate::allowlist::{Binding, Bound, Origin, ScopesWanted};
use crate::document::names::did_you_mean;
use crate::document::{self, OperationEntry, RpcProtocol, SignatureAsked};
use crate::document::{Findings, Place};
use crate::request::headers::folded_name;
use crate::request::json::pointer::{Pointer, PointerFault};
use crate::text::ascii::is_token;

/// The operations of an endpoint, by their kinds.
pub(super) struct Operations {
    pub(super) tools: Vec<Operation>,
    pub(super) resources: Resources,
    pub(super) prompts: Vec<Operation>,
    pub(super) methods: Vec<Operation>,
}

impl Operations {
    pub(super) fn compile(
        compiling: &Compiling<'_>,
        endpoint: &Endpoint,
        raw: &document::Rpc,
        place: &Place,
        findings: &mut Findings,
    ) -> Self {
        check_names(raw, place, findings);
        let entries = Entries { compiling, endpoint, protocol: raw.protocol, place };
        let mut compiled = Self { tools: vec![], resources: Resources::default(), prompts: vec![], methods: vec![] };
        let (mut resources, mut templates) = (Vec::new(), Vec::new());
        for entry in raw.operations() {
            let kind = kind_of(&entry);
            let uri = (kind == OperationKind::Resource).then(|| entries.uri(&entry, &templates, findings)).flatten();
            let operation = entries.operation(kind, &entry, uri.as_ref(), findings);
            match kind {
                OperationKind::Tool => compiled.tools.push(operation),
                OperationKind::Prompt => compiled.prompts.push(operation),
                OperationKind::Method => compiled.methods.push(operation),
                OperationKind::Resource => {
                    let position = u32::try_from(entry.index).unwrap_or(u32::MAX);
                    templates.extend(uri.map(|uri| (position, uri)));
                    resources.push(operation);
                }
            }
        }
        let lookup = Lookup::build(&templates, compiling.document.format_suffixes);
        let uri_of = |position: u32| place.field("resources").index(position as usize).field("uri");
        for remark in &lookup.errors {
            findings.error(uri_of(remark.endpoint), remark.message.as_str());
        }
        for remark in &lookup.warnings {
            findings.warn(uri_of(remark.endpoint), remark.message.as_str());
        }
        compiled.resources = Resources::new(resources, lookup);
        compiled
    }
}

fn kind_of(entry: &OperationEntry<'_>) -> OperationKind {
    match entry.list {
        "tools" => OperationKind::Tool,
        "resources" => OperationKind::Resource,
        "prompts" => OperationKind::Prompt,
        _ => OperationKind::Method,
    }
}

/// Checks the names of tools, prompts and methods.
fn check_names(raw: &document::Rpc, place: &Place, findings: &mut Findings) {
    for kind in [OperationKind::Tool, OperationKind::Prompt, OperationKind::Method] {
        let named = || raw.operations().filter(move |entry| kind_of(entry) == kind);
        let folded: Vec<String> = named().map(|entry| entry.name.to_lowercase()).collect();
        let (mut seen, mut alike) = (BTreeSet::<&str>::new(), BTreeSet::<&str>::new());
        for (entry, folded) in named().zip(&folded) {
            let place = place.field(entry.list).index(entry.index).field("name");
            let (kind, shown) = (kind.name(), entry.name.escape_debug());
            let (is_new, is_distinct) = (seen.insert(entry.name), alike.insert(folded));
            if entry.name.is_empty() || entry.name.contains(char::is_control) {
                findings.error(place, format!("invalid name `{shown}`; expected text without control characters"));
            } else if !is_new {
                findings.error(place, format!("the {kind} `{shown}` is listed twice; remove one"));
            } else if !is_distinct {
                findings.warn(
                    place,
                    format!(
                        "`{shown}` differs from another {kind} only in letter case, and some servers do not distinguish them; \
                         remove the one that the server does not have"
                    ),
                );
            }
        }
    }
}

/// What the entries of an endpoint have in common.
struct Entries<'c> {
    compiling: &'c Compiling<'c>,
    endpoint: &'c Endpoint,
    protocol: RpcProtocol,
    /// The place of `rpc`.
    place: &'c Place,
}

impl Entries<'_> {
    fn operation(
        &self,
        kind: OperationKind,
        entry: &OperationEntry<'_>,
        uri: Option<&UriTemplate>,
        findings: &mut Findings,
    ) -> Operation {
        let Self { compiling, endpoint, .. } = self;
        let place = self.place.field(entry.list).index(entry.index);
        if kind == OperationKind::Method && self.protocol == RpcProtocol::Mcp {
            check_method(entry.name, &place.field("name"), findings);
        }
        self.check_effect(entry.effect, &place.field("effect"), findings);
        let bindings = self.bindings(kind, entry, uri, &place, findings);
        authentication::check_bindings(&endpoint.authenticate, &bindings, &place, findings);
        let limits =
            rpc_limits::of_operation(compiling.document, compiling.raw, &endpoint.limits, entry, &place, findings);
        Operation {
            kind,
            name: entry.name.into(),
            effect: entry.effect,
            scopes: self.scopes(entry, &place.field("scopes"), findings),
            bindings,
            limits,
            cost: entry.cost.or(compiling.raw.cost).unwrap_or(1),
            headers: entry.tool.map_or_else(Vec::new, |tool| headers(tool, &place.field("headers"), findings)),
            pins: entry.tool.map_or_else(Vec::new, |tool| pins(tool, &place.field("pin"), findings)),
            reach: reach::of_operation(compiling, endpoint, entry, &place, findings),
            place: place.as_str().into(),
            delegation: delegation::of_operation(
                compiling.document,
                compiling.raw,
                endpoint.delegation,
                entry.effect,
                &place,
                findings,
            ),
        }
    }

    /// Parses the URI of a resource. `earlier` has those of the resources before it.
    fn uri(
        &self,
        entry: &OperationEntry<'_>,
        earlier: &[(u32, UriTemplate)],
        findings: &mut Findings,
    ) -> Option<UriTemplate> {
        let list = self.place.field(entry.list);
        let place = list.index(entry.index).field("uri");
        let uri = UriTemplate::parse(entry.name).map_err(|message| findings.error(place.clone(), message)).ok()?;
        match earlier.iter().find(|(_, other)| other.is_same_as(&uri)) {
            Some((position, _)) => {
                let other = list.index(*position as usize);
                findings.error(place, format!("`{other}` matches the same URIs; remove one of them"));
                None
            }
            None => Some(uri),
        }
    }

    fn scopes(&self, entry: &OperationEntry<'_>, place: &Place, findings: &mut Findings) -> ScopesWanted {
        let of_effect = self.compiling.document.requirements.get(&entry.effect).and_then(|asked| asked.scopes.as_ref());
        let mut wanted = ScopesWanted::default();
        if let Some(asked) = of_effect {
            wanted.add(Origin::Effect(entry.effect), asked);
        }
        match entry.scopes {
            Some(own) => {
                endpoint::check_scopes(own, place, findings);
                wanted.add(Origin::Endpoint, own);
            }
            None if of_effect.is_none() => findings.error(
                place.clone(),
                "`scopes` is required; write a list of scopes, or `none` for every client that may use the endpoint",
            ),
            None => {}
        }
        wanted
    }

    /// Checks that the endpoint meets those requirements of an operation's effect that the headers decide, before the operation is known.
    fn check_effect(&self, effect: document::Effect, place: &Place, findings: &mut Findings) {
        let Self { compiling: Compiling { document, raw, .. }, endpoint, .. } = self;
        let Some(asked) = document.requirements.get(&effect) else { return };
        let of_endpoint = document.requirements.get(&raw.effect);
        let signature = endpoint.signature.asked.map(|(asked, _)| asked);
        let is_signed = match asked.signature {
            None => true,
            Some(SignatureAsked::Optional) => signature.is_some(),
            Some(SignatureAsked::Required) => signature == Some(SignatureAsked::Required),
        };
        let authenticates =
            |kinds: &document::Authentication| endpoint.authenticate.iter().all(|kind| kinds.0.contains(kind));
        let form_bodies = raw.form_bodies.or_else(|| of_endpoint.and_then(|asked| asked.form_bodies));
        let rejects_forms = form_bodies == Some(document::FormBodies::Reject);
        for (field, is_met) in [
            ("token", asked.token.is_none() || endpoint.needs_bound_token.is_some()),
            ("signature", is_signed),
            ("authenticate", asked.authenticate.as_ref().is_none_or(authenticates)),
            ("form_bodies", asked.form_bodies != Some(document::FormBodies::Reject) || rejects_forms),
        ] {
            if !is_met {
                findings.error(
                    place.clone(),
                    format!(
                        "the requirements of this effect have `{field}`, which is decided before the operation is known; write \
                         `{field}` with the same value at the endpoint"
                    ),
                );
            }
        }
    }

    fn bindings(
        &self,
        kind: OperationKind,
        entry: &OperationEntry<'_>,
        uri: Option<&UriTemplate>,
        place: &Place,
        findings: &mut Findings,
    ) -> Vec<Binding> {
        let Compiling { document, attributes, .. } = self.compiling;
        let mut compiled = Vec::with_capacity(entry.bind.iter().len());
        for (left, rule) in entry.bind.iter() {
            let place = place.field("bind").field(left);
            let part = bound(left, kind, uri).map_err(|message| findings.error(place.clone(), message));
            let side = bindings::side(rule, document, attributes, &place, findings);
            if let (Ok(Some(part)), Some((side, right))) = (part, side) {
                compiled.push(Binding { part, operator: rule.operator, side, written: (left.into(), right) });
            }
        }
        compiled
    }
}

/// Rejects a method that MCP defines. Others, such as `tasks/get`, need an entry.
fn check_method(name: &str, place: &Place, findings: &mut Findings) {
    let Some((method, needs)) = defined(name) else { return };
    let message = match needs {
        Needs::Server => format!("only servers send `{method}`; remove this"),
        _ if method != name => {
            format!("some servers could read `{}` as `{method}`, which MCP defines; remove this", name.escape_debug())
        }
        Needs::Tool => format!("`{method}` needs the tool that it names; list it under `tools`"),
        Needs::Prompt => format!("`{method}` needs the prompt that it names; list it under `prompts`"),
        Needs::Resource | Needs::Subscriptions => {
            format!("`{method}` needs the resources that it names; list them under `resources`")
        }
        Needs::Reference => {
            format!("`{method}` needs the prompt or resource that it names; list it under `prompts` or `resources`")
        }
        Needs::Entry | Needs::Lifecycle | Needs::List(_) => {
            format!("every client that may use an operation may send `{method}`; remove this")
        }
    };
    findings.error(place.clone(), message);
}

/// Parses the bound part. Returns `None` if the URI did not compile and its variables are unknown.
fn bound(written: &str, kind: OperationKind, uri: Option<&UriTemplate>) -> Result<Option<Bound>, String> {
    let shown = written.escape_debug();
    match (kind, written.split_once('.')) {
        (OperationKind::Tool | OperationKind::Prompt, Some(("argument", text))) => {
            Ok(Some(Bound::Argument(pointer(text)?)))
        }
        (OperationKind::Method, Some(("params", text))) => Ok(Some(Bound::Params(pointer(text)?))),
        (OperationKind::Resource, Some(("uri", name))) => {
            let Some(uri) = uri else { return Ok(None) };
            uri.position(name).map(|position| Some(Bound::Uri(position))).ok_or_else(|| {
                format!(
                    "unknown variable `{}`; {}",
                    name.escape_debug(),
                    did_you_mean(name, uri.variables(), "expected a variable of the URI")
                )
            })
        }
        (OperationKind::Tool, _) => Err(format!("`{shown}` is not a part of a tool; expected `argument./POINTER`")),
        (OperationKind::Prompt, _) => Err(format!("`{shown}` is not a part of a prompt; expected `argument./POINTER`")),
        (OperationKind::Resource, _) => Err(format!("`{shown}` is not a part of a resource; expected `uri.VARIABLE`")),
        (OperationKind::Method, _) => Err(format!("`{shown}` is not a part of a method; expected `params./POINTER`")),
    }
}

fn pointer(text: &str) -> Result<Pointer, String> {
    Pointer::parse(text).map_err(|fault| {
        let shown = text.escape_debug();
        match fault {
            PointerFault::Empty => "the pointer is empty; expected a JSON pointer, such as `/owner`".to_owned(),
            PointerFault::Malformed => {
                format!("invalid pointer `{shown}`; begin each name with `/`, and write `~0` for `~` and `~1` for `/` within a name")
            }
            PointerFault::Long => format!("the pointer `{shown}` is too long; expected at most 16 names"),
            PointerFault::Unprintable => format!("invalid pointer `{shown}`; expected printable ASCII"),
        }
    })
}

/// Compiles the headers that repeat arguments.
fn headers(tool: &document::RpcTool, place: &Place, findings: &mut Findings) -> Vec<(Box<str>, Pointer)> {
    let mut compiled: Vec<(Box<str>, Pointer)> = Vec::with_capacity(tool.headers.len());
    for (name, text) in &tool.headers {
        let place = place.field(name);
        let reads_alike = |other: &str| folded_name(other.as_bytes()).eq(folded_name(name.as_bytes()));
        if !is_token(name.as_bytes()) {
            findings.error(
                place,
                format!("invalid name `{}`; expected what follows `Mcp-Param-`, such as `Region`", name.escape_debug()),
            );
        } else if name.len() > super::reserved::MOST_NAME {
            findings
                .error(place, format!("the name is too long; expected at most {} bytes", super::reserved::MOST_NAME));
        } else if name.to_ascii_lowercase().starts_with("mcp-param-") {
            findings.error(place, "`Mcp-Param-` is added to the name; write what follows it");
        } else if let Some((other, _)) = compiled.iter().find(|(other, _)| reads_alike(other)) {
            findings.error(place, format!("some servers read this header as `{other}`; remove one of them"));
        } else {
            match pointer(text) {
                Ok(pointer) => compiled.push((name.as_str().into(), pointer)),
                Err(message) => findings.error(place, message),
            }
        }
    }
    compiled
}

/// Compiles the hashes of accepted definitions.
fn pins(tool: &document::RpcTool, place: &Place, findings: &mut Findings) -> Vec<[u8; 32]> {
    document::names::check_distinct("hash", &tool.pin, place, findings);
    let mut compiled = Vec::with_capacity(tool.pin.len());
    for (index, text) in tool.pin.iter().enumerate() {
        let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        match api_keys::decode(text).filter(|_| is_lower) {
            Some(hash) => compiled.push(hash),
            None => findings.error(
                place.index(index),
                "invalid hash; expected the 64 lower-case hexadecimal digits that `callgate mcp pin` prints",
            ),
        }
    }
    compiled
}
