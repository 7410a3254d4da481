//! The head of a request as a host shows it to the module, and as the upstream receives it.

use std::collections::BTreeMap;

use super::pairs::{self, Pairs};
use super::profile::{Head, HostQuirks, Properties};
use super::request::Request;

/// Kong's own name: the first `server_name` of its configuration, and the port at which the request arrived.
const OWN_NAME: &[u8] = b"kong:8443";

/// Properties by path, in the form that the host looks up.
pub(super) type Values = BTreeMap<Vec<u8>, Vec<u8>>;

/// Returns the lines of a request as the gateway's server passes them to a filter.
///
/// # Errors
/// The status with which the server responds itself, without running a filter.
pub fn received(quirks: &HostQuirks, lines: &Pairs, has_body: bool) -> Result<Pairs, u32> {
    if quirks.head != Head::Kong {
        return Ok(lines.clone());
    }
    let one = |name: &str| pairs::values(lines, name);
    let (methods, targets) = (one(":method"), one(":path"));
    let hosts = one(":authority").len() + one("host").len();
    let method = methods.first().copied().unwrap_or_default();
    if method == b"CONNECT" {
        return Err(405);
    }
    let target = origin_form(targets.first().copied().unwrap_or_default());
    let has_method = !method.is_empty() && method.iter().all(|byte| byte.is_ascii_uppercase() || b"_-".contains(byte));
    let has_path = target.starts_with(b"/") && target.iter().all(|byte| *byte > b' ' && *byte != 0x7f);
    let unique = ["authorization", "content-length", "content-type"].iter().all(|name| one(name).len() < 2);
    if !(has_method && has_path && unique && hosts == 1 && is_decoded_by_nginx(target)) {
        return Err(400);
    }
    let mut received: Pairs = lines
        .iter()
        .filter(|(name, _)| name.starts_with(b":") || is_kept_by_nginx(name))
        .map(|(name, value)| (name.clone(), if name == b":path" { target.to_vec() } else { value.clone() }))
        .collect();
    if has_body && one("content-length").is_empty() && one("transfer-encoding").is_empty() {
        received.push((b"transfer-encoding".to_vec(), b"chunked".to_vec()));
    }
    Ok(received)
}

/// Returns whether nginx, as Kong configures it, keeps a header with this name.
fn is_kept_by_nginx(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte))
}

/// Returns the path and query of a target, which may begin with scheme and host (RFC 9112, section 3.2.2).
fn origin_form(target: &[u8]) -> &[u8] {
    let after = [&b"http://"[..], b"https://"].iter().find_map(|scheme| target.strip_prefix(*scheme));
    let path = after.and_then(|after| Some((after, after.iter().position(|byte| *byte == b'/')?)));
    path.map_or(target, |(after, at)| after.get(at..).unwrap_or_default())
}

/// Returns whether nginx can decode the path of a target.
fn is_decoded_by_nginx(target: &[u8]) -> bool {
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    decoded(path).is_some_and(|path| resolved(&path).is_some())
}

/// Returns the lines of a request in the form that the host shows.
pub(super) fn shown(quirks: &HostQuirks, request: &Request) -> Pairs {
    match quirks.head {
        Head::Http2 => request.headers.clone(),
        Head::Kong => {
            let path = pseudo(request, ":path").map(seen_by_nginx);
            let lines = [(":path", path), (":method", pseudo(request, ":method").map(<[u8]>::to_vec))];
            let own =
                [(":scheme", pseudo(request, ":scheme").map(<[u8]>::to_vec)), (":authority", Some(OWN_NAME.to_vec()))];
            let present = lines.into_iter().chain(own);
            let mut shown: Pairs =
                present.filter_map(|(name, value)| Some((name.as_bytes().to_vec(), value?))).collect();
            shown.extend(fields(request).map(|(name, value)| (capitalised(name), value.to_vec())));
            shown
        }
        Head::Apisix => {
            let mut shown: Pairs =
                fields(request).map(|(name, value)| (name.to_ascii_lowercase(), value.to_vec())).collect();
            for name in [":path", ":method", ":scheme"] {
                shown.extend(pseudo(request, name).map(|value| (name.as_bytes().to_vec(), value.to_vec())));
            }
            shown
        }
    }
}

