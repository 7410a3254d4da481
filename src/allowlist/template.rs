//! Path templates, such as `/repos/{owner}/{repo}/pulls/{n:int}`.

use std::fmt;

use crate::allowlist::Kind;
use crate::allowlist::shape::Shape;
use crate::reason::Reason;
use crate::request::{CanonicalPath, percent};

/// More segments than any API has. This limits the work of compiling a policy.
const MAX_SEGMENTS: usize = 64;

/// The number of variables that a lookup can hold.
pub(super) const MAX_VARIABLES: usize = 16;

/// A path template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: Box<str>,
    segments: Vec<Segment>,
    variables: Vec<Variable>,
}

/// A variable of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name, which bindings use.
    pub name: Box<str>,
    /// The type of its values.
    pub kind: Kind,
}

/// One segment of a template, without the name of its variable. Templates that differ only in these names are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Segment {
    /// Fixed text in canonical form.
    Fixed(Box<str>),
    /// A variable with a fixed beginning and end. One or both are empty.
    Variable { beginning: Box<str>, kind: Kind, end: Box<str> },
    /// The rest of the path.
    Rest,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// One sentence with the problem and the solution.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(after_slash) = text.strip_prefix('/') else {
            return Err(format!("a path begins with a slash; write `/{text}`"));
        };
        if text.contains('?') {
            return Err("a path contains no query; check query parameters with `bind`".to_owned());
        }
        let mut segments = Vec::new();
        let mut variables: Vec<Variable> = Vec::new();
        let mut parts = after_slash.split('/').peekable();
        while let Some(part) = parts.next() {
            let is_last = parts.peek().is_none();
            if part.is_empty() && !is_last {
                return Err("empty path segment; write `/` instead of `//`".to_owned());
            }
            let (segment, variable) = parse_segment(part)?;
            if segment == Segment::Rest && !is_last {
                return Err(format!("`{part}` matches the rest of the path; it must be last"));
            }
            if let Some(variable) = variable {
                if variables.iter().any(|other| other.name == variable.name) {
                    return Err(format!("two variables are named `{}`; use different names", variable.name));
                }
                variables.push(variable);
            }
            segments.push(segment);
        }
        if segments.len() > MAX_SEGMENTS || variables.len() > MAX_VARIABLES {
            return Err(format!(
                "path too long; expected at most {MAX_SEGMENTS} segments and {MAX_VARIABLES} variables"
            ));
        }
        Ok(Self { text: text.into(), segments, variables })
    }

    /// Returns the template as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns its variables from left to right, in the order in which a lookup captures their values.
    #[must_use]
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// Returns the index of a variable in [`variables`](Self::variables).
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.variables.iter().position(|variable| &*variable.name == name)
    }

    /// Returns whether both templates match the same paths: they differ at most in the names of variables.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.segments == other.segments
    }

    /// Returns whether this template by itself, without regard to more specific ones, matches a path in canonical form.
    #[must_use]
    pub fn takes(&self, path: &str) -> bool {
        let mut parts = path.split('/').skip(1);
        let fits = self.segments.iter().all(|segment| match (segment, parts.next()) {
            (_, None) => false,
            (Segment::Fixed(text), Some(part)) => percent::is_same(text.as_bytes(), part.as_bytes()),
            (Segment::Variable { beginning, kind, end }, Some(part)) => {
                Shape { beginning, kind: *kind, end }.value_in(part).is_some()
            }
            (Segment::Rest, Some(_)) => {
                parts.by_ref().for_each(drop);
                true
            }
        });
        fits && parts.next().is_none()
    }

    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn parse_segment(part: &str) -> Result<(Segment, Option<Variable>), String> {
    let Some((beginning, after_brace)) = part.split_once('{') else {
        return Ok((Segment::Fixed(parse_fixed(part)?), None));
    };
    let Some((inner, end)) = after_brace.split_once('}') else {
        return Err(format!("`{part}` has a `{{` without `}}`; write `{{name}}`"));
    };
    if inner.contains('{') || end.contains(['{', '}']) || beginning.contains('}') {
        return Err(format!(
            "`{part}` has several variables or an unmatched brace; expected one `{{name}}` per segment"
        ));
    }
    let variable = parse_variable(inner)?;
    if variable.kind == Kind::Rest {
        return if beginning.is_empty() && end.is_empty() {
            Ok((Segment::Rest, Some(variable)))
        } else {
            Err(format!("`{{{inner}}}` matches whole segments; remove the text around it in `{part}`"))
        };
    }
    let segment = Segment::Variable { beginning: parse_affix(beginning)?, kind: variable.kind, end: parse_affix(end)? };
    Ok((segment, Some(variable)))
}

