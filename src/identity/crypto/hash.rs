//! Hashes of whole messages. All callers use the one implementation that supports Wasm's vector instructions.

use hmac::digest::Key;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

/// SHA-256 (FIPS 180-4).
pub(crate) fn sha256(message: &[u8]) -> [u8; 32] {
    Sha256::digest(message).into()
}

/// Returns the first `N` bytes of a hash. The compiler checks that the hash has at least `N` bytes.
pub(crate) fn first<const N: usize, const ALL: usize>(hash: [u8; ALL]) -> [u8; N] {
    const { assert!(N <= ALL) };
    let mut first = [0; N];
    first.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    first
}

/// Computes HMAC with SHA-256 (RFC 2104). The key can have any length.
pub(crate) fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    // The key is padded or hashed to one block here, as RFC 2104, section 2, requires. A key of exactly one block cannot cause an error,
    // which this function could not report.
    let mut block = Key::<Hmac<Sha256>>::default();
    let hashed;
    let key = if key.len() > block.len() {
        hashed = sha256(key);
        &hashed
    } else {
        key
    };
    block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    Hmac::<Sha256>::new(&block).chain_update(message).finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_another_implementation_at_every_key_length() {
        let bytes: Vec<u8> = (0..=255).collect();
        for length in 0..=bytes.len() {
            let key = &bytes[..length];
            assert_eq!(hmac_sha256(key, b"text"), hmac_sha256::HMAC::mac(b"text", key), "{length}");
            assert_eq!(sha256(key), hmac_sha256::Hash::hash(key), "{length}");
        }
    }
}
