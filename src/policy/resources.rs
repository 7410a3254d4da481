//! The resources of a policy: its own, and path prefixes that are separate resources.
//!
//! Which resource a request belongs to depends on its path alone, and not on whether an endpoint matches.

use std::borrow::Cow;
use std::sync::Arc;

use super::compile::check_resource;
use super::metadata::{Common, Metadata, WELL_KNOWN};
use crate::document;
use crate::document::names::did_you_mean;
use crate::document::{Findings, Place};
use crate::identity::token::{Audience, Audiences};
use crate::reason::Reason;
use crate::request::{CanonicalPath, Host, percent};
use crate::text::ascii;

/// The maximum number of resources. Each request is compared with all of them.
const MOST: usize = 64;

/// A protected resource.
#[derive(Debug)]
pub(crate) struct Resource {
    /// The path that the resource's paths begin with, without a slash at its end. Empty for the policy's own resource.
    base: Box<str>,
    /// The identifier, an absolute URL.
    pub(crate) identifier: Box<str>,
    /// The audiences of tokens for this resource.
    pub(crate) audiences: Audiences,
    /// What clients can read about it without a credential.
    pub(crate) metadata: Option<Arc<Metadata>>,
}

/// All resources of a policy.
#[derive(Debug)]
pub(crate) struct Resources {
    /// The resource of all paths that are under no base.
    own: Resource,
    /// The resources with a base.
    based: Vec<Resource>,
}

impl Resources {
    pub(super) fn compile(common: &Common<'_>, findings: &mut Findings) -> Self {
        let document = common.document;
        let root = Place::root();
        check_resource(&document.resource, &root.field("resource"), findings);
        let place = root.field("resources");
        if document.resources.len() > MOST {
            findings.error(place.clone(), format!("too many resources; expected at most {MOST}"));
        }
        let mut based = Vec::with_capacity(document.resources.len());
        for (index, raw) in document.resources.iter().enumerate() {
            let place = place.index(index);
            check_base(raw, document, index, &place.field("base"), findings);
            check_resource(&raw.resource, &place.field("resource"), findings);
            let audiences = compile_audiences(raw, document, &place.field("audience"), findings);
            let metadata = raw.metadata.as_ref();
            based.push(Resource {
                base: raw.base.as_str().into(),
                identifier: raw.resource.as_str().into(),
                audiences,
                metadata: metadata
                    .and_then(|own| Metadata::compile(own, &raw.resource, &place, common, findings))
                    .map(Arc::new),
            });
        }
        let metadata = document.metadata.as_ref();
        let own = Resource {
            base: "".into(),
            identifier: document.resource.as_str().into(),
            // The audiences of the policy's resource have been checked with the issuers.
            audiences: own_audiences(document),
            metadata: metadata
                .and_then(|own| Metadata::compile(own, &document.resource, &root, common, findings))
                .map(Arc::new),
        };
        let mut resources = Self { own, based };
        resources.share_metadata();
        resources.check_metadata(document, findings);
        resources
    }

    fn all(&self) -> impl Iterator<Item = &Resource> {
        std::iter::once(&self.own).chain(&self.based)
    }

    /// Gives resources without metadata those of another one with the same identifier: their clients are told where to read them too.
    fn share_metadata(&mut self) {
        self.own.metadata = self.metadata_of(&self.own.identifier);
        for index in 0..self.based.len() {
            let shared = self.based.get(index).and_then(|resource| self.metadata_of(&resource.identifier));
            if let Some(resource) = self.based.get_mut(index) {
                resource.metadata = shared;
            }
        }
    }

    fn metadata_of(&self, identifier: &str) -> Option<Arc<Metadata>> {
        let mut same = self.all().filter(|resource| *resource.identifier == *identifier);
        same.find_map(|resource| resource.metadata.clone())
    }

