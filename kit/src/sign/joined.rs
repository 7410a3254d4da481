//! Models how proxies join several lines of one header before the gate sees them.

use callgate::identity::signature::{Component, Input};

use super::Request;

/// The headers whose lines Envoy joins with `,` and no space before any filter sees them. RFC 9421, section 2.1 joins them with a
/// comma and a space. A signature that covers several lines of such a header therefore does not verify after Envoy joined them.
/// Envoy keeps the lines of other headers separate.
pub const JOINED_BY_ENVOY: [&str; 23] = [
    "accept",
    "accept-encoding",
    "access-control-request-headers",
    "access-control-request-method",
    "access-control-request-private-network",
    "cache-control",
    "cdn-loop",
    "content-encoding",
    "content-type",
    "expect",
    "grpc-accept-encoding",
    "grpc-timeout",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "origin",
    "pragma",
    "proxy-status",
    "referer",
    "user-agent",
    "via",
];

impl Request {
    /// Returns the values of a header in the order of its lines.
    fn values<'r>(&'r self, name: &'r str) -> impl Iterator<Item = &'r [u8]> {
        self.headers.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_slice())
    }

    /// Returns the request with one line of a header instead of all its lines.
    pub(super) fn with_value(&self, name: &str, value: Vec<u8>) -> Self {
        let mut request = self.clone();
        let mut value = Some(value);
        request.headers.retain_mut(|(own, own_value)| {
            if own != name {
                return true;
            }
            value.take().map(|value| *own_value = value).is_some()
        });
        request
    }

    /// Returns the lines of a header as one value without spaces between them; `None` unless there are several.
    pub(super) fn joined_without_space(&self, name: &str) -> Option<Vec<u8>> {
        let values: Vec<_> = self.values(name).collect();
        (values.len() > 1).then(|| values.join(&b","[..]))
    }

    /// Returns the request as Envoy passes it to filters.
    #[must_use]
    pub fn behind_envoy(&self) -> Self {
        JOINED_BY_ENVOY.iter().fold(self.clone(), |request, name| match request.joined_without_space(name) {
            Some(value) => request.with_value(name, value),
            None => request,
        })
    }

    /// Returns the forms that the only line of a header may have had before a proxy joined it, each joined by RFC 9421. Any comma
    /// may have joined two lines, so there is one form for each choice of commas.
    pub(super) fn joined_with_space(&self, name: &str) -> Vec<Vec<u8>> {
        /// If a value has more commas than this, only the form in which every comma joined two lines is returned.
        const MOST_COMMAS: usize = 5;
        let mut values = self.values(name);
        let (Some(value), None) = (values.next(), values.next()) else { return Vec::new() };
        let next_to_comma = value.iter().zip(value.iter().skip(1).chain([&b' ']));
        let commas: Vec<usize> = next_to_comma
            .enumerate()
            .filter(|(_, (byte, next))| **byte == b',' && !matches!(next, b' ' | b'\t'))
            .map(|(position, _)| position)
            .collect();
        let all = (1_usize << commas.len().min(MOST_COMMAS)) - 1;
        let choices = if commas.len() > MOST_COMMAS { all..=all } else { 1..=all };
        let is_chosen = |choice: usize, position: usize| {
            commas
                .iter()
                .position(|comma| *comma == position)
                .is_some_and(|bit| choice >> bit.min(MOST_COMMAS - 1) & 1 == 1)
        };
        let spaced = |choice: usize| {
            let mut joined = Vec::with_capacity(value.len() + commas.len());
            for (position, byte) in value.iter().enumerate() {
                joined.push(*byte);
                joined.extend(is_chosen(choice, position).then_some(b' '));
            }
            joined
        };
        choices.map(spaced).collect()
    }
}

/// Returns the names of the headers whose lines the signature covers unchanged.
pub(super) fn covered_as_sent<'i>(input: &'i Input<'_>) -> impl Iterator<Item = &'i str> {
    let as_sent = |component: &&Component<'_>| !component.sf && component.key.is_none();
    input
        .components
        .iter()
        .filter(as_sent)
        .map(|component| component.name.as_str())
        .filter(|name| !name.starts_with('@'))
}

/// Returns the covered headers with several lines that Envoy joins differently than the client signed them.
#[must_use]
pub fn joined_otherwise<'i>(request: &Request, input: &'i Input<'_>) -> Vec<&'i str> {
    covered_as_sent(input)
        .filter(|name| JOINED_BY_ENVOY.contains(name) && request.joined_without_space(name).is_some())
        .collect()
}

#[cfg(test)]
mod tests {
    use callgate::identity::signature::read;

    use super::*;

    fn request(lines: &[(&str, &str)]) -> Request {
        let mut request = Request::new("GET", "https://a.example/").unwrap();
        request.headers = lines.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        request
    }

    #[test]
    fn joins_the_lines_that_envoy_joins() {
        let sent = request(&[("accept", "a"), ("x", "1"), ("accept", "b,c"), ("x", "2"), ("via", "p")]);
        let seen = request(&[("accept", "a,b,c"), ("x", "1"), ("x", "2"), ("via", "p")]);
        assert_eq!(sent.behind_envoy(), seen);
        assert_eq!(seen.behind_envoy(), seen);
    }

    #[test]
    fn tries_every_comma_that_could_join_two_lines() {
        let tried = |value: &str| -> Vec<String> {
            let joined = request(&[("accept", value)]).joined_with_space("accept");
            joined.into_iter().map(|value| String::from_utf8(value).unwrap()).collect()
        };
        assert_eq!(tried("a,b"), ["a, b"]);
        assert_eq!(tried("a,b,c"), ["a, b,c", "a,b, c", "a, b, c"]);
        assert_eq!(tried("a, b"), [""; 0]);
        assert_eq!(tried("a,"), [""; 0]);
        assert_eq!(tried(""), [""; 0]);
        assert_eq!(tried("1,2,3,4,5,6").len(), 31);
        assert_eq!(tried("1,2,3,4,5,6,7"), ["1, 2, 3, 4, 5, 6, 7"]);
        assert!(request(&[("accept", "a,b"), ("accept", "c,d")]).joined_with_space("accept").is_empty());
    }

    #[test]
    fn warns_only_about_covered_headers() {
        let sent = request(&[("accept", "a"), ("accept", "b"), ("x", "1"), ("x", "2"), ("via", "a"), ("via", "b")]);
        let otherwise = |covered: &str| {
            let field = format!("s=({covered});created=1");
            let signed = read(field.as_bytes(), b"s=:AA==:").unwrap();
            joined_otherwise(&sent, &signed[0].input).join(" ")
        };
        assert_eq!(otherwise("\"accept\" \"x\""), "accept");
        assert_eq!(otherwise("\"accept\";bs"), "accept");
        assert_eq!(otherwise("\"accept\";sf"), "");
        assert_eq!(otherwise("\"@method\""), "");
    }
}
