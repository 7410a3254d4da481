//! The header of a token: the parameters that are never accepted, those that an issuer may send, and the algorithm.
//!
//! `jws` parses the header. Nothing in this module selects a key or reads a claim.

use serde_json::Value;

use super::issuer::Issuer;
use super::svid;
use crate::document::IgnorableHeader;
use crate::identity::crypto::Algorithm;
use crate::reason::Reason;

/// Header parameters that are never accepted: `crit` lists extensions, which are not supported; `b64` (RFC 7797) and `zip` change the
/// signed or parsed content; and a key inside the token (`jwk`) proves nothing.
pub(super) const REFUSED_HEADER: [&str; 4] = ["crit", "b64", "zip", "jwk"];

/// Header parameters that lead to a key. An issuer may send them if the policy ignores them.
pub(super) const URL_HEADER: [(&str, IgnorableHeader); 3] =
    [("jku", IgnorableHeader::Jku), ("x5u", IgnorableHeader::X5u), ("x5c", IgnorableHeader::X5c)];

impl Issuer {
    /// Returns whether a header parameter may be present because it is ignored.
    pub(super) fn ignores(&self, name: &str) -> bool {
        URL_HEADER.iter().any(|(own, parameter)| *own == name && self.ignored_header.contains(parameter))
    }

    /// Checks the header against the issuer's rules.
    pub(super) fn check_header(&self, header: &Value, algorithm: Algorithm) -> Result<(), Reason> {
        if URL_HEADER.iter().any(|(name, _)| header.get(name).is_some() && !self.ignores(name)) {
            return Err(Reason::TokenHeader);
        }
        if self.svid.is_some() && svid::foreign_parameter(header).is_some() {
            return Err(Reason::TokenHeader);
        }
        if !self.algorithms.contains(&algorithm) {
            return Err(Reason::TokenAlgorithm);
        }
        if self.svid.is_some() { svid::check_type(header) } else { self.shape.check_type(header) }
    }
}

/// Checks the rules that apply to every issuer, and reads the algorithm.
pub(super) fn read_header(header: &Value) -> Result<Algorithm, Reason> {
    if REFUSED_HEADER.iter().any(|name| header.get(name).is_some()) {
        return Err(Reason::TokenHeader);
    }
    header.get("alg").and_then(Value::as_str).and_then(Algorithm::from_jose).ok_or(Reason::TokenAlgorithm)
}