/// Returns the lines that the upstream receives: pseudo-header fields first, names in lower case.
pub(super) fn forwarded(quirks: &HostQuirks, request: &Request, lines: Pairs) -> Pairs {
    if quirks.head == Head::Http2 {
        return lines;
    }
    let is = |name: &[u8], other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    let mut sent = Pairs::new();
    for (name, value) in lines {
        let shown = pseudo(request, ":path").is_some_and(|path| value == seen_by_nginx(path));
        match name.to_ascii_lowercase() {
            // The server's own name is not forwarded. A value that the module wrote is forwarded unchanged, regardless of the line's name.
            name if is(&name, ":authority") && value == OWN_NAME => {}
            // Kong chooses the host before the filter runs, and nginx sends the body with its length.
            name if is(&name, "host") && quirks.head == Head::Kong => {
                sent.extend(pseudo(request, ":authority").map(|host| (b":authority".to_vec(), host.to_vec())));
            }
            name if is(&name, "transfer-encoding") && quirks.head == Head::Kong => {}
            name if is(&name, "host") => sent.push((b":authority".to_vec(), value)),
            // The path differs from the client's only if the module wrote it.
            name if is(&name, ":path") && shown => {
                sent.extend(pseudo(request, ":path").map(|path| (name, path.to_vec())));
            }
            name => sent.push((name, value)),
        }
    }
    sent.sort_by_key(|(name, _)| !name.starts_with(b":"));
    sent
}

/// Returns the properties of a request's stream.
pub(super) fn properties(quirks: &HostQuirks, request: &Request) -> Values {
    let mut values = Values::new();
    let mut add = |name: &str, value: Option<&[u8]>| values.extend(value.map(|value| (name.into(), value.to_vec())));
    let source = request.source.as_deref();
    // Address and port. The path of a socket has no port.
    let parts = source.map(|source| source.rsplit_once(':').unwrap_or((source, "0")));
    let address = parts.map(|(address, _)| address.trim_matches(['[', ']']).as_bytes());
    let port = parts.map(|(_, port)| port.as_bytes());
    let path = pseudo(request, ":path");
    let decoded = path.map(seen_by_nginx);
    let target = decoded.as_deref().map(|path| path.split(|byte| *byte == b'?').next().unwrap_or_default());
    let query = path.and_then(|path| path.splitn(2, |byte| *byte == b'?').nth(1));
    let (method, scheme) = (pseudo(request, ":method"), pseudo(request, ":scheme"));
    match quirks.properties {
        Properties::Binary => {
            add("source\0address", source.map(str::as_bytes));
            if let Some((pem, digest)) = request.certificate.as_ref().filter(|_| quirks.peer_certificates) {
                add("connection\0peer_certificate", Some(pem));
                add("connection\0sha256_peer_certificate_digest", Some(digest));
            }
        }
        Properties::Text { .. } => {
            for (name, value) in [
                ("source.address", address),
                ("source.port", port),
                ("request.path", path),
                ("request.url_path", target),
                ("request.query", query),
                ("request.method", method),
                ("request.scheme", scheme),
                ("request.host", Some(OWN_NAME)),
            ] {
                add(name, value);
            }
        }
        Properties::Variables { .. } => {
            for (name, value) in [
                ("remote_addr", address),
                ("remote_port", port),
                ("request_uri", path),
                ("uri", target),
                ("args", query),
                ("request_method", method),
                ("scheme", scheme),
                ("host", pseudo(request, ":authority")),
            ] {
                add(name, value);
            }
        }
    }
    values.extend(request.properties.iter().map(|(path, value)| (name(quirks, path), value.clone())));
    values
}

/// Returns a property's path in the form that the host looks up.
pub(super) fn name(quirks: &HostQuirks, path: &[u8]) -> Vec<u8> {
    match quirks.properties {
        Properties::Text { .. } => path.iter().map(|byte| if *byte == 0 { b'.' } else { *byte }).collect(),
        Properties::Binary | Properties::Variables { .. } => path.to_vec(),
    }
}