fn parse_variable(inner: &str) -> Result<Variable, String> {
    let (name, kind) = match (inner.strip_suffix("..."), inner.split_once(':')) {
        (Some(name), _) => (name, Kind::Rest),
        (None, None) => (inner, Kind::Unreserved),
        (None, Some((name, wanted))) => match Kind::NAMED.iter().find(|(named, _)| *named == wanted) {
            Some((_, kind)) => (name, *kind),
            None => {
                let known = Kind::NAMED.map(|(named, _)| format!("`{{{name}:{named}}}`")).join(", ");
                return Err(format!("unknown type `{wanted}`; expected `{{{name}}}`, {known} or `{{{name}...}}`"));
            }
        },
    };
    let begins_well = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if !begins_well || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')) {
        return Err(format!(
            "invalid variable name `{{{inner}}}`; expected letters, digits, `_` and `-`, beginning with a letter"
        ));
    }
    Ok(Variable { name: name.into(), kind })
}

/// Parses a segment of fixed text, which must be in canonical form.
fn parse_fixed(part: &str) -> Result<Box<str>, String> {
    if part.contains('}') {
        return Err(format!("`{part}` has a `}}` without `{{`; write `{{name}}`"));
    }
    if let Some(name) = part.strip_prefix(':') {
        return Err(format!("`{part}` is fixed text here; write `{{{name}}}` for a variable"));
    }
    match part {
        "*" => return Err("`*` is fixed text here; write `{name}` for one segment".to_owned()),
        "**" => return Err("`**` is fixed text here; write `{name...}` for the rest of the path".to_owned()),
        _ => {}
    }
    let path = format!("/{part}");
    let instead = match CanonicalPath::parse(path.as_bytes()) {
        // Escapes have a single spelling, so templates compare like paths.
        Ok(canonical) if canonical.restricted().is_empty() => return Ok(percent::with_upper_digits(part).into()),
        Ok(_) => {
            return Err(format!(
                "`{part}` contains `%2F`, `%5C`, `%25` or `;`, which is not allowed in fixed text; match the segment with \
                 `{{name:text}}` and `allow_escapes`"
            ));
        }
        Err(Reason::PathDotSegment) => {
            return Err(format!("no canonical path contains the segment `{part}`; write the path that it resolves to"));
        }
        Err(Reason::PathCharacter) => format!("write `{}`", escaped(part)),
        Err(Reason::PathEscapeUnreserved) => "write the character itself".to_owned(),
        Err(Reason::PathEscapeMalformed) => "write two hexadecimal digits after each `%`".to_owned(),
        Err(_) => "leave it out".to_owned(),
    };
    Err(format!("`{part}` is not in canonical form; {instead}"))
}

/// Parses the fixed text next to a variable. It has no escapes, so decoding does not change it.
fn parse_affix(part: &str) -> Result<Box<str>, String> {
    if part.contains('%') {
        return Err(format!("`{part}` has an escape next to a variable; match the whole segment with `{{name:text}}`"));
    }
    let fits = CanonicalPath::parse(format!("/x{part}").as_bytes()).is_ok_and(|path| path.restricted().is_empty());
    if fits {
        Ok(part.into())
    } else {
        Err(format!("`{part}` contains a character that is invalid in paths; remove it"))
    }
}

/// Escapes the characters that a path cannot contain.
fn escaped(part: &str) -> String {
    use fmt::Write as _;
    part.bytes().fold(String::new(), |mut text, byte| {
        let kept = byte == b'%' || CanonicalPath::parse(&[b'/', b'x', byte]).is_ok();
        // Writing to a string cannot fail.
        let _ = if kept { write!(text, "{}", char::from(byte)) } else { write!(text, "%{byte:02X}") };
        text
    })
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
