//! Envoy's functions outside the ABI: `verify_signature`, with a different implementation than the filter's.

use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey,
    VerificationAlgorithm,
};

/// The result of calling a function that is not part of the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignFunction {
    /// `verify_signature` exists. Others are not found.
    Verifies,
    /// No function is found.
    Unknown,
    /// The call ends the request.
    Traps,
}

/// A fixed result of `verify_signature` that a test sets, for any arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This status.
    Status(i32),
    /// These bytes.
    Bytes(&'static [u8]),
}

/// The prefixes of a `SubjectPublicKeyInfo` for each supported kind of key. An RSA key has lengths between its prefix parts; these are
/// skipped.
const P256: &[u8] =
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
const P384: &[u8] = b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00";
const RSA: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";

/// Answers a request as Envoy does. Returns `None` if the request cannot be parsed.
#[must_use]
pub fn verify_signature(arguments: &[u8]) -> Option<Vec<u8>> {
    let mut fields = [None; 4];
    let mut rest = arguments;
    while let [tag, more @ ..] = rest {
        let (length, more) = length(more)?;
        let (value, more) = more.split_at_checked(length)?;
        *fields.get_mut(usize::from(*tag >> 3).checked_sub(1)?).filter(|_| tag & 7 == 2)? = Some(value);
        rest = more;
    }
    let [hash, key, signature, text] = fields.map(Option::unwrap_or_default);
    let verified = verifying(hash, key).map(|(algorithm, key)| {
        UnparsedPublicKey::new(algorithm, key)
            .verify(text, signature)
            .map_err(|_| "Failed to verify digest. Error code: 0")
    });
    Some(match verified.unwrap_or(Err("Failed to initialize digest verify.")) {
        Ok(()) => vec![0x08, 0x01],
        Err(why) => [&[0x12, u8::try_from(why.len()).ok()?], why.as_bytes()].concat(),
    })
}

/// Returns the algorithm that a key verifies with this hash, and the raw key.
fn verifying<'k>(hash: &[u8], key: &'k [u8]) -> Option<(&'static dyn VerificationAlgorithm, &'k [u8])> {
    if let Some(point) = key.strip_prefix(P256) {
        let algorithm: &dyn VerificationAlgorithm = match hash {
            b"sha256" => &ECDSA_P256_SHA256_ASN1,
            b"sha384" => &ECDSA_P256_SHA384_ASN1,
            _ => return None,
        };
        return Some((algorithm, point));
    }
    if let Some(point) = key.strip_prefix(P384) {
        let algorithm: &dyn VerificationAlgorithm = match hash {
            b"sha256" => &ECDSA_P384_SHA256_ASN1,
            b"sha384" => &ECDSA_P384_SHA384_ASN1,
            _ => return None,
        };
        return Some((algorithm, point));
    }
    // Keys of 2048 bits and more have two-byte lengths.
    let (_, key) = key.strip_prefix(b"\x30\x82")?.split_at_checked(2)?;
    let (_, key) = key.strip_prefix(RSA)?.strip_prefix(b"\x03\x82")?.split_at_checked(2)?;
    let algorithm: &dyn VerificationAlgorithm = match hash {
        b"sha256" => &RSA_PKCS1_2048_8192_SHA256,
        b"sha384" => &RSA_PKCS1_2048_8192_SHA384,
        b"sha512" => &RSA_PKCS1_2048_8192_SHA512,
        _ => return None,
    };
    Some((algorithm, key.strip_prefix(b"\0")?))
}

/// Parses a protobuf varint, and returns the bytes after it.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let last = bytes.iter().position(|byte| byte & 0x80 == 0).filter(|last| *last < 5)?;
    let (number, rest) = bytes.split_at_checked(last + 1)?;
    Some((number.iter().rev().fold(0, |number, byte| number << 7 | usize::from(byte & 0x7f)), rest))
}
