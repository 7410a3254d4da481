//! Compiles what the policy revokes: `revoked`, `suspended`, and the list that the gate fetches.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::Policy;
use super::documents::{DocumentKind, FetchedDocument, Reader, target};
use super::gateway::{Features, Fetching};
use super::revocation_list::MOST_PUBLISHED_BYTES;
use super::revoked::{self, Fault};
use crate::document::names::did_you_mean;
use crate::document::{self, Lifetime, OnStale, RemoteRevocations, Revocations};
use crate::document::{Findings, Place};
use crate::fetch::{Source, Url};
use crate::identity::crypto::{Algorithm, JwkError, PublicJwk, VerifyingKey, first, sha256};
use crate::identity::revocation::{Builder, Entries, Kind};
use crate::identity::token::{IssuerId, Issuers, Secrets};
use crate::text::time::Timestamp;

const USUAL_REFRESH: Duration = Duration::from_secs(10);
const USUAL_TIMEOUT: Duration = Duration::from_secs(5);
const USUAL_STALE: Duration = Duration::from_hours(1);

/// What a policy revokes. `None` in a [`Policy`] that revokes nothing.
#[derive(Debug)]
pub(crate) struct Revocation {
    /// The entries in the policy.
    pub(crate) own: Entries,
    /// Whether a list is fetched. Until there is one, requests with credentials are denied.
    pub(crate) needs_list: bool,
    /// The issuers that are suspended.
    pub(crate) suspended: Vec<IssuerId>,
    /// When entries of the policy end, by their positions.
    ends: Vec<(usize, Timestamp)>,
}

/// How a fetched list is read.
#[derive(Debug)]
pub(crate) struct ListRules {
    /// `None` if every answer of the server is trusted.
    pub(crate) signed_by: Option<ListKey>,
    /// What the `aud` of a list must contain. `None` if it is not compared.
    pub(crate) audience: Option<Box<str>>,
    /// How old a list may become before it counts as too old. Whether it is used any longer is a setting of its source.
    pub(crate) stale_after: Duration,
}

/// The key that signs a list.
#[derive(Debug)]
pub(crate) struct ListKey {
    pub(super) key: VerifyingKey,
    pub(super) kid: Box<str>,
    pub(super) algorithm: Algorithm,
}

impl Revocation {
    pub(super) fn compile(document: &document::Document, issuers: &Issuers, findings: &mut Findings) -> Option<Self> {
        let (mut builder, mut ends) = (Builder::default(), Vec::new());
        for (index, raw) in document.revoked.iter().enumerate() {
            let place = Place::root().field("revoked").index(index);
            match revoked::read(raw) {
                Ok(read) => {
                    check_names(&read, document, issuers, &place, findings);
                    if read.entry.kind.is_key() && raw.issued_before.is_some() {
                        findings.warn(
                            place.field("issued_before"),
                            "this has no effect, because who has a stolen key can choose any time; remove it",
                        );
                    }
                    ends.extend(read.entry.until.map(|until| (index, until)));
                    builder.add(read.entry);
                }
                Err(Fault { field: "", message }) => findings.error(place, message),
                Err(Fault { field, message }) => findings.error(place.field(field), message),
            }
        }
        let suspended = document.issuers.iter().filter(|(_, issuer)| issuer.suspended);
        let suspended: Vec<_> = suspended.filter_map(|(name, _)| issuers.id(name)).collect();
        let needs_list = document.revocations.is_some();
        if !needs_list && document.revoked.is_empty() && suspended.is_empty() {
            return None;
        }
        Some(Self { own: builder.finish(0), needs_list, suspended, ends })
    }

    /// Warns about entries of the policy that have ended.
    pub(super) fn warn_at(&self, now: Timestamp, findings: &mut Findings) {
        for (index, _) in self.ends.iter().filter(|(_, until)| now >= *until) {
            findings.warn(
                Place::root().field("revoked").index(*index).field("until"),
                "this entry has ended and revokes nothing; remove it, or extend `until`",
            );
        }
    }
}

impl Policy {
    /// Returns how the policy's list of revoked credentials is read, if it fetches one.
    pub(crate) fn revocation_list(&self) -> Option<(usize, &ListRules)> {
        self.documents.iter().enumerate().find_map(|(index, document)| match &document.kind {
            DocumentKind::Revocations(rules) => Some((index, &**rules)),
            DocumentKind::KeySet | DocumentKind::Metadata { .. } => None,
        })
    }
}

