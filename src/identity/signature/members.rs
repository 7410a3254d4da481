//! The members of `Signature-Input` and of `Signature`, collected while a structured-field parser visits them.
//!
//! A generic parser keeps the last of several members with the same name. This module treats a repeated name as an error, because another
//! reader could use a different member.

use std::borrow::Cow;
use std::convert::Infallible;

use sfv::visitor::{DictionaryVisitor, EntryVisitor, Ignored, InnerListVisitor, ItemVisitor, ParameterVisitor};
use sfv::{BareItemFromInput, ItemSerializer, KeyRef, Parser, RefBareItem, Version};

use super::component::{Component, Name, text};
use super::input::{Input, Malformed};
use crate::text::ascii::needs_no_escape;

/// The maximum number of labels.
pub(super) const MOST_SIGNATURES: usize = 8;
/// The maximum number of components that a signature may cover. No message has this many relevant ones.
pub(super) const MOST_COMPONENTS: usize = 64;
/// The maximum number of parameters of a signature. Six are known.
pub(super) const MOST_PARAMETERS: usize = 32;

/// Returns the input of each member of `Signature-Input`.
pub(super) fn inputs(field: &[u8]) -> Result<Vec<Input<'_>>, Malformed> {
    parse(field, Reading::<Input<'_>>::default())
}

/// Returns the labels of `Signature`, and the bytes of each.
pub(super) fn signatures(field: &[u8]) -> Result<Vec<(&str, Vec<u8>)>, Malformed> {
    parse(field, Reading::<(&str, Vec<u8>)>::default())
}

fn parse<'a, R>(field: &'a [u8], reading: R) -> Result<Vec<R::Member>, Malformed>
where
    R: DictionaryVisitor<'a, Out = Result<Vec<R::Member>, Malformed>> + Members,
{
    // RFC 9421 is based on RFC 8941, which has no dates, so `created` cannot be one.
    let parser = Parser::new(field).with_version(Version::Rfc8941);
    parser.parse_dictionary_with_visitor(reading).map_err(|_| Malformed::Syntax)?
}

impl<'a> Input<'a> {
    fn new(label: &'a str) -> Self {
        Self {
            label: Cow::Borrowed(label),
            components: Vec::with_capacity(8),
            created: None,
            expires: None,
            nonce: None,
            alg: None,
            keyid: None,
            tag: None,
            serialised: String::with_capacity(256),
        }
    }

    /// Sets a parameter. Returns false if a known one has a value of the wrong type. Unknown parameters are ignored.
    fn take(&mut self, key: &str, value: &BareItemFromInput<'a>) -> bool {
        use sfv::GenericBareItem::{Integer, String};
        match (key, value) {
            ("created", Integer(value)) => self.created = Some((*value).into()),
            ("expires", Integer(value)) => self.expires = Some((*value).into()),
            ("nonce", String(value)) => self.nonce = Some(text(value)),
            ("alg", String(value)) => self.alg = Some(text(value)),
            ("keyid", String(value)) => self.keyid = Some(text(value)),
            ("tag", String(value)) => self.tag = Some(text(value)),
            ("created" | "expires" | "nonce" | "alg" | "keyid" | "tag", _) => return false,
            _ => {}
        }
        true
    }
}

/// The members read from a field so far, and the first mistake. Parsing continues after a mistake, because a syntax error later in the
/// field takes precedence. After a mistake no members are kept, so later members cost no comparisons.
struct Reading<M> {
    members: Vec<M>,
    mistake: Option<Malformed>,
}

impl<M> Default for Reading<M> {
    fn default() -> Self {
        Self { members: Vec::new(), mistake: None }
    }
}

trait Members {
    type Member;
}

impl<M> Members for Reading<M> {
    type Member = M;
}

impl<M> Reading<M> {
    fn check(&mut self, sound: bool, mistake: Malformed) {
        if !sound {
            self.mistake.get_or_insert(mistake);
        }
    }

