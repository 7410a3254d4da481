//! SPIFFE IDs: the names of workloads, in JWT-SVIDs and in certificates.
//!
//! Only the exact form of the SPIFFE-ID specification (sections 2.1 to 2.4) is accepted. Nothing is normalized, because two readers that
//! normalize differently would see two workloads. Where an ID comes from, and what it allows, does not belong in this module.

/// The maximum length of an ID, in bytes (section 2.3).
const MAX_BYTES: usize = 2048;

/// The maximum length of a trust domain, in bytes (section 2.3).
const MAX_TRUST_DOMAIN_BYTES: usize = 255;

/// The scheme with its separator. URIs compare schemes case-insensitively, but issuers of SVIDs write lower case, and some other
/// implementations accept nothing else.
const SCHEME: &str = "spiffe://";

/// The end of a pattern that matches every ID below a path.
const CLASS: &str = "/*";

/// A well-formed SPIFFE ID of a workload.
///
/// The ID of a trust domain itself, which has no path, is not one: it names an authority and no workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpiffeId<'t> {
    text: &'t str,
    trust_domain: &'t str,
    path: &'t str,
}

impl<'t> SpiffeId<'t> {
    /// Parses an ID. Returns `None` if the text is not exactly of the form in the specification, or has no path.
    #[must_use]
    pub(crate) fn parse(text: &'t str) -> Option<Self> {
        if text.len() > MAX_BYTES {
            return None;
        }
        let rest = text.strip_prefix(SCHEME)?;
        let (trust_domain, path) = rest.split_at_checked(rest.find('/')?)?;
        (is_trust_domain(trust_domain) && is_path(path)).then_some(Self { text, trust_domain, path })
    }

    /// Returns the whole ID.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn as_str(&self) -> &'t str {
        self.text
    }

    /// Returns the trust domain, such as `example.org`.
    #[must_use]
    pub(crate) fn trust_domain(&self) -> &'t str {
        self.trust_domain
    }

    /// Returns the path, with the slash at its beginning.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn path(&self) -> &'t str {
        self.path
    }
}

/// Returns whether this is the name of a trust domain (section 2.1): it has no port, user information or upper-case letter.
#[must_use]
pub(crate) fn is_trust_domain(text: &str) -> bool {
    let of_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    (1..=MAX_TRUST_DOMAIN_BYTES).contains(&text.len()) && text.bytes().all(of_name)
}

/// Returns whether this is a path (section 2.2): at least one segment, and no empty segment, which excludes a slash at the end.
fn is_path(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(|segments| segments.split('/').all(is_segment))
}

fn is_segment(segment: &str) -> bool {
    let of_segment = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    !matches!(segment, "" | "." | "..") && segment.bytes().all(of_segment)
}

/// One SPIFFE ID, or a class of them: a trust domain or an ID, followed by `/*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SpiffePattern {
    /// As written.
    text: Box<str>,
    /// The length of the trust domain.
    trust_domain: usize,
    is_class: bool,
}

impl SpiffePattern {
    /// Parses a pattern. Returns `None` if the text is neither an ID nor the beginning of one, at the end of a segment, and `/*`.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let Some(prefix) = text.strip_suffix(CLASS) else {
            let id = SpiffeId::parse(text)?;
            return Some(Self { text: text.into(), trust_domain: id.trust_domain.len(), is_class: false });
        };
        let trust_domain = match SpiffeId::parse(prefix) {
            Some(id) => id.trust_domain,
            None => prefix.strip_prefix(SCHEME).filter(|rest| is_trust_domain(rest))?,
        };
        Some(Self { text: text.into(), trust_domain: trust_domain.len(), is_class: true })
    }

    /// Returns whether the pattern describes this ID: exactly, or for a class at least one segment below its path. Policies look IDs up
    /// instead; this is the rule that they must follow.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn matches(&self, id: &SpiffeId<'_>) -> bool {
        if !self.is_class {
            return *self.text == *id.text;
        }
        // The slash stays, so the prefix ends at a whole segment. An ID does not end with a slash, so a segment follows.
        self.text.strip_suffix('*').is_some_and(|prefix| id.text.starts_with(prefix))
    }

    /// Returns whether this is a class of IDs.
    #[must_use]
    pub(crate) fn is_class(&self) -> bool {
        self.is_class
    }

    /// Returns the trust domain of every ID that matches.
    #[must_use]
    pub(crate) fn trust_domain(&self) -> &str {
        let rest = self.text.strip_prefix(SCHEME).unwrap_or_default();
        rest.get(..self.trust_domain).unwrap_or_default()
    }

    /// Returns the pattern as written.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
#[path = "spiffe_tests.rs"]
mod tests;
