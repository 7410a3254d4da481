//! Signs requests (RFC 9421): `callgate sign`, the corpus and the tests of the gate sign with it.
//!
//! The engine computes the signature base, so a signer and the gate always use the same one. An error in it would not show here;
//! tests therefore compare the engine with published examples.

mod coverage;
mod digest;
mod explained;
mod joined;
mod request;
mod variants;

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callgate::identity::signature::{Malformed, Message, Unsignable, base, read};

pub use coverage::{Covered, usual};
pub use digest::{Digest, content_digest};
pub use explained::{Difference, Line, differences, lines_of};
pub use joined::{JOINED_BY_ENVOY, joined_otherwise};
pub use request::Request;
pub use variants::{Variant, variants};

use crate::mint::SigningKey;

/// The parameters of a signature to create: the members of `Signature-Input` under its label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// The label.
    pub label: String,
    /// The covered components, each as [`Covered`] writes it.
    pub components: Vec<String>,
    /// The parameters in order, each as the field writes it.
    pub parameters: Vec<String>,
}

/// Why a request cannot be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsigned {
    /// A verifier could not parse the fields.
    Malformed(Malformed),
    /// The request does not have a component.
    Component(Unsignable),
}

impl std::fmt::Display for Unsigned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::Component(component) => component.fmt(f),
        }
    }
}

impl std::error::Error for Unsigned {}

impl Input {
    /// Returns the value of `Signature-Input` with one member.
    #[must_use]
    pub fn field(&self) -> String {
        let mut field = format!("{}=({})", self.label, self.components.join(" "));
        for parameter in &self.parameters {
            let _ = write!(field, ";{parameter}");
        }
        field
    }

    /// Returns the signature base.
    ///
    /// # Errors
    /// Reports what is wrong with the input, or which component the request does not have.
    pub fn base(&self, message: &Message<'_>) -> Result<String, Unsigned> {
        let (field, unsigned) = (self.field(), signature_field(&self.label, &[]));
        let signed = read(field.as_bytes(), unsigned.as_bytes()).map_err(Unsigned::Malformed)?;
        let input = &signed.first().ok_or(Unsigned::Malformed(Malformed::Syntax))?.input;
        base(message, input).map_err(Unsigned::Component)
    }

    /// Returns the value of `Signature` for this input.
    #[must_use]
    pub fn signature(&self, key: &SigningKey, base: &str) -> String {
        signature_field(&self.label, &key.signature(base.as_bytes()))
    }
}

/// Returns the value of `Signature` with one member.
#[must_use]
pub fn signature_field(label: &str, signature: &[u8]) -> String {
    format!("{label}=:{}:", STANDARD.encode(signature))
}

/// Returns a parameter with a text value, of a signature or of an identifier (RFC 8941, section 3.3.3).
#[must_use]
pub fn text_parameter(name: &str, text: &str) -> String {
    format!("{name}={}", quoted(text))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
