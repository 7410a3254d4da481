//! The certificate that a client presented to the gateway, as the gateway passes it to the filter: PEM and a digest.
//!
//! The gateway validated the chain. Here only the names (RFC 5280, section 4.2.1.6) and the end of the validity are read, strictly, because
//! the names identify callers, and because a connection can outlive the validity that the gateway checked when it was opened.

mod names;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::percent;
use crate::text::time::Timestamp;

/// The maximum size of a certificate in DER, in bytes. Certificates of workloads have one to two KiB.
pub(crate) const MOST_CERTIFICATE_BYTES: usize = 16 * 1024;

/// The maximum size of a certificate's text, in bytes: base64, of which some gateways escape a few characters, with line breaks.
const MOST_TEXT: usize = 4 * MOST_CERTIFICATE_BYTES;

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
const END: &[u8] = b"-----END CERTIFICATE-----";

/// The certificate of a client. Reading one costs some microseconds, so a host reads it once for a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The digest as the gateway wrote it.
    told: Box<[u8]>,
    /// `None` if the certificate is malformed, or is not the one that the digest belongs to.
    contents: Option<Contents>,
}

/// What is read of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contents {
    /// SHA-256 of the DER.
    pub(crate) sha256: [u8; 32],
    pub(crate) names: Names,
    /// The last moment at which it is valid.
    pub(crate) not_after: Timestamp,
}

/// The names of a certificate, and whether it may sign others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// The URIs among the subject alternative names: visible ASCII characters.
    pub(crate) uris: Vec<Box<str>>,
    /// The DNS names among the subject alternative names, in lower case: visible ASCII characters.
    pub(crate) dns: Vec<Box<str>>,
    /// Whether the certificate is one of an authority.
    pub(crate) is_authority: bool,
}

impl ClientCertificate {
    /// Reads a certificate from its PEM (RFC 7468, section 5), which may be percent-encoded, and from SHA-256 of its DER in hexadecimal
    /// digits.
    ///
    /// A certificate that is malformed, that is larger than 16 KiB in DER, or whose digest is another one, identifies nobody, and no
    /// token is bound to it.
    #[must_use]
    pub fn new(pem: &[u8], sha256: &[u8]) -> Self {
        // Without a digest to compare with, the text is not parsed. No host remembers such a certificate, so each request would pay for that.
        let contents = from_hex(sha256).and_then(|told| {
            let der = from_pem(pem)?;
            Contents::read(&der).filter(|read| read.sha256 == told)
        });
        Self { told: sha256.into(), contents }
    }

    /// Reads the first certificate of a PEM file, such as the leaf of a chain. Returns `None` if there is none, or if it is malformed.
    #[must_use]
    pub fn first_of(pem: &[u8]) -> Option<Self> {
        let begin = find(pem, BEGIN)?;
        let rest = pem.get(begin..)?;
        let end = find(rest, END)?.checked_add(END.len())?;
        let contents = Contents::read(&from_pem(rest.get(..end)?)?)?;
        let told: String = contents.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(Self { told: told.into_bytes().into(), contents: Some(contents) })
    }

    /// Returns whether this is a well-formed certificate that was read with this digest. A host that remembers certificates finds
    /// them by it.
    #[must_use]
    pub fn belongs_to(&self, sha256: &[u8]) -> bool {
        self.contents.is_some() && *self.told == *sha256
    }

    /// Returns SHA-256 of its DER: as computed, or as the gateway reports it if the certificate cannot be read. `None` if that is not 64
    /// hexadecimal digits.
    pub(crate) fn sha256(&self) -> Option<[u8; 32]> {
        self.contents.as_ref().map_or_else(|| from_hex(&self.told), |contents| Some(contents.sha256))
    }

    /// Returns what the certificate contains. `None` if it is malformed, or has another digest than the gateway reports.
    pub(crate) fn contents(&self) -> Option<&Contents> {
        self.contents.as_ref()
    }
}

impl Contents {
    fn read(der: &[u8]) -> Option<Self> {
        let (names, not_after) = Names::read(der)?;
        Some(Self { sha256: Sha256::digest(der).into(), names, not_after })
    }
}

/// Decodes exactly one certificate.
fn from_pem(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() > MOST_TEXT {
        return None;
    }
    // PEM contains no `%`.
    let text = percent::decode(text);
    let base64 = text.trim_ascii().strip_prefix(BEGIN)?.strip_suffix(END)?;
    // A second certificate would contain hyphens, which are not base64.
    let base64: Vec<u8> = base64.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    STANDARD.decode(base64).ok().filter(|der| der.len() <= MOST_CERTIFICATE_BYTES)
}

/// Decodes 32 bytes from exactly 64 hexadecimal digits.
fn from_hex(text: &[u8]) -> Option<[u8; 32]> {
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16)?).ok();
    let mut bytes = [0; 32];
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() || pairs.len() != bytes.len() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = (digit(*high)? << 4) | digit(*low)?;
    }
    Some(bytes)
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
