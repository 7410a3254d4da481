//! Comparison of the URI in a proof with that of the request.

use std::borrow::Cow;

/// Returns whether a URI, without its query and fragment, names this path at this origin (RFC 9449, section 4.3). Both are compared after
/// the normalization of RFC 3986, sections 6.2.2 and 6.2.3.
///
/// `origin` is scheme, `://` and authority in normal form. `path` is a [canonical path](crate::request::CanonicalPath): it has no dot
/// segments, escaped or not, but may contain escapes that the normal form does not have.
pub(crate) fn is_target(uri: &str, origin: &str, path: &str) -> bool {
    normal(uri).is_some_and(|(own_origin, own_path)| {
        own_origin == origin && unescaped(path).is_some_and(|path| own_path == path)
    })
}

/// Returns origin and path of an absolute URI in normal form, or `None` if the text is not a URI with an authority.
fn normal(uri: &str) -> Option<(String, Cow<'_, str>)> {
    let (scheme, rest) = uri.split_once("://")?;
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let rest = rest.get(..end)?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let scheme = scheme.to_ascii_lowercase();
    let default_port = match scheme.as_str() {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    let authority = unescaped(authority)?.to_ascii_lowercase();
    // A port may be empty (RFC 3986, section 6.2.3).
    let authority = authority.strip_suffix(default_port).or(authority.strip_suffix(':')).unwrap_or(&authority);
    Some((format!("{scheme}://{authority}"), without_dot_segments(unescaped(path)?)))
}

/// Decodes escapes of unreserved characters and converts the other escapes to upper case. Returns `None` if an escape is malformed, or if
/// a character cannot occur in a URI.
fn unescaped(text: &str) -> Option<Cow<'_, str>> {
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut pieces = text.split('%');
    let mut out = pieces.next()?.to_owned();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        // `from_str_radix` accepts a sign, so the digits are checked first.
        let byte =
            digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u8::from_str_radix(digits, 16).ok())??;
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&digits.to_ascii_uppercase());
        }
        out.push_str(rest);
    }
    Some(Cow::Owned(out))
}

/// Removes dot segments (RFC 3986, section 5.2.4) from a path that is empty or begins with a slash.
fn without_dot_segments(path: Cow<'_, str>) -> Cow<'_, str> {
    let is_dots = |segment: &str| matches!(segment, "." | "..");
    if path.is_empty() {
        return Cow::Borrowed("/");
    }
    if !path.split('/').any(is_dots) {
        return path;
    }
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    // A final dot segment stands for a folder.
    if path.rsplit('/').next().is_some_and(is_dots) {
        kept.push("");
    }
    Cow::Owned(format!("/{}", kept.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: &str = "https://api.example.com";

    #[test]
    fn matches_equivalent_spellings_of_the_target_uri() {
        for (uri, path) in [
            ("https://api.example.com/a/b", "/a/b"),
            ("HTTPS://API.Example.com/a/b", "/a/b"),
            ("https://api.example.com:443/a/b", "/a/b"),
            ("https://api.example.com:/a/b", "/a/b"),
            ("https://api.example.com", "/"),
            ("https://api.example.com/", "/"),
            ("https://api.example.com?x=/y", "/"),
            ("https://api.example.com/a/b?x=1#y", "/a/b"),
            ("https://api.example.com/a/b#y?x=1", "/a/b"),
            ("https://api.example.com/%61/%7e%2D", "/a/~-"),
            ("https://api.example.com/caf%c3%a9/x%3ay", "/caf%C3%A9/x%3Ay"),
            ("https://api.example.com/caf%C3%A9/x%3Ay", "/caf%c3%a9/x%3ay"),
            ("https://api.example.com/caf%c3%a9", "/caf%c3%A9"),
            ("https://api.example.com/~a", "/%7ea"),
            ("https://api.example.com/%7Ea", "/%7ea"),
            ("https://api.example.com/a[0]", "/a[0]"),
            ("https://api.example.com/a%2fb", "/a%2Fb"),
            ("https://api.example.com/x/../a/./b", "/a/b"),
            ("https://api.example.com/x/%2E%2e/a/b", "/a/b"),
            ("https://api.example.com/../../a/b/x/..", "/a/b/"),
            ("https://api.example.com/a/b/.", "/a/b/"),
            ("https://api.example%2Ecom/a/b", "/a/b"),
        ] {
            assert!(is_target(uri, ORIGIN, path), "{uri}");
        }
        assert!(!is_target("https://api.example.com/a/b", ORIGIN, "/a%2fb"));
        assert!(!is_target("https://api.example.com/a%252fb", ORIGIN, "/a%2fb"));
        assert!(is_target("http://10.0.0.1:80/a", "http://10.0.0.1", "/a"));
        assert!(is_target("https://[2001:DB8::1]:8443/a", "https://[2001:db8::1]:8443", "/a"));
    }

    #[test]
    fn rejects_other_target_uris() {
        for uri in [
            "",
            "/a/b",
            "//api.example.com/a/b",
            "api.example.com/a/b",
            "http://api.example.com/a/b",
            "http://api.example.com:443/a/b",
            "https://api.example.com:80/a/b",
            "https://api.example.com:8443/a/b",
            "https://api.example.com:0443/a/b",
            "https://api.example.com./a/b",
            "https://user@api.example.com/a/b",
            "https://api.example.com@other.example/a/b",
            "https://other.example/a/b",
            "https://api.example.com.other.example/a/b",
            "https://api.example.com/a/b/",
            "https://api.example.com//a/b",
            "https://api.example.com/A/b",
            "https://api.example.com/a%2Fb",
            "https://api.example.com/a\\b",
            "https://api.example.com\\/a/b",
            "https://api.example.com/a/b%",
            "https://api.example.com/a/b%+1",
            "https://api.example.com/a/b%zz",
            "https://api.example.com/a/b ",
            " https://api.example.com/a/b",
            "https://api.example.com/a/\u{e9}",
            "https:/api.example.com/a/b",
            "https:///a/b",
            "ftp://api.example.com/a/b",
            "https%3A//api.example.com/a/b",
        ] {
            assert!(!is_target(uri, ORIGIN, "/a/b"), "{uri}");
        }
    }
}
