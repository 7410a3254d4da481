//! Public keys as PEM (RFC 7468, section 13), as `openssl pkey -pubout` writes them.

use std::fmt;

use super::{KeyError, VerifyingKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The bytes before the key itself, for types whose keys have a fixed length (RFC 8410, section 4; RFC 5480, section 2). An EC key is an
/// uncompressed point on a named curve. Other forms are rare, and differ from the two coordinates of a JWK.
const ED25519: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
const P256: &[u8] =
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04";
const P384: &[u8] = b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00\x04";
/// The algorithm identifier of RSA keys (RFC 3279, section 2.3.1) and NULL.
const RSA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const INTEGER: u8 = 0x02;

/// The reason why a PEM is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PemError {
    /// It contains a private key.
    Private,
    /// It contains a certificate.
    Certificate,
    /// It does not consist of exactly one public key whose label names a public key.
    NoPublicKey,
    /// The content is not a key of a supported type.
    Contents,
    /// The key itself is rejected.
    Key(KeyError),
}

impl fmt::Display for PemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Private => {
                "this is a private key; write the public key (`openssl pkey -pubout`), and replace the private key that was \
                 exposed"
            }
            Self::Certificate => {
                "this is a certificate, whose dates and issuer are not checked; write only its public key \
                 (`openssl x509 -pubkey -noout`)"
            }
            Self::NoPublicKey => {
                "invalid public key; expected one PEM block from `-----BEGIN PUBLIC KEY-----` to `-----END PUBLIC KEY-----`, \
                 as `openssl pkey -pubout` prints it"
            }
            Self::Contents => {
                "the PEM block is not a public key of a supported type; expected Ed25519, P-256, P-384 or RSA"
            }
            Self::Key(error) => return error.fmt(f),
        })
    }
}

impl std::error::Error for PemError {}

impl VerifyingKey {
    /// Reads a public key from its PEM.
    ///
    /// # Errors
    /// [`PemError`].
    pub fn from_pem(pem: &str) -> Result<Self, PemError> {
        if pem.contains("PRIVATE KEY-----") {
            return Err(PemError::Private);
        }
        if pem.contains("CERTIFICATE-----") {
            return Err(PemError::Certificate);
        }
        let body = pem.trim().strip_prefix("-----BEGIN PUBLIC KEY-----");
        let body = body.and_then(|rest| rest.strip_suffix("-----END PUBLIC KEY-----")).ok_or(PemError::NoPublicKey)?;
        if body.contains('-') {
            return Err(PemError::NoPublicKey);
        }
        let text: Vec<u8> = body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let der = STANDARD.decode(text).map_err(|_| PemError::Contents)?;
        let key = from_spki(&der).ok_or(PemError::Contents)?.map_err(PemError::Key)?;
        // DER has exactly one encoding for each value, so a key that encodes differently was not valid DER.
        if key.spki_der() == Some(&*der) { Ok(key) } else { Err(PemError::Contents) }
    }
}

/// Reads a `SubjectPublicKeyInfo`. Returns `None` if the input is not a key of a supported type.
fn from_spki(der: &[u8]) -> Option<Result<VerifyingKey, KeyError>> {
    if let Some(key) = der.strip_prefix(ED25519) {
        return Some(VerifyingKey::ed25519(key.try_into().ok()?));
    }
    if let Some(point) = der.strip_prefix(P256) {
        let (x, y) = point.split_first_chunk()?;
        return Some(VerifyingKey::p256(x, y.try_into().ok()?));
    }
    if let Some(point) = der.strip_prefix(P384) {
        let (x, y) = point.split_first_chunk()?;
        return Some(VerifyingKey::p384(x, y.try_into().ok()?));
    }
    let (key, _) = value(der, SEQUENCE)?;
    let (algorithm, key) = value(key, SEQUENCE)?;
    let (key, _) = value(key, BIT_STRING)?;
    let (numbers, _) = value(key.strip_prefix(&[0])?, SEQUENCE)?;
    let (n, rest) = value(numbers, INTEGER)?;
    let (e, _) = value(rest, INTEGER)?;
    (algorithm == RSA).then(|| VerifyingKey::rsa(n, e))
}

