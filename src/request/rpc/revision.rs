//! The revision of MCP in which a request speaks.

use std::borrow::Cow;

use super::headers::McpHeaders;
use super::{RpcFault, RpcRequest};
use crate::document::McpRevision;
use crate::text::ascii::are_printable;

/// The member of `_meta` that names the revision.
const OF_META: &str = "io.modelcontextprotocol/protocolVersion";
/// The request with which clients of revisions before 2026 begin a session.
const INITIALIZE: &str = "initialize";
/// The maximum length of an unknown revision that an answer repeats, in bytes.
const MOST_REPEATED: usize = 64;

/// Returns the revision of a request or notification: that of `MCP-Protocol-Version`, or of the body for an `initialize`. Without both, see
/// [`of_session`].
///
/// An `initialize` proposes a revision in its body, and may follow another session whose revision is still in its header, which must be
/// listed. The newer one counts. A proposal that is not listed counts as the newest listed revision with sessions.
///
/// # Errors
/// [`RpcFault::Revision`] if the endpoint does not list it. [`RpcFault::HeaderMismatch`] if the revision in `_meta` differs from that in the
/// header, and if a request of a stateless revision lacks one of them. [`RpcFault::Malformed`] or [`RpcFault::Ambiguous`] if the revision in
/// the body cannot be read.
pub(crate) fn of_request(
    headers: &McpHeaders<'_>,
    request: &RpcRequest<'_>,
    listed: &[McpRevision],
) -> Result<McpRevision, RpcFault> {
    let meta = of_meta(request)?;
    if meta.as_ref().is_some_and(|meta| headers.version != Some(meta.as_bytes())) {
        return Err(RpcFault::HeaderMismatch);
    }
    let mut revision = None;
    if let Some(version) = headers.version {
        revision = Some(among(version, listed)?);
    }
    if request.method == INITIALIZE {
        let version = request.text_param("protocolVersion")?.ok_or(RpcFault::Malformed)?;
        // Servers answer a proposal that they do not support with another revision, and later requests must name a listed one.
        let proposed = among(version.as_bytes(), listed).or_else(|_| newest_with_sessions(listed))?;
        revision = revision.max(Some(proposed));
    }
    let Some(revision) = revision else { return of_session(headers, listed) };
    let is_complete = headers.version.is_some() && (meta.is_some() || request.id.is_none());
    if revision.is_stateless() && !is_complete { Err(RpcFault::HeaderMismatch) } else { Ok(revision) }
}

/// Returns the revision of a request without a message, or with a client's response. Without `MCP-Protocol-Version`, it is the newest
/// listed revision before 2026.
///
/// The specifications of 2025 tell servers to assume 2025-03-26 then, which no endpoint can list. Clients of the listed revisions send the
/// header from the answer to `initialize` on, and a request without it comes from an older client, or from one that violates its specification.
/// What either of them sends is decided in the same way in all revisions before 2026, except that newer ones define more methods, which
/// must be listed.
///
/// # Errors
/// [`RpcFault::Revision`] if the endpoint does not list it.
pub(crate) fn of_session(headers: &McpHeaders<'_>, listed: &[McpRevision]) -> Result<McpRevision, RpcFault> {
    match headers.version {
        Some(version) => among(version, listed),
        None => newest_with_sessions(listed),
    }
}

fn newest_with_sessions(listed: &[McpRevision]) -> Result<McpRevision, RpcFault> {
    listed.iter().copied().filter(|listed| !listed.is_stateless()).max().ok_or(RpcFault::Revision)
}

/// Returns the revision that the endpoint does not list, for the answer, or `None` if the request names none that can be repeated.
pub(crate) fn unlisted<'r>(
    headers: &McpHeaders<'r>,
    request: Option<&RpcRequest<'r>>,
    listed: &[McpRevision],
) -> Option<Cow<'r, str>> {
    let of_header = headers.version.and_then(|version| str::from_utf8(version).ok()).map(Cow::Borrowed);
    let of_body = request.filter(|request| request.method == INITIALIZE);
    let of_body = of_body.and_then(|request| request.text_param("protocolVersion").ok().flatten());
    let can_be_repeated = |version: &Cow<'_, str>| {
        version.len() <= MOST_REPEATED
            && are_printable(version.as_bytes())
            && among(version.as_bytes(), listed).is_err()
    };
    of_header.into_iter().chain(of_body).find(can_be_repeated)
}

