//! URLs of documents.

/// An absolute URL without user information and fragment, in the parts that a request needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    /// `https` or `http`.
    pub(crate) scheme: &'static str,
    /// The host in lower case, with its port if that is not the scheme's default.
    pub(crate) authority: String,
    /// Path and query, at least `/`.
    pub(crate) path: String,
}

impl Url {
    /// Parses a URL. `None` if it is anything else, or has characters that would end a header or a request line.
    pub(crate) fn parse(url: &str) -> Option<Self> {
        let (scheme, port, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => ("https", ":443", rest),
            (None, Some(rest)) => ("http", ":80", rest),
            (None, None) => return None,
        };
        let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'#' | b'"' | b'<' | b'>' | b'\\');
        if url.len() > 2048 || !rest.bytes().all(plain) {
            return None;
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end)?;
        let authority = authority.to_ascii_lowercase();
        let authority = authority.strip_suffix(port).unwrap_or(&authority);
        if !is_authority(authority) {
            return None;
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Some(Self { scheme, authority: authority.to_owned(), path })
    }
}

/// Reports whether the text is a host, or a host and a port.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match in_brackets {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
            !host.is_empty() && host.bytes().all(plain)
        }
    };
    let is_port =
        |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    is_host && port.is_none_or(is_port)
}

/// Reports whether the text is a host and a port.
pub(crate) fn is_address(text: &str) -> bool {
    let has_port = text.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    has_port && is_authority(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split_into_scheme_authority_and_path() {
        let cases = [
            ("https://idp.example.com", ("https", "idp.example.com", "/")),
            ("https://IDP.Example.com:443/keys?v=1", ("https", "idp.example.com", "/keys?v=1")),
            ("http://127.0.0.1:8080/jwks", ("http", "127.0.0.1:8080", "/jwks")),
            ("https://idp.example.com:80/", ("https", "idp.example.com:80", "/")),
            ("https://[::1]:8443?x", ("https", "[::1]:8443", "/?x")),
            ("https://[::1]/x", ("https", "[::1]", "/x")),
        ];
        for (url, (scheme, authority, path)) in cases {
            let expected = Url { scheme, authority: authority.to_owned(), path: path.to_owned() };
            assert_eq!(Url::parse(url), Some(expected), "{url}");
        }
    }

    #[test]
    fn other_text_is_no_url() {
        for url in [
            "",
            "idp.example.com",
            "//idp.example.com",
            "HTTPS://idp.example.com",
            "ftp://idp.example.com",
            "https://",
            "https:///jwks",
            "https://user@idp.example.com/",
            "https://user:secret@idp.example.com/",
            "https://idp.example.com/#x",
            "https://idp.example.com/a b",
            "https://idp.example.com/\r\nx: y",
            "https://idp.example.com:0/",
            "https://idp.example.com:65536/",
            "https://idp.example.com:/",
            "https://idp.example.com:+1/",
            "https://[::1/",
            "https://::1/",
            "https://idp.example.com\\@evil.example/",
            "https://idp.exämple.com/",
        ] {
            assert_eq!(Url::parse(url), None, "{url}");
        }
        assert_eq!(Url::parse(&format!("https://idp.example.com/{}", "x".repeat(2048))), None);
    }

    #[test]
    fn an_address_has_a_port() {
        assert!(is_address("idp.example.com:443") && is_address("[::1]:443") && is_address("10.0.0.1:8080"));
        assert!(!is_address("idp.example.com") && !is_address("[::1]") && !is_address("a:b") && !is_address(":1"));
    }
}
