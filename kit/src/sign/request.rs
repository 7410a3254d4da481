//! A request in the form that a signer or a person who debugs a signature has: a URL and headers, or the message itself.

use callgate::Headers;
use callgate::identity::signature::{Message, StructuredFields};

/// A request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: String,
    /// `https` or `http`.
    pub scheme: String,
    /// Host and port in lower case, without the scheme's default port.
    pub authority: String,
    /// Path and query, as clients use them.
    pub target: String,
    /// The beginning of the path that a proxy removes before the gateway.
    pub prefix: String,
    /// Header lines, names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body, if there is one.
    pub body: Option<Vec<u8>>,
}

impl Request {
    /// Returns a request of this method for a URL.
    ///
    /// # Errors
    /// Reports what is wrong with the URL.
    pub fn new(method: &str, url: &str) -> Result<Self, String> {
        const FORM: &str = "invalid URL; expected an absolute URL, such as `https://api.example.com/items?page=2`";
        let (scheme, rest) = url.split_once("://").ok_or(FORM)?;
        let scheme = scheme.to_ascii_lowercase();
        if !matches!(scheme.as_str(), "http" | "https") || url.contains(char::is_whitespace) || !url.is_ascii() {
            return Err(FORM.to_owned());
        }
        if url.contains('#') {
            return Err("a fragment is never sent; remove `#` and the text after it".to_owned());
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.is_empty() || authority.contains('@') {
            return Err(format!("the URL has no host, or contains a user; {FORM}"));
        }
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let authority = canonical(&scheme, authority);
        Ok(Self { method: method.to_owned(), scheme, authority, target, ..Self::default() })
    }

    /// Reads an HTTP/1.1 message. The message does not contain the scheme, so the caller passes `scheme`.
    ///
    /// # Errors
    /// Reports the problem and its line.
    pub fn parse(message: &[u8], scheme: &str) -> Result<Self, String> {
        let (head, body) = split(message);
        let head = std::str::from_utf8(head).map_err(|_| "the headers of the message are not text".to_owned())?;
        let mut lines = (1..).zip(head.lines());
        let (_, start) = lines.next().ok_or("the message is empty")?;
        let mut words = start.split(' ');
        let (Some(method), Some(target), Some("HTTP/1.1" | "HTTP/1.0"), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(
                "line 1 is not a request line; expected a method, a target and `HTTP/1.1`, such as `GET /items HTTP/1.1`"
                    .to_owned(),
            );
        };
        let mut request = match target.starts_with('/') {
            true => Self { scheme: scheme.to_owned(), target: target.to_owned(), ..Self::default() },
            false => Self::new(method, target).map_err(|why| format!("line 1: {why}"))?,
        };
        request.method = method.to_owned();
        for (number, line) in lines {
            let (name, value) = line
                .split_once(':')
                .filter(|(name, _)| !name.is_empty() && !name.contains([' ', '\t']))
                .ok_or_else(|| {
                    format!(
                        "line {number} is not a header; expected `name: value`, and an empty line after the last header"
                    )
                })?;
            let (name, value) = (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']));
            if name == "host" && request.authority.is_empty() {
                request.authority = canonical(scheme, value);
            }
            request.headers.push((name, value.as_bytes().to_vec()));
        }
        request.body = (!body.is_empty()).then(|| body.to_vec());
        Ok(request)
    }

    /// Sets the scheme, authority and path prefix that clients see. The path gets the prefix, unless the request already has the
    /// client's host and a path with the prefix.
    ///
    /// # Errors
    /// Reports what is wrong with the URL.
    pub fn seen_as(&mut self, url: &str) -> Result<(), String> {
        let seen = Self::new("GET", url)?;
        let prefix = seen.target.trim_end_matches('/');
        let has_prefix = self.target.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
        if self.authority != seen.authority || !has_prefix {
            self.target.insert_str(0, prefix);
        }
        self.prefix = prefix.to_owned();
        (self.scheme, self.authority) = (seen.scheme, seen.authority);
        Ok(())
    }

    /// Returns path and query as the gateway gets them.
    #[must_use]
    pub fn target_at_gateway(&self) -> &str {
        self.target.strip_prefix(&*self.prefix).unwrap_or(&self.target)
    }

    /// Returns the request with the other scheme.
    pub(super) fn with_other_scheme(&self) -> Self {
        let scheme = if self.scheme == "https" { "http" } else { "https" };
        // The header may contain the default port of this scheme, which is not the default of the other.
        let host = self.header("host").and_then(|host| std::str::from_utf8(host).ok());
        let host = host.filter(|host| canonical(&self.scheme, host) == self.authority).unwrap_or(&self.authority);
        Self { scheme: scheme.to_owned(), authority: canonical(scheme, host), ..self.clone() }
    }

    /// Returns the value of a header that occurs exactly once.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let mut values = self.headers.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_slice());
        values.next().filter(|_| values.next().is_none())
    }

    /// Returns the header lines as the engine reads them.
    #[must_use]
    pub fn lines(&self) -> Headers {
        self.headers.iter().map(|(name, value)| (name, value)).collect()
    }

    /// Returns the message to sign.
    #[must_use]
    pub fn message<'m>(&'m self, headers: &'m Headers, structured: &'m StructuredFields) -> Message<'m> {
        Message {
            method: self.method.as_bytes(),
            scheme: &self.scheme,
            authority: &self.authority,
            target: self.target.as_bytes(),
            headers,
            structured,
        }
    }
}