/// Checks that the names in an entry are those of the policy.
fn check_names(
    read: &revoked::Read<'_>,
    document: &document::Document,
    issuers: &Issuers,
    place: &Place,
    findings: &mut Findings,
) {
    let unknown = |what: &str, name: &str, names: Vec<&str>| {
        let known = did_you_mean(name, names, &format!("expected a name from `{what}s`"));
        format!("unknown {what} `{}`; {known}", name.escape_debug())
    };
    if let Some((field, name)) = read.agent
        && !document.agents.contains_key(name)
    {
        let names = document.agents.keys().map(String::as_str).collect();
        findings.error(place.field(field), unknown("agent", name, names));
    }
    let is_actor = |agent: &document::Agent| agent.identity.as_ref().is_some_and(|identity| identity.actor.is_some());
    if let Some((field, name)) = read.agent
        && read.entry.kind == Kind::Actor
        && document.agents.get(name).is_some_and(|agent| !is_actor(agent))
    {
        let message = "this agent has no `identity.actor`, so it is found in no chain and the entry revokes nothing; write `agent` to \
                       revoke its own credentials";
        findings.warn(place.field(field), message);
    }
    let Some(name) = read.issuer else { return };
    let Some(id) = issuers.id(name) else {
        let names = document.issuers.keys().map(String::as_str).collect();
        return findings.error(place.field("issuer"), unknown("issuer", name, names));
    };
    match read.tenant {
        Some(_) if !issuers.has_tenants(id) => {
            findings.error(place.field("tenant"), "the issuer has no `tenants`; remove this");
        }
        Some(tenant) if !issuers.accepts_tenant(id, tenant) => {
            findings.error(
                place.field("tenant"),
                "the issuer accepts no tokens of this tenant; write one of its `tenants`",
            );
        }
        _ => {}
    }
}

/// Compiles the list that the gate fetches.
pub(super) fn compile_list(
    document: &document::Document,
    secrets: &dyn Secrets,
    findings: &mut Findings,
) -> Option<FetchedDocument> {
    let Revocations { remote, signed_by, trusted, audience, on_stale, stale_after } = document.revocations.as_ref()?;
    let place = Place::root().field("revocations");
    let features = Features::of(document.gateway);
    if features.fetching == Fetching::None {
        let name = features.name;
        let message = format!("`{name}` gives the filter no means to fetch; remove this, or choose another `gateway`");
        findings.error(place, message);
        return None;
    }
    let key = match (signed_by, trusted) {
        (Some(jwk), false) => key(jwk, &place.field("signed_by"), findings).map(Some),
        (None, true) => Some(None),
        (Some(_), true) => {
            let message = "a list is signed, or `trusted` without a signature; remove one of them";
            findings.error(place.field("trusted"), message);
            None
        }
        (None, false) => {
            let message = "who can change the list can revoke and restore credentials; write the public key that signs it, or `trusted: \
                           true` if nobody else can answer for this server";
            findings.error(place.field("signed_by"), message);
            None
        }
    };
    if audience.as_deref() == Some("") {
        findings.error(place.field("audience"), "the audience is empty; write the `aud` of the list, or remove this");
    }
    let remote_place = place.field("remote");
    let times = times(remote, *stale_after, &place, findings);
    let url = url(&remote.url, &remote_place.field("url"), findings);
    let mut reader = Reader::new(document, secrets, findings);
    let upstream = reader.upstream(remote.cluster.as_deref(), remote.address.as_deref(), &remote_place);
    let authorization = match &remote.authorization {
        Some(secret) => Some(reader.authorization(secret, &remote_place.field("authorization"))?),
        None => None,
    };
    let ([refresh, timeout, stale_after], signed_by) = (times?, key?);
    // A list that another key signed, or none, or that was issued for somebody else, must not be used.
    let signer = signed_by.as_ref().and_then(|signer| signer.key.thumbprint()).map(|key| key.to_string());
    let signer = signer.as_deref().unwrap_or("nobody");
    let kind = match audience {
        Some(audience) => format!("revocations signed by {signer} for {audience}"),
        None => format!("revocations signed by {signer}"),
    };
    let stale_for = match on_stale {
        OnStale::Deny => stale_after,
        OnStale::Keep => Duration::MAX,
    };
    let target = target(url?, upstream?, authorization);
    let source =
        Source::new(&document.name, &kind, target, [refresh, timeout, stale_for], |bytes| first(sha256(bytes)))
            .with_most(MOST_PUBLISHED_BYTES)
            .with_last_retry(refresh);
    let rules = ListRules { signed_by, audience: audience.as_deref().map(Into::into), stale_after };
    Some(FetchedDocument { source, kind: DocumentKind::Revocations(Box::new(rules)), issuers: Vec::new() })
}