fn pseudo<'r>(request: &'r Request, name: &str) -> Option<&'r [u8]> {
    pairs::values(&request.headers, name).first().copied()
}

/// Returns the lines that are not pseudo-headers of HTTP/2, with the host as the `Host` line of HTTP/1.1.
fn fields(request: &Request) -> impl Iterator<Item = (&[u8], &[u8])> {
    let host = pseudo(request, ":authority").map(|host| (b"host".as_slice(), host));
    let others = request.headers.iter().filter(|(name, _)| !name.starts_with(b":"));
    host.into_iter().chain(others.map(|(name, value)| (name.as_slice(), value.as_slice())))
}

/// Returns a name as most HTTP/1.1 clients write it: `Content-Type`.
fn capitalised(name: &[u8]) -> Vec<u8> {
    let mut first = true;
    let one = |byte: &u8| {
        let letter = if first { byte.to_ascii_uppercase() } else { *byte };
        first = matches!(byte, b'-' | b'_');
        letter
    };
    name.iter().map(one).collect()
}

/// Returns a target as nginx has it in `$uri`: escapes decoded, slashes merged, dot segments removed. A target that nginx would reject
/// stays unchanged.
fn seen_by_nginx(target: &[u8]) -> Vec<u8> {
    let (path, query) = match target.iter().position(|byte| *byte == b'?') {
        Some(at) => target.split_at(at),
        None => (target, &[][..]),
    };
    let Some(path) = decoded(path).and_then(|path| resolved(&path)) else { return target.to_vec() };
    [path.as_slice(), query].concat()
}

fn decoded(path: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            b'%' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                rest = rest.get(2..)?;
                u8::from_str_radix(digits, 16).ok().filter(|byte| *byte != 0)?
            }
            byte => *byte,
        });
    }
    Some(bytes)
}

fn resolved(path: &[u8]) -> Option<Vec<u8>> {
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut parts = path.strip_prefix(b"/")?.split(|byte| *byte == b'/').peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part {
            b"." | b".." => {
                if part == b".." {
                    segments.pop()?;
                }
                if last {
                    segments.push(b"");
                }
            }
            b"" if !last => {}
            part => segments.push(part),
        }
    }
    Some([b"/", segments.join(&b'/').as_slice()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wasmhost::HostProfile;

    #[test]
    fn nginx_normalizes_the_path_that_it_shows() {
        for (sent, seen) in [
            ("/a/b?c=%41", "/a/b?c=%41"),
            ("/a%2Fb", "/a/b"),
            ("/a%3Fb?c", "/a?b?c"),
            ("//a///b/", "/a/b/"),
            ("/a/./b/../c/..", "/a/"),
            ("/%61%2e%2e", "/a.."),
            ("/../a", "/../a"),
            ("/a%zz", "/a%zz"),
            ("/a%00", "/a%00"),
            ("*", "*"),
        ] {
            assert_eq!(seen_by_nginx(sent.as_bytes()).escape_ascii().to_string(), seen, "{sent}");
        }
    }

    #[test]
    fn kong_shows_its_own_host_and_keeps_header_case() {
        let headers = pairs::from_text(&[
            (":authority", "api.example.com"),
            (":path", "/a%2Fb"),
            (":method", "GET"),
            (":scheme", "https"),
            ("content-type", "text/plain"),
        ]);
        let request = Request { headers, ..Request::default() };
        let kong = HostProfile::Kong.quirks();
        let lines = shown(kong, &request);
        assert_eq!(pairs::values(&lines, ":authority"), [OWN_NAME]);
        assert_eq!(pairs::values(&lines, ":path"), [b"/a/b"]);
        assert!(lines.contains(&(b"Host".to_vec(), b"api.example.com".to_vec())));
        assert!(lines.contains(&(b"Content-Type".to_vec(), b"text/plain".to_vec())));
        let values = properties(kong, &request);
        assert_eq!(values[b"request.path".as_slice()], b"/a%2Fb");
        assert_eq!(values[b"source.address".as_slice()], b"192.0.2.1");
        let mut expected = request.headers.clone();
        let mut sent = forwarded(kong, &request, lines);
        expected.sort();
        sent.sort();
        assert_eq!(sent, expected);
    }
}
