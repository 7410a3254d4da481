//! Resources of MCP servers: URIs and templates of URIs, and the lookup of the one that matches.
//!
//! What follows the scheme of a URI is matched like the path of a request. URIs that are not canonical in this sense match no template, and
//! a query, a fragment or a URI without `//` is only compared as a whole.

use super::Operation;
use crate::allowlist::{Kind, Remark, Table, Template};
use crate::document::FormatSuffixes;
use crate::request::CanonicalPath;

/// The schemes whose URIs have a host, which a variable must not take.
const WITH_HOST: [&str; 8] = ["file", "ftp", "http", "https", "sftp", "ssh", "ws", "wss"];

/// A value of most kinds of variables.
const WORD: &str = "x";
const INT: &str = "0";
const UUID: &str = "00000000-0000-0000-0000-000000000000";

/// What all variables of a server's template are replaced with, to find the policy's template that matches such URIs.
const VALUES: [&str; 3] = [WORD, INT, UUID];

/// A URI or a template of URIs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UriTemplate {
    /// A URI that is compared as a whole.
    Exact(Box<str>),
    /// A template, with the beginning that all its URIs have.
    Path {
        /// The scheme, and the slashes before the path.
        root: Box<str>,
        /// What follows. The host is its first segment, if there is one.
        path: Template,
    },
}

impl UriTemplate {
    /// Parses a URI or a template.
    ///
    /// # Errors
    /// One sentence with the problem and the solution.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let scheme = text.split(':').next().filter(|scheme| scheme.len() < text.len()).unwrap_or_default();
        let is_scheme_character =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.');
        let has_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase());
        if !has_scheme || !scheme.bytes().all(is_scheme_character) {
            return Err(format!(
                "`{}` has no scheme in lower case; expected an absolute URI, such as `file:///reports/{{name}}`",
                text.escape_debug()
            ));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("`{}` contains a character that URIs cannot have; escape it", text.escape_debug()));
        }
        let has_variables = text.contains(['{', '}']);
        match split(text) {
            Some((root, path)) if !text.contains(['?', '#']) => {
                let after = path.strip_prefix('/').unwrap_or_default();
                let host = after.split('/').next().unwrap_or_default();
                let has_host = !root.ends_with("//");
                if after.is_empty() {
                    return Err("nothing follows the scheme; write the host or the path of the resources".to_owned());
                }
                if host.contains('{') && WITH_HOST.contains(&scheme) && has_host {
                    return Err(format!("a variable cannot take the host of a `{scheme}` URI; write each host"));
                }
                Ok(Self::Path { root: root.into(), path: Template::parse(path)? })
            }
            Some(_) if has_variables => {
                Err("a URI with a query or fragment is compared as a whole and has no variables; remove one of them"
                    .to_owned())
            }
            None if has_variables => {
                Err("a URI without `//` is compared as a whole and has no variables; write each URI".to_owned())
            }
            None if text.len() == scheme.len() + 1 => Err("nothing follows the scheme; write the whole URI".to_owned()),
            _ => Ok(Self::Exact(text.into())),
        }
    }

    /// Returns the position of a variable of the template.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        match self {
            Self::Exact(_) => None,
            Self::Path { path, .. } => path.position(name),
        }
    }

    /// Returns the names of its variables.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &str> {
        let variables = match self {
            Self::Exact(_) => &[][..],
            Self::Path { path, .. } => path.variables(),
        };
        variables.iter().map(|variable| &*variable.name)
    }

    /// Returns whether both match the same URIs.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(one), Self::Exact(other)) => one == other,
            (Self::Path { root, path }, Self::Path { root: other_root, path: other_path }) => {
                root == other_root && path.is_same_as(other_path)
            }
            _ => false,
        }
    }
}

/// Splits a URI with `//` into its beginning, up to the slashes, and a path. The path is that of the URI if it has no host, and otherwise
/// begins with the host.
fn split(uri: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = uri.split_once(':')?;
    let after = rest.strip_prefix("//")?;
    let slashes = if after.starts_with('/') { 2 } else { 1 };
    uri.split_at_checked(scheme.len() + 1 + slashes)
}

/// The resources of an endpoint.
#[derive(Debug, Default)]
pub(crate) struct Resources {
    list: Vec<Operation>,
    /// The URIs that are compared as a whole, with their positions in the list.
    exact: Vec<(Box<str>, u32)>,
    /// The templates, by the beginning of their URIs.
    roots: Vec<(Box<str>, Table)>,
    /// Values for the variables of each template that needs different ones, without repetitions.
    mixed: Vec<Vec<&'static str>>,
}

