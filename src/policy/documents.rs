//! The documents that the gate fetches: the key sets of issuers. The list of revoked credentials is in [`revocation`](super::revocation).

use std::time::Duration;

use super::gateway::{Features, Fetching};
use super::revocation::ListRules;
use crate::document::{self, DiscoveredKeys, Lifetime, MetadataDocument, RemoteKeys};
use crate::document::{Findings, Place};
use crate::fetch::{Authorization, Source, Target, Url, is_address};
use crate::identity::crypto::{first, sha256};
use crate::identity::token::{IssuerId, Issuers, Secrets, check_tenant, look_up, with_tenant};

const USUAL_REFRESH: Duration = Duration::from_mins(5);
const USUAL_TIMEOUT: Duration = Duration::from_secs(5);
const USUAL_STALE: Duration = Duration::from_hours(24);
/// The maximum number of characters of a header's value.
const MOST_AUTHORIZATION: usize = 4096;

/// A document that the gate fetches, and the issuers that use it.
#[derive(Debug)]
pub(crate) struct FetchedDocument {
    pub(crate) source: Source,
    pub(crate) kind: DocumentKind,
    pub(crate) issuers: Vec<IssuerId>,
}

/// What is fetched.
#[derive(Debug)]
pub(crate) enum DocumentKind {
    /// A key set.
    KeySet,
    /// The metadata of an issuer, and then the key set that it names.
    Metadata {
        /// The value of `issuer` in the metadata.
        issuer: Box<str>,
        /// The hosts that may have the key set, each with the gateway's name for it.
        key_hosts: Vec<(Box<str>, Box<str>)>,
    },
    /// The list of revoked credentials.
    Revocations(Box<ListRules>),
}

impl DocumentKind {
    /// Returns the maximum size of a response, in bytes.
    #[cfg(any(test, target_arch = "wasm32", feature = "adapter"))]
    pub(crate) fn most_bytes(&self) -> usize {
        match self {
            Self::KeySet | Self::Metadata { .. } => crate::identity::token::MAX_FETCHED_BYTES,
            Self::Revocations(_) => super::revocation_list::MOST_LIST_BYTES,
        }
    }
}

/// Compiles the documents of all issuers. Issuers with the same document share it.
pub(super) fn compile(
    document: &document::Document,
    issuers: &Issuers,
    secrets: &dyn Secrets,
    findings: &mut Findings,
) -> Vec<FetchedDocument> {
    let mut documents: Vec<FetchedDocument> = Vec::new();
    for (name, issuer) in &document.issuers {
        let Some(id) = issuers.id(name) else { continue };
        let place = Place::root().field("issuers").field(name).field("keys");
        let mut reader = Reader::new(document, secrets, findings);
        let compiled = match (&issuer.keys.remote, &issuer.keys.discover) {
            (Some(remote), None) => reader.remote(remote, &place.field("remote")),
            (None, Some(discover)) => match &issuer.issuer {
                Some(iss) => reader.discover(iss, discover, &place.field("discover")),
                None => {
                    let message = "only an issuer with `issuer` has metadata; write `issuer`, or `remote` with the URL of the keys";
                    reader.findings.error(place.field("discover"), message);
                    continue;
                }
            },
            _ => continue,
        };
        let Some((source, kind)) = compiled else { continue };
        match documents.iter_mut().find(|other| other.source.is_same_as(&source)) {
            Some(same) => {
                if !same.source.has_settings_of(&source) {
                    let other = same.issuers.first().map_or("", |other| issuers.name(*other));
                    let other = Place::root().field("issuers").field(other).field("keys");
                    let message =
                        format!("`{other}` fetches the same document with other settings; write the same in both");
                    findings.error(place.clone(), message);
                }
                for other in &same.issuers {
                    check_sharing(document, issuers.name(*other), name, &place, findings);
                }
                same.issuers.push(id);
            }
            None => documents.push(FetchedDocument { source, kind, issuers: vec![id] }),
        }
    }
    documents
}

/// Issuers with the same key set can sign tokens for each other, so both must state that they share it.
fn check_sharing(document: &document::Document, other: &str, name: &str, place: &Place, findings: &mut Findings) {
    let states =
        document.issuers.get(name).is_some_and(|issuer| issuer.shares_keys_with.iter().any(|own| own == other));
    if !states {
        findings.error(
            place.clone(),
            format!(
                "`{}` fetches the same keys, so each issuer could sign tokens for the other; use separate keys, or if both are \
                 tenants of one provider, list each in the other's `shares_keys_with`",
                Place::root().field("issuers").field(other)
            ),
        );
    }
}

