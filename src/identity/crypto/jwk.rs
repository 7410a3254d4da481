//! Public keys as JSON Web Keys (RFC 7517). The reader is strict where a mistake would weaken authentication, and lenient where providers
//! differ.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::{Algorithm, KeyError, VerifyingKey};

/// Members that only a private or secret key has (RFC 7518, sections 6.2.2, 6.3.2 and 6.4.1), and `priv`, which the key types for
/// post-quantum algorithms use.
const PRIVATE_MEMBERS: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];

/// What the keys of a set verify, which their `use` must state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUse {
    /// Signatures in general: `use` is `sig` or absent (RFC 7517, section 4.2).
    Signatures,
    /// JWT-SVIDs: the keys are in a SPIFFE bundle, where `use` is `jwt-svid` and `kid` is present (JWT-SVID, section 6).
    JwtSvids,
}

/// A public key and the metadata in its JWK.
#[derive(Debug)]
pub struct PublicJwk<'j> {
    /// The key.
    pub key: VerifyingKey,
    /// Its key ID.
    pub kid: Option<&'j str>,
    /// The algorithm that the JWK restricts the key to. It fits the key.
    pub algorithm: Option<Algorithm>,
}

/// The reason why a JWK is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwkError {
    /// Its type, curve, algorithm or use is not supported. The key may be valid for another application.
    Unknown(String),
    /// A member has an invalid value.
    Wrong(&'static str, String),
}

impl std::fmt::Display for JwkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown(why) => f.write_str(why),
            Self::Wrong(member, why) => write!(f, "{member}: {why}"),
        }
    }
}

impl std::error::Error for JwkError {}

impl<'j> PublicJwk<'j> {
    /// Reads a public key that verifies signatures.
    ///
    /// # Errors
    /// [`JwkError`]. A JWK with a private or secret key is always an error.
    pub fn read(jwk: &'j Map<String, Value>) -> Result<Self, JwkError> {
        Self::read_for(jwk, KeyUse::Signatures)
    }

    /// Reads a public key of a set whose keys have this use.
    ///
    /// # Errors
    /// [`JwkError`]. A JWK with a private or secret key is always an error.
    pub fn read_for(jwk: &'j Map<String, Value>, wanted: KeyUse) -> Result<Self, JwkError> {
        if let Some(member) = private_member(jwk) {
            let why = "this member belongs to a private or secret key; write the public key, and replace the key that was \
                       exposed";
            return Err(wrong(member, why));
        }
        let kid = text(jwk, "kid")?;
        meant_for_verifying(jwk, wanted)?;
        if wanted == KeyUse::JwtSvids && kid.is_none() {
            return Err(wrong(
                "kid",
                "the key has no `kid`, which keys of a SPIFFE bundle must have; fetch the bundle again",
            ));
        }
        let key = match (required(jwk, "kty")?, text(jwk, "crv")?) {
            ("EC", Some("P-256")) => VerifyingKey::p256(&coordinate(jwk, "x")?, &coordinate(jwk, "y")?),
            ("EC", Some("P-384")) => VerifyingKey::p384(&coordinate(jwk, "x")?, &coordinate(jwk, "y")?),
            ("OKP", Some("Ed25519")) => VerifyingKey::ed25519(&coordinate(jwk, "x")?),
            ("RSA", _) => VerifyingKey::rsa(&bytes(jwk, "n")?, &bytes(jwk, "e")?),
            ("EC" | "OKP", None) => {
                return Err(wrong("crv", "the key has no `crv`; copy the whole key from its owner"));
            }
            ("EC" | "OKP", Some(curve)) => {
                return Err(unknown(format!("its curve `{}` is not supported", curve.escape_debug())));
            }
            (other, _) => return Err(unknown(format!("its type `{}` is not supported", other.escape_debug()))),
        };
        let key = key.map_err(|error| {
            let member = match error {
                KeyError::Point => "x",
                KeyError::RsaShort
                | KeyError::RsaLong
                | KeyError::RsaValues
                | KeyError::RsaRoca
                | KeyError::SecretShort => "n",
            };
            wrong(member, error.to_string())
        })?;
        let algorithm = match text(jwk, "alg")? {
            None => None,
            Some(name) => match Algorithm::from_jose(name) {
                None => return Err(unknown(format!("its algorithm `{}` is not supported", name.escape_debug()))),
                Some(named) if !key.fits(named) => {
                    return Err(wrong(
                        "alg",
                        format!("`{}` is not an algorithm of this key type; copy the key again", named.jose_name()),
                    ));
                }
                Some(named) => Some(named),
            },
        };
        Ok(Self { key, kid, algorithm })
    }
}

