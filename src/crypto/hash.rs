//! Hashes of whole messages, by the one implementation that has Wasm's vector instructions.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

/// SHA-256 (FIPS 180-4).
pub(crate) fn sha256(message: &[u8]) -> [u8; 32] {
    Sha256::digest(message).into()
}

/// HMAC with SHA-256 (RFC 2104), by a key of any length.
pub(crate) fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    // INVARIANT: HMAC takes keys of every length.
    let keyed = Hmac::<Sha256>::new_from_slice(key).map(|keyed| keyed.chain_update(message));
    keyed.map(|keyed| keyed.finalize().into_bytes().into()).unwrap_or_default()
}
