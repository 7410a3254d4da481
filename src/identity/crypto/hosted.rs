//! Signatures that the host verifies: ECDSA and RSA are much cheaper in native code than in a module.
//!
//! The host is called through Envoy's foreign function `verify_signature`. Its argument is a protobuf message with the name of a hash, a
//! public key as `SubjectPublicKeyInfo`, a signature and the text. It supports ECDSA, with signatures in DER, and RSASSA-PKCS1-v1_5. The
//! fallback verifier, which reaches the same verdicts, handles everything that the host does not support, every request that the host
//! does not answer, and all requests after the host has failed to distinguish a good signature from a bad one.

use std::cell::Cell;

use superboring::pkey::PKey;

use super::key::Material;
use super::{Algorithm, BadSignature, VerifySignature, VerifyingKey};

/// A host that verifies signatures.
pub trait HostVerify {
    /// Returns the host's answer to a request, or `None` if the host cannot be asked.
    fn ask(&self, request: &[u8]) -> Option<Vec<u8>>;

    /// Reports, once, that the host is no longer asked, because it could not be asked or gave an invalid answer.
    fn give_up(&self);
}

/// Uses the host where the host supports the algorithm, and a fallback verifier otherwise.
pub struct HostVerifier<H, V> {
    host: Option<H>,
    behind: V,
    asks: Cell<bool>,
}

impl<H: HostVerify, V: VerifySignature> HostVerifier<H, V> {
    /// Returns a verifier that asks this host, if the host accepts a signature known to be good and rejects one known to be bad.
    pub fn new(host: Option<H>, behind: V) -> Self {
        let verifier = Self { asks: Cell::new(host.is_some()), host, behind };
        if verifier.asks() && verifier.says_what_is_known().is_none() {
            verifier.stop();
        }
        verifier
    }

    /// Checks that the host accepts one good signature and rejects one bad one. The values are from RFC 6979, appendix A.2.5.
    fn says_what_is_known(&self) -> Option<()> {
        let key = VerifyingKey::p256(&KNOWN.x, &KNOWN.y).ok()?;
        [(&b"sample"[..], true), (b"test", false)].into_iter().try_for_each(|(message, good)| {
            let request = request(&key, Algorithm::Es256, message, &KNOWN.signature)?;
            (self.answer(&request)? == good).then_some(())
        })
    }

    /// Returns whether the host is still asked.
    pub fn asks(&self) -> bool {
        self.asks.get()
    }

    /// Returns the host's verdict on a request, while the host is still asked. If the host does not answer, the known signatures decide
    /// whether it is asked again: the missing answer may be specific to this request. Keys of DPoP proofs come from clients, and a client
    /// must not be able to switch off verification by the host.
    fn ask(&self, request: &[u8]) -> Option<bool> {
        let verdict = self.answer(request);
        if verdict.is_none() && self.says_what_is_known().is_none() {
            self.stop();
        }
        verdict
    }

    fn answer(&self, request: &[u8]) -> Option<bool> {
        let answer = self.host.as_ref().filter(|_| self.asks.get())?.ask(request)?;
        verdict(&answer)
    }

    fn stop(&self) {
        if let Some(host) = self.host.as_ref().filter(|_| self.asks.replace(false)) {
            host.give_up();
        }
    }
}

impl<H: HostVerify, V: VerifySignature> VerifySignature for HostVerifier<H, V> {
    fn verify(
        &self,
        key: &VerifyingKey,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        let request = if self.asks.get() { request(key, algorithm, message, signature) } else { None };
        match request.and_then(|request| self.ask(&request)) {
            Some(true) => Ok(()),
            Some(false) => Err(BadSignature),
            None => self.behind.verify(key, algorithm, message, signature),
        }
    }
}

/// Returns the host's name for the hash of an algorithm, or `None` if the host does not support the algorithm. It does not support PSS,
/// Ed25519 and HMAC.
pub(crate) fn hash(algorithm: Algorithm) -> Option<&'static str> {
    match algorithm {
        Algorithm::Es256 | Algorithm::Rs256 => Some("sha256"),
        Algorithm::Es384 | Algorithm::Rs384 => Some("sha384"),
        Algorithm::Rs512 => Some("sha512"),
        Algorithm::Ed25519 | Algorithm::Hs256 | Algorithm::Ps256 | Algorithm::Ps384 | Algorithm::Ps512 => None,
    }
}