/// The lookup of resources, without the operations that it finds.
#[derive(Debug, Default)]
pub(crate) struct Lookup {
    exact: Vec<(Box<str>, u32)>,
    roots: Vec<(Box<str>, Table)>,
    mixed: Vec<Vec<&'static str>>,
    /// Remarks about templates that are allowed and may be a mistake.
    pub(crate) warnings: Vec<Remark>,
    /// Templates that conflict with others.
    pub(crate) errors: Vec<Remark>,
}

impl Lookup {
    /// Builds the lookup of templates that match different URIs. The number of a template is the position of its resource.
    pub(crate) fn build(templates: &[(u32, UriTemplate)], suffixes: FormatSuffixes) -> Self {
        let mut lookup = Self::default();
        let mut roots: Vec<(&str, Vec<(u32, &Template)>)> = Vec::new();
        for (position, template) in templates {
            match template {
                UriTemplate::Exact(uri) => lookup.exact.push((uri.clone(), *position)),
                UriTemplate::Path { root, path } => {
                    lookup.add_values(path);
                    match roots.iter_mut().find(|(own, _)| *own == &**root) {
                        Some((_, paths)) => paths.push((*position, path)),
                        None => roots.push((&**root, vec![(*position, path)])),
                    }
                }
            }
        }
        for (root, paths) in roots {
            match Table::build(paths.iter().copied(), suffixes) {
                Ok(built) => {
                    lookup.warnings.extend(built.warnings);
                    lookup.roots.push((root.into(), built.table));
                }
                Err(remarks) => lookup.errors.extend(remarks),
            }
        }
        lookup
    }

    /// Adds values for the variables of a template, unless one value is enough for all of them.
    fn add_values(&mut self, path: &Template) {
        let values: Vec<_> = path.variables().iter().map(|variable| value_of(variable.kind)).collect();
        let is_mixed = values.iter().any(|value| Some(value) != values.first());
        if is_mixed && !self.mixed.contains(&values) {
            self.mixed.push(values);
        }
    }
}

/// Returns a value that a variable matches.
fn value_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Int => INT,
        Kind::Uuid => UUID,
        Kind::Rest | Kind::Slug | Kind::Text | Kind::Unreserved => WORD,
    }
}

impl Resources {
    /// Combines the resources with their lookup.
    pub(crate) fn new(list: Vec<Operation>, lookup: Lookup) -> Self {
        Self { list, exact: lookup.exact, roots: lookup.roots, mixed: lookup.mixed }
    }

    /// Iterates over the resources.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Operation> {
        self.list.iter()
    }

    /// Returns the most specific resource that matches a URI, with the decoded values of its variables. No other one is considered.
    pub(crate) fn find(&self, uri: &str) -> Option<(&Operation, Vec<Box<str>>)> {
        let at = |position: u32| self.list.get(usize::try_from(position).ok()?);
        if let Some((_, position)) = self.exact.iter().find(|(exact, _)| **exact == *uri) {
            return Some((at(*position)?, Vec::new()));
        }
        let (root, path) = split(uri)?;
        let (_, table) = self.roots.iter().find(|(own, _)| **own == *root)?;
        let path = CanonicalPath::parse(path.as_bytes()).ok().filter(|path| path.restricted().is_empty())?;
        let found = table.find(&path)?;
        let captures = found.values().map(|capture| capture.decoded().into()).collect();
        Some((at(*found.endpoints().first()?)?, captures))
    }

    /// Returns the resource to which a template of the server (RFC 6570) belongs. Its variables may differ from those of the policy.
    pub(crate) fn of_template(&self, template: &str) -> Option<&Operation> {
        let same = self.list.iter().find(|resource| *resource.name == *template);
        let resource = |uri: String| self.find(&uri).map(|(resource, _)| resource);
        let alike = || VALUES.iter().find_map(|value| resource(filled(template, &mut std::iter::repeat(*value))?));
        let by_kinds = || {
            // The server's template must have as many variables.
            self.mixed.iter().find_map(|values| {
                let mut values = values.iter().copied();
                let uri = filled(template, &mut values)?;
                if values.next().is_some() { None } else { resource(uri) }
            })
        };
        same.or_else(alike).or_else(by_kinds)
    }
}

/// Returns a template with each variable replaced by the next value, or `None` if there are too few, and for an expression that adds more to
/// a URI than its value, such as `{?query}`.
fn filled(template: &str, values: &mut dyn Iterator<Item = &'static str>) -> Option<String> {
    let mut parts = template.split('{');
    let mut uri = parts.next()?.to_owned();
    for part in parts {
        let (expression, after) = part.split_once('}')?;
        if !expression.starts_with(|first: char| first.is_ascii_alphanumeric() || matches!(first, '_' | '+')) {
            return None;
        }
        uri.push_str(values.next()?);
        uri.push_str(after);
    }
    Some(uri)
}

#[cfg(test)]
#[path = "resources_tests.rs"]
mod tests;