/// Returns the value of the first element, which must have this tag, and the bytes after the element.
fn value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    match der.strip_prefix(&[tag])? {
        [length @ ..=0x7f, rest @ ..] => rest.split_at_checked((*length).into()),
        [0x81, length, rest @ ..] => rest.split_at_checked((*length).into()),
        [0x82, high, low, rest @ ..] => rest.split_at_checked(u16::from_be_bytes([*high, *low]).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::{KeyError, PemError};
    use crate::identity::crypto::VerifyingKey;
    use crate::identity::crypto::tests::public_keys;

    fn pem(der: &[u8]) -> String {
        let text = STANDARD.encode(der);
        let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
    }

    #[test]
    fn reads_every_key_type() {
        let keys = public_keys();
        assert_eq!(keys.len(), 4);
        for key in keys {
            let der = key.spki_der().unwrap();
            let read = VerifyingKey::from_pem(&pem(der)).unwrap();
            assert!(read.identity() == key.identity(), "{key:?}");
            // Extra or missing bytes are rejected, and every changed byte results in an error or a different key.
            for wrong in [[der, &[0]].concat(), der[..der.len() - 1].to_vec()] {
                assert_eq!(VerifyingKey::from_pem(&pem(&wrong)).unwrap_err(), PemError::Contents);
            }
            for at in 0..der.len() {
                let mut changed = der.to_vec();
                changed[at] ^= 1;
                let read = VerifyingKey::from_pem(&pem(&changed));
                assert!(read.is_err() || read.is_ok_and(|other| other.identity() != key.identity()), "{key:?} {at}");
            }
        }
    }

    #[test]
    fn reads_openssl_public_keys() {
        // The first key is from RFC 8410, section 10.1. The others were written by `openssl pkey -pubout`.
        let ed25519 = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=";
        let rsa_2048 = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAyH8PljNLAyUgLHUEWqzS\n\
                   +pG4JR/xjmn4QXXrC+ng+7S2GonMweD7pC27SuQLY6QFP9RGoxdJ6VNGRk0c4cvr\n\
                   7qDwu0RsXtOXG5w4/HlhKebgSvqDKFP7Y6K/2yniOLLSDPe/rn9scB+WVjkX4xxB\n\
                   1xSzyDbcKm/4150KceznGdpTK02OyXJT6Si980QVDg5aXihdw9pLxQ/YHZtDtgkD\n\
                   shMHXy8EpH8koOg+Fix8kLXuwscTYLUhXrDRXfc5WqItdP2+Kua+XegILUJeMloY\n\
                   0nL9oq/IutFvrvsOjl8leTVk/ghyErfFk6ggbYTXHAIpeQ54UERNoPLGGofHjNIh\n\
                   9wIDAQAB";
        let p_256 = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE72ipWBDae74HPl5bARXHgGDvPCQf\n\
                   nXcg8uqzaMo7MT7IoPa96Yxvc5PMSkCOdlXMnF9bNfvo3Tbr3DYjpsP9pw==";
        let p_384 = "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE5w1IF7ntA439JIo1XbIWByNN3c3/wvi+\n\
                   vkCFZbAGz97T/ywYyKvGBWLV95grWkIfBzWAKuSAD3VrKwSlmK9JPPVUrAz8raQq\n\
                   wQH4XeRGgb1c7x4mkTx2vLz+oYmvnY9p";
        for text in [ed25519, rsa_2048, p_256, p_384] {
            let pem = format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----");
            VerifyingKey::from_pem(&pem).unwrap();
            VerifyingKey::from_pem(&pem.replace('\n', "\r\n")).unwrap();
        }
    }

    #[test]
    fn reports_why_a_pem_is_not_a_public_key() {
        let block = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
        for label in ["PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "OPENSSH PRIVATE KEY"] {
            assert_eq!(VerifyingKey::from_pem(&block(label)).unwrap_err(), PemError::Private, "{label}");
        }
        assert_eq!(VerifyingKey::from_pem(&block("CERTIFICATE")).unwrap_err(), PemError::Certificate);
        let both = [block("PUBLIC KEY"), block("PRIVATE KEY")].concat();
        assert_eq!(VerifyingKey::from_pem(&both).unwrap_err(), PemError::Private);
        let two = [block("PUBLIC KEY"), block("PUBLIC KEY")].concat();
        for text in ["", "x", "ssh-ed25519 AAAA", &two, &block("RSA PUBLIC KEY")] {
            assert_eq!(VerifyingKey::from_pem(text).unwrap_err(), PemError::NoPublicKey, "{text}");
        }
        assert_eq!(VerifyingKey::from_pem(&block("PUBLIC KEY")).unwrap_err(), PemError::Contents);
        // This Ed25519 key has a small order.
        let mut weak = STANDARD.decode("MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=").unwrap();
        weak[12..].fill(0);
        assert_eq!(VerifyingKey::from_pem(&pem(&weak)).unwrap_err(), PemError::Key(KeyError::Point));
    }
}
