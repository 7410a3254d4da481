//! Messages as text. This module applies the transformations that a gateway applies before a filter sees a message.

use callgate::conformance::Request;

/// A message in the form that vectors use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    /// The first line, if there is one.
    pub(super) start_line: Option<String>,
    /// The field lines, without surrounding white space and line folding.
    pub(super) headers: Vec<(String, String)>,
}

impl Message {
    /// Parses a message with `\n` as line ends. Does not interpret the text after an empty line.
    pub(super) fn parse(text: &str) -> Self {
        let mut message = Self::default();
        for (number, line) in text.split('\n').take_while(|line| !line.is_empty()).enumerate() {
            let starts = line.starts_with("HTTP/") || line.ends_with(" HTTP/1.1");
            if number == 0 && starts {
                message.start_line = Some(line.to_owned());
            } else if line.starts_with([' ', '\t']) {
                if let Some((_, value)) = message.headers.last_mut() {
                    value.push(' ');
                    value.push_str(line.trim());
                }
            } else if let Some((name, value)) = line.split_once(':') {
                message.headers.push((name.to_owned(), value.trim().to_owned()));
            }
        }
        message
    }

    pub(super) fn is_response(&self) -> bool {
        self.start_line.as_ref().is_some_and(|line| line.starts_with("HTTP/"))
    }

    /// Returns the request that a gateway would make of this message. For a message with fields only, returns a plain request.
    pub(super) fn request(&self, scheme: &str) -> Request {
        let mut words = self.start_line.iter().filter(|_| !self.is_response()).flat_map(|line| line.split(' '));
        let method = words.next().unwrap_or("GET").to_owned();
        let target = words.next().unwrap_or("/").to_owned();
        let host = self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
        let of_target = || target.split_once("://").and_then(|(_, rest)| rest.split('/').next());
        let authority = host.map(|(_, value)| value.as_str()).or_else(of_target).unwrap_or("example.com");
        Request {
            authority: authority.to_ascii_lowercase(),
            method,
            scheme: scheme.to_owned(),
            target,
            headers: self.headers.clone(),
            dictionaries: vec!["example-dict".to_owned()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfolds_and_trims_header_fields() {
        let message = Message::parse("POST /a?b HTTP/1.1\nHost: WWW.example.com\nX:  a \n\t b\nY:\n\nbody: no");
        let request = message.request("https");
        assert_eq!((&*request.method, &*request.target, &*request.authority), ("POST", "/a?b", "www.example.com"));
        let lines = [("Host", "WWW.example.com"), ("X", "a b"), ("Y", "")];
        assert_eq!(request.headers, lines.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn parses_messages_without_a_host_or_a_request_line() {
        let absolute = Message::parse("GET https://www.example.com/a HTTP/1.1").request("https");
        assert_eq!((&*absolute.authority, &*absolute.target), ("www.example.com", "https://www.example.com/a"));
        let fields = Message::parse("X: a").request("https");
        assert_eq!((&*fields.method, &*fields.target, fields.headers.len()), ("GET", "/", 1));
        assert!(Message::parse("HTTP/1.1 200 OK\nX: a").is_response());
        assert_eq!(Message::parse("(any request)"), Message::default());
    }
}