/// Reads the key that signs a list.
fn key(jwk: &BTreeMap<String, Value>, place: &Place, findings: &mut Findings) -> Option<ListKey> {
    let jwk: Map<String, Value> = jwk.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let PublicJwk { key, kid, algorithm } = match PublicJwk::read(&jwk) {
        Ok(read) => read,
        Err(JwkError::Unknown(why)) => {
            findings.error(place.clone(), format!("this key verifies no lists: {why}"));
            return None;
        }
        Err(JwkError::Wrong(member, why)) => {
            findings.error(place.field(member), why);
            return None;
        }
    };
    let mut fitting = Algorithm::ALL.into_iter().filter(|algorithm| key.fits(*algorithm));
    let only = fitting.next().filter(|_| fitting.next().is_none());
    let Some(algorithm) = algorithm.or(only) else {
        findings.error(place.field("alg"), "several algorithms fit this key; write the one that signs the list");
        return None;
    };
    let Some(kid) = kid else {
        findings.error(place.field("kid"), "the key has no `kid`; write the one in the header of the list");
        return None;
    };
    Some(ListKey { kid: kid.into(), key, algorithm })
}

fn url(url: &str, place: &Place, findings: &mut Findings) -> Option<Url> {
    let parsed = Url::parse(url);
    match &parsed {
        None => findings.error(
            place.clone(),
            "invalid URL; expected an absolute `https` URL without user information and fragment, such as \
             `https://revocations.example.com/list`",
        ),
        Some(url) if url.scheme == "http" => findings.warn(
            place.clone(),
            "anyone on the way can hold back a list that is fetched over `http`, and replace one that is not signed; use `https`, unless \
             the server is on this host",
        ),
        Some(_) => {}
    }
    parsed
}

/// Reads the times: refresh, timeout, and how old a list may become.
fn times(
    remote: &RemoteRevocations,
    stale_after: Option<Lifetime>,
    place: &Place,
    findings: &mut Findings,
) -> Option<[Duration; 3]> {
    let seconds = Duration::from_secs;
    let errors = findings.errors.len();
    let mut bounded = |place: Place, raw: Option<Lifetime>, usual, least: Duration, most: Duration, form: &str| {
        let value = raw.map_or(usual, Lifetime::duration);
        if value < least || value > most {
            findings.error(place, format!("invalid duration; expected {form}"));
        }
        value
    };
    let remote_place = place.field("remote");
    let refresh = remote_place.field("refresh");
    let refresh = bounded(refresh, remote.refresh, USUAL_REFRESH, seconds(1), seconds(3_600), "`1s` to `1h`");
    let of_timeout = remote_place.field("timeout");
    // A `refresh` that is too short is already an error.
    let usual = USUAL_TIMEOUT.min(refresh).max(seconds(1));
    let timeout = bounded(of_timeout.clone(), remote.timeout, usual, seconds(1), seconds(30), "`1s` to `30s`");
    let stale = place.field("stale_after");
    let form = "at least `refresh`, and at most `24h`";
    let stale = bounded(stale, stale_after, USUAL_STALE.max(refresh), refresh, seconds(86_400), form);
    if timeout > refresh && findings.errors.len() == errors {
        let message = "this is longer than `refresh`; the next fetch begins after the one before has ended, so entries could apply later than \
                       `refresh` and `timeout` together; shorten this, or lengthen `refresh`";
        findings.error(of_timeout, message);
    }
    (findings.errors.len() == errors).then_some([refresh, timeout, stale])
}

#[cfg(test)]
#[path = "revocation_tests.rs"]
mod tests;
