//! The metadata of the protected resource, which clients can read without a credential (RFC 9728).

use serde::Serialize;

use super::signatures::External;
use crate::document::names::{check_distinct, check_scope, did_you_mean};
use crate::document::{self, Findings, Place};
use crate::identity::dpop::Rules;
use crate::identity::token::is_issuer_url;
use crate::reason::Challenge;
use crate::request::{CanonicalPath, Host, percent};

/// The well-known path, which is inserted before the path of the resource (RFC 9728, section 3).
pub(super) const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
/// The maximum size of the document in bytes. Anybody can request it.
const MOST_BYTES: usize = 16 * 1024;
/// The maximum length of the initial scopes in bytes, with a space between two. Every 401 has them once for each scheme.
const MOST_INITIAL: usize = 512;

/// The metadata of a resource, as Callgate answers and announces it.
#[derive(Debug)]
pub(crate) struct Metadata {
    /// The URL at which clients read it, with the host of the resource.
    pub(crate) url: Box<str>,
    /// The path of this URL.
    path: Box<str>,
    /// The hosts on which they do, in canonical form.
    hosts: Vec<Box<str>>,
    /// The document, in JSON.
    pub(crate) document: Box<str>,
    /// The parameters of a challenge that names the scopes of the request itself.
    link: Box<str>,
    /// The parameters of all other challenges: the same, and the initial scopes.
    link_and_scopes: Box<str>,
}

/// The document (RFC 9728, section 2).
#[derive(Serialize)]
struct Document<'d> {
    resource: &'d str,
    authorization_servers: &'d [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    scopes_supported: &'d [String],
    bearer_methods_supported: [&'static str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_documentation: Option<&'d str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_client_certificate_bound_access_tokens: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dpop_signing_alg_values_supported: Option<Vec<&'d str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dpop_bound_access_tokens_required: Option<bool>,
}

/// What the metadata of all resources of a policy have in common.
pub(super) struct Common<'d> {
    pub(super) document: &'d document::Document,
    /// The hosts of the policy, in canonical form.
    pub(super) hosts: &'d [String],
    pub(super) dpop: Option<&'d Rules>,
}

impl Metadata {
    /// Compiles the metadata of a resource. `parent` is the place in the policy that has both `resource` and `metadata`.
    pub(super) fn compile(
        raw: &document::Metadata,
        resource: &str,
        parent: &Place,
        common: &Common<'_>,
        findings: &mut Findings,
    ) -> Option<Self> {
        let place = parent.field("metadata");
        check_servers(&raw.authorization_servers, common.document, &place.field("authorization_servers"), findings);
        check_documentation(raw.documentation.as_deref(), &place.field("documentation"), findings);
        for (field, scopes) in [("scopes", &raw.scopes), ("initial_scopes", &raw.initial_scopes)] {
            let place = place.field(field);
            scopes.iter().enumerate().for_each(|(index, scope)| check_scope(scope, &place.index(index), findings));
            check_distinct("scope", scopes, &place, findings);
            if let Some(index) = scopes.iter().position(|scope| scope == "offline_access") {
                findings.warn(
                    place.index(index),
                    "this requests refresh tokens and is no permission of this API; leave it to clients and remove it",
                );
            }
        }
        let initial = raw.initial_scopes.join(" ");
        if initial.len() > MOST_INITIAL {
            findings.error(
                place.field("initial_scopes"),
                format!(
                    "too long; expected at most {MOST_INITIAL} bytes, because every answer with status 401 repeats them"
                ),
            );
        }
        // An invalid resource has its own error.
        let (authority, path) = parts(resource)?;
        let path = path_of_document(path, &parent.field("resource"), findings)?;
        let hosts = served_hosts(authority, parent, common, findings)?;
        let text = render(raw, resource, common);
        if text.len() > MOST_BYTES {
            findings.error(
                place,
                format!("the document for clients is too long ({} bytes); expected at most {MOST_BYTES}", text.len()),
            );
        }
        let url = format!("https://{authority}{path}");
        let link = format!(", resource_metadata=\"{url}\"");
        let scopes = if initial.is_empty() { String::new() } else { format!(", scope=\"{initial}\"") };
        Some(Self {
            url: url.into(),
            path: path.into(),
            hosts,
            document: text.into(),
            link_and_scopes: format!("{link}{scopes}").into(),
            link: link.into(),
        })
    }

    /// Returns the parameters that announce the metadata in a challenge, each after a comma. They depend on the kind of challenge alone.
    pub(crate) fn parameters(&self, challenge: Challenge) -> &str {
        if challenge == Challenge::InsufficientScope { &self.link } else { &self.link_and_scopes }
    }

    /// Returns whether clients read it at this path of this host.
    pub(super) fn is_at(&self, host: &Host<'_>, path: &CanonicalPath<'_>) -> bool {
        percent::is_same(self.path.as_bytes(), path.as_str().as_bytes()) && self.path_on(host.as_str()).is_some()
    }

    /// Returns the path at which clients read it, if they do on this host.
    pub(super) fn path_on(&self, host: &str) -> Option<&str> {
        self.hosts.iter().any(|own| **own == *host).then_some(&*self.path)
    }

    /// Returns whether some host has both at the same path.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        percent::is_same(self.path.as_bytes(), other.path.as_bytes())
            && self.hosts.iter().any(|host| other.path_on(host).is_some())
    }
}