/// Reads what all documents have in common.
pub(super) struct Reader<'r> {
    document: &'r document::Document,
    secrets: &'r dyn Secrets,
    findings: &'r mut Findings,
}

impl<'r> Reader<'r> {
    pub(super) fn new(document: &'r document::Document, secrets: &'r dyn Secrets, findings: &'r mut Findings) -> Self {
        Self { document, secrets, findings }
    }
}

impl Reader<'_> {
    fn remote(&mut self, raw: &RemoteKeys, place: &Place) -> Option<(Source, DocumentKind)> {
        let upstream = self.upstream(raw.cluster.as_deref(), raw.address.as_deref(), place)?;
        let times = self.times([raw.refresh, raw.timeout, raw.stale_for], place);
        let authorization = match &raw.authorization {
            Some(secret) => Some(self.authorization(secret, &place.field("authorization"))?),
            None => None,
        };
        let url = self.url(&raw.url, &place.field("url"))?;
        let target = target(url, upstream, authorization);
        Some((self.source("key set", target, times?), DocumentKind::KeySet))
    }

    fn discover(&mut self, issuer: &str, raw: &DiscoveredKeys, place: &Place) -> Option<(Source, DocumentKind)> {
        let upstream = self.upstream(raw.cluster.as_deref(), raw.address.as_deref(), place)?;
        let times = self.times([raw.refresh, raw.timeout, raw.stale_for], place);
        let own = self.with_tenant(issuer, raw.tenant.as_deref(), place)?;
        let url = self.url(&metadata_url(&own, raw.document), place)?;
        let mut key_hosts = vec![(url.authority.as_str().into(), upstream.clone())];
        for (host, location) in &raw.key_hosts {
            let place = place.field("key_hosts").field(host);
            if Url::parse(&format!("https://{host}")).is_none_or(|url| url.authority != *host || url.path != "/") {
                self.findings
                    .error(place, "invalid host; expected a host in lower case, with its port if that is not 443");
                continue;
            }
            let upstream = self.upstream(location.cluster.as_deref(), location.address.as_deref(), &place)?;
            key_hosts.push((host.as_str().into(), upstream));
        }
        let hosts = key_hosts.iter().map(|(host, upstream)| format!(" {host} {upstream}")).collect::<String>();
        let source = self.source(&format!("metadata of {issuer}{hosts}"), target(url, upstream, None), times?);
        Some((source, DocumentKind::Metadata { issuer: issuer.into(), key_hosts }))
    }

    /// Returns the issuer whose metadata is fetched.
    fn with_tenant(&mut self, issuer: &str, tenant: Option<&str>, place: &Place) -> Option<String> {
        let place = place.field("tenant");
        match (tenant, with_tenant(issuer, tenant.unwrap_or_default())) {
            (None, None) => Some(issuer.to_owned()),
            (Some(tenant), Some(issuer)) => {
                check_tenant(tenant, &place, self.findings);
                Some(issuer)
            }
            (Some(_), None) => {
                self.findings.error(place, "`issuer` has no variable for a tenant; remove this");
                None
            }
            (None, Some(_)) => {
                let message =
                    "`issuer` has a variable; write the tenant whose metadata is fetched, such as `organizations`";
                self.findings.error(place, message);
                None
            }
        }
    }

    fn source(&self, kind: &str, target: Target, times: [Duration; 3]) -> Source {
        Source::new(&self.document.name, kind, target, times, |bytes| first(sha256(bytes)))
    }

    /// Returns the gateway's name for a server.
    pub(super) fn upstream(&mut self, cluster: Option<&str>, address: Option<&str>, place: &Place) -> Option<Box<str>> {
        let features = Features::of(self.document.gateway);
        let name = features.name;
        let (field, written, other) = match features.fetching {
            Fetching::Held => ("cluster", cluster, address.map(|_| "address")),
            Fetching::Denied => ("address", address, cluster.map(|_| "cluster")),
            Fetching::None => {
                let message =
                    format!("`{name}` gives the filter no means to fetch; write `jwks`, or choose another `gateway`");
                self.findings.error(place.clone(), message);
                return None;
            }
        };
        if let Some(other) = other {
            self.findings.error(place.field(other), format!("`{name}` does not use this; write `{field}` instead"));
        }
        let Some(written) = written else {
            if other.is_none() {
                let expected = match features.fetching {
                    Fetching::Held => "the gateway's cluster for this host",
                    _ => "this host and its port",
                };
                self.findings.error(place.clone(), format!("`{field}` is missing; write {expected}"));
            }
            return None;
        };
        let is_valid = match features.fetching {
            Fetching::Held => !written.is_empty() && written.bytes().all(|b| b.is_ascii_graphic()),
            _ => is_address(written),
        };
        if !is_valid {
            let expected = match features.fetching {
                Fetching::Held => "the name of a cluster of the gateway",
                _ => "a host and its port, such as `idp.example.com:443`",
            };
            self.findings.error(place.field(field), format!("invalid value; expected {expected}"));
        }
        is_valid.then(|| written.into())
    }

    fn url(&mut self, url: &str, place: &Place) -> Option<Url> {
        let parsed = Url::parse(url);
        match &parsed {
            None => self.findings.error(
                place.clone(),
                "invalid URL; expected an absolute `https` URL without user information and fragment, such as \
                 `https://idp.example.com/.well-known/jwks.json`",
            ),
            Some(url) if url.scheme == "http" => self.findings.warn(
                place.clone(),
                "anyone on the way can replace keys that are fetched over `http`, and then sign tokens; use `https`, unless the \
                 server is on this host",
            ),
            Some(_) => {}
        }
        parsed
    }

    /// Reads the times: refresh, timeout, and how long a document is used if it cannot be fetched.
    fn times(&mut self, raw: [Option<Lifetime>; 3], place: &Place) -> Option<[Duration; 3]> {
        let [refresh, timeout, stale_for] = raw.map(|raw| raw.map(Lifetime::duration));
        let errors = self.findings.errors.len();
        let seconds = Duration::from_secs;
        let mut bounded = |field: &str, value: Option<Duration>, usual, least: Duration, most: Duration, form: &str| {
            let value = value.unwrap_or(usual);
            if value < least || value > most {
                self.findings.error(place.field(field), format!("invalid duration; expected {form}"));
            }
            value
        };
        let refresh = bounded("refresh", refresh, USUAL_REFRESH, seconds(30), seconds(86_400), "`30s` to `24h`");
        let timeout = bounded("timeout", timeout, USUAL_TIMEOUT, seconds(1), seconds(30), "`1s` to `30s`");
        let usual = USUAL_STALE.max(refresh);
        let stale_for = bounded(
            "stale_for",
            stale_for,
            usual,
            refresh,
            seconds(30 * 86_400),
            "at least `refresh`, and at most `30d`",
        );
        (self.findings.errors.len() == errors).then_some([refresh, timeout, stale_for])
    }

    /// Reads the value of a header from the environment. A policy that is only checked gets an empty one.
    pub(super) fn authorization(&mut self, secret: &document::Secret, place: &Place) -> Option<Authorization> {
        let bytes = look_up(secret, place, self.secrets, self.findings).ok()?.unwrap_or_default();
        let value = String::from_utf8(bytes).ok().filter(|value| value.len() <= MOST_AUTHORIZATION);
        let value = value.filter(|value| value.bytes().all(|b| matches!(b, b' '..=b'~')));
        if value.is_none() {
            let message = "invalid value; expected printable ASCII, such as `Bearer ...`, without line breaks";
            self.findings.error(place.field("env"), message);
        }
        value.map(|value| Authorization(value.into_boxed_str()))
    }
}

pub(super) fn target(url: Url, upstream: Box<str>, authorization: Option<Authorization>) -> Target {
    let Url { scheme, authority, path } = url;
    Target { upstream, scheme, authority: authority.into(), path: path.into(), authorization }
}

/// Returns the URL of an issuer's metadata.
fn metadata_url(issuer: &str, document: MetadataDocument) -> String {
    match document {
        // OpenID Connect Discovery 1.0, section 4.1: a slash at the end of the issuer is removed first.
        MetadataDocument::Openid => format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')),
        // RFC 8414, section 3.1: between the host and the path.
        MetadataDocument::Oauth => {
            let start = issuer.find("://").map_or(0, |at| at.saturating_add(3));
            let path =
                issuer.get(start..).and_then(|rest| rest.find('/')).map_or(issuer.len(), |at| start.saturating_add(at));
            let (origin, path) = issuer.split_at_checked(path).unwrap_or((issuer, ""));
            format!("{origin}/.well-known/oauth-authorization-server{}", path.trim_end_matches('/'))
        }
    }
}

#[cfg(test)]
#[path = "documents_tests.rs"]
mod tests;