    /// Reports resources whose metadata clients would read at the same place, and those whose clients find none.
    fn check_metadata(&self, document: &document::Document, findings: &mut Findings) {
        let root = Place::root();
        let written = document.resources.iter().map(|raw| raw.metadata.is_some());
        let written: Vec<bool> = std::iter::once(document.metadata.is_some()).chain(written).collect();
        for (index, (resource, is_written)) in self.all().zip(&written).enumerate() {
            let place = index.checked_sub(1).map_or(root.clone(), |index| root.field("resources").index(index));
            if !is_written && written.contains(&true) && resource.metadata.is_none() {
                findings.warn(
                    place,
                    "other resources have `metadata` and this one does not, so its clients do not find out where to get a token; add \
                     `metadata` here",
                );
                continue;
            }
            let Some(metadata) = resource.metadata.as_ref().filter(|_| *is_written) else { continue };
            let mut earlier = self.all().zip(&written).take(index).filter(|(_, is_written)| **is_written);
            if earlier.any(|(other, _)| other.metadata.as_ref().is_some_and(|other| other.overlaps(metadata))) {
                findings.error(
                    place.field("metadata"),
                    format!(
                        "another resource has its metadata at `{}` too, because both identifiers lead there; write different resources, \
                         or `metadata` for one of them only",
                        metadata.url
                    ),
                );
            }
        }
    }

    /// Returns the metadata that clients read at this path of this host.
    pub(crate) fn metadata_at(&self, host: &Host<'_>, path: &CanonicalPath<'_>) -> Option<&Metadata> {
        // Canonical paths have these characters without escapes.
        if !path.as_str().starts_with(WELL_KNOWN) {
            return None;
        }
        self.all().filter_map(|resource| resource.metadata.as_deref()).find(|metadata| metadata.is_at(host, path))
    }

    /// Returns the paths of a host that Callgate answers itself.
    pub(super) fn reserved_on(&self, host: &str) -> Vec<&str> {
        let mut paths = Vec::new();
        for path in self.all().filter_map(|resource| resource.metadata.as_ref()?.path_on(host)) {
            // Resources with the same identifier share a path.
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        paths
    }

    /// Returns the policy's own resource.
    pub(crate) fn own(&self) -> &Resource {
        &self.own
    }

    /// Returns whether all paths belong to the policy's own resource. Issuers then check its audience, once per token.
    pub(crate) fn is_single(&self) -> bool {
        self.based.is_empty()
    }

    /// Returns the resource with the longest base that a path is under.
    ///
    /// # Errors
    /// [`Reason::PathValueAmbiguous`] if some upstream could read the path as one under another base. A token for one resource could
    /// otherwise be used for another.
    pub(crate) fn of(&self, path: &CanonicalPath<'_>) -> Result<&Resource, Reason> {
        if self.is_single() {
            return Ok(&self.own);
        }
        let exact = self.find(|base| is_under(path.as_str(), base));
        let differs = |reading: &[u8]| !std::ptr::eq(self.find(|base| is_read_under(reading, base)), exact);
        if readings(path.as_str()).any(|reading| differs(&reading)) {
            Err(Reason::PathValueAmbiguous)
        } else {
            Ok(exact)
        }
    }

    fn find(&self, is_under: impl Fn(&str) -> bool) -> &Resource {
        let under = self.based.iter().filter(|resource| is_under(&resource.base));
        under.max_by_key(|resource| resource.base.len()).unwrap_or(&self.own)
    }
}

/// Returns whether a path is a base, or begins with its segments.
fn is_under(path: &str, base: &str) -> bool {
    path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns whether a lenient upstream reads a path as one under a base: without regard to case, empty segments, path parameters, and the
/// dots and spaces that Windows drops at the end of a name.
fn is_read_under(path: &[u8], base: &str) -> bool {
    let mut segments = path.split(|byte| matches!(byte, b'/' | b'\\')).map(name).filter(|name| !name.is_empty());
    let mut bases = base.split('/').skip(1);
    bases.all(|base| segments.next().is_some_and(|segment| segment.eq_ignore_ascii_case(name(base.as_bytes()))))
}

fn name(segment: &[u8]) -> &[u8] {
    let mut name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
    while let [kept @ .., b'.' | b' '] = name {
        name = kept;
    }
    name
}

/// Returns a path as upstreams could read it: as it is, decoded once, and decoded twice, with and without path parameters in the escaped
/// form. Usual paths have one reading, which is not copied.
fn readings(path: &str) -> impl Iterator<Item = Cow<'_, [u8]>> {
    let path = path.as_bytes();
    let has_escapes = !ascii::is_without::<b'%'>(path);
    let has_parameters = !ascii::is_without::<b';'>(path);
    let cut = (has_escapes && has_parameters).then(|| path.split(|byte| *byte == b'/').map(name).collect::<Vec<_>>());
    let whole = std::iter::once(Cow::Borrowed(path));
    let forms = whole.chain(cut.map(|segments| Cow::Owned(segments.join(&b'/'))));
    forms.flat_map(move |form| {
        let once = has_escapes.then(|| decoded(&form));
        let twice = once.as_deref().filter(|once| once.contains(&b'%')).map(decoded);
        std::iter::once(form).chain(once).chain(twice)
    })
}

fn decoded(text: &[u8]) -> Cow<'static, [u8]> {
    Cow::Owned(percent::decode(text).into_owned())
}

