//! The components that a signature must cover, and the header that lists them for a client (RFC 9421, sections 5.1 and 7.2.1).

use sfv::{ItemSerializer, StringRef};

use super::component::{Component, Name};
use super::input::Input;

/// The components that the signature of one request must cover.
#[derive(Debug, Clone, Default)]
pub struct Coverage<'c> {
    names: Vec<&'c str>,
    /// How the signature must cover its member of `Signature-Agent`: Web Bot Auth binds a signature to the member with its own label as
    /// the key.
    agent: Option<SignatureAgent>,
}

/// How `Signature-Agent` must be covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureAgent {
    /// The signature must cover the member under its own label.
    Member,
    /// Also accepts the forms of earlier drafts and current agents: a member with any name, or the whole field, which may be a bare
    /// string. An agent may omit the header.
    Legacy,
}

impl<'c> Coverage<'c> {
    /// Requires one more component, by its name.
    pub fn ask(&mut self, name: &'c str) {
        if !self.names.contains(&name) {
            self.names.push(name);
        }
    }

    /// Requires everything that another coverage requires.
    pub fn join(&mut self, other: Self) {
        other.names.into_iter().for_each(|name| self.ask(name));
        self.agent = self.agent.or(other.agent);
    }

    /// Requires `Signature-Agent`.
    pub fn ask_agent(&mut self, agent: SignatureAgent) {
        self.agent = Some(agent);
    }

    /// Returns how `Signature-Agent` must be covered, or `None` if it need not be.
    pub(super) fn agent(&self) -> Option<SignatureAgent> {
        self.agent
    }

    /// Returns the first required component that is not covered.
    #[must_use]
    pub fn missing<'m>(&'m self, input: &Input<'_>) -> Option<&'m str> {
        let agent = self.agent.filter(|agent| covered_agent(input, *agent).is_none()).map(|_| "signature-agent");
        self.names.iter().copied().find(|name| !covers(input, name)).or(agent)
    }

    /// Returns the required components, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().copied().chain(self.agent.map(|_| "signature-agent"))
    }
}

/// Returns whether an input covers a component, directly or as part of another component.
fn covers(input: &Input<'_>, name: &str) -> bool {
    let has = |wanted: &dyn Fn(&Name<'_>) -> bool| {
        input.components.iter().any(|component| component.is_whole() && wanted(&component.name))
    };
    match name {
        "@authority" | "@scheme" => has(&|own| own.as_str() == name || *own == Name::TargetUri),
        "@path" | "@query" => has(&|own| own.as_str() == name || matches!(own, Name::TargetUri | Name::RequestTarget)),
        "@request-target" => {
            has(&|own| matches!(own, Name::RequestTarget | Name::TargetUri))
                || (covers(input, "@path") && covers(input, "@query"))
        }
        "@target-uri" => {
            has(&|own| *own == Name::TargetUri)
                || ["@scheme", "@authority", "@path", "@query"].iter().all(|part| covers(input, part))
        }
        other => has(&|own| own.as_str() == other),
    }
}

/// Returns the component with which an input covers `Signature-Agent` in this form, or `None` if there is none.
pub(super) fn covered_agent<'i, 'c>(input: &'i Input<'c>, form: SignatureAgent) -> Option<&'i Component<'c>> {
    let is_own = |component: &&Component<'_>| component.key.as_ref() == Some(&input.label);
    let mut covered = input.components.iter().filter(|component| component.name.as_str() == "signature-agent");
    match form {
        SignatureAgent::Member => covered.find(is_own),
        SignatureAgent::Legacy => covered.clone().find(is_own).or_else(|| covered.next()),
    }
}

/// Builds a member of `Accept-Signature` that requests this coverage. The label is a valid key of structured fields.
#[must_use]
pub fn accept_signature(label: &str, coverage: &Coverage<'_>, nonce: bool, tag: Option<&str>) -> String {
    let mut value = format!("{label}=(");
    for (position, name) in coverage.names().enumerate() {
        if position > 0 {
            value.push(' ');
        }
        push_string(&mut value, name);
        if name == "signature-agent" && coverage.agent == Some(SignatureAgent::Member) {
            value.push_str(";key=");
            push_string(&mut value, label);
        }
    }
    value.push_str(");created;keyid");
    // Signatures of Web Bot Auth must have an expiration time.
    if coverage.agent.is_some() {
        value.push_str(";expires");
    }
    if nonce {
        value.push_str(";nonce");
    }
    if let Some(tag) = tag {
        value.push_str(";tag=");
        push_string(&mut value, tag);
    }
    value
}

fn push_string(value: &mut String, text: &str) {
    // Names and tags come from the policy, which only accepts valid string content.
    if let Ok(text) = StringRef::from_str(text) {
        let _ = ItemSerializer::with_buffer(value).bare_item(text).finish();
    }
}

/// Returns whether a text can be a `tag`, a `keyid` or a `nonce`: printable ASCII.
pub(crate) fn is_string(text: &str) -> bool {
    StringRef::from_str(text).is_ok()
}
