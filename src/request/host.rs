//! The host of a request in canonical form.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use crate::reason::Reason;
use crate::text::ascii::{self, every_pair, pairwise};

/// A host with its port: in lower case, without `:80` and `:443`, with an IPv6 address as in RFC 5952.
///
/// Gateways route `api.example.com:443` differently than `api.example.com`, so the canonical form must also be forwarded upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host<'a>(Cow<'a, str>);

impl<'a> Host<'a> {
    /// Parses the value of `:authority` or `Host`.
    ///
    /// # Errors
    /// [`Reason::HostMissing`] for an empty value; [`Reason::HostMalformed`] for a trailing dot, user information, an empty or malformed
    /// port, an address in brackets that is not IPv6, and characters that a host name cannot contain.
    pub fn parse(raw: &'a [u8]) -> Result<Self, Reason> {
        if raw.is_empty() {
            return Err(Reason::HostMissing);
        }
        str::from_utf8(raw).ok().and_then(canonical).map(Self).ok_or(Reason::HostMalformed)
    }

    /// Returns the canonical form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether the canonical form differs from the received value, so the header must be rewritten.
    #[must_use]
    pub fn is_rewritten(&self) -> bool {
        matches!(self.0, Cow::Owned(_))
    }
}

fn canonical(text: &str) -> Option<Cow<'_, str>> {
    if is_canonical_name(text.as_bytes()) {
        return Some(Cow::Borrowed(text));
    }
    let (name, port) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (address, after) = bracketed.split_once(']')?;
            let port = if after.is_empty() { None } else { Some(after.strip_prefix(':')?) };
            (Cow::Owned(format!("[{}]", address.parse::<Ipv6Addr>().ok()?)), port)
        }
        None => {
            let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
            (lower_case_name(name)?, port)
        }
    };
    let port = match port {
        None | Some("80" | "443") => String::new(),
        Some(port) if is_port(port) => format!(":{port}"),
        Some(_) => return None,
    };
    let canonical = if port.is_empty() { name } else { Cow::Owned(format!("{name}{port}")) };
    // If the value was already canonical it is borrowed, even if it was rebuilt for the comparison.
    Some(if canonical == text { Cow::Borrowed(text) } else { Cow::Owned(canonical.into_owned()) })
}

/// Returns whether a host is only a name in lower case without empty labels, as most are.
fn is_canonical_name(text: &[u8]) -> bool {
    let ([first, after @ ..], [before @ .., last]) = (text, text) else { return false };
    let no_empty_label = |byte, next| (byte != b'.') | (next != b'.');
    ascii::are_lower_case_names(text)
        && *first != b'.'
        && *last != b'.'
        && every_pair(before, after, |byte, next| pairwise(byte, next, no_empty_label))
}

/// Returns a registered name or IPv4 address in lower case. Its dot-separated labels must not be empty, so a trailing dot is rejected.
fn lower_case_name(name: &str) -> Option<Cow<'_, str>> {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if !name.split('.').all(is_label) {
        return None;
    }
    Some(if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    })
}

/// Returns whether this is a port from 1 to 65535, without leading zeros.
fn is_port(port: &str) -> bool {
    !port.starts_with(['0', '+']) && port.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalizes_hosts() {
        for (raw, expected) in [
            ("api.example.com", "api.example.com"),
            ("API.Example.COM", "api.example.com"),
            ("api.example.com:80", "api.example.com"),
            ("api.example.com:443", "api.example.com"),
            ("Api.example.com:8443", "api.example.com:8443"),
            ("api.example.com:8443", "api.example.com:8443"),
            ("localhost", "localhost"),
            ("under_score.example", "under_score.example"),
            ("10.0.0.1:1", "10.0.0.1:1"),
            ("[::1]", "[::1]"),
            ("[::1]:443", "[::1]"),
            ("[2001:DB8:0:0::1]:65535", "[2001:db8::1]:65535"),
        ] {
            let host = Host::parse(raw.as_bytes()).unwrap();
            assert_eq!(host.as_str(), expected);
            assert_eq!(host.is_rewritten(), raw != expected, "{raw}");
            let again = Host::parse(expected.as_bytes()).unwrap();
            assert!(again.as_str() == expected && !again.is_rewritten(), "{expected}");
        }
    }

    #[test]
    fn rejects_malformed_hosts() {
        for raw in [
            "api.example.com.",
            "api.example.com.:443",
            ".example.com",
            "a..b",
            ".",
            "user@example.com",
            "user:1@example.com",
            "example.com:",
            "example.com:0",
            "example.com:080",
            "example.com:+80",
            "example.com:65536",
            "example.com:80:80",
            "example.com:8o",
            "example.com: 80",
            " example.com",
            "example.com ",
            "example.com/",
            "example.com,b.example",
            "example.com\0",
            "exa%6dple.com",
            "ex\u{e4}mple.com",
            "*",
            "[::1",
            "::1",
            "[::1]8080",
            "[::1]:",
            "[::1%25eth0]",
            "[]",
            "[127.0.0.1]",
            "[::1].example.com",
            "\u{212a}elvin.example",
        ] {
            assert_eq!(Host::parse(raw.as_bytes()), Err(Reason::HostMalformed), "{raw}");
        }
        assert_eq!(Host::parse(b"\xff"), Err(Reason::HostMalformed));
        assert_eq!(Host::parse(b""), Err(Reason::HostMissing));
    }
}
