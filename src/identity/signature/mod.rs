//! HTTP Message Signatures (RFC 9421) on requests: what is signed, by which key, and whether that is what was asked for.
//!
//! The fields are read once, strictly, and the signature base is rebuilt byte for byte from the request as the gate stands for
//! it. Whose keys there are and what an endpoint asks for is the policy's business; whether a signature was used before is the
//! [replay table's](crate::state).

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
