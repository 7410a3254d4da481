//! The query of a call: its parameters, and how lenient servers would read their names.

use std::borrow::Cow;

use crate::Reason;
use crate::request::percent;

/// A parameter that no query may carry: what RFC 6750 (section 2.3) had allowed, RFC 9700 (section 4.3.2) forbids.
const CREDENTIAL: &str = "access_token";

/// Parameters that frameworks take for the method.
const OVERRIDES: [&str; 4] = ["_method", "x-http-method-override", "x-http-method", "x-method-override"];

/// A query of printable ASCII without `#`, in which every `%` begins an escape.
///
/// Nothing is said about its meaning: there is no standard for it, so that names are judged by what the common parsers
/// would make of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    /// Reads what follows the `?` of a request target, if there is one.
    ///
    /// # Errors
    /// [`Reason::QueryCharacter`] or [`Reason::QueryEscapeMalformed`].
    pub fn parse(raw: Option<&'a [u8]>) -> Result<Self, Reason> {
        let raw = raw.unwrap_or_default();
        let mut rest = raw;
        while let Some((&byte, after)) = rest.split_first() {
            rest = match byte {
                b'%' => percent::octet(after).ok_or(Reason::QueryEscapeMalformed)?.1,
                b'#' => return Err(Reason::QueryCharacter),
                _ if byte.is_ascii_graphic() => after,
                _ => return Err(Reason::QueryCharacter),
            };
        }
        str::from_utf8(raw).map(Self).map_err(|_| Reason::QueryCharacter)
    }

    /// The query as it came.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.0
    }

    /// Its parameters as they came: names, and values where there is a `=`.
    pub fn parameters(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        pieces(self.0).map(split_piece)
    }

    /// The names of its parameters, decoded once, with what is not UTF-8 replaced: for people to read.
    pub fn names_decoded(&self) -> impl Iterator<Item = String> {
        self.parameters().map(|(name, _)| String::from_utf8_lossy(&percent::decode(name.as_bytes())).into_owned())
    }

    /// Refuses the names that no query may have, and those that the policy adds, in every reading of a common parser.
    ///
    /// # Errors
    /// [`Reason::QueryCredential`], [`Reason::MethodOverride`] or [`Reason::QueryRefused`].
    pub fn refuse_names(&self, added: &[impl AsRef<str>]) -> Result<(), Reason> {
        if self.0.is_empty() {
            return Ok(());
        }
        for name in self.0.split(['&', ';']).map(|piece| split_piece(piece).0) {
            if reads_as(name, CREDENTIAL) {
                return Err(Reason::QueryCredential);
            }
            if OVERRIDES.iter().any(|refused| reads_as(name, refused)) {
                return Err(Reason::MethodOverride);
            }
            if added.iter().any(|refused| reads_as(name, refused.as_ref())) {
                return Err(Reason::QueryRefused);
            }
        }
        Ok(())
    }

    /// The value of a parameter to which the caller is bound, decoded once; none when it is missing. The name has to be
    /// [plain](is_plain_name).
    ///
    /// # Errors
    /// [`Reason::BindingAmbiguous`] when it occurs twice, has a raw `+` (a space to some, a plus sign to others) or `;`
    /// (a separator to some), is not UTF-8, or when a common parser reads another name as this one.
    pub fn bound(&self, name: &str) -> Result<Option<Cow<'a, str>>, Reason> {
        let mut found = None;
        for piece in pieces(self.0) {
            let (raw_name, value) = split_piece(piece);
            if percent::decoded(raw_name.as_bytes()).eq(name.bytes()) {
                if found.is_some() || piece.contains(['+', ';']) {
                    return Err(Reason::BindingAmbiguous);
                }
                found = Some(value.unwrap_or_default());
            } else if piece.split(';').any(|part| reads_as(split_piece(part).0, name)) {
                return Err(Reason::BindingAmbiguous);
            }
        }
        found.map(decode_utf8).transpose()
    }
}

/// Whether a name can be refused or bound: visible ASCII without the characters that separate parameters, escape
/// others or nest them.
#[must_use]
pub fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && !b"&;=+%#[]".contains(&byte))
}

fn pieces(query: &str) -> impl Iterator<Item = &str> {
    query.split('&').filter(|piece| !piece.is_empty())
}

fn split_piece(piece: &str) -> (&str, Option<&str>) {
    piece.split_once('=').map_or((piece, None), |(name, value)| (name, Some(value)))
}

fn decode_utf8(value: &str) -> Result<Cow<'_, str>, Reason> {
    match percent::decode(value.as_bytes()) {
        Cow::Borrowed(_) => Ok(Cow::Borrowed(value)),
        Cow::Owned(decoded) => String::from_utf8(decoded).map(Cow::Owned).map_err(|_| Reason::BindingAmbiguous),
    }
}

/// Whether some common parser takes a parameter's raw name for `wanted`:
///
/// - ASP.NET compares names without regard to case;
/// - PHP drops leading spaces, and reads `.`, a space and an unmatched `[` as `_`;
/// - PHP, Rack (Rails) and qs (Express) read `org[]`, `org[0]` and `org[x]` as a part of `org`, Rack and qs `[org]`
///   as `org`, and Rack `org]` too;
/// - qs reads `org.x` as a part of `org` where dots are allowed;
/// - `URLSearchParams` drops a leading `?`, and some parsers drop white space at either end;
/// - parsers in C end a name at a zero byte;
/// - `_`, `.`, `-` and spaces, leading ones too, are one wherever parameters become variables of an environment or a
///   template.
///
/// Names that were split at `;` as well cover the parsers that take it for a separator (Python before 3.9.2, Go before
/// 1.17, Rack before 3, Perl's CGI).
fn reads_as(raw_name: &str, wanted: &str) -> bool {
    let mut name = percent::decoded(raw_name.as_bytes()).take_while(|byte| *byte != 0);
    // What some drop at the beginning is an underscore to others, so that each part of it is dropped.
    loop {
        let outermost = |ends: &'static [u8]| name.clone().take_while(|byte| !ends.contains(byte));
        if [&b""[..], b"[]", b"[]."].into_iter().any(|ends| is_folded(outermost(ends), wanted)) {
            return true;
        }
        if !name.next().is_some_and(|byte| is_blank(byte) || b"?[]".contains(&byte)) {
            return false;
        }
    }
}

/// Whether a name reads as `wanted`, whatever white space follows it.
fn is_folded(mut name: impl Iterator<Item = u8>, wanted: &str) -> bool {
    wanted.bytes().all(|byte| name.next().is_some_and(|own| folded(own) == folded(byte))) && name.all(is_blank)
}

/// White space to some parser; a raw `+` is a space to most.
fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == b'+' || byte == 0x0b
}

fn folded(byte: u8) -> u8 {
    match byte {
        b'_' | b'.' | b' ' | b'+' | b'[' => b'-',
        other => other.to_ascii_lowercase(),
    }
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
