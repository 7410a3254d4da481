//! The head of a request, read once: the relevant lines, and the ambiguous ones.
//!
//! Only requests that two readers could interpret differently are rejected here. Later checks interpret the request.

use crate::document::Overrides;
use crate::reason::Reason;
use crate::request::headers::{Headers, name_begins_like, name_is, name_reads_as};
use crate::request::places::Elsewhere;
use crate::text::ascii::is_without;

/// Headers with which a client overrides the method or the path of its own request in some framework or server. There are others;
/// policies add those of their upstreams. The names are in lower case with hyphens, as
/// [`name_reads_as`](crate::request::headers::name_reads_as) expects.
pub const OVERRIDE_HEADERS: [&str; 8] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
    // The path at which an application is mounted. gunicorn, uWSGI and Daphne remove it from the path.
    "x-script-name",
    "script-name",
    "daphne-root-path",
];

/// Headers that frame or describe the body, or that Callgate verifies. If another name reads as one of these but is spelled differently,
/// some servers interpret it and others ignore it. `Host`, `Connection`, `Authorization`, `DPoP`, `Expect`, `Upgrade` and `TE` have no
/// such lookalikes, because they contain no separator.
pub(crate) const WITHOUT_LOOKALIKES: [&str; 8] = [
    "content-length",
    "content-type",
    "transfer-encoding",
    "content-encoding",
    "content-digest",
    "signature-input",
    "signature-agent",
    "early-data",
];

/// The options that `Connection` may name. Anything else names a header that the next hop would drop (RFC 9110, section 7.6.1).
const CONNECTION_OPTIONS: [&[u8]; 5] = [b"close", b"keep-alive", b"upgrade", b"te", b"http2-settings"];

/// The lines of a request that Callgate reads. Values are unchanged.
#[derive(Debug, Default, Clone)]
pub(crate) struct Head<'a> {
    pub(crate) method: &'a [u8],
    /// Path and query.
    pub(crate) target: &'a [u8],
    pub(crate) host: Option<&'a [u8]>,
    /// Whether the host is in `Host`, and there is no `:authority`.
    pub(crate) host_in_line: bool,
    pub(crate) authorization: Lines<'a>,
    /// Tokens in other places of the policy, which [`OtherPlaces`](crate::request::places::OtherPlaces) reads.
    pub(crate) elsewhere: Elsewhere<'a>,
    pub(crate) dpop: Lines<'a>,
    pub(crate) content_type: Lines<'a>,
    pub(crate) upgrade: Lines<'a>,
    pub(crate) content_length: Option<&'a [u8]>,
    pub(crate) has_transfer_encoding: bool,
    pub(crate) has_origin: bool,
    /// Whether a hop received the request in TLS early data, which anyone can replay (RFC 8470).
    pub(crate) early_data: bool,
    pub(crate) has_preflight_method: bool,
    pub(crate) request_id: Option<&'a [u8]>,
    pub(crate) traceparent: Lines<'a>,
    /// Names of inbound headers that look like Callgate's own headers or like those with forwarded claims, as received.
    pub(crate) posing: Vec<&'a [u8]>,
    /// Names of inbound override headers, as received.
    pub(crate) overrides: Vec<&'a [u8]>,
}

/// The lines with one name: the first one, and their number.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Lines<'a> {
    pub(crate) first: Option<&'a [u8]>,
    pub(crate) count: u32,
}

impl<'a> Lines<'a> {
    fn add(&mut self, value: &'a [u8]) {
        self.first.get_or_insert(value);
        self.count = self.count.saturating_add(1);
    }

    /// Returns the value if there is exactly one line.
    pub(crate) fn only(&self) -> Option<&'a [u8]> {
        self.first.filter(|_| self.count == 1)
    }
}