fn among(version: &[u8], listed: &[McpRevision]) -> Result<McpRevision, RpcFault> {
    let named = listed.iter().copied().find(|listed| listed.name().as_bytes() == version);
    named.ok_or(RpcFault::Revision)
}

/// Returns the revision in `_meta`.
fn of_meta<'t>(request: &RpcRequest<'t>) -> Result<Option<Cow<'t, str>>, RpcFault> {
    let Some(meta) = request.param("_meta")? else { return Ok(None) };
    let Some(version) = meta.member(OF_META)? else { return Ok(None) };
    version.string().map(Some).ok_or(RpcFault::HeaderMismatch)
}

#[cfg(test)]
mod tests {
    use super::super::tests::request;
    use super::*;
    use crate::document::McpRevision::{V2025_06_18, V2025_11_25, V2026_07_28};
    use crate::request::headers::Headers;

    const ALL: [McpRevision; 3] = [V2025_06_18, V2025_11_25, V2026_07_28];
    const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;

    fn headers(version: Option<&str>) -> Headers {
        version.map(|version| ("mcp-protocol-version", version)).into_iter().collect()
    }

    fn revision(version: Option<&str>, message: &str, listed: &[McpRevision]) -> Result<McpRevision, RpcFault> {
        let headers = headers(version);
        of_request(&McpHeaders::read(&headers).unwrap(), &request(message), listed)
    }

