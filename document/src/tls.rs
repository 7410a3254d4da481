//! The `tls` section of the policy document: client certificates.

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::Deserialize;

#[cfg(feature = "schema")]
use super::form;

/// What the gateway's listener does with client certificates. Without this section, certificates identify nobody.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// `validated`: the listener accepts only certificates that it validated against certificate authorities of your choice. Callgate
    /// cannot verify this itself; `check --gateway` reads the gateway's configuration and reports listeners that do not.
    pub client_certificates: ClientCertificates,
    /// The SPIFFE trust domains whose certificates the listener validates, such as `example.org`. A SPIFFE ID of another trust domain
    /// identifies nobody. With more than one, the listener needs a validator that maps each authority to its trust domain,
    /// because otherwise one authority can issue certificates of the other.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<form::TrustDomain>"))]
    pub trust_domains: Vec<String>,
    /// The SPIFFE IDs of proxies that end the TLS of clients in front of this gateway. Their certificates identify no agent.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<form::SpiffeId>"))]
    pub proxies: Vec<String>,
}

/// What the listener does with client certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// It validates them.
    Validated,
}
