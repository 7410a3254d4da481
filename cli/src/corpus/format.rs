//! A file of decision cases exactly as a person writes it; `docs/cases.md` explains it to users.
//!
//! These types carry no meaning: names are looked up and cases are derived from each other in [`load`](super::load).

use std::collections::BTreeMap;

use callgate::policy::raw::FieldType;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::{Map, Value};

use super::bytes::Bytes;
use super::moment::Offset;

/// A file: one policy, and what it decides.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// The policy's file, seen from this one, or the policy itself.
    pub(super) policy: Value,
    /// Policies that differ from it, by name, each as a JSON merge patch (RFC 7396).
    #[serde(default)]
    pub(super) variants: BTreeMap<String, Value>,
    /// Files whose keys and tokens are used here, seen from this one.
    #[serde(default)]
    pub(super) import: Vec<String>,
    /// The moment at which every case begins, as RFC 3339 writes it.
    pub(super) now: String,
    /// Environment variables that the policy takes secrets from.
    #[serde(default)]
    pub(super) environment: BTreeMap<String, String>,
    /// Private JWKs by name, each as it is or the file that it stands in, seen from this one.
    #[serde(default)]
    pub(super) keys: BTreeMap<String, Value>,
    /// Tokens by name; each is a [`Token`].
    #[serde(default)]
    pub(super) tokens: BTreeMap<String, Value>,
    /// Proofs of possession by name; each is a [`Token`] as well, and good apart from what it says.
    #[serde(default)]
    pub(super) proofs: BTreeMap<String, Value>,
    /// What every request has unless its case says otherwise.
    #[serde(default)]
    pub(super) request: Map<String, Value>,
    /// The cases; each is a [`Case`].
    pub(super) cases: Vec<Value>,
}

/// A file of keys, tokens and proofs that others import.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fixtures {
    #[serde(default)]
    pub(super) keys: BTreeMap<String, Value>,
    #[serde(default)]
    pub(super) tokens: BTreeMap<String, Value>,
    #[serde(default)]
    pub(super) proofs: BTreeMap<String, Value>,
}

/// A token, described by what goes into it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Token {
    /// The token that this one begins as.
    pub(super) from: Option<String>,
    /// The key that signs, and whose `alg` and `kid` stand in the header.
    pub(super) key: Option<String>,
    /// Another key that signs what `key` is named for.
    pub(super) sign_with: Option<String>,
    /// The key that it is bound to, in `cnf`.
    pub(super) bound_to: Option<String>,
    /// A merge patch to the header.
    pub(super) header: Map<String, Value>,
    /// A merge patch to the claims.
    pub(super) claims: Map<String, Value>,
    /// The header's bytes, whatever `header` says.
    pub(super) raw_header: Option<Bytes>,
    /// The claims' bytes, whatever `claims` says.
    pub(super) raw_claims: Option<Bytes>,
    /// What happens to the token once it is signed.
    pub(super) alter: Option<Alter>,
    /// How the parts are put together, `{header}.{claims}.{signature}` when absent.
    pub(super) form: Option<String>,
    /// The token's bytes as they stand, whatever else is said.
    pub(super) text: Option<Bytes>,
}

/// What happens to a token once it is signed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Alter {
    /// A merge patch to the claims that keeps the signature.
    Claims(Map<String, Value>),
    /// A merge patch to the header that keeps the signature.
    Header(Map<String, Value>),
    /// One bit of the signature.
    Signature,
    /// The bits that the last character of the signature has to spare.
    TrailingBits,
}

/// A case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    /// Tells the case apart from others of its file.
    pub(super) name: String,
    /// What it shows, in one line.
    pub(super) intent: String,
    /// The case above from which this one differs in exactly one thing.
    #[serde(default)]
    pub(super) from: Option<String>,
    /// That one thing; a [`Change`].
    #[serde(default)]
    pub(super) change: Option<Value>,
    /// The request, as a merge patch to the file's; a [`Request`] together with it.
    #[serde(default)]
    pub(super) request: Option<Map<String, Value>>,
    /// The variant of the policy that decides.
    #[serde(default)]
    pub(super) policy: Option<String>,
    /// When the request comes, seen from `now`. Tokens are minted for `now` all the same.
    #[serde(default)]
    pub(super) at: Option<Offset>,
    /// Cases above whose requests come first, in this order, each at its own time and decided as it expects.
    #[serde(default)]
    pub(super) before: Vec<String>,
    /// What is decided, and what is seen of it.
    pub(super) expect: Expect,
    /// Why it cannot be run in an engine.
    #[serde(default)]
    pub(super) skip: Skip,
}

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

/// The one thing in which a case differs from another.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    // The request.
    Method(Bytes),
    Path(Bytes),
    Host(Option<Bytes>),
    Token(Option<String>),
    Proof(Option<String>),
    Authorization(String),
    /// A header line more.
    Header((Bytes, Bytes)),
    /// Without the header lines of this name.
    Without(String),
    Body(Body),
    /// A merge patch of one member of the signature's description, or `null` for none.
    Sign(Option<Map<String, Value>>),
    /// A second signature.
    Cosign(Map<String, Value>),
    /// One thing that happens to the request once it is signed.
    Tamper(Map<String, Value>),
    Source(Option<String>),
    // The token.
    /// A merge patch of one claim.
    Claim(Map<String, Value>),
    /// A merge patch of one parameter of the token's header.
    Jose(Map<String, Value>),
    Key(String),
    SignWith(String),
    RawHeader(Bytes),
    RawClaims(Bytes),
    Alter(Alter),
    Form(String),
    // The proof.
    /// One of the changes of a token, made to the proof.
    InProof(Box<Change>),
    // What is around them.
    Policy(String),
    At(Offset),
    Before(Vec<String>),
}

/// What a case expects.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    /// What is decided.
    pub(super) decision: Decision,
    /// The code of the reason that denied.
    #[serde(default)]
    pub(super) reason: Option<String>,
    /// The status of the answer; the reason's own when absent.
    #[serde(default)]
    pub(super) status: Option<u16>,
    /// Headers of the answer, exactly; `null` for one that it must not have.
    #[serde(default)]
    pub(super) headers: BTreeMap<String, Option<String>>,
    /// What reaches the upstream.
    #[serde(default)]
    pub(super) upstream: Upstream,
    /// The codes of all reasons that would have denied, in the order of the checks.
    #[serde(default)]
    pub(super) would_deny: Vec<String>,
    /// Members of the decision record, exactly.
    #[serde(default)]
    pub(super) record: BTreeMap<String, Value>,
}

/// What a policy decides about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It goes on.
    Allow,
    /// It is answered by the gate.
    Deny,
    /// It goes on as it came, and would have been denied.
    Observe,
}

/// What reaches the upstream.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Upstream {
    /// Headers that are there once, with exactly this value.
    pub(super) has: BTreeMap<String, Bytes>,
    /// Headers that are not there, in no spelling that a server could take for them.
    pub(super) lacks: Vec<String>,
}

/// Why a case cannot be run in an engine.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Skip {
    /// Why not in a real Envoy.
    pub(super) envoy: Option<String>,
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