/// Returns the authority of the resource, and the text after it.
fn parts(resource: &str) -> Option<(&str, &str)> {
    let rest = resource.strip_prefix("https://")?;
    Some(rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())))
}

/// Returns the path of the document for a resource with this path.
fn path_of_document(path: &str, place: &Place, findings: &mut Findings) -> Option<String> {
    // A slash that follows the host is removed (RFC 9728, section 3.1).
    let own = if path == "/" { "" } else { path };
    let whole = format!("{WELL_KNOWN}{own}");
    let is_canonical =
        || CanonicalPath::parse(whole.as_bytes()).is_ok_and(|canonical| canonical.restricted().is_empty());
    let message = if own.contains('?') {
        "with `metadata`, the resource must not have a query; remove it"
    } else if own.ends_with('/') {
        "clients disagree about the metadata URL of a resource that ends with a slash; remove the slash, and if tokens have it in their \
         audience, write that value as `audience` of the issuer"
    } else if !is_canonical() {
        "with `metadata`, the path of the resource must be in canonical form, because clients find the metadata by it"
    } else {
        return Some(whole);
    };
    findings.error(place.clone(), message);
    None
}

/// Returns the hosts on which requests for the document arrive.
fn served_hosts(
    authority: &str,
    parent: &Place,
    common: &Common<'_>,
    findings: &mut Findings,
) -> Option<Vec<Box<str>>> {
    let hosts = common.hosts;
    let Ok(host) = Host::parse(authority.as_bytes()) else {
        findings.error(parent.field("resource"), "with `metadata`, the resource needs a valid host");
        return None;
    };
    // An invalid URL has its own error.
    let external = common.document.external_url.as_deref().and_then(External::parse);
    let is_external = external.as_ref().is_some_and(|external| *external.authority == *host.as_str());
    if is_external {
        // The gateway sees other names than clients do, so any of its hosts can be meant.
        return Some(hosts.iter().map(|host| host.as_str().into()).collect());
    }
    if external.is_none() && hosts.iter().any(|own| own == host.as_str()) {
        return Some(vec![host.as_str().into()]);
    }
    let field = if external.is_some() { "external_url" } else { "hosts" };
    findings.error(
        parent.field("metadata"),
        format!(
            "clients read the metadata on `{}`, the host of `resource`, which `{field}` does not name; write the same host in both",
            host.as_str()
        ),
    );
    None
}

fn check_servers(servers: &[String], document: &document::Document, place: &Place, findings: &mut Findings) {
    if servers.is_empty() {
        findings.error(place.clone(), "clients could not find out where to get a token; write at least one issuer");
    }
    check_distinct("authorization server", servers, place, findings);
    for (index, server) in servers.iter().enumerate() {
        let issuers = || document.issuers.values().filter_map(|issuer| issuer.issuer.as_deref());
        if issuers().any(|issuer| issuer == server) {
            continue;
        }
        let place = place.index(index);
        let shown = server.escape_debug();
        if !(is_issuer_url(server) && is_page(server)) {
            let otherwise =
                "expected an absolute `https` URL without query and fragment, such as `https://idp.example.com`";
            findings.error(place, format!("invalid URL `{shown}`; {}", did_you_mean(server, issuers(), otherwise)));
        } else {
            let otherwise = "add it to `issuers`, or remove it here";
            let instead = did_you_mean(server, issuers(), otherwise);
            findings
                .warn(place, format!("no issuer of this policy is `{shown}`, so its tokens are rejected; {instead}"));
        }
    }
}

fn check_documentation(url: Option<&str>, place: &Place, findings: &mut Findings) {
    if let Some(url) = url.filter(|url| !is_page(url)) {
        let shown = url.escape_debug();
        findings.error(
            place.clone(),
            format!("invalid URL `{shown}`; expected an absolute `https` URL, such as `https://developer.example.com/agents`"),
        );
    }
}

/// Returns whether this is an absolute `https` URL with a host.
fn is_page(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("https://") else { return false };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_visible = url.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'));
    !host.is_empty() && is_visible
}

fn render(raw: &document::Metadata, resource: &str, common: &Common<'_>) -> String {
    let dpop = common.dpop;
    let text = Document {
        resource,
        authorization_servers: &raw.authorization_servers,
        scopes_supported: &raw.scopes,
        bearer_methods_supported: ["header"],
        resource_documentation: raw.documentation.as_deref(),
        // Tokens that are bound to a certificate are accepted (RFC 8705, section 3).
        tls_client_certificate_bound_access_tokens: common.document.tls.as_ref().map(|_| true),
        dpop_signing_alg_values_supported: dpop.map(|rules| rules.told.split(' ').collect()),
        // `true` means that the resource always requires DPoP-bound tokens (RFC 9728, section 2). With `tls`, `required` is also met by a
        // token that is bound to a certificate, so a client that has such a token, and no DPoP key, must not read `true` here.
        dpop_bound_access_tokens_required: dpop.map(|rules| rules.required && common.document.tls.is_none()),
    };
    // INVARIANT: the document contains only strings, lists of them and booleans, which JSON can always represent.
    serde_json::to_string(&text).unwrap_or_default()
}

#[cfg(test)]
#[path = "metadata_tests.rs"]
mod tests;
