//! The request of a case exactly as a person writes it, how it is signed, and how the signed request is then changed.
//!
//! As in [`format`](super::format), these types only describe the format. [`call`](super::call) converts a request to bytes.

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
    /// The host; without it, the request names no host.
    #[serde(default)]
    pub(super) host: Option<Bytes>,
    /// The token, in `Authorization` or the `carrier`; without it, the request has no such line.
    #[serde(default)]
    pub(super) token: Option<String>,
    /// The proof of possession in `DPoP`; without it, the request has no such line.
    #[serde(default)]
    pub(super) proof: Option<String>,
    /// The API key, in the place that the policy states; without it, the request has none.
    #[serde(default)]
    pub(super) api_key: Option<String>,
    /// The certificate that the client presents to the gateway; without it, the client presents none.
    #[serde(default)]
    pub(super) certificate: Option<String>,
    /// The value of `Authorization`; when absent `Bearer {token}`, or `DPoP {token}` if there is a proof.
    #[serde(default)]
    pub(super) authorization: Option<String>,
    /// The header that has the token instead of `Authorization`, and its value, such as `[x-jwt, "{token}"]`.
    #[serde(default)]
    pub(super) carrier: Option<(Bytes, String)>,
    /// Additional header lines, in this order.
    #[serde(default)]
    pub(super) headers: Vec<(Bytes, Bytes)>,
    /// The body.
    #[serde(default)]
    pub(super) body: Body,
    /// How the request is signed; a [`Sign`]. Without it, the request is not signed.
    #[serde(default)]
    pub(super) sign: Option<Map<String, Value>>,
    /// A second signature of the same request; a [`Sign`].
    #[serde(default)]
    pub(super) cosign: Option<Map<String, Value>>,
    /// The changes to the signed request.
    #[serde(default)]
    pub(super) tamper: Tamper,
    /// The client's address.
    #[serde(default)]
    pub(super) source: Option<String>,
}

/// The body of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Body {
    /// No body.
    #[default]
    None,
    /// A body whose content is not specified.
    Open,
    /// A body in one piece, whose length the headers state.
    Whole(Bytes),
    /// A body in chunks, whose length the headers do not state.
    Parts {
        parts: Vec<Bytes>,
        /// The time until the last chunk arrives.
        slow: Offset,
    },
}

/// A signature of a request, described by its parts.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sign {
    /// The key that signs. Its `kid` is the `keyid`.
    pub(super) key: String,
    /// Another key that signs, while the parameters still name `key`.
    #[serde(default)]
    pub(super) sign_with: Option<String>,
    /// The label, `sig` when absent.
    #[serde(default)]
    pub(super) label: Option<String>,
    /// The covered components, instead of those that the gate requires by default.
    #[serde(default)]
    pub(super) cover: Option<Vec<String>>,
    /// Components that are covered in addition.
    #[serde(default)]
    pub(super) also: Vec<String>,
    /// Components that are not covered.
    #[serde(default)]
    pub(super) except: Vec<String>,
    /// `created`, `now` when absent; `none` omits it.
    #[serde(default)]
    pub(super) created: Option<String>,
    #[serde(default)]
    pub(super) expires: Option<String>,
    #[serde(default)]
    pub(super) nonce: Option<Nonce>,
    #[serde(default)]
    pub(super) alg: Option<String>,
    /// `keyid`, the key's `kid` when absent; `none` omits it, `thumbprint` is the key's.
    #[serde(default)]
    pub(super) keyid: Option<String>,
    #[serde(default)]
    pub(super) tag: Option<String>,
    /// The exact parameters, which override the fields above.
    #[serde(default)]
    pub(super) parameters: Option<Vec<String>>,
    /// The digests in `Content-Digest`; when absent `sha-256` alone, if there is a body.
    #[serde(default)]
    pub(super) digest: Option<Vec<String>>,
    /// The scheme from the client's view, `https` when absent.
    #[serde(default)]
    pub(super) scheme: Option<String>,
    /// The authority from the client's view, the request's host when absent.
    #[serde(default)]
    pub(super) authority: Option<String>,
    /// The path in front of the request's, from the client's view; none when absent.
    #[serde(default)]
    pub(super) prefix: String,
    /// Fields that the client treats as structured fields, in addition to those of published standards.
    #[serde(default)]
    pub(super) structured: BTreeMap<String, FieldType>,
    /// The format of `Signature-Input`, `{input}` when absent; if empty, there is no such line.
    #[serde(default)]
    pub(super) input: Option<String>,
    /// The format of `Signature`, `{signature}` when absent; if empty, there is no such line.
    #[serde(default)]
    pub(super) signature: Option<String>,
}

/// A nonce: text, or `{ repeat: [a, 5000] }`.
pub(super) type Nonce = Bytes;

/// The changes to a signed request.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tamper {
    pub(super) method: Option<Bytes>,
    pub(super) path: Option<Bytes>,
    pub(super) host: Option<Bytes>,
    pub(super) token: Option<String>,
    pub(super) body: Option<Body>,
    /// Adds a header line.
    pub(super) header: Option<(Bytes, Bytes)>,
    /// Replaces all header lines of this name with one.
    pub(super) replace: Option<(Bytes, Bytes)>,
    /// Removes the header lines of this name.
    pub(super) without: Option<String>,
    /// Replaces the first text in `Signature-Input` with the second.
    pub(super) input: Option<(String, String)>,
    pub(super) signature: Option<Forged>,
}

/// A change to a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Forged {
    /// Flips one bit.
    Bit,
    /// Adds one byte.
    Longer,
    /// Uses different bytes that also verify: `(r, -s)` for an ECDSA signature `(r, s)`.
    Twin,
    /// Removes all bytes.
    Empty,
    /// Sets all bytes to zero.
    Zeros,
}

impl Body {
    /// Returns whether the last chunk arrives with a delay.
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