fn canonical(scheme: &str, authority: &str) -> String {
    let authority = authority.to_ascii_lowercase();
    let port = if scheme == "https" { ":443" } else { ":80" };
    authority.strip_suffix(port).unwrap_or(&authority).to_owned()
}

/// Splits a message into head and body at the first empty line.
fn split(message: &[u8]) -> (&[u8], &[u8]) {
    let ends = [&b"\r\n\r\n"[..], b"\n\n"];
    let found =
        ends.iter().filter_map(|end| Some((message.windows(end.len()).position(|window| window == *end)?, end.len())));
    match found.min() {
        Some((at, length)) => {
            let (head, rest) = message.split_at(at);
            (head, rest.get(length..).unwrap_or_default())
        }
        None => (message, b""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_urls_into_the_signed_components() {
        for (url, scheme, authority, target) in [
            ("https://api.example.com", "https", "api.example.com", "/"),
            ("HTTPS://API.example.com:443/a%2Fb?x=1", "https", "api.example.com", "/a%2Fb?x=1"),
            ("http://localhost:8080?x", "http", "localhost:8080", "/?x"),
            ("http://api.example.com:80/", "http", "api.example.com", "/"),
        ] {
            let request = Request::new("GET", url).unwrap();
            assert_eq!((&*request.scheme, &*request.authority, &*request.target), (scheme, authority, target), "{url}");
        }
        for wrong in [
            "",
            "/items",
            "api.example.com/items",
            "ftp://a/b",
            "https:///a",
            "https://u@a/",
            "https://a/b#c",
            "https://a/ b",
        ] {
            Request::new("GET", wrong).unwrap_err();
        }
    }

    #[test]
    fn adds_the_prefix_that_clients_see_once() {
        for (url, external, target, at_gateway) in [
            ("https://inside.example/items?x=1", "https://api.example.com", "/items?x=1", "/items?x=1"),
            ("https://inside.example/items?x=1", "https://api.example.com/", "/items?x=1", "/items?x=1"),
            ("https://inside.example/items?x=1", "https://api.example.com/v1", "/v1/items?x=1", "/items?x=1"),
            ("https://inside.example/v1/items", "https://api.example.com/v1", "/v1/v1/items", "/v1/items"),
            ("https://api.example.com/v1/items", "https://api.example.com/v1", "/v1/items", "/items"),
            ("https://api.example.com/v10/items", "https://api.example.com/v1", "/v1/v10/items", "/v10/items"),
            ("https://api.example.com/items", "https://api.example.com/v1", "/v1/items", "/items"),
        ] {
            let mut request = Request::new("GET", url).unwrap();
            request.seen_as(external).unwrap();
            assert_eq!((&*request.target, request.target_at_gateway()), (target, at_gateway), "{url} {external}");
            assert_eq!(request.authority, "api.example.com");
        }
    }

    #[test]
    fn parses_a_message_with_crlf_or_lf_line_ends() {
        for end in ["\r\n", "\n"] {
            let message =
                ["POST /items?x=1 HTTP/1.1", "Host: API.example.com:443", "X-A:  b ", "", "{\"a\":\n\n1}"].join(end);
            let request = Request::parse(message.as_bytes(), "https").unwrap();
            assert_eq!(
                (&*request.method, &*request.authority, &*request.target),
                ("POST", "api.example.com", "/items?x=1")
            );
            assert_eq!(request.header("x-a"), Some(&b"b"[..]));
            assert_eq!(request.body.as_deref(), Some(&b"{\"a\":\n\n1}"[..]));
        }
        let absolute = Request::parse(b"GET http://a.example/x HTTP/1.1\nHost: b.example\n\n", "https").unwrap();
        assert_eq!((&*absolute.scheme, &*absolute.authority, absolute.body), ("http", "a.example", None));
    }

    #[test]
    fn rejects_a_malformed_message_with_its_line() {
        for (message, why) in [
            ("", "the message is empty"),
            ("GET /items", "line 1 is not a request line"),
            ("GET /items HTTP/2\n\n", "line 1 is not a request line"),
            ("GET items HTTP/1.1\n\n", "line 1: invalid URL"),
            ("GET / HTTP/1.1\nHost: a\nnonsense\n\n", "line 3 is not a header"),
            ("GET / HTTP/1.1\nX-A: b\n folded\n\n", "line 3 is not a header"),
        ] {
            let error = Request::parse(message.as_bytes(), "https").unwrap_err();
            assert!(error.contains(why), "{message}: {error}");
        }
    }
}