    fn push(&mut self, member: M) {
        if self.mistake.is_none() {
            self.members.push(member);
        }
    }

    fn finished(self) -> Result<Vec<M>, Malformed> {
        self.mistake.map_or(Ok(self.members), Err)
    }
}

impl<'a> DictionaryVisitor<'a> for Reading<Input<'a>> {
    type Out = Result<Vec<Input<'a>>, Malformed>;
    type Error = Infallible;

    fn entry(&mut self, key: &'a KeyRef) -> Result<impl EntryVisitor<'a>, Infallible> {
        let label = key.as_str();
        self.check(self.members.iter().all(|input| input.label != label), Malformed::DuplicateLabel);
        self.check(self.members.len() < MOST_SIGNATURES, Malformed::Size);
        Ok(CoveredList { input: Input::new(label), reading: self })
    }

    fn finish(self) -> Result<Self::Out, Infallible> {
        Ok(self.finished())
    }
}

/// One member of `Signature-Input`. It is added to the others when its parameters are complete.
struct CoveredList<'a, 'r> {
    input: Input<'a>,
    reading: &'r mut Reading<Input<'a>>,
}

impl<'a> EntryVisitor<'a> for CoveredList<'a, '_> {
    type Error = Infallible;

    fn item(self) -> Result<impl ItemVisitor<'a>, Infallible> {
        self.reading.check(false, Malformed::Syntax);
        Ok(Ignored)
    }

    fn inner_list(mut self) -> Result<impl InnerListVisitor<'a>, Infallible> {
        self.input.serialised.push('(');
        Ok(self)
    }
}

impl<'a> InnerListVisitor<'a> for CoveredList<'a, '_> {
    type Error = Infallible;

    fn item(&mut self) -> Result<impl ItemVisitor<'a>, Infallible> {
        Ok(CoveredItem { input: &mut self.input, reading: self.reading, component: None })
    }

    fn finish(mut self) -> Result<impl ParameterVisitor<'a>, Infallible> {
        self.input.serialised.push(')');
        Ok(SignatureParameters { list: self, seen: Vec::with_capacity(6) })
    }
}

struct SignatureParameters<'a, 'r> {
    list: CoveredList<'a, 'r>,
    seen: Vec<&'a str>,
}

impl<'a> ParameterVisitor<'a> for SignatureParameters<'a, '_> {
    type Out = ();
    type Error = Infallible;

    fn parameter(&mut self, key: &'a KeyRef, value: BareItemFromInput<'a>) -> Result<(), Infallible> {
        let CoveredList { input, reading } = &mut self.list;
        reading.check(!self.seen.contains(&key.as_str()), Malformed::DuplicateParameter);
        reading.check(self.seen.len() < MOST_PARAMETERS, Malformed::Size);
        if reading.mistake.is_none() {
            self.seen.push(key.as_str());
        }
        push_parameter(&mut input.serialised, key, &value);
        let taken = input.take(key.as_str(), &value);
        reading.check(taken, Malformed::Parameter);
        Ok(())
    }

    fn finish(self) -> Result<(), Infallible> {
        self.list.reading.push(self.list.input);
        Ok(())
    }
}

/// One covered component.
struct CoveredItem<'a, 'i> {
    input: &'i mut Input<'a>,
    reading: &'i mut Reading<Input<'a>>,
    component: Option<Component<'a>>,
}

impl<'a> ItemVisitor<'a> for CoveredItem<'a, '_> {
    type Out = ();
    type Error = Infallible;

    fn bare_item(
        mut self,
        item: BareItemFromInput<'a>,
    ) -> Result<impl ParameterVisitor<'a, Out = Self::Out>, Infallible> {
        let list = &mut self.input.serialised;
        if !list.ends_with('(') {
            list.push(' ');
        }
        let start = list.len();
        push_bare_item(list, &item);
        let end = list.len();
        let name = match item {
            BareItemFromInput::String(name) => Name::parse(text(&name)),
            _ => None,
        };
        self.reading.check(name.is_some(), Malformed::Component);
        self.component = name.map(|name| Component { identifier: start..end, ..Component::new(name) });
        Ok(self)
    }
}

