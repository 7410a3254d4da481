//! `Signature-Input` and `Signature`: two dictionaries whose members correspond by label (RFC 9421, section 4).

use std::borrow::Cow;
use std::fmt;

use super::component::Component;
use super::members::{inputs, signatures};

/// The maximum length of a field, in bytes.
pub(super) const MOST_BYTES: usize = 16 * 1024;

/// A signature and its input, from the fields of one message.
#[derive(Debug)]
pub struct Signed<'a> {
    /// The signature's input.
    pub input: Input<'a>,
    /// The signature's bytes.
    pub signature: Vec<u8>,
}

/// The components that a signature covers, and its parameters.
#[derive(Debug)]
pub struct Input<'a> {
    /// The label, which only distinguishes signatures from each other.
    pub label: Cow<'a, str>,
    /// The covered components, in order.
    pub components: Vec<Component<'a>>,
    /// `created`: seconds since 1970.
    pub created: Option<i64>,
    /// `expires`: seconds since 1970.
    pub expires: Option<i64>,
    /// `nonce`
    pub nonce: Option<Cow<'a, str>>,
    /// `alg`
    pub alg: Option<Cow<'a, str>>,
    /// `keyid`
    pub keyid: Option<Cow<'a, str>>,
    /// `tag`
    pub tag: Option<Cow<'a, str>>,
    /// The value of `@signature-params`: components and parameters in order, including unknown ones.
    pub(super) serialised: String,
}

/// The reason why the fields are rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// Not a dictionary of the expected shape: inner lists of strings in one field, byte sequences in the other.
    Syntax,
    /// More bytes, signatures, components or parameters than a request needs.
    Size,
    /// A label occurs twice in one of the two fields.
    DuplicateLabel,
    /// A label occurs in only one of the two fields.
    LonelyLabel,
    /// A component is covered twice.
    DuplicateComponent,
    /// A parameter occurs twice.
    DuplicateParameter,
    /// A component that no request has, or that has unsupported parameters.
    Component,
    /// A parameter of the signature has a value of the wrong type.
    Parameter,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "`Signature-Input` and `Signature` are not valid dictionaries of signatures",
            Self::Size => "there are too many signatures, components or parameters",
            Self::DuplicateLabel => "a label occurs twice",
            Self::LonelyLabel => "a label occurs in only one of `Signature-Input` and `Signature`",
            Self::DuplicateComponent => "a component is covered twice",
            Self::DuplicateParameter => "a parameter occurs twice",
            Self::Component => "a covered component does not exist in requests, or has unsupported parameters",
            Self::Parameter => "a parameter of the signature has a value of the wrong type",
        })
    }
}

impl std::error::Error for Malformed {}

/// Parses both fields, each with its lines joined.
///
/// # Errors
/// [`Malformed`] if any of the signatures has a mistake.
pub fn read<'a>(input: &'a [u8], signature: &'a [u8]) -> Result<Vec<Signed<'a>>, Malformed> {
    if input.len() > MOST_BYTES || signature.len() > MOST_BYTES {
        return Err(Malformed::Size);
    }
    let inputs = inputs(input)?;
    let mut signatures = signatures(signature)?;
    if inputs.len() != signatures.len() {
        return Err(Malformed::LonelyLabel);
    }
    inputs
        .into_iter()
        .map(|input| {
            let position = signatures.iter().position(|(label, _)| *label == input.label);
            let (_, signature) = signatures.swap_remove(position.ok_or(Malformed::LonelyLabel)?);
            Ok(Signed { input, signature })
        })
        .collect()
}

impl<'a> Input<'a> {
    /// Returns the value of `@signature-params`.
    #[must_use]
    pub fn parameters(&self) -> &str {
        &self.serialised
    }

    /// Returns the identifier of a component, as the signature base writes it.
    pub(super) fn identifier(&self, component: &Component<'_>) -> &str {
        self.serialised.get(component.identifier.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
#[path = "input_tests.rs"]
mod tests;