    /// Returns a request with this revision in `_meta`, in JSON.
    fn with_meta(version: &str) -> String {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"_meta":{{"io.modelcontextprotocol/protocolVersion":{version}}}}}}}"#
        )
    }

    fn initialize(version: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":{version}}}}}"#)
    }

    #[test]
    fn the_header_names_the_revision() {
        for known in [V2025_06_18, V2025_11_25] {
            assert_eq!(revision(Some(known.name()), LIST, &ALL), Ok(known));
        }
        assert_eq!(revision(Some("2026-07-28"), &with_meta("\"2026-07-28\""), &ALL), Ok(V2026_07_28));
        for unlisted in [
            "2025-03-26",
            "2024-11-05",
            "2027-01-01",
            "",
            "2025-06-18,2025-06-18",
            "2025-06-18 x",
            "=?base64?MjAyNS0wNi0xOA==?=",
        ] {
            assert_eq!(revision(Some(unlisted), LIST, &ALL), Err(RpcFault::Revision), "{unlisted}");
        }
        assert_eq!(revision(Some("2025-06-18"), LIST, &[V2025_11_25, V2026_07_28]), Err(RpcFault::Revision));
    }

    #[test]
    fn without_a_header_the_newest_revision_with_sessions_counts() {
        assert_eq!(revision(None, LIST, &ALL), Ok(V2025_11_25));
        assert_eq!(revision(None, LIST, &[V2026_07_28, V2025_06_18]), Ok(V2025_06_18));
        assert_eq!(revision(None, LIST, &[V2026_07_28]), Err(RpcFault::Revision));
        let none = Headers::default();
        let none = McpHeaders::read(&none).unwrap();
        assert_eq!(of_session(&none, &ALL), Ok(V2025_11_25));
        assert_eq!(of_session(&none, &[V2026_07_28]), Err(RpcFault::Revision));
        let named = headers(Some("2026-07-28"));
        assert_eq!(of_session(&McpHeaders::read(&named).unwrap(), &ALL), Ok(V2026_07_28));
    }

    #[test]
    fn the_body_must_agree_with_the_header() {
        for (version, message, fault) in [
            (Some("2026-07-28"), LIST.to_owned(), RpcFault::HeaderMismatch),
            (None, with_meta("\"2026-07-28\""), RpcFault::HeaderMismatch),
            (None, with_meta("\"2025-06-18\""), RpcFault::HeaderMismatch),
            (Some("2025-11-25"), with_meta("\"2026-07-28\""), RpcFault::HeaderMismatch),
            (Some("2026-07-28"), with_meta("\"2025-11-25\""), RpcFault::HeaderMismatch),
            (Some("2026-07-28"), with_meta("null"), RpcFault::HeaderMismatch),
            (Some("2026-07-28"), with_meta("20260728"), RpcFault::HeaderMismatch),
            (Some("2027-01-01"), with_meta("\"2027-01-01\""), RpcFault::Revision),
            (
                Some("2026-07-28"),
                with_meta("\"2026-07-28\"").replace("protocolVersion", "ProtocolVersion"),
                RpcFault::Ambiguous,
            ),
            (Some("2026-07-28"), with_meta("\"2026-07-28\"").replace("_meta", "_META"), RpcFault::Ambiguous),
        ] {
            assert_eq!(revision(version, &message, &ALL), Err(fault), "{version:?} {message}");
        }
        assert_eq!(revision(Some("2025-11-25"), &with_meta("\"2025-11-25\""), &ALL), Ok(V2025_11_25));
    }

    #[test]
    fn a_notification_needs_no_revision_in_its_body() {
        let notification = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
        assert_eq!(revision(Some("2026-07-28"), notification, &ALL), Ok(V2026_07_28));
        assert_eq!(revision(None, notification, &ALL), Ok(V2025_11_25));
        assert_eq!(revision(None, notification, &[V2026_07_28]), Err(RpcFault::Revision));
    }

    #[test]
    fn initialize_names_its_revision_in_the_body() {
        for (version, asked, result) in [
            (None, "\"2025-06-18\"", Ok(V2025_06_18)),
            (None, "\"2025-11-25\"", Ok(V2025_11_25)),
            // The header of an earlier session.
            (Some("2025-06-18"), "\"2025-11-25\"", Ok(V2025_11_25)),
            (Some("2025-11-25"), "\"2025-06-18\"", Ok(V2025_11_25)),
            (Some("2025-03-26"), "\"2025-06-18\"", Err(RpcFault::Revision)),
            // Servers answer such a proposal with a revision that they support.
            (None, "\"2025-03-26\"", Ok(V2025_11_25)),
            (Some("2025-06-18"), "\"2025-03-26\"", Ok(V2025_11_25)),
            (None, "\"2027-01-01\"", Ok(V2025_11_25)),
            // Stateless revisions have no such request.
            (None, "\"2026-07-28\"", Err(RpcFault::HeaderMismatch)),
            (Some("2026-07-28"), "\"2025-11-25\"", Err(RpcFault::HeaderMismatch)),
            (None, "null", Err(RpcFault::Malformed)),
            (None, "[\"2025-06-18\"]", Err(RpcFault::Malformed)),
        ] {
            assert_eq!(revision(version, &initialize(asked), &ALL), result, "{version:?} {asked}");
        }
        assert_eq!(revision(None, &initialize("\"2025-11-25\""), &[V2025_06_18]), Ok(V2025_06_18));
        assert_eq!(revision(None, &initialize("\"2025-11-25\""), &[V2026_07_28]), Err(RpcFault::Revision));
        let absent = r#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#;
        assert_eq!(revision(None, absent, &ALL), Err(RpcFault::Malformed));
    }

    #[test]
    fn an_answer_repeats_the_unlisted_revision() {
        let long = "1".repeat(65);
        for (version, message, expected) in [
            (Some("1900-01-01"), LIST.to_owned(), Some("1900-01-01")),
            (None, LIST.to_owned(), None),
            (Some("2025-06-18"), initialize("\"2025-03-26\""), Some("2025-03-26")),
            (None, initialize("\"2025-03-26\""), Some("2025-03-26")),
            (Some(&*long), LIST.to_owned(), None),
            (Some("\u{e4}"), LIST.to_owned(), None),
            (Some("a\u{1b}[0m"), LIST.to_owned(), None),
        ] {
            let headers = headers(version);
            let headers = McpHeaders::read(&headers).unwrap();
            let request = request(&message);
            assert_eq!(unlisted(&headers, Some(&request), &[V2025_06_18]).as_deref(), expected, "{version:?}");
        }
    }
}
