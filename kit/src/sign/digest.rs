//! `Content-Digest` of a body (RFC 9530).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rsa::sha2::{Digest as _, Sha256, Sha512};

/// A digest algorithm that is secure enough to protect a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// `sha-256`
    Sha256,
    /// `sha-512`
    Sha512,
}

impl Digest {
    /// Returns the algorithm with this name in the header field.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "sha-256" => Some(Self::Sha256),
            "sha-512" => Some(Self::Sha512),
            _ => None,
        }
    }

    /// Returns the algorithm's name in the header field.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha-256",
            Self::Sha512 => "sha-512",
        }
    }
}

/// Returns the value of the header field for a body.
#[must_use]
pub fn content_digest(body: &[u8], digests: &[Digest]) -> String {
    let member = |digest: &Digest| {
        let hash = match digest {
            Digest::Sha256 => Sha256::digest(body).to_vec(),
            Digest::Sha512 => Sha512::digest(body).to_vec(),
        };
        format!("{}=:{}:", digest.name(), STANDARD.encode(hash))
    };
    digests.iter().map(member).collect::<Vec<_>>().join(", ")
}
