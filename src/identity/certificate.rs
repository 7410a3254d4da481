//! Client certificates: which of their names a policy accepts. The gateway has validated each certificate.

use super::spiffe::SpiffeId;
use crate::request::certificate::{ClientCertificate, Contents, Names};
use crate::text::time::Timestamp;

/// The beginning of every SPIFFE ID, in lower case. Others could read it in any case.
const SPIFFE_SCHEME: &str = "spiffe:";

/// What a policy accepts of client certificates.
#[derive(Debug)]
pub(crate) struct CertificateRules {
    pub(crate) trust_domains: Vec<Box<str>>,
    /// The SPIFFE IDs of proxies in front of the gateway.
    pub(crate) proxies: Vec<Box<str>>,
    /// Whether some agent is identified by another name than a SPIFFE ID.
    pub(crate) takes_other_names: bool,
    /// Whether some endpoint accepts a certificate as the caller's credential.
    pub(crate) alone: bool,
}

/// A well-formed certificate, and what it contains about the client. Only [`CertificateRules::verify`] creates one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VerifiedCertificate<'c> {
    contents: &'c Contents,
    holder: Holder<'c>,
}

/// Whom a certificate identifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder<'c> {
    /// The workload with this SPIFFE ID, in an accepted trust domain.
    Workload(&'c str),
    /// A proxy, whose clients are not known.
    Proxy(&'c str),
    /// The holder of its other names.
    Named,
    /// Nobody, for this reason.
    Nobody(&'static str),
    /// Nobody, because it has several URIs, one of which at least is a SPIFFE ID. Others could read any of them.
    Several,
    /// Nobody any more, because its validity has ended.
    Expired,
}

impl CertificateRules {
    /// Reads whom a certificate identifies at this time. Returns `None` if it is malformed, or has another digest than the gateway says.
    ///
    /// The gateway validates a certificate once for a connection, or even for several that resume a TLS session. Short-lived certificates,
    /// such as X509-SVIDs, expire while connections are open.
    pub(crate) fn verify<'c>(
        &self,
        presented: &'c ClientCertificate,
        now: Timestamp,
    ) -> Option<VerifiedCertificate<'c>> {
        let contents = presented.contents()?;
        let holder = match self.holder(&contents.names) {
            Holder::Workload(_) | Holder::Named if now > contents.not_after => Holder::Expired,
            holder => holder,
        };
        Some(VerifiedCertificate { contents, holder })
    }

    fn holder<'c>(&self, names: &'c Names) -> Holder<'c> {
        if names.is_authority {
            return Holder::Nobody("it is the certificate of an authority");
        }
        if !names.uris.iter().any(|uri| is_spiffe(uri)) {
            return match (names.uris.is_empty() && names.dns.is_empty(), self.takes_other_names) {
                (true, _) => Holder::Nobody("it has no URI and no DNS name"),
                (false, false) => Holder::Nobody("it has no SPIFFE ID"),
                (false, true) => Holder::Named,
            };
        }
        // X509-SVID, section 2.
        let [uri] = &*names.uris else { return Holder::Several };
        match SpiffeId::parse(uri) {
            None => Holder::Nobody("its URI is not a valid SPIFFE ID"),
            Some(_) if self.proxies.contains(uri) => Holder::Proxy(uri),
            Some(id) if self.trust_domains.iter().any(|own| **own == *id.trust_domain()) => Holder::Workload(uri),
            Some(_) => Holder::Nobody("its trust domain is not one of `tls.trust_domains`"),
        }
    }
}

impl<'c> VerifiedCertificate<'c> {
    /// Returns SHA-256 of its DER.
    pub(crate) fn sha256(&self) -> &'c [u8; 32] {
        &self.contents.sha256
    }

    /// Returns its SPIFFE ID, which is in an accepted trust domain.
    pub(crate) fn spiffe_id(&self) -> Option<&'c str> {
        match self.holder {
            Holder::Workload(id) => Some(id),
            Holder::Proxy(_) | Holder::Named | Holder::Nobody(_) | Holder::Several | Holder::Expired => None,
        }
    }

    /// Returns the last moment at which it is valid.
    pub(crate) fn not_after(&self) -> Timestamp {
        self.contents.not_after
    }

    /// Returns whether it could be the certificate of an agent, although it identifies nobody: it has expired, or has several URIs, one of
    /// which at least is a SPIFFE ID.
    pub(crate) fn is_unclear(&self) -> bool {
        matches!(self.holder, Holder::Several | Holder::Expired)
    }

    /// Returns whether it is the certificate of a proxy. The client has none then.
    pub(crate) fn is_of_proxy(&self) -> bool {
        matches!(self.holder, Holder::Proxy(_))
    }

    /// Returns why it identifies nobody. `None` if it identifies somebody, or a proxy.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        match self.holder {
            Holder::Nobody(why) => Some(why),
            Holder::Several => Some("it has a SPIFFE ID and another URI"),
            Holder::Expired => Some("it has expired"),
            Holder::Workload(_) | Holder::Proxy(_) | Holder::Named => None,
        }
    }

    /// Returns whether it has a name by which an agent can be identified.
    pub(crate) fn names_somebody(&self) -> bool {
        matches!(self.holder, Holder::Workload(_) | Holder::Named)
    }

    /// Returns its names, if it identifies somebody by URIs or DNS names and not by a SPIFFE ID.
    pub(crate) fn other_names(&self) -> Option<&'c Names> {
        (self.holder == Holder::Named).then_some(&self.contents.names)
    }

    /// Returns what records and explanations show: the SPIFFE ID or, without one, the first URI and the first DNS name, whether or not
    /// they identify anybody.
    pub(crate) fn shown(&self) -> (Option<&'c str>, Option<&'c str>, Option<&'c str>) {
        match self.holder {
            Holder::Workload(id) | Holder::Proxy(id) => (Some(id), None, None),
            Holder::Named | Holder::Nobody(_) | Holder::Several | Holder::Expired => {
                let Names { uris, dns, .. } = &self.contents.names;
                (None, uris.first().map(|uri| &**uri), dns.first().map(|name| &**name))
            }
        }
    }
}

/// Returns whether a URI has the scheme of SPIFFE IDs, in any case.
pub(crate) fn is_spiffe(uri: &str) -> bool {
    uri.get(..SPIFFE_SCHEME.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SPIFFE_SCHEME))
}

#[cfg(test)]
#[path = "certificate_tests.rs"]
mod tests;
