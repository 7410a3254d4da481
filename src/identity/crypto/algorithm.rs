//! Signature algorithms and their names.

/// A signature algorithm. `none` is not a variant, so a policy or a token cannot select it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// EdDSA on edwards25519.
    Ed25519,
    /// HMAC with SHA-256.
    Hs256,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 10] = [
        Self::Es256,
        Self::Es384,
        Self::Ed25519,
        Self::Hs256,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
    ];

    /// Returns the algorithm with this name in a JOSE header or a JWK. Names are compared exactly (RFC 7515, section 4.1.1).
    ///
    /// `EdDSA` is the deprecated name of `Ed25519` (RFC 9864). The only Edwards curve supported here is edwards25519, so both names mean
    /// the same.
    #[must_use]
    pub fn from_jose(name: &str) -> Option<Self> {
        Some(match name {
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "Ed25519" | "EdDSA" => Self::Ed25519,
            "HS256" => Self::Hs256,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            _ => return None,
        })
    }

    /// Returns the algorithm's name in JOSE (RFC 7518, section 3.1; RFC 9864, section 2.2).
    #[must_use]
    pub fn jose_name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Ed25519 => "Ed25519",
            Self::Hs256 => "HS256",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
        }
    }

    /// Returns the algorithm with this name in HTTP message signatures (RFC 9421, section 6.2.2). Names are compared exactly, and JOSE
    /// names are not accepted (section 3.3.7).
    #[must_use]
    pub fn from_http(name: &str) -> Option<Self> {
        Some(match name {
            "ecdsa-p256-sha256" => Self::Es256,
            "ecdsa-p384-sha384" => Self::Es384,
            "ed25519" => Self::Ed25519,
            "hmac-sha256" => Self::Hs256,
            "rsa-pss-sha512" => Self::Ps512,
            "rsa-v1_5-sha256" => Self::Rs256,
            _ => return None,
        })
    }

    /// Returns the algorithm's name in HTTP message signatures, or `None` if RFC 9421 does not define the algorithm. The signature bytes
    /// are the same as in JOSE.
    #[must_use]
    pub fn http_name(self) -> Option<&'static str> {
        match self {
            Self::Es256 => Some("ecdsa-p256-sha256"),
            Self::Es384 => Some("ecdsa-p384-sha384"),
            Self::Ed25519 => Some("ed25519"),
            Self::Hs256 => Some("hmac-sha256"),
            Self::Ps512 => Some("rsa-pss-sha512"),
            Self::Rs256 => Some("rsa-v1_5-sha256"),
            Self::Ps256 | Self::Ps384 | Self::Rs384 | Self::Rs512 => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_jose_names_exactly() {
        for name in ["ES256", "ES384", "Ed25519", "HS256", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"] {
            assert_eq!(Algorithm::from_jose(name).unwrap().jose_name(), name);
        }
        assert_eq!(Algorithm::from_jose("EdDSA"), Some(Algorithm::Ed25519));
        for wrong in ["none", "None", "NONE", "nOnE", "", "es256", "ES256 ", "HS512", "Ed448", "RSA-OAEP", "dir"] {
            assert_eq!(Algorithm::from_jose(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn http_names_are_exact_and_differ_from_jose_names() {
        let names =
            ["ecdsa-p256-sha256", "ecdsa-p384-sha384", "ed25519", "hmac-sha256", "rsa-pss-sha512", "rsa-v1_5-sha256"];
        for name in names {
            let algorithm = Algorithm::from_http(name).unwrap();
            assert_eq!(algorithm.http_name(), Some(name));
            assert_eq!(Algorithm::from_http(algorithm.jose_name()), None);
            assert_eq!(Algorithm::from_jose(name), None);
        }
        for none in [Algorithm::Ps256, Algorithm::Ps384, Algorithm::Rs384, Algorithm::Rs512] {
            assert_eq!(none.http_name(), None);
        }
        assert_eq!(Algorithm::from_http("ED25519"), None);
    }
}
