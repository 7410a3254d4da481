//! The compact serialization of JWS (RFC 7515, section 3.1), parsed strictly.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::json::{self, Bounds};
use crate::reason::Reason;

/// The maximum length of a token, in bytes. Real access tokens are much shorter than 8 KiB, the limit of common servers for one header
/// line. Twice that length leaves room for tokens with many roles and limits the cost of a forged token.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// The maximum nesting depth of header and claims. Claims of real providers nest less than ten levels deep.
pub(super) const MAX_DEPTH: u8 = 32;

pub(super) const BOUNDS: Bounds = Bounds { bytes: MAX_TOKEN_BYTES, depth: MAX_DEPTH };

/// A well-formed JWS. Nothing in it is verified.
#[derive(Debug)]
pub(crate) struct Jws<'t> {
    /// The JOSE header: a JSON object.
    pub(crate) header: Value,
    /// The claims set: a JSON object.
    pub(crate) claims: Value,
    /// The bytes that the signature covers.
    pub(crate) signed: &'t [u8],
    /// The signature's bytes, empty in an unsecured JWS.
    pub(crate) signature: Vec<u8>,
}

impl<'t> Jws<'t> {
    /// Parses a compact JWS.
    pub(crate) fn parse(token: &'t [u8]) -> Result<Self, Reason> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Reason::TokenTooLong);
        }
        // This check comes before the parts are counted: two tokens joined by a comma have as many parts as an encrypted token.
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
        // All parts are decoded before the first is parsed, so a malformed token is reported as malformed regardless of its content.
        let (header, claims, signature) = (decode(header)?, decode(claims)?, decode(signature)?);
        Ok(Self { header: object(&header)?, claims: object(&claims)?, signed, signature })
    }
}

/// Decodes base64url as defined in RFC 7515, section 2: without padding, white space or trailing bits.
fn decode(part: &[u8]) -> Result<Vec<u8>, Reason> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Reason::TokenMalformed)
}

fn object(text: &[u8]) -> Result<Value, Reason> {
    json::parse(text, BOUNDS).ok().filter(Value::is_object).ok_or(Reason::TokenJson)
}