/// Builds the message `VerifySignatureArguments`. Returns `None` if the host cannot be asked, which includes every signature whose length
/// does not fit its key.
fn request(key: &VerifyingKey, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> Option<Vec<u8>> {
    let hash = hash(algorithm).filter(|_| key.fits(algorithm))?;
    let der;
    let signature = match &key.material {
        Material::P256(_) => {
            der = ecdsa_der::<32>(signature)?;
            &der
        }
        Material::P384(_) => {
            der = ecdsa_der::<48>(signature)?;
            &der
        }
        Material::Rsa(PKey::Rsa(key)) if usize::try_from(key.size()) == Ok(signature.len()) => signature,
        Material::Rsa(_) | Material::Ed25519(_) | Material::Hmac(_) => return None,
    };
    let fields = [hash.as_bytes(), key.spki_der()?, signature, message];
    // Each field needs a tag and a length.
    let mut request = Vec::with_capacity(fields.iter().map(|field| field.len() + 6).sum());
    for (number, field) in (1..).zip(fields) {
        request.push(number << 3 | LENGTH_DELIMITED);
        push_length(&mut request, field.len());
        request.extend_from_slice(field);
    }
    Some(request)
}

/// The protobuf wire type of bytes and strings.
const LENGTH_DELIMITED: u8 = 2;

/// Appends a protobuf varint: seven bits per byte, least significant first.
fn push_length(bytes: &mut Vec<u8>, mut length: usize) {
    while length > 0x7f {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
}

/// Encodes `r || s` as an `Ecdsa-Sig-Value` (RFC 3279, section 2.2.3) in DER. Returns `None` if the input cannot be a signature: it has
/// the wrong length, or `r` or `s` is zero.
fn ecdsa_der<const SCALAR: usize>(signature: &[u8]) -> Option<Vec<u8>> {
    let (r, s) = signature.split_at_checked(SCALAR).filter(|(_, s)| s.len() == SCALAR)?;
    let (r, s) = (minimal(r)?, minimal(s)?);
    let integer = |number: &[u8]| 2 + number.len() + usize::from(is_high(number));
    // The content has at most 102 bytes, so each length fits in one byte.
    let mut der = vec![0x30, u8::try_from(integer(r) + integer(s)).ok()?];
    for number in [r, s] {
        der.extend([0x02, u8::try_from(integer(number) - 2).ok()?]);
        if is_high(number) {
            der.push(0);
        }
        der.extend_from_slice(number);
    }
    Some(der)
}

/// Removes leading zeros from a number. Returns `None` for zero.
fn minimal(number: &[u8]) -> Option<&[u8]> {
    let first = number.iter().position(|byte| *byte != 0)?;
    number.get(first..)
}

/// Returns whether DER would read the number as negative.
fn is_high(number: &[u8]) -> bool {
    number.first().is_some_and(|first| first & 0x80 != 0)
}

/// Reads the message `VerifySignatureResult`. Returns `None` if the message is malformed or contradicts itself. Field 1 is the result,
/// which protobuf omits if it is false. Field 2 is the error text.
fn verdict(answer: &[u8]) -> Option<bool> {
    match answer {
        [0x08, 0x01] => Some(true),
        [] | [0x08, 0x00] => Some(false),
        [0x08, 0x00, 0x12, why @ ..] | [0x12, why @ ..] => {
            let last = why.iter().position(|byte| byte & 0x80 == 0).filter(|last| *last < 4)?;
            let (length, text) = why.split_at_checked(last + 1)?;
            let length = length.iter().rev().fold(0, |length, byte| length << 7 | usize::from(byte & 0x7f));
            (text.len() == length).then_some(false)
        }
        _ => None,
    }
}

/// A key and its signature of `sample`.
struct Known {
    x: [u8; 32],
    y: [u8; 32],
    signature: [u8; 64],
}

const KNOWN: Known = Known {
    x: [
        0x60, 0xfe, 0xd4, 0xba, 0x25, 0x5a, 0x9d, 0x31, 0xc9, 0x61, 0xeb, 0x74, 0xc6, 0x35, 0x6d, 0x68, 0xc0, 0x49,
        0xb8, 0x92, 0x3b, 0x61, 0xfa, 0x6c, 0xe6, 0x69, 0x62, 0x2e, 0x60, 0xf2, 0x9f, 0xb6,
    ],
    y: [
        0x79, 0x03, 0xfe, 0x10, 0x08, 0xb8, 0xbc, 0x99, 0xa4, 0x1a, 0xe9, 0xe9, 0x56, 0x28, 0xbc, 0x64, 0xf2, 0xf1,
        0xb2, 0x0c, 0x2d, 0x7e, 0x9f, 0x51, 0x77, 0xa3, 0xc2, 0x94, 0xd4, 0x46, 0x22, 0x99,
    ],
    signature: [
        0xef, 0xd4, 0x8b, 0x2a, 0xac, 0xb6, 0xa8, 0xfd, 0x11, 0x40, 0xdd, 0x9c, 0xd4, 0x5e, 0x81, 0xd6, 0x9d, 0x2c,
        0x87, 0x7b, 0x56, 0xaa, 0xf9, 0x91, 0xc3, 0x4d, 0x0e, 0xa8, 0x4e, 0xaf, 0x37, 0x16, 0xf7, 0xcb, 0x1c, 0x94,
        0x2d, 0x65, 0x7c, 0x41, 0xd4, 0x36, 0xc7, 0xa1, 0xb6, 0xe2, 0x9f, 0x65, 0xf3, 0xe9, 0x00, 0xdb, 0xb9, 0xaf,
        0xf4, 0x06, 0x4d, 0xc4, 0xab, 0x2f, 0x84, 0x3a, 0xcd, 0xa8,
    ],
};

#[cfg(test)]
#[path = "hosted_tests.rs"]
mod tests;
