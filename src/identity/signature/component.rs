//! Component identifiers: the name of a message component with its parameters (RFC 9421, sections 2.1 and 2.2).

use std::borrow::Cow;
use std::ops::Range;

use sfv::BareItemFromInput;

use super::input::Malformed;

/// A covered component in a signature's input.
#[derive(Debug, Clone)]
pub struct Component<'a> {
    /// The component's name.
    pub name: Name<'a>,
    /// `sf`: the field is serialized again, strictly.
    pub sf: bool,
    /// `key`: one member of a dictionary.
    pub key: Option<Cow<'a, str>>,
    /// `bs`: each line is wrapped as a byte sequence.
    pub bs: bool,
    /// `name` of `@query-param`.
    pub parameter: Option<Cow<'a, str>>,
    /// The position of the identifier in the serialized input.
    pub(super) identifier: Range<usize>,
}

/// The name of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name<'a> {
    /// `@method`
    Method,
    /// `@target-uri`
    TargetUri,
    /// `@authority`
    Authority,
    /// `@scheme`
    Scheme,
    /// `@request-target`
    RequestTarget,
    /// `@path`
    Path,
    /// `@query`
    Query,
    /// `@query-param`
    QueryParam,
    /// A header, named in lower case.
    Field(Cow<'a, str>),
}

impl<'a> Name<'a> {
    /// Parses a component name. Returns `None` for derived components that no request has, and for names that are not lower-case field
    /// names.
    pub fn parse(name: Cow<'a, str>) -> Option<Self> {
        Some(match &*name {
            "@method" => Self::Method,
            "@target-uri" => Self::TargetUri,
            "@authority" => Self::Authority,
            "@scheme" => Self::Scheme,
            "@request-target" => Self::RequestTarget,
            "@path" => Self::Path,
            "@query" => Self::Query,
            "@query-param" => Self::QueryParam,
            field if is_field_name(field) => Self::Field(name),
            _ => return None,
        })
    }

    /// Returns the name as a signature's input writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Method => "@method",
            Self::TargetUri => "@target-uri",
            Self::Authority => "@authority",
            Self::Scheme => "@scheme",
            Self::RequestTarget => "@request-target",
            Self::Path => "@path",
            Self::Query => "@query",
            Self::QueryParam => "@query-param",
            Self::Field(name) => name,
        }
    }
}

/// Returns whether a component can name a field like this: with a token (RFC 9110, section 5.6.2) in lower case.
fn is_field_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

impl<'a> Component<'a> {
    pub(super) fn new(name: Name<'a>) -> Self {
        Self { name, sf: false, key: None, bs: false, parameter: None, identifier: 0..0 }
    }

    /// Sets a parameter of the identifier.
    ///
    /// # Errors
    /// [`Malformed::DuplicateParameter`], and [`Malformed::Component`] for parameters that no component of a request has: `tr` and `req`,
    /// which refer to trailers and to another message, and all undefined ones.
    pub(super) fn take(&mut self, key: &str, value: &BareItemFromInput<'a>) -> Result<(), Malformed> {
        let field = matches!(self.name, Name::Field(_));
        let again = match (key, value) {
            ("sf", BareItemFromInput::Boolean(true)) if field => std::mem::replace(&mut self.sf, true),
            ("bs", BareItemFromInput::Boolean(true)) if field => std::mem::replace(&mut self.bs, true),
            ("key", BareItemFromInput::String(value)) if field => self.key.replace(text(value)).is_some(),
            ("name", BareItemFromInput::String(value)) if self.name == Name::QueryParam => {
                self.parameter.replace(text(value)).is_some()
            }
            _ => return Err(Malformed::Component),
        };
        if again { Err(Malformed::DuplicateParameter) } else { Ok(()) }
    }

    /// Returns whether the parameters may be combined.
    pub(super) fn is_sound(&self) -> bool {
        let wrapped = self.bs && (self.sf || self.key.is_some());
        !wrapped && (self.name != Name::QueryParam || self.parameter.is_some())
    }

    /// Returns whether two identifiers name the same component; the order of parameters does not matter.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.name == other.name
            && (self.sf, self.bs, &self.key, &self.parameter) == (other.sf, other.bs, &other.key, &other.parameter)
    }

    /// Returns whether the whole component is covered, not just one member of it.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.key.is_none()
    }
}

/// Returns the text of a string, borrowed if the input was.
pub(super) fn text<'a>(value: &Cow<'a, sfv::StringRef>) -> Cow<'a, str> {
    match value {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_str()),
        Cow::Owned(text) => Cow::Owned(text.as_str().to_owned()),
    }
}
