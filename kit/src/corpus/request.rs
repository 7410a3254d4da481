//! The request of a case exactly as a person writes it: how it is signed, and what happens to it on the way.
//!
//! As in [`format`](super::format), nothing here carries a meaning; a request becomes bytes in [`call`](super::call).

use std::collections::BTreeMap;

use callgate::document::FieldType;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::{Map, Value};

use super::bytes::Bytes;
use super::moment::Offset;

/// A request.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    /// The method, `GET` when absent.
    #[serde(default)]
    pub(super) method: Option<Bytes>,
    /// Path and query, as they are sent.
    pub(super) path: Bytes,
    /// The host; a request without one names none.
    #[serde(default)]
    pub(super) host: Option<Bytes>,
    /// The token that goes into `Authorization`; a request without one carries no such line.
    #[serde(default)]
    pub(super) token: Option<String>,
    /// The proof of possession that goes into `DPoP`; a request without one carries no such line.
    #[serde(default)]
    pub(super) proof: Option<String>,
    /// What `Authorization` says; when absent `Bearer {token}`, or `DPoP {token}` beside a proof.
    #[serde(default)]
    pub(super) authorization: Option<String>,
    /// More header lines, in this order.
    #[serde(default)]
    pub(super) headers: Vec<(Bytes, Bytes)>,
    /// What follows the headers.
    #[serde(default)]
    pub(super) body: Body,
    /// How the request is signed; a [`Sign`]. A request without it is not.
    #[serde(default)]
    pub(super) sign: Option<Map<String, Value>>,
    /// A second signature of the same request; a [`Sign`].
    #[serde(default)]
    pub(super) cosign: Option<Map<String, Value>>,
    /// What happens to the request once it is signed.
    #[serde(default)]
    pub(super) tamper: Tamper,
    /// The address that the request comes from.
    #[serde(default)]
    pub(super) source: Option<String>,
}

/// What follows the headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Body {
    /// Nothing.
    #[default]
    None,
    /// Something, and nobody said what.
    Open,
    /// A body in one piece, of which the headers say how long it is.
    Whole(Bytes),
    /// A body in parts, of which the headers say nothing.
    Parts {
        parts: Vec<Bytes>,
        /// How long it takes until the last has come.
        slow: Offset,
    },
}

/// A signature of a request, described by what goes into it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sign {
    /// The key that signs, and whose `kid` is the `keyid`.
    pub(super) key: String,
    /// Another key that signs what `key` is named for.
    #[serde(default)]
    pub(super) sign_with: Option<String>,
    /// The label, `sig` when absent.
    #[serde(default)]
    pub(super) label: Option<String>,
    /// What is covered, in the place of what the gate usually asks for.
    #[serde(default)]
    pub(super) cover: Option<Vec<String>>,
    /// What is covered beside that.
    #[serde(default)]
    pub(super) also: Vec<String>,
    /// What is not.
    #[serde(default)]
    pub(super) except: Vec<String>,
    /// `created`, `now` when absent; `none` leaves it out.
    #[serde(default)]
    pub(super) created: Option<String>,
    #[serde(default)]
    pub(super) expires: Option<String>,
    #[serde(default)]
    pub(super) nonce: Option<Nonce>,
    #[serde(default)]
    pub(super) alg: Option<String>,
    /// `keyid`, the key's `kid` when absent; `none` leaves it out, `thumbprint` is the key's.
    #[serde(default)]
    pub(super) keyid: Option<String>,
    #[serde(default)]
    pub(super) tag: Option<String>,
    /// The parameters as they stand, whatever is said above.
    #[serde(default)]
    pub(super) parameters: Option<Vec<String>>,
    /// The digests that `Content-Digest` has; `sha-256` alone where there is a body.
    #[serde(default)]
    pub(super) digest: Option<Vec<String>>,
    /// The scheme that the client saw, `https` when absent.
    #[serde(default)]
    pub(super) scheme: Option<String>,
    /// The authority that it saw, the request's host when absent.
    #[serde(default)]
    pub(super) authority: Option<String>,
    /// Fields that the client takes for structured ones beside those of published standards.
    #[serde(default)]
    pub(super) structured: BTreeMap<String, FieldType>,
    /// How `Signature-Input` is written, `{input}` when absent; empty for no such line.
    #[serde(default)]
    pub(super) input: Option<String>,
    /// How `Signature` is written, `{signature}` when absent; empty for no such line.
    #[serde(default)]
    pub(super) signature: Option<String>,
}

/// A nonce: text, or `{ repeat: [a, 5000] }`.
pub(super) type Nonce = Bytes;

/// What happens to a request once it is signed.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tamper {
    pub(super) method: Option<Bytes>,
    pub(super) path: Option<Bytes>,
    pub(super) host: Option<Bytes>,
    pub(super) token: Option<String>,
    pub(super) body: Option<Body>,
    /// A header line more.
    pub(super) header: Option<(Bytes, Bytes)>,
    /// A header line in the place of those of its name.
    pub(super) replace: Option<(Bytes, Bytes)>,
    /// Without the header lines of this name.
    pub(super) without: Option<String>,
    /// One text in `Signature-Input` in the place of another.
    pub(super) input: Option<(String, String)>,
    pub(super) signature: Option<Forged>,
}

/// What happens to a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Forged {
    /// One bit is another.
    Bit,
    /// One byte more.
    Longer,
    /// Other bytes that verify as well: of an ECDSA signature `(r, s)`, `(r, -s)`.
    Twin,
    /// No bytes.
    Empty,
    /// Nothing but zeros.
    Zeros,
}

impl Body {
    /// Whether it takes its time.
    pub(super) fn is_slow(&self) -> bool {
        matches!(self, Self::Parts { slow, .. } if slow.moves_the_clock())
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const FORMS: &str = "write `none`, `open`, `{ text: ... }`, `{ hex: ... }`, `{ base64: ... }`, \
                             `{ repeat: [TEXT, TIMES] }` or `{ parts: [...] }`";
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct InParts {
            parts: Vec<Bytes>,
            #[serde(default)]
            slow: Offset,
        }
        let of = |value: Value| serde_json::from_value::<Bytes>(value).map_err(D::Error::custom);
        match Value::deserialize(deserializer)? {
            Value::Null => Ok(Self::None),
            Value::String(word) if word == "none" => Ok(Self::None),
            Value::String(word) if word == "open" => Ok(Self::Open),
            Value::Object(parts) if parts.contains_key("parts") => {
                let InParts { parts, slow } = serde_json::from_value(Value::Object(parts)).map_err(D::Error::custom)?;
                Ok(Self::Parts { parts, slow })
            }
            Value::Object(mut whole) if whole.len() == 1 => match whole.remove("text") {
                Some(text) => of(text).map(Self::Whole),
                None => of(Value::Object(whole)).map(Self::Whole),
            },
            _ => Err(D::Error::custom(FORMS)),
        }
    }
}
