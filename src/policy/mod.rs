//! Compiles the document that a person writes to a [`Policy`] that is ready to evaluate requests.
//!
//! The types in [`document`] hold the policy as written, and the evaluation uses [`Policy`]. No code in this
//! module accesses a request.

#[cfg(not(target_arch = "wasm32"))]
mod access;
mod actors;
mod advice;
mod agents;
mod api_keys;
mod audit;
mod authentication;
mod bindings;
mod claim_identities;
mod claims;
mod compile;
mod content;
mod credentials;
mod delegation;
mod documents;
mod dpop;
mod endpoint;
mod endpoints;
mod expiry;
mod fetched_hosts;
mod gateway;
mod held_bodies;
mod hosts;
mod identity_checks;
mod limit_values;
mod limits;
mod metadata;
mod newest;
mod overrides;
mod reach;
mod reach_advice;
mod replay;
mod reserved;
mod resources;
mod revocation;
mod revocation_list;
mod revoked;
mod rpc;
mod rpc_limits;
mod rpc_operations;
mod scope_implies;
mod shared_state;
mod signatures;
mod signing_keys;
mod tables_key;
mod tls;
pub(crate) mod trailers;
mod unregistered;
mod version;
mod workloads;

#[cfg(not(target_arch = "wasm32"))]
pub use access::OperationAccess;
pub use agents::Agent;
pub use compile::Compiled;
pub use endpoint::Endpoint;
pub use expiry::parse_expiry;
pub use fetched_hosts::FetchedHost;
pub use gateway::{
    BodyCheck, ClockCall, ENVOY_MODULE, Features, Fetching, GATEWAY_VARIABLE, HostName, Numbers, RecordPlace, Store,
    must_accept,
};
pub use reach::Reachable;

pub(crate) use agents::Agents;
pub(crate) use audit::Audit;
pub(crate) use content::Content;
pub(crate) use documents::{DocumentKind, FetchedDocument};
pub(crate) use endpoint::Access;
pub(crate) use endpoints::Endpoints;
pub(crate) use held_bodies::HeldBodies;
pub(crate) use limits::Limits;
pub(crate) use metadata::Metadata;
pub(crate) use replay::Replay;
pub(crate) use resources::Resource;
pub(crate) use revocation::{ListRules, Revocation};
pub(crate) use revocation_list::{ListFault, ListTimes};
pub(crate) use signatures::{SignatureRule, Signatures};
pub(crate) use tables_key::TablesKey;

use std::borrow::Cow;
use std::time::Duration;

use crate::allowlist::Table;
use crate::document;
use crate::identity::api_key::ApiKeys;
use crate::identity::certificate::CertificateRules;
use crate::identity::crypto::{Algorithm, TableVerifier, VerifyingKey, host_hash};
use crate::identity::signature::{SigningKey, SigningKeys};
use crate::identity::token::{IssuerId, Issuers};
use crate::quota::{self, LimitReport, LimitStatuses, Shown};
use crate::reason::Reason;
use crate::request::headers::name_reads_as;
use crate::request::places::CredentialPlaces;
use crate::request::{CanonicalPath, Host, RejectedNames, percent};
use audit::HeaderNames;
use claims::ForwardedClaim;
use delegation::Delegation;
use resources::Resources;
use trailers::RemovedTrailers;

/// A compiled policy. Everything that it refers to exists, and no two endpoints can match the same request.
///
/// Threads can share a policy, because the state that a worker keeps for it is stored elsewhere.
#[derive(Debug)]
#[non_exhaustive]
pub struct Policy {
    /// The policy's name.
    pub name: Box<str>,
    /// SHA-256 over the document's canonical JSON (RFC 8785), in hexadecimal digits.
    pub version: Box<str>,
    /// The policy's name and the first twelve digits of its version, as sent to the upstream.
    pub(crate) label: Box<str>,
    /// The features of the policy's gateway.
    pub features: Features,
    pub(crate) observe: bool,
    pub(crate) resources: Resources,
    /// Where a client that was denied gets help.
    pub(crate) help: Option<Box<str>>,
    /// The places in which requests may carry a token.
    pub(crate) credentials: CredentialPlaces,
    pub(crate) dpop: Option<crate::identity::dpop::Rules>,
    pub(crate) passes_preflight: bool,
    pub(crate) overrides: document::Overrides,
    /// The override headers that the policy adds to the known ones.
    pub(crate) override_headers: Vec<Box<str>>,
    pub(crate) rejected_query: RejectedNames,
    pub(crate) trailers: RemovedTrailers,
    pub(crate) takes_unregistered: bool,
    pub(crate) issuers: Issuers,
    /// `None` if nothing can be revoked.
    pub(crate) revocation: Option<Revocation>,
    /// What older policies of this name apply too, because the policy revokes or suspends it. `None` if the gateway cannot pass it on.
    pub(crate) published: Option<newest::Published>,
    /// The documents that the gate fetches.
    pub(crate) documents: Vec<FetchedDocument>,
    pub(crate) agents: Agents,
    pub(crate) signing_keys: SigningKeys,
    /// `None` if the policy accepts no API keys.
    pub(crate) api_keys: Option<ApiKeys>,
    /// `None` if client certificates identify nobody.
    pub(crate) certificates: Option<CertificateRules>,
    key_tables: u32,
    /// The key for names and seals in the shared store. `None` if the first worker generates one.
    pub(crate) tables_key: Option<TablesKey>,
    pub(crate) endpoints: Endpoints,
    pub(crate) limits: Limits,
    pub(crate) signatures: Signatures,
    pub(crate) held_bodies: HeldBodies,
    /// `None` if no message is limited to a single use.
    pub(crate) replay: Option<Replay>,
    pub(crate) keeps_authorization: bool,
    /// The claims that the upstream gets as headers.
    pub(crate) claims: Vec<ForwardedClaim>,
    pub(crate) prefix: Box<str>,
    pub(crate) header_names: HeaderNames,
    pub(crate) audit: Audit,
    /// How tokens with actors are accepted. `None` if they are not.
    pub(crate) delegation: Option<Delegation>,
}

