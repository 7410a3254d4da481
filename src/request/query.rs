//! The query of a request: its parameters, and their names as lenient servers read them.

use std::borrow::Cow;

use super::parameter::{MOST_NAME, RejectedNames, reads_as};
use crate::reason::Reason;
use crate::request::percent;
use crate::text::ascii::bytes_eq;

/// The maximum number of parameters in a query if one of them is bound. Some parsers drop parameters after a limit (PHP and qs after
/// 1,000), so a client could push the bound parameter beyond it.
pub const MOST_PARAMETERS: usize = 256;

/// A query of printable ASCII without `#`, in which every `%` begins an escape.
///
/// This type does not interpret the query: there is no standard for it, so names are checked against the readings of common parsers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    /// Parses the text after the `?` of a request target, if there is one.
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

    /// Returns the query as received.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.0
    }

    /// Iterates over its parameters as received: names, and values if there is a `=`.
    pub fn parameters(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        pieces(self.0).map(split_piece)
    }

    /// Iterates over the names of its parameters for display: decoded once, with invalid UTF-8 replaced.
    pub fn names_decoded(&self) -> impl Iterator<Item = String> {
        self.parameters().map(|(name, _)| String::from_utf8_lossy(&percent::decode(name.as_bytes())).into_owned())
    }

    /// Rejects the names that no query may contain, in every reading of a common parser. Each name is read once, regardless of the number
    /// of rejected names.
    ///
    /// # Errors
    /// [`Reason::QueryCredential`], [`Reason::MethodOverride`] or [`Reason::QueryRefused`].
    pub fn reject_names(&self, rejected: &RejectedNames) -> Result<(), Reason> {
        let pieces = self.0.as_bytes().split(|byte| matches!(byte, b'&' | b';'));
        let mut names = pieces.filter_map(|piece| piece.split(|byte| *byte == b'=').next());
        names.find_map(|name| rejected.find(name)).map_or(Ok(()), Err)
    }

    /// Returns the value of a parameter that is bound to the agent, decoded once, or `None` if it is missing. The name must be
    /// [plain](is_plain_name) and unescaped in the query.
    ///
    /// # Errors
    /// [`Reason::TooManyParameters`] for a query with more than [`MOST_PARAMETERS`]; [`Reason::BindingAmbiguous`] if the parameter occurs
    /// twice, has a raw `+` (a space to some, a plus sign to others) or `;` (a separator to some), is not UTF-8, or if a common parser
    /// reads another spelling as this name (nginx does not decode names, others do).
    pub fn bound(&self, name: &str) -> Result<Option<Cow<'a, str>>, Reason> {
        if self.0.bytes().filter(|byte| matches!(byte, b'&' | b';')).count() >= MOST_PARAMETERS {
            return Err(Reason::TooManyParameters);
        }
        let mut found = None;
        for piece in pieces(self.0) {
            let (raw_name, value) = split_piece(piece);
            if bytes_eq(raw_name.as_bytes(), name.as_bytes()) {
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

/// Returns whether a name can be bound: at most 128 bytes of visible ASCII, without the characters that separate parameters, escape
/// characters or nest parameters.
#[must_use]
pub fn is_plain_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"&;=+%#[]".contains(&byte);
    (1..=MOST_NAME).contains(&name.len()) && name.bytes().all(plain)
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

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
