//! The method of a request.

use crate::reason::Reason;

/// A method: a token (RFC 9110, section 9.1) other than `CONNECT`, compared exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Method<'a>(&'a str);

impl<'a> Method<'a> {
    /// Parses a method.
    ///
    /// # Errors
    /// [`Reason::MethodMalformed`] if it is not a token, [`Reason::MethodConnect`] for `CONNECT`, which requests a tunnel: Callgate could
    /// not enforce anything inside it.
    pub fn parse(raw: &'a [u8]) -> Result<Self, Reason> {
        // Nearly all requests use one of these methods.
        let usual = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
        if let Some(usual) = usual.into_iter().find(|usual| usual.as_bytes() == raw) {
            return Ok(Self(usual));
        }
        match str::from_utf8(raw) {
            Ok("CONNECT") => Err(Reason::MethodConnect),
            Ok(method) if !method.is_empty() && method.bytes().all(is_token_byte) => Ok(Self(method)),
            _ => Err(Reason::MethodMalformed),
        }
    }

    /// Returns the method as received.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}

/// Returns whether this is a character of a token (RFC 9110, section 5.6.2).
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_only_valid_method_tokens() {
        for good in ["GET", "get", "PROPFIND", "M-SEARCH", "X!#$%&'*+-.^_`|~", "connect", "CONNECTED"] {
            assert_eq!(Method::parse(good.as_bytes()).map(|method| method.as_str()), Ok(good));
        }
        for bad in ["", " ", "GET ", "G ET", "GET\0", "GET,POST", "GET/", "\"GET\"", "GE\u{308}T", "GET\r\n"] {
            assert_eq!(Method::parse(bad.as_bytes()), Err(Reason::MethodMalformed), "{bad:?}");
        }
        assert_eq!(Method::parse(b"\xff"), Err(Reason::MethodMalformed));
        assert_eq!(Method::parse(b"CONNECT"), Err(Reason::MethodConnect));
    }
}
