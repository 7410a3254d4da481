//! The places of a request in which a policy accepts access tokens, and the tokens in places other than `Authorization`.
//!
//! Policies without such places, which are most, do not use this code on the request path. Whether the tokens are valid is decided
//! elsewhere.

use crate::reason::Reason;
use crate::request::credential::{Credential, Scheme};
use crate::request::headers::{Headers, name_is, name_reads_as};
use crate::request::percent;
use crate::text::ascii::is_token;

/// The header in which WebSocket clients list subprotocols (RFC 6455, section 11.3.4).
pub(crate) const PROTOCOLS: &str = "sec-websocket-protocol";

/// The places in which a policy accepts access tokens.
#[derive(Debug)]
pub(crate) struct CredentialPlaces {
    /// Whether `Authorization` is one of them. If not, that header is no credential.
    pub(crate) authorization: bool,
    /// The other places. `None` in most policies.
    pub(crate) others: Option<OtherPlaces>,
}

impl CredentialPlaces {
    /// Returns the names of the headers, other than `Authorization`, that may carry a token.
    pub(crate) fn headers(&self) -> impl Iterator<Item = &str> {
        self.others.iter().flat_map(OtherPlaces::names)
    }

    /// Returns whether a query parameter, by its name as sent, has the name of such a header. Its value may be a token.
    pub(crate) fn names_parameter(&self, name: &str) -> bool {
        self.others.is_some() && self.headers().any(|own| name_reads_as(&percent::decode(name.as_bytes()), own))
    }

    /// Returns the header, name and value, in which a client sends a bearer token.
    pub(crate) fn header_with(&self, token: &str) -> (&str, String) {
        let header = || self.others.as_ref()?.headers.first().map(|name| (&**name, token.to_owned()));
        let member = || Some((PROTOCOLS, format!("{}{token}", self.others.as_ref()?.protocol_prefix.as_ref()?)));
        let elsewhere = if self.authorization { None } else { header().or_else(member) };
        elsewhere.unwrap_or_else(|| ("authorization", format!("Bearer {token}")))
    }
}

/// The places other than `Authorization`.
#[derive(Debug)]
pub(crate) struct OtherPlaces {
    /// Headers whose value is a token, in lower case with hyphens.
    pub(crate) headers: Vec<Box<str>>,
    /// The beginning of the member of [`PROTOCOLS`] that contains a token.
    pub(crate) protocol_prefix: Option<Box<str>>,
}

impl OtherPlaces {
    fn names(&self) -> impl Iterator<Item = &str> {
        self.headers.iter().map(|name| &**name).chain(self.protocol_prefix.as_ref().map(|_| PROTOCOLS))
    }

    /// Finds the tokens in these places. Reports to `refuse` each header that only some servers read as one of them.
    pub(crate) fn read<'a>(&'a self, headers: &'a Headers, mut refuse: impl FnMut(Reason)) -> Elsewhere<'a> {
        let mut found = Elsewhere::default();
        for name in &self.headers {
            for (line, value) in lines(headers, name, &mut refuse) {
                found.add(Carried::Value { name, line, value });
            }
        }
        let Some(prefix) = &self.protocol_prefix else { return found };
        let (mut count, mut carry) = (0_u32, false);
        for (line, value) in lines(headers, PROTOCOLS, &mut refuse) {
            count = count.saturating_add(1);
            for _ in words(value).filter(|word| begins_with(word, prefix)) {
                carry = true;
                found.add(Carried::Member { line, value, prefix });
            }
        }
        // The upstream gets the other members in one line, and the gate does not choose their order.
        if carry && count > 1 {
            found.count = found.count.saturating_add(1);
        }
        found
    }
}

/// Returns the lines with exactly this name, ignoring case.
fn lines<'a>(
    headers: &'a Headers,
    name: &'a str,
    refuse: &mut impl FnMut(Reason),
) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    headers.as_long_as(name.as_bytes()).filter(move |(line, _)| {
        let is_own = name_is(line, name);
        if !is_own && name_reads_as(line, name) {
            refuse(Reason::HeaderLookalike);
        }
        is_own
    })
}

/// The tokens in places other than `Authorization`: the first one, and their number.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Elsewhere<'a> {
    pub(crate) first: Option<Carried<'a>>,
    pub(crate) count: u32,
}

impl<'a> Elsewhere<'a> {
    fn add(&mut self, carried: Carried<'a>) {
        self.first.get_or_insert(carried);
        self.count = self.count.saturating_add(1);
    }
}

/// A token in a place other than `Authorization`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Carried<'a> {
    /// It is the value of a header.
    Value {
        /// The header's name in the policy.
        name: &'a str,
        /// The header's name as received.
        line: &'a [u8],
        value: &'a [u8],
    },
    /// It is in the member of [`PROTOCOLS`] that begins with this prefix.
    Member {
        /// The header's name as received.
        line: &'a [u8],
        value: &'a [u8],
        prefix: &'a str,
    },
}

impl<'a> Carried<'a> {
    /// Returns the name of the header, in lower case.
    pub(crate) fn header(&self) -> &'a str {
        match *self {
            Self::Value { name, .. } => name,
            Self::Member { .. } => PROTOCOLS,
        }
    }

    /// Returns the name of the header as received.
    pub(crate) fn line(&self) -> &'a [u8] {
        match *self {
            Self::Value { line, .. } | Self::Member { line, .. } => line,
        }
    }

    /// Returns what the place contains where it is well-formed, for explanations.
    pub(crate) fn form(&self) -> &'static str {
        match self {
            Self::Value { .. } => "the token alone, without a scheme",
            Self::Member { .. } => "a list of subprotocols, one of which is the prefix and the token",
        }
    }

    /// Parses the token. Anyone who has it may use it: only `Authorization` has a scheme for key-bound tokens.
    pub(crate) fn credential(&self) -> Result<Credential<'a>, Reason> {
        let token = match *self {
            Self::Value { value, .. } => Some(value.trim_ascii()),
            // A list in which any member is malformed could be split in another way by a lenient server.
            Self::Member { value, prefix, .. } if members(value).all(is_token) => {
                members(value).find_map(|member| member.strip_prefix(prefix.as_bytes()))
            }
            Self::Member { .. } => None,
        };
        token.map(|token| Credential { scheme: Scheme::Bearer, token }).ok_or(Reason::TokenMalformed)
    }

    /// Returns the value of the header without the token, or `None` if nothing remains.
    pub(crate) fn rest(&self) -> Option<String> {
        let Self::Member { value, prefix, .. } = *self else { return None };
        let others = members(value).filter(|member| is_token(member) && !begins_with(member, prefix));
        let others: Vec<_> = others.map(String::from_utf8_lossy).collect();
        (!others.is_empty()).then(|| others.join(", "))
    }
}

/// Returns the members of a list (RFC 9110, section 5.6.1), without the empty ones.
fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Returns everything in a list that some server could read as a member, however it splits the list.
fn words(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| !is_token(&[*byte]))
}

/// Returns whether a member begins with a prefix. Subprotocols are compared exactly, but a server could ignore case.
fn begins_with(member: &[u8], prefix: &str) -> bool {
    member.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
}

#[cfg(test)]
#[path = "places_tests.rs"]
mod tests;