/// Returns the first member of a JWK that only a private or secret key has.
#[must_use]
pub fn private_member(jwk: &Map<String, Value>) -> Option<&'static str> {
    PRIVATE_MEMBERS.into_iter().find(|member| jwk.contains_key(*member))
}

/// Checks that `use` and `key_ops` (RFC 7517, sections 4.2 and 4.3) allow verifying signatures.
fn meant_for_verifying(jwk: &Map<String, Value>, wanted: KeyUse) -> Result<(), JwkError> {
    match (text(jwk, "use")?, wanted) {
        (None | Some("sig"), KeyUse::Signatures) | (Some("jwt-svid"), KeyUse::JwtSvids) => {}
        (Some("jwt-svid"), KeyUse::Signatures) => {
            return Err(unknown(
                "its `use` is `jwt-svid`, and the set has no `spiffe_sequence`, so it is no SPIFFE bundle; copy the whole bundle",
            ));
        }
        (Some(other), KeyUse::Signatures) => {
            return Err(unknown(format!("its `use` is `{}`, not `sig`", other.escape_debug())));
        }
        (Some(other), KeyUse::JwtSvids) => {
            return Err(unknown(format!("its `use` is `{}`, not `jwt-svid`", other.escape_debug())));
        }
        (None, KeyUse::JwtSvids) => {
            return Err(unknown("it has no `use`; only keys of a SPIFFE bundle with `use: jwt-svid` verify JWT-SVIDs"));
        }
    }
    match jwk.get("key_ops") {
        None => Ok(()),
        Some(Value::Array(operations)) if operations.iter().all(Value::is_string) => {
            let verifies = operations.iter().any(|operation| operation == "verify");
            if verifies { Ok(()) } else { Err(unknown("its `key_ops` do not contain `verify`")) }
        }
        Some(_) => Err(wrong("key_ops", "invalid value; expected a list of operations, such as `[\"verify\"]`")),
    }
}

fn text<'j>(jwk: &'j Map<String, Value>, member: &'static str) -> Result<Option<&'j str>, JwkError> {
    match jwk.get(member) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
        Some(_) => Err(wrong(member, "invalid value; expected a nonempty string")),
    }
}

fn required<'j>(jwk: &'j Map<String, Value>, member: &'static str) -> Result<&'j str, JwkError> {
    text(jwk, member)?
        .ok_or_else(|| wrong(member, format!("the key has no `{member}`; copy the whole key from its owner")))
}

fn bytes(jwk: &Map<String, Value>, member: &'static str) -> Result<Vec<u8>, JwkError> {
    let text = required(jwk, member)?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong(member, "invalid value; expected base64url without padding"))
}

/// Reads a coordinate, which must have exactly the curve's length (RFC 7518, section 6.2.1.2).
fn coordinate<const N: usize>(jwk: &Map<String, Value>, member: &'static str) -> Result<[u8; N], JwkError> {
    bytes(jwk, member)?
        .try_into()
        .map_err(|_| wrong(member, format!("invalid length; expected the {N} bytes that the curve requires")))
}

fn wrong(member: &'static str, why: impl Into<String>) -> JwkError {
    JwkError::Wrong(member, why.into())
}

fn unknown(why: impl Into<String>) -> JwkError {
    JwkError::Unknown(why.into())
}