fn own_audiences(document: &document::Document) -> Audiences {
    let mut checked = Findings::default();
    let place = Place::root();
    let issuers = document.issuers.values();
    Audiences(
        issuers
            .map(|issuer| Audience::compile(issuer.audience.as_ref(), &document.resource, &place, &mut checked))
            .collect(),
    )
}

/// Compiles the audiences of a resource with a base.
fn compile_audiences(
    raw: &document::Resource,
    document: &document::Document,
    place: &Place,
    findings: &mut Findings,
) -> Audiences {
    for name in raw.audience.keys().filter(|name| !document.issuers.contains_key(*name)) {
        let known = document.issuers.keys().map(String::as_str);
        findings.error(
            place.field(name),
            format!(
                "unknown issuer `{}`; {}",
                name.escape_debug(),
                did_you_mean(name, known, "expected a name from `issuers`")
            ),
        );
    }
    let of_issuer = |(name, issuer): (&String, &document::Issuer)| {
        let own = raw.audience.get(name);
        let place = place.field(name);
        if own.is_none() && issuer.audience.is_some() {
            findings.error(
                place.clone(),
                format!(
                    "`issuers.{}` has an `audience`, so its tokens do not name this resource; write the audience that they \
                     have for it",
                    name.escape_debug()
                ),
            );
        }
        if own == Some(&document::Audience::Absent) && issuer.audience != Some(document::Audience::Absent) {
            findings.error(
                place.clone(),
                "only an issuer with `audience: absent` can have it here; write the audience of its tokens for this resource",
            );
        }
        Audience::compile(own, &raw.resource, &place, findings)
    };
    Audiences(document.issuers.iter().map(of_issuer).collect())
}

fn check_base(
    raw: &document::Resource,
    document: &document::Document,
    index: usize,
    place: &Place,
    findings: &mut Findings,
) {
    let base = raw.base.as_str();
    let is_plain = CanonicalPath::parse(base.as_bytes()).is_ok()
        && ascii::are_unreserved_or_slashes(base.as_bytes())
        && !base.ends_with(['/', '.']);
    if !is_plain {
        return findings.error(
            place.clone(),
            format!(
                "invalid base `{}`; expected a path of letters, digits, `-`, `.`, `_` and `~` without a slash at the end, such as `/mcp`",
                base.escape_debug()
            ),
        );
    }
    let earlier = document.resources.iter().take(index);
    if let Some(other) = earlier.map(|resource| &resource.base).position(|other| other.eq_ignore_ascii_case(base)) {
        let other = Place::root().field("resources").index(other);
        findings.error(place.clone(), format!("`{other}` has the same base, apart from case; remove one of them"));
    }
    // Endpoints with fixed text at the place of the base keep variables of other endpoints from matching what reads like it.
    if !document.endpoints.iter().any(|endpoint| is_under(&endpoint.path, base)) {
        findings.error(
            place.clone(),
            format!("no endpoint is under `{base}`; write the fixed beginning of the paths of some endpoints"),
        );
    }
}

#[cfg(test)]
#[path = "resources_tests.rs"]
mod tests;
