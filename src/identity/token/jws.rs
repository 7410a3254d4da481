//! The compact serialisation of JWS (RFC 7515, section 3.1), read without leniency.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::json::{self, Bounds};
use crate::reason::Reason;

/// The longest token taken, in bytes. Real access tokens are well under 8 KiB, the bound that common servers put on one
/// header line; twice as much leaves room for tokens with many roles and bounds what a forged one can cost.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// How deep header and claims may nest. Nested claims of real providers stay under ten levels.
pub(super) const MAX_DEPTH: u8 = 32;

pub(super) const BOUNDS: Bounds = Bounds { bytes: MAX_TOKEN_BYTES, depth: MAX_DEPTH };

/// A JWS whose form is right. Nothing about it is verified.
#[derive(Debug)]
pub(crate) struct Jws<'t> {
    /// The JOSE header: a JSON object.
    pub(crate) header: Value,
    /// The claims set: a JSON object.
    pub(crate) claims: Value,
    /// What the signature covers.
    pub(crate) signed: &'t [u8],
    /// The signature's bytes; empty in an unsecured JWS.
    pub(crate) signature: Vec<u8>,
}

impl<'t> Jws<'t> {
    /// Reads a compact JWS.
    pub(crate) fn parse(token: &'t [u8]) -> Result<Self, Reason> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Reason::TokenTooLong);
        }
        // Before parts are counted: two tokens joined by a comma have as many as an encrypted one.
        if !token.iter().all(|&b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
            return Err(Reason::TokenMalformed);
        }
        let mut parts = token.split(|&b| b == b'.');
        let (header, claims, signature) = match (parts.next(), parts.next(), parts.next(), parts.count()) {
            (Some(header), Some(claims), Some(signature), 0) => (header, claims, signature),
            (Some(_), Some(_), Some(_), 2) => return Err(Reason::TokenEncrypted),
            _ => return Err(Reason::TokenMalformed),
        };
        let signed = token.get(..header.len() + 1 + claims.len()).ok_or(Reason::TokenMalformed)?;
        // All parts are decoded before any is read, so that a malformed token is called that whatever it holds.
        let (header, claims, signature) = (decode(header)?, decode(claims)?, decode(signature)?);
        Ok(Self { header: object(&header)?, claims: object(&claims)?, signed, signature })
    }
}

/// Base64url as RFC 7515, section 2 has it: no padding, white space or bits left over.
fn decode(part: &[u8]) -> Result<Vec<u8>, Reason> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Reason::TokenMalformed)
}

fn object(text: &[u8]) -> Result<Value, Reason> {
    json::parse(text, BOUNDS).ok().filter(Value::is_object).ok_or(Reason::TokenJson)
}
