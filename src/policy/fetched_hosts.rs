//! The servers from which a policy fetches documents. The configuration of its gateway must contain them.

use std::collections::BTreeSet;

use super::Policy;
use super::documents::{DocumentKind, FetchedDocument};
use super::gateway::Store;

/// The bytes that a document needs in a zone: the published document, the one that replaces it, and the pages of the zone.
const ZONE_BYTES: u64 = 1 << 20;
/// The bytes that a list of revoked credentials needs there. Each of the two has up to 16 MiB.
const LIST_BYTES: u64 = 40 << 20;

/// A server from which the gate fetches documents.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FetchedHost {
    /// The gateway's name for the server: a cluster, or an address on Kong.
    pub upstream: String,
    /// Whether documents are fetched over TLS.
    pub tls: bool,
    /// The host of the URL: a name, or an IP address without brackets.
    pub host: String,
    /// The port of the URL.
    pub port: u16,
}

impl FetchedHost {
    /// `authority` is the host of a URL, with its port if that is not the default of the scheme.
    fn new(upstream: &str, scheme: &str, authority: &str) -> Self {
        let tls = scheme == "https";
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
            _ => (authority, None),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Self { upstream: upstream.to_owned(), tls, host, port: port.unwrap_or(if tls { 443 } else { 80 }) }
    }
}

impl Policy {
    /// Returns the servers from which the gate fetches documents, including those that an issuer's metadata may name.
    #[must_use]
    pub fn fetched_hosts(&self) -> BTreeSet<FetchedHost> {
        let mut hosts = BTreeSet::new();
        for document in &self.documents {
            let target = &document.source.target;
            hosts.insert(FetchedHost::new(&target.upstream, target.scheme, &target.authority));
            if let DocumentKind::Metadata { key_hosts, .. } = &document.kind {
                // The URL of a key set has the scheme of its issuer.
                hosts.extend(key_hosts.iter().map(|(host, upstream)| FetchedHost::new(upstream, target.scheme, host)));
            }
        }
        hosts
    }

    /// Returns the size in bytes of the zone that holds fetched documents, or `None` if the gateway has no zone or the policy
    /// fetches nothing. Policies that share the zone need the sum of their sizes.
    #[must_use]
    pub fn document_bytes(&self) -> Option<u64> {
        if self.features.store != Store::Zone || self.documents.is_empty() {
            return None;
        }
        let bytes = |document: &FetchedDocument| match document.kind {
            DocumentKind::KeySet | DocumentKind::Metadata { .. } => ZONE_BYTES,
            DocumentKind::Revocations(_) => LIST_BYTES,
        };
        Some(self.documents.iter().map(bytes).fold(0, u64::saturating_add))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_split_into_host_and_port() {
        for (scheme, authority, host, port) in [
            ("https", "idp.example.com", "idp.example.com", 443),
            ("http", "idp.example.com", "idp.example.com", 80),
            ("https", "idp.example.com:8443", "idp.example.com", 8443),
            ("https", "[::1]", "::1", 443),
            ("https", "[::1]:8443", "::1", 8443),
            ("http", "127.0.0.1:8080", "127.0.0.1", 8080),
        ] {
            let expected =
                FetchedHost { upstream: "idp".to_owned(), tls: scheme == "https", host: host.to_owned(), port };
            assert_eq!(FetchedHost::new("idp", scheme, authority), expected, "{scheme}://{authority}");
        }
    }
}