impl<'a> Head<'a> {
    /// Returns the head of these lines, as [`fill`](Self::fill) reads it.
    #[cfg(all(any(test, feature = "testing"), not(target_arch = "wasm32")))]
    pub(crate) fn read(
        headers: &'a Headers,
        prefix: &str,
        overrides: Overrides,
        added: &[Box<str>],
        refuse: impl FnMut(Reason),
    ) -> Self {
        let mut head = Self::default();
        head.fill(headers, prefix, overrides, added, refuse);
        head
    }

    /// Reads the lines in one pass, into an empty head where it is, because a head is large to move. Each ambiguity is reported to
    /// `refuse`, in the order of the lines. The result is complete even then, for an evaluation in observe mode.
    ///
    /// `added` lists the override headers that the policy adds to the [known ones](OVERRIDE_HEADERS).
    pub(crate) fn fill(
        &mut self,
        headers: &'a Headers,
        prefix: &str,
        overrides: Overrides,
        added: &[Box<str>],
        mut refuse: impl FnMut(Reason),
    ) {
        let head = self;
        let (mut authority, mut host, mut authorization) = (Lines::default(), Lines::default(), Lines::default());
        let mut content_length = Lines::default();
        for (name, value) in headers.iter() {
            if name_begins_like(name, prefix) {
                head.posing.push(name);
                continue;
            }
            // The first byte rules out most lines.
            match name.first().map(u8::to_ascii_lowercase) {
                Some(b':') => match name {
                    b":method" => head.method = value,
                    b":path" => head.target = value,
                    b":authority" => authority.add(value),
                    _ => {}
                },
                Some(b'a') if name_is(name, "authorization") => authorization.add(value),
                Some(b'a') if name_is(name, "access-control-request-method") => head.has_preflight_method = true,
                Some(b'c') if name_is(name, "content-length") => content_length.add(value),
                Some(b'c') if name_is(name, "content-type") => head.content_type.add(value),
                Some(b'c') if name_is(name, "connection") && !names_only_options(value) => {
                    refuse(Reason::ConnectionNomination);
                }
                Some(b'd') if name_is(name, "dpop") => head.dpop.add(value),
                Some(b'e') if name_is(name, "early-data") => head.early_data |= value.trim_ascii() == b"1",
                Some(b'h') if name_is(name, "host") => host.add(value),
                Some(b'o') if name_is(name, "origin") => head.has_origin = true,
                Some(b't') if name_is(name, "traceparent") => head.traceparent.add(value),
                Some(b't') if name_is(name, "transfer-encoding") => head.has_transfer_encoding = true,
                Some(b'u') if name_is(name, "upgrade") => head.upgrade.add(value),
                Some(b'x') if name_is(name, "x-request-id") => head.request_id = Some(value),
                Some(b'c' | b'e' | b's' | b't') if is_lookalike(name) => refuse(Reason::HeaderLookalike),
                first if overrides_request(first, name, added) => {
                    head.overrides.push(name);
                    if overrides == Overrides::Reject {
                        refuse(Reason::MethodOverride);
                    }
                }
                _ => {}
            }
        }
        // Envoy converts `Host` to `:authority`, so a request with both names its host twice.
        if authority.count.saturating_add(host.count) > 1 {
            refuse(Reason::DuplicateHost);
        }
        if authorization.count > 1 {
            refuse(Reason::DuplicateAuthorization);
        }
        if head.dpop.count > 1 {
            refuse(Reason::DuplicateDpop);
        }
        if content_length.count > 1 {
            refuse(Reason::DuplicateContentLength);
        }
        head.host = authority.first.or(host.first);
        head.host_in_line = authority.count == 0;
        head.authorization = authorization;
        head.content_length = content_length.first;
    }
}

impl Head<'_> {
    /// Returns the length in `Content-Length`, or `None` if it is absent or unreadable.
    pub(crate) fn length(&self) -> Option<u64> {
        str::from_utf8(self.content_length?).ok()?.parse().ok()
    }

    /// Returns whether the head announces a body. Over HTTP/1.1 every body is announced; over HTTP/2 a body may follow without that.
    pub(crate) fn announces_body(&self) -> bool {
        self.has_transfer_encoding || self.content_length.is_some_and(|length| length.trim_ascii() != b"0")
    }
}

