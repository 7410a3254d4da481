//! HTTP Message Signatures (RFC 9421) on requests: the signed components, the signing key, and the required coverage.
//!
//! The fields are parsed once, strictly. The signature base is rebuilt byte for byte from the request as Callgate sees it. The choice of
//! keys and the required coverage belong to the policy, and replay protection to the [replay table](crate::state).

mod base;
mod component;
mod coverage;
mod fields;
mod input;
mod keys;
mod members;
mod structured;
mod verify;

pub use base::{Message, Problem, Unsignable, base};
pub use component::{Component, Name};
pub(crate) use coverage::is_string;
pub use coverage::{Coverage, SignatureAgent, accept_signature};
pub use fields::joined;
pub use input::{Input, Malformed, Signed, read};
pub use keys::SigningKey;
pub(crate) use keys::SigningKeys;
pub use structured::{FieldKind, StructuredFields};
pub(crate) use verify::{
    Asked, MissingCoverage, Profile, ProfileName, ReplayId, SignatureFields, VerifiedSignature, WEB_BOT_AUTH, is_signed,
};
