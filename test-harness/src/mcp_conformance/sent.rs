//! The requests that the suite sends, line by line, and what comes back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::upstream::Received;
use crate::client::{Request, Response};

/// A request. Its headers can be changed one by one.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    method: &'static str,
    target: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Option<Vec<u8>>,
}

impl Sent {
    pub(super) fn new(method: &'static str, target: &str) -> Self {
        Self { method, target: target.to_owned(), headers: Vec::new(), body: None }
    }

    /// Replaces all lines of a header with this one, in place of the first, or adds it.
    pub(super) fn set(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let line = (name.to_owned(), value.as_ref().to_vec());
        let at = self.headers.iter().position(|(header, _)| header.eq_ignore_ascii_case(name));
        self = self.without(name);
        self.headers.insert(at.unwrap_or(self.headers.len()), line);
        self
    }

    /// Adds a line after all others.
    pub(super) fn add(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Removes all lines of a header.
    pub(super) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(header, _)| !header.eq_ignore_ascii_case(name));
        self
    }

    /// Sends it to another path.
    pub(super) fn at(mut self, target: &str) -> Self {
        self.target = target.to_owned();
        self
    }

    /// Adds this query.
    pub(super) fn query(mut self, query: &str) -> Self {
        self.target = format!("{}?{query}", self.target);
        self
    }

    /// Sends this body.
    pub(super) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Some(body.as_ref().to_vec());
        self
    }

    /// Returns the body, which is empty if there is none.
    pub(super) fn content(&self) -> &[u8] {
        self.body.as_deref().unwrap_or_default()
    }

    /// Returns the request with its length.
    pub(super) fn to_request(&self) -> Request {
        match &self.body {
            Some(body) => self.head().body(body),
            None => self.head(),
        }
    }

    /// Returns the request with its body in the chunked transfer coding, a few bytes in each chunk.
    pub(super) fn to_chunked(&self) -> Request {
        let chunks: Vec<_> = self.content().chunks(7).collect();
        self.head().chunked(&chunks)
    }

    fn head(&self) -> Request {
        let request = Request::new(self.method, &self.target);
        self.headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    }
}

/// Returns a value as it is written in `Mcp-Name` and `Mcp-Param-*` if it is not plain ASCII.
pub(super) fn encoded(value: impl AsRef<[u8]>) -> String {
    format!("=?base64?{}?=", STANDARD.encode(value))
}

/// A response, and the requests that reached the server until it arrived.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) response: Response,
    pub(super) received: Vec<Received>,
}

impl Exchange {
    /// Returns whether exactly one request reached the server.
    pub(super) fn reached(&self) -> Option<&Received> {
        match self.received.as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }

    /// Returns the request that reached the server, if its body means the same as the one that was sent.
    pub(super) fn unchanged(&self, sent: &Sent) -> Option<&Received> {
        self.reached().filter(|received| is_same(&received.body, sent.content()))
    }

    /// Returns whether the request was denied: it did not reach the server, and the client got an error.
    pub(super) fn is_denied(&self) -> bool {
        self.received.is_empty() && (self.response.status >= 400 || self.error_code().is_some())
    }

    /// Returns the code of the JSON-RPC error in the response.
    pub(super) fn error_code(&self) -> Option<i64> {
        self.response.json().pointer("/error/code")?.as_i64()
    }

    /// Returns all challenges of the response, joined as one header line.
    pub(super) fn challenges(&self) -> String {
        let lines = self.response.headers.iter().filter(|(name, _)| name == "www-authenticate");
        lines.map(|(_, value)| String::from_utf8_lossy(value)).collect::<Vec<_>>().join(", ")
    }

    /// Describes the response and what reached the server. The text does not vary between runs.
    pub(super) fn seen(&self) -> String {
        let code = self.error_code().map(|code| format!(" with {code}")).unwrap_or_default();
        let forwarded = match self.received.len() {
            0 => "not forwarded".to_owned(),
            1 => "forwarded".to_owned(),
            count => format!("forwarded {count} times"),
        };
        format!("{}{code}, {forwarded}", self.response.status)
    }
}

/// Returns whether two bodies are the same bytes or the same JSON value.
pub(super) fn is_same(left: &[u8], right: &[u8]) -> bool {
    let parse = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
    left == right || parse(left).is_some_and(|left| Some(left) == parse(right))
}

/// Returns a parameter of a challenge.
pub(super) fn parameter<'a>(challenges: &'a str, name: &str) -> Option<&'a str> {
    let start = format!("{name}=\"");
    let at = challenges.match_indices(&start).map(|(at, _)| challenges.split_at(at));
    let mut found = at.filter(|(before, _)| before.is_empty() || before.ends_with([' ', ',']));
    let (_, rest) = found.next()?;
    Some(rest.strip_prefix(start.as_str())?.split_once('"')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_lines_can_be_replaced_repeated_and_removed() {
        let sent = Sent::new("POST", "/mcp").add("Host", "x").add("A", "1").add("a", "2").add("B", "3").body("{}");
        let bytes = |sent: &Sent| String::from_utf8(sent.to_request().to_bytes()).unwrap();
        let set = bytes(&sent.clone().set("a", "4"));
        assert_eq!(set, "POST /mcp HTTP/1.1\r\nHost: x\r\na: 4\r\nB: 3\r\nContent-Length: 2\r\n\r\n{}");
        let without = bytes(&sent.clone().without("A").add("b", "5").at("/other").query("q=1"));
        let head = "POST /other?q=1 HTTP/1.1\r\nHost: x\r\nB: 3\r\nb: 5\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(without, head);
        assert_eq!(bytes(&Sent::new("GET", "/mcp")), "GET /mcp HTTP/1.1\r\n\r\n");
    }

    #[test]
    fn challenges_are_read_by_whole_names() {
        let challenges = r#"Bearer realm="x", error_scope="no", scope="a b",resource_metadata="https://x/y""#;
        assert_eq!(parameter(challenges, "scope"), Some("a b"));
        assert_eq!(parameter(challenges, "resource_metadata"), Some("https://x/y"));
        assert_eq!(parameter(challenges, "error"), None);
    }

    #[test]
    fn bodies_are_compared_by_meaning() {
        assert!(is_same(br#"{"a":1,"b":"\u0041"}"#, br#"{ "b": "A", "a": 1 }"#));
        assert!(is_same(b"no json", b"no json"));
        assert!(!is_same(b"", b"null") && !is_same(br#"{"a":1}"#, br#"{"a":2}"#));
    }
}