/// Returns whether a name reads as one of [`WITHOUT_LOOKALIKES`] but is spelled differently.
fn is_lookalike(name: &[u8]) -> bool {
    WITHOUT_LOOKALIKES.iter().any(|known| name_reads_as(name, known) && !name_is(name, known))
}

/// Returns whether a header overrides the method or the path. `first` is the first byte of its name, in lower case.
fn overrides_request(first: Option<u8>, name: &[u8], added: &[Box<str>]) -> bool {
    matches!(first, Some(b'd' | b's' | b'x')) && OVERRIDE_HEADERS.iter().any(|known| name_reads_as(name, known))
        || added.iter().any(|known| name_reads_as(name, known))
}

/// Returns whether a value contains, at any position, a media type that HTML forms send, or one that some framework reads like them (Rack
/// accepts every `multipart/`).
pub(crate) fn is_form(value: &[u8]) -> bool {
    // Both contain an M, which most other media types do not.
    if is_without::<b'm'>(value) && is_without::<b'M'>(value) {
        return false;
    }
    ["application/x-www-form-urlencoded", "multipart/"]
        .iter()
        .any(|form| value.windows(form.len()).any(|part| part.eq_ignore_ascii_case(form.as_bytes())))
}

/// Returns whether a value contains, at any position, JSON as media type, or a type that some framework reads like it (`*+json`,
/// `text/x-json`, `application/jsonrequest`).
pub(crate) fn is_json(value: &[u8]) -> bool {
    value.windows(4).any(|part| part.eq_ignore_ascii_case(b"json"))
}