impl<'a> ParameterVisitor<'a> for CoveredItem<'a, '_> {
    type Out = ();
    type Error = Infallible;

    fn parameter(&mut self, key: &'a KeyRef, value: BareItemFromInput<'a>) -> Result<(), Infallible> {
        push_parameter(&mut self.input.serialised, key, &value);
        if let Some(component) = &mut self.component {
            component.identifier.end = self.input.serialised.len();
            let taken = component.take(key.as_str(), &value);
            self.reading.check(taken != Err(Malformed::DuplicateParameter), Malformed::DuplicateParameter);
            self.reading.check(taken.is_ok(), Malformed::Component);
        }
        Ok(())
    }

    fn finish(self) -> Result<(), Infallible> {
        let Some(component) = self.component else { return Ok(()) };
        self.reading.check(component.is_sound(), Malformed::Component);
        self.reading.check(self.input.components.len() < MOST_COMPONENTS, Malformed::Size);
        if self.reading.mistake.is_some() {
            return Ok(());
        }
        let is_new = self.input.components.iter().all(|other| !other.is_same(&component));
        self.reading.check(is_new, Malformed::DuplicateComponent);
        if self.reading.mistake.is_none() {
            self.input.components.push(component);
        }
        Ok(())
    }
}

impl<'a> DictionaryVisitor<'a> for Reading<(&'a str, Vec<u8>)> {
    type Out = Result<Vec<(&'a str, Vec<u8>)>, Malformed>;
    type Error = Infallible;

    fn entry(&mut self, key: &'a KeyRef) -> Result<impl EntryVisitor<'a>, Infallible> {
        let label = key.as_str();
        self.check(self.members.iter().all(|(own, _)| *own != label), Malformed::DuplicateLabel);
        self.check(self.members.len() < MOST_SIGNATURES, Malformed::Size);
        Ok(SignatureBytes { label, reading: self })
    }

    fn finish(self) -> Result<Self::Out, Infallible> {
        Ok(self.finished())
    }
}

/// One member of `Signature`. Its parameters are ignored.
struct SignatureBytes<'a, 'r> {
    label: &'a str,
    reading: &'r mut Reading<(&'a str, Vec<u8>)>,
}

impl<'a> EntryVisitor<'a> for SignatureBytes<'a, '_> {
    type Error = Infallible;

    fn item(self) -> Result<impl ItemVisitor<'a>, Infallible> {
        Ok(self)
    }

    fn inner_list(self) -> Result<impl InnerListVisitor<'a>, Infallible> {
        self.reading.check(false, Malformed::Syntax);
        Ok(Ignored)
    }
}

impl<'a> ItemVisitor<'a> for SignatureBytes<'a, '_> {
    type Out = ();
    type Error = Infallible;

    fn bare_item(self, item: BareItemFromInput<'a>) -> Result<impl ParameterVisitor<'a, Out = Self::Out>, Infallible> {
        match item {
            BareItemFromInput::ByteSequence(bytes) => self.reading.push((self.label, bytes)),
            _ => self.reading.check(false, Malformed::Syntax),
        }
        Ok(Ignored)
    }
}

fn push_bare_item(list: &mut String, item: &BareItemFromInput<'_>) {
    // Most items are strings that need no escaping.
    if let BareItemFromInput::String(text) = item
        && needs_no_escape(text.as_str().as_bytes())
    {
        list.push('"');
        list.push_str(text.as_str());
        list.push('"');
        return;
    }
    let _ = ItemSerializer::with_buffer(list).bare_item(RefBareItem::from(item)).finish();
}

fn push_parameter(list: &mut String, key: &KeyRef, value: &BareItemFromInput<'_>) {
    list.push(';');
    list.push_str(key.as_str());
    if !matches!(value, BareItemFromInput::Boolean(true)) {
        list.push('=');
        push_bare_item(list, value);
    }
}