const _: () = {
    const fn is_shared_by_threads<T: Send + Sync>() {}
    is_shared_by_threads::<Policy>();
};

impl Policy {
    /// Returns the allowlist of a host, or `None` if the policy does not serve the host.
    pub(crate) fn table(&self, host: &str) -> Option<&Table> {
        self.endpoints.table(host)
    }

    /// Returns the resource that a path belongs to, whether or not an endpoint matches.
    ///
    /// # Errors
    /// [`Reason::PathValueAmbiguous`] if some upstream could read the path as one of another resource.
    pub(crate) fn resource_of(&self, path: &CanonicalPath<'_>) -> Result<&Resource, Reason> {
        self.resources.of(path)
    }

    /// Returns the endpoints in the order of the document.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints.list
    }

    /// Returns a verifier with precomputed tables for keys of this policy.
    #[must_use]
    pub fn verifier(&self) -> TableVerifier {
        TableVerifier::new(self.keys(), self.key_tables)
    }

    /// Reports whether the policy accepts signatures that some gateways verify themselves, made with ECDSA and RSA keys.
    #[must_use]
    pub fn takes_what_hosts_verify(&self) -> bool {
        let hosts = |algorithm: &Algorithm| host_hash(*algorithm).is_some();
        // A proof contains its own key.
        let proven = self.dpop.as_ref().is_some_and(|rules| rules.algorithms.iter().any(hosts));
        proven
            || self.issuers.fetched_algorithms().any(|algorithm| hosts(&algorithm))
            || self.keys().any(|key| Algorithm::ALL.iter().any(|algorithm| key.fits(*algorithm) && hosts(algorithm)))
    }

    /// Returns the agents' key that a signature names by `keyid` or, in Web Bot Auth, by thumbprint.
    #[must_use]
    pub fn signing_key(&self, keyid: &str) -> Option<&SigningKey> {
        self.signing_keys.find(keyid).or_else(|| self.signing_keys.find_by_thumbprint(keyid))
    }

    fn keys(&self) -> impl Iterator<Item = &VerifyingKey> {
        self.issuers.keys().map(|(_, key)| key).chain(self.signing_keys.iter().map(|signing| &signing.key))
    }

    /// Returns the header, name and value, in which a client sends this bearer token. `Authorization` comes first where the policy
    /// accepts tokens in several places.
    #[must_use]
    pub fn header_with_token(&self, token: &str) -> (&str, String) {
        self.credentials.header_with(token)
    }

    /// Returns the names of the headers, other than `Authorization`, in which a client may send a token or an API key, in lower case.
    pub fn credential_headers(&self) -> impl Iterator<Item = &str> {
        self.credentials.headers().chain(self.api_keys.as_ref().and_then(ApiKeys::header))
    }

    /// Returns the names of the headers in which the upstream gets claims of the token.
    pub fn claim_headers(&self) -> impl Iterator<Item = &str> {
        self.claims.iter().map(|claim| &*claim.header)
    }

    /// Returns the scheme and authority of a request as its client sees them.
    pub(crate) fn origin(&self, host: &Host<'_>) -> String {
        match &self.signatures.external {
            Some(external) => format!("{}://{}", external.scheme, external.authority),
            None => format!("https://{}", host.as_str()),
        }
    }

    /// Returns the path of a request as its client sees it, with the prefix of the external URL.
    pub(crate) fn path_of_client<'p>(&self, path: &'p str) -> Cow<'p, str> {
        match &self.signatures.external {
            Some(external) if !external.prefix.is_empty() => Cow::Owned(format!("{}{path}", external.prefix)),
            _ => Cow::Borrowed(path),
        }
    }

    /// Reports whether a trailer of this name must not reach the upstream, which may merge trailers into the headers. This
    /// applies to names that look like a header of Callgate, or like a header that frames, routes or authenticates the request,
    /// overrides it, is bound or is signed.
    #[must_use]
    pub fn removes_trailer(&self, name: &[u8]) -> bool {
        self.trailers.contains(name, &self.prefix)
    }

    /// Reports whether a query parameter, by its name as sent, has the name of a header that carries a token or an API key. Its value may
    /// be one.
    pub(crate) fn names_credential(&self, name: &str) -> bool {
        let api_key_header = self.api_keys.as_ref().and_then(ApiKeys::header);
        self.credentials.names_parameter(name)
            || api_key_header.is_some_and(|own| name_reads_as(&percent::decode(name.as_bytes()), own))
    }

    /// Returns how long a request waits for the keys of this issuer.
    pub(crate) fn key_timeout(&self, issuer: IssuerId) -> Duration {
        let document = self.documents.iter().find(|document| document.issuers.contains(&issuer));
        document.map_or(Duration::ZERO, |document| document.source.timeout)
    }

    /// Reports whether client certificates matter, and a host must provide that of each request.
    #[must_use]
    pub fn reads_certificates(&self) -> bool {
        self.certificates.is_some()
    }

    /// Returns how long a request waits for the list of revoked credentials.
    pub(crate) fn list_timeout(&self) -> Duration {
        let document = self.revocation_list().and_then(|(index, _)| self.documents.get(index));
        document.map_or(Duration::ZERO, |document| document.source.timeout)
    }

    /// Reports whether the gate fetches documents, and needs a timer for that.
    #[must_use]
    pub fn fetches(&self) -> bool {
        !self.documents.is_empty()
    }

    /// Returns the maximum size of a body that is held until it is verified, or `None` if no request is held.
    #[must_use]
    pub fn largest_held_body(&self) -> Option<u64> {
        let signed = self.endpoints.list.iter().any(|endpoint| endpoint.signature.asked.is_some() && !endpoint.streams);
        // A signature can replace a proof of possession, and it covers the body as well.
        let shown = self.dpop.is_some() && !self.signing_keys.is_empty();
        let signed = (signed || shown).then_some(self.signatures.max_body);
        signed.max(self.endpoints.largest_json())
    }

    /// Returns the maximum size of an answer of an MCP server that is filtered, or `None` if none is.
    #[must_use]
    pub fn largest_filtered_answer(&self) -> Option<u64> {
        self.endpoints.largest_answer()
    }

    /// Reports whether requests are held and the gateway has timers to end such a hold.
    #[must_use]
    pub fn times_out_held_bodies(&self) -> bool {
        self.features.timers && self.largest_held_body().is_some()
    }

    /// Returns the headers that report limits to a client. `theirs` contains the upstream's values of each of
    /// [`RATE_LIMIT_HEADERS`](crate::RATE_LIMIT_HEADERS) (all lines joined by commas), which the result extends.
    pub fn rate_limit_headers(
        &self,
        standings: &LimitStatuses,
        theirs: [Option<&[u8]>; 2],
    ) -> impl Iterator<Item = (&'static str, String)> {
        let shown = standings.0.iter().filter_map(|LimitReport { position, numbers, status }| {
            let limit = self.limits.list.get(*position as usize)?;
            Some(Shown { name: &limit.name, policy: limit.told_of(*numbers)?, standing: *status })
        });
        let fields = quota::RATE_LIMIT_HEADERS.into_iter().zip(quota::members(shown, theirs));
        fields.filter(|(_, value)| !value.is_empty())
    }

    /// Returns the number of registered agents.
    #[must_use]
    pub fn agents(&self) -> usize {
        self.agents.iter().len()
    }

    /// Reports whether a record with this outcome also goes to the gateway's own log.
    #[must_use]
    pub fn logs(&self, denied: bool) -> bool {
        if denied { self.audit.logs_deny } else { self.audit.logs_allow }
    }

    /// Reports whether a record is completed with its outcome at the end of the request.
    #[must_use]
    pub fn records_outcome(&self) -> bool {
        self.audit.outcome
    }
}

#[cfg(test)]
mod identity_tests;
#[cfg(test)]
mod overrides_tests;
#[cfg(test)]
mod signatures_tests;
#[cfg(test)]
mod tests;