fn names_only_options(value: &[u8]) -> bool {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .all(|option| option.is_empty() || CONNECTION_OPTIONS.iter().any(|known| option.eq_ignore_ascii_case(known)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusals(lines: &[(&str, &str)]) -> Vec<Reason> {
        let headers: Headers = lines.iter().copied().collect();
        let mut found = Vec::new();
        Head::read(&headers, "x-callgate-", Overrides::Reject, &[], |reason| found.push(reason));
        found
    }

    #[test]
    fn reads_each_known_header() {
        let headers: Headers = [
            (":method", "GET"),
            (":path", "/a?b"),
            (":authority", "api.example.com"),
            ("authorization", "Bearer t"),
            ("X-Callgate-Agent", "me"),
            ("x_callgate.subject", "me"),
            ("x-request-id", "r1"),
        ]
        .into_iter()
        .collect();
        let head = Head::read(&headers, "x-callgate-", Overrides::Reject, &[], |reason| panic!("{reason:?}"));
        assert_eq!((head.method, head.target), (&b"GET"[..], &b"/a?b"[..]));
        assert_eq!(head.host, Some(&b"api.example.com"[..]));
        assert_eq!(head.authorization.only(), Some(&b"Bearer t"[..]));
        assert_eq!(head.posing, [&b"X-Callgate-Agent"[..], b"x_callgate.subject"]);
        assert_eq!(head.request_id, Some(&b"r1"[..]));
    }

    #[test]
    fn ignores_names_that_only_begin_like_known_ones() {
        let names = [
            "accept",
            "accept",
            "cache-control",
            "cookie",
            "date",
            "dnt",
            "downlink",
            "forwarded",
            "if-match",
            "from",
            "origin-trial",
            "hint",
            "http2-settings",
            "te",
            "trailer",
            "tracestate",
            "user-agent",
            "ua",
            "x-forwarded-for",
        ];
        let headers: Headers = names.iter().map(|name| (name, "a, b")).collect();
        let head = Head::read(&headers, "x-callgate-", Overrides::Reject, &[], |reason| panic!("{reason:?}"));
        let counts = [head.authorization, head.content_type, head.upgrade, head.traceparent].map(|lines| lines.count);
        assert_eq!((head.host, counts), (None, [0; 4]));
        let flags =
            [head.content_length.is_some(), head.has_transfer_encoding, head.has_origin, head.has_preflight_method];
        assert_eq!(flags, [false; 4]);
        assert!(head.posing.is_empty() && head.overrides.is_empty() && head.request_id.is_none());
    }

    #[test]
    fn reads_known_headers_in_any_case() {
        let headers: Headers = [
            ("Traceparent", "00-1"),
            ("Upgrade", "websocket"),
            ("Content-TYPE", "text/plain"),
            ("Content-Length", "1"),
            ("Transfer-Encoding", "chunked"),
            ("ORIGIN", "https://a"),
            ("Access-Control-Request-Method", "GET"),
        ]
        .into_iter()
        .collect();
        let head = Head::read(&headers, "x-callgate-", Overrides::Reject, &[], |reason| panic!("{reason:?}"));
        let values = [head.traceparent, head.upgrade, head.content_type].map(|lines| lines.only());
        assert_eq!(values, [Some(&b"00-1"[..]), Some(b"websocket"), Some(b"text/plain")]);
        let flags =
            [head.content_length.is_some(), head.has_transfer_encoding, head.has_origin, head.has_preflight_method];
        assert_eq!(flags, [true; 4]);
    }

    #[test]
    fn rejects_duplicate_headers_in_any_case() {
        assert_eq!(refusals(&[(":authority", "a"), ("host", "a")]), [Reason::DuplicateHost]);
        assert_eq!(refusals(&[("host", "a"), ("Host", "b")]), [Reason::DuplicateHost]);
        assert_eq!(refusals(&[("authorization", "a"), ("Authorization", "a")]), [Reason::DuplicateAuthorization]);
        assert_eq!(refusals(&[("dpop", "a"), ("DPoP", "b")]), [Reason::DuplicateDpop]);
        assert_eq!(refusals(&[("content-length", "1"), ("Content-Length", "1")]), [Reason::DuplicateContentLength]);
    }

    #[test]
    fn rejects_a_lookalike_of_content_length() {
        assert_eq!(refusals(&[("content_length", "1")]), [Reason::HeaderLookalike]);
        // The lookalike does not frame the body, so there is only one length.
        assert_eq!(refusals(&[("content-length", "1"), ("content_length", "1")]), [Reason::HeaderLookalike]);
    }

    #[test]
    fn rejects_every_lookalike_of_a_protected_header() {
        for known in WITHOUT_LOOKALIKES {
            assert_eq!(refusals(&[(known, "0"), ("te", "trailers"), ("expect", "100-continue")]), [], "{known}");
            assert_eq!(refusals(&[(&known.to_uppercase(), "0")]), [], "{known}");
            for separator in "!#$%&'*+.^_`|~ \0\u{7f}".chars() {
                let name = known.replace('-', &separator.to_string());
                assert_eq!(refusals(&[(&name, "0")]), [Reason::HeaderLookalike], "{name}");
                assert_eq!(refusals(&[(&name.to_uppercase(), "0")]), [Reason::HeaderLookalike], "{name}");
            }
            assert_eq!(refusals(&[(&format!("{known}s"), "0"), (&format!("x-{known}"), "0")]), [], "{known}");
        }
        let headers: Headers = [(&b"content\xfflength"[..], "1")].into_iter().collect();
        let mut found = Vec::new();
        Head::read(&headers, "x-callgate-", Overrides::Reject, &[], |reason| found.push(reason));
        assert_eq!(found, [Reason::HeaderLookalike]);
    }

    #[test]
    fn ignores_a_lookalike_of_the_preflight_header() {
        let headers: Headers = [("access_control_request_method", "GET")].into_iter().collect();
        let head = Head::read(&headers, "x-callgate-", Overrides::Reject, &[], |reason| panic!("{reason:?}"));
        assert!(!head.has_preflight_method);
    }

    #[test]
    fn rejects_connection_options_that_name_other_headers() {
        for value in ["close", "Keep-Alive", "Upgrade, HTTP2-Settings", "te", "", "close,,"] {
            assert_eq!(refusals(&[("connection", value)]), [], "{value}");
        }
        for value in ["x-callgate-agent", "close, authorization", "upgrade, te, x"] {
            assert_eq!(refusals(&[("connection", value)]), [Reason::ConnectionNomination], "{value}");
        }
    }

    #[test]
    fn rejects_or_lists_override_headers() {
        for name in [
            "X-HTTP-Method-Override",
            "x_http_method",
            "x.method.override",
            "x-original-url",
            "X-Rewrite-URL",
            "X~Original|URL",
            "SCRIPT_NAME",
            "Script-Name",
            "script!name",
            "X-Script_Name",
            "Daphne-Root-Path",
            "daphne_root-path",
        ] {
            assert_eq!(refusals(&[(name, "DELETE")]), [Reason::MethodOverride], "{name}");
            let headers: Headers = [(name, "DELETE")].into_iter().collect();
            let head = Head::read(&headers, "x-callgate-", Overrides::Remove, &[], |reason| panic!("{reason:?}"));
            assert_eq!(head.overrides, [name.as_bytes()]);
        }
        for name in ["x-http-methods", "scriptname", "script-names", "root-path", "x-forwarded-prefix", "~script-name"]
        {
            assert_eq!(refusals(&[(name, "DELETE")]), [], "{name}");
        }
    }

    #[test]
    fn a_policy_adds_override_headers() {
        let added = ["x-forwarded-prefix".into(), "base".into(), "7-up".into()];
        let headers: Headers =
            [("X_Forwarded~Prefix", "/a"), ("BASE", "/a"), ("7+up", "/a"), ("x-http-method", "GET"), ("bases", "/a")]
                .into_iter()
                .collect();
        let mut found = Vec::new();
        let head = Head::read(&headers, "x-callgate-", Overrides::Reject, &added, |reason| found.push(reason));
        assert_eq!(found, [Reason::MethodOverride; 4]);
        assert_eq!(head.overrides, [&b"X_Forwarded~Prefix"[..], b"BASE", b"7+up", b"x-http-method"]);
    }

    #[test]
    fn returns_no_credential_for_two_authorization_headers() {
        let headers: Headers = [("authorization", "Bearer a"), ("authorization", "Bearer b")].into_iter().collect();
        assert_eq!(Head::read(&headers, "x-callgate-", Overrides::Reject, &[], |_| {}).authorization.only(), None);
    }

    #[test]
    fn detects_form_types_anywhere_in_content_type() {
        for yes in [
            "application/x-www-form-urlencoded",
            "Multipart/Form-Data; boundary=x",
            "application/x-www-form-urlencoded;charset=utf-8",
            "text/plain; application/x-www-form-urlencoded",
            "multipart/mixed; boundary=x",
        ] {
            assert!(is_form(yes.as_bytes()), "{yes}");
        }
        for no in ["application/json", "text/plain", ""] {
            assert!(!is_form(no.as_bytes()), "{no}");
        }
    }

    #[test]
    fn detects_json_anywhere_in_content_type() {
        for yes in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "text/json",
            "application/vnd.api+json",
            "application/merge-patch+JSON",
            "text/x-json",
            "application/jsonrequest",
            "text/plain; x=application/json",
            "text/plain, application/json",
        ] {
            assert!(is_json(yes.as_bytes()), "{yes}");
        }
        for no in ["application/x-www-form-urlencoded", "text/plain", "application/js", "jso n", ""] {
            assert!(!is_json(no.as_bytes()), "{no}");
        }
    }
}
