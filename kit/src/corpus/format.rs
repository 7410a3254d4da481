//! A file of decision cases exactly as a person writes it; `docs/cases.md` explains it to users.
//!
//! These types carry no meaning: names are looked up and cases are derived from each other in [`load`](super::load). What a case
//! may say of its request stands in [`request`](super::request).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::bytes::Bytes;
use super::moment::Offset;
use super::request::Body;

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
    pub(super) alter: Option<TokenMutation>,
    /// How the parts are put together, `{header}.{claims}.{signature}` when absent.
    pub(super) form: Option<String>,
    /// The token's bytes as they stand, whatever else is said.
    pub(super) text: Option<Bytes>,
}

/// What happens to a token once it is signed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TokenMutation {
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
    Alter(TokenMutation),
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
