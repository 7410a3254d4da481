//! Properties that hold for any input: one function for each parser of untrusted data.
//!
//! A fuzzer calls the functions with generated inputs (`fuzz/`), and the tests in this module call them with fixed inputs on every run.
//! The functions compare the engine with the slow second implementations in [`naive`], which always check the whole input. Nothing else
//! uses this module.

mod answers;
mod dpop;
mod header_names;
mod json_body;
mod naive;
mod naive_find;
mod signature;
mod token;

use crate::allowlist::{Asked, Listed, Table, Template};
use crate::document::{Escape, FormatSuffixes};
use crate::reason::Reason;
use crate::request::headers::Headers;
use crate::request::{CanonicalPath, Host, Method, Query, RejectedNames, percent, split_target};

pub use answers::answers;
pub use dpop::dpop;
pub use header_names::header_names;
pub use json_body::json_body;
pub use signature::{content_digest, signature, signature_base, signature_input};
pub use token::{json, jws, token};

/// Checks that the host's serialization of headers is rejected or read within its bounds, and that headers built from the decoded lines
/// have the same lines.
pub fn headers(data: &[u8]) {
    let Ok(headers) = Headers::decode(data.to_vec()) else { return };
    let read: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(read + headers.len() * 10 <= data.len(), "each line has two lengths and two zero bytes beside its text");
    let again: Headers = headers.iter().collect();
    assert!(again.iter().eq(headers.iter()));
}

/// Checks that a path is accepted exactly if it is canonical, and then has only one reading, however often it is decoded.
pub fn path(data: &[u8]) {
    let (path, query) = split_target(data);
    let joined = match query {
        Some(query) => [path, b"?", query].concat(),
        None => path.to_vec(),
    };
    assert_eq!(joined, data, "splitting loses nothing");
    let (strict, parsed) = (CanonicalPath::parse(path), CanonicalPath::parse_with_text(path));
    for (parsed, with_text) in [(strict, false), (parsed, true)] {
        let expected = naive::is_canonical_path(path, with_text);
        assert_eq!(parsed.is_ok(), expected, "{:?} as {parsed:?}", String::from_utf8_lossy(path));
    }
    let Ok(canonical) = parsed else { return };
    assert_eq!(strict, canonical.text_only().map_or(Ok(canonical), Err));
    assert_eq!(canonical.as_str().as_bytes(), path, "what was matched is what goes upstream");
    assert_eq!(CanonicalPath::parse_with_text(canonical.as_str().as_bytes()), Ok(canonical));
    let segments: Vec<_> = canonical.segments().collect();
    assert_eq!(format!("/{}", segments.join("/")), canonical.as_str());

    let decoded = naive::decode(path);
    assert_eq!(percent::decode(path), decoded, "both decode alike");
    for (escape, spelt) in
        [(Escape::Slash, "%2F"), (Escape::Backslash, "%5C"), (Escape::Percent, "%25"), (Escape::Semicolon, ";")]
    {
        assert_eq!(canonical.restricted().contains(escape), canonical.as_str().to_ascii_uppercase().contains(spelt));
    }
    if canonical.restricted().is_empty() {
        assert_eq!(naive::decode(&decoded), decoded, "one decoding is all there is");
        let parts: Vec<_> = decoded.split(|byte| matches!(byte, b'/' | b'\\')).collect();
        assert_eq!(parts.len(), segments.len() + 1, "decoding splits nothing");
        assert!(!parts.iter().any(|part| naive::leads_elsewhere(part)));
    }
}

/// Checks that a query is accepted exactly if its characters are valid, that a bound value is the only one that any parser could read,
/// and that rejected names are rejected in every spelling.
pub fn query(data: &[u8]) {
    let parsed = Query::parse(Some(data));
    assert_eq!(parsed.is_ok(), naive::is_query(data), "{:?}", String::from_utf8_lossy(data));
    let Ok(query) = parsed else { return };
    assert_eq!(query.as_str().as_bytes(), data);
    assert!(query.parameters().count() <= data.len());
    for name in ["org", "x-y"] {
        let lookalikes = naive::names_like(query.as_str(), name);
        match query.bound(name) {
            Ok(Some(value)) => {
                assert_eq!(lookalikes, 1, "{query:?}");
                let spelt = query.parameters().find(|(spelt, _)| naive::decode(spelt.as_bytes()) == name.as_bytes());
                assert_eq!(
                    spelt.map(|(_, value)| naive::decode(value.unwrap_or_default().as_bytes())),
                    Some(value.as_bytes().to_vec())
                );
            }
            Ok(None) => assert_eq!(lookalikes, 0, "{query:?}"),
            Err(reason) => assert_eq!(reason, Reason::BindingAmbiguous),
        }
    }
    let rejected = ["access_token", "_method", "x-http-method-override", "x-http-method", "x-method-override"];
    for added in [&[][..], &["org", "__x-y", "from_", "?a", "_"]] {
        let names = query.as_str().split(['&', ';']).map(|piece| piece.split('=').next().unwrap_or_default());
        let expected = names.clone().find(|name| rejected.iter().chain(added).any(|own| naive::reads_as(name, own)));
        let found = query.reject_names(&RejectedNames::new(added));
        assert_eq!(found.is_err(), expected.is_some(), "{query:?}: {expected:?} against {found:?}");
    }
    let refused = ["access_token", "_method", "x-http-method", "org"];
    if query.reject_names(&RejectedNames::new(&["org"])).is_ok() {
        assert!(refused.iter().all(|name| naive::names_like(query.as_str(), name) == 0), "{query:?}");
    }
}

/// Checks that a host's canonical form is canonical, and that only case and a default port change.
pub fn host(data: &[u8]) {
    let Ok(host) = Host::parse(data) else { return };
    assert_eq!(host.is_rewritten(), host.as_str().as_bytes() != data);
    let again = Host::parse(host.as_str().as_bytes());
    assert!(again.is_ok_and(|again| again.as_str() == host.as_str() && !again.is_rewritten()));
    let name = host.as_str();
    assert!(!name.ends_with('.') && !name.ends_with(":80") && !name.ends_with(":443"));
    if !name.starts_with('[') {
        let mut rest = data.get(name.len()..).unwrap_or_default();
        if let Some(kept) = data.get(..name.len()) {
            assert!(kept.eq_ignore_ascii_case(name.as_bytes()));
        }
        rest = rest.strip_prefix(b":").unwrap_or(rest);
        assert!(matches!(rest, b"" | b"80" | b"443"));
    }
}

/// Checks that a method is returned as received.
pub fn method(data: &[u8]) {
    if let Ok(method) = Method::parse(data) {
        assert!(method.as_str().as_bytes() == data && !data.is_empty() && data != b"CONNECT");
        assert!(data.iter().all(|byte| byte.is_ascii_graphic()));
    }
}

/// Checks that a template is accepted or rejected, and that a template without variables matches its own text.
pub fn template(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Ok(template) = Template::parse(text) else { return };
    assert_eq!(template.as_str(), text);
    let built = Table::build([(7, &template)], FormatSuffixes::Reject);
    assert!(built.is_ok(), "{template} stands alone");
    if let (Ok(built), true) = (built, template.variables().is_empty()) {
        assert!(built.warnings.is_empty());
        let path = CanonicalPath::parse(data);
        assert!(path.is_ok(), "{template} is canonical");
        if let Ok(path) = path {
            assert!(built.table.find(&path).is_some_and(|found| found.endpoints() == [7]));
        }
    }
}

/// Returns a few templates that the bytes select.
fn chosen_templates(choose: &mut impl FnMut(usize) -> usize) -> Vec<Template> {
    let templates = (0..1 + choose(6)).map(|_| {
        let parts = (0..1 + choose(3)).map(|place| {
            let part = TEMPLATE_PARTS.get(choose(TEMPLATE_PARTS.len())).copied().unwrap_or_default();
            part.replace('$', &format!("x{place}"))
        });
        format!("/{}", parts.collect::<Vec<_>>().join("/"))
    });
    templates.filter_map(|text| Template::parse(&text).ok()).collect()
}

fn chosen_path(choose: &mut impl FnMut(usize) -> usize) -> String {
    let parts = (0..1 + choose(4)).map(|_| PATH_PARTS.get(choose(PATH_PARTS.len())).copied().unwrap_or_default());
    format!("/{}", parts.collect::<Vec<_>>().join("/"))
}

fn chosen_suffixes(choose: &mut impl FnMut(usize) -> usize) -> FormatSuffixes {
    if choose(4) == 3 { FormatSuffixes::Ignore } else { FormatSuffixes::Reject }
}

/// Checks that the lookup finds the same templates as a search of all templates. The bytes select templates and paths.
pub fn lookup(data: &[u8]) {
    let mut bytes = data.iter().copied().map(usize::from);
    let mut choose = |bound: usize| bytes.next().unwrap_or_default() % bound;
    let parsed = chosen_templates(&mut choose);
    let suffixes = chosen_suffixes(&mut choose);
    let Ok(built) = Table::build((0..).zip(&parsed), suffixes) else { return };
    let texts: Vec<&str> = parsed.iter().map(Template::as_str).collect();
    for _ in 0..8 {
        let text = chosen_path(&mut choose);
        let Ok(path) = CanonicalPath::parse_with_text(text.as_bytes()) else { continue };
        let found = built.table.find(&path);
        let expected = naive_find::find(&texts, &text, suffixes == FormatSuffixes::Reject);
        let seen = found.as_ref().map(|found| naive_find::Found {
            endpoints: found.endpoints().iter().map(|endpoint| *endpoint as usize).collect(),
            values: found.values().map(|value| value.raw().to_owned()).collect(),
            is_ambiguous: found.check_opened_values().is_err(),
        });
        assert_eq!(seen, expected, "{text} in {texts:?}");
        let Some(found) = found else { continue };
        let is_text_only = |text: &str| CanonicalPath::parse(format!("/x{text}").as_bytes()).is_err();
        for segment in path.segments().filter(|segment| is_text_only(segment)) {
            let template = found.endpoints().first().and_then(|endpoint| parsed.get(*endpoint as usize));
            let variables = template.map(Template::variables).unwrap_or_default().iter().zip(found.values());
            let mut text =
                variables.filter(|(variable, _)| variable.kind.takes_escapes()).map(|(_, value)| value.raw());
            let is_value =
                text.any(|value| is_text_only(value) && (value.contains(segment) || segment.contains(value)));
            assert!(is_value, "`{segment}` is no text value of {template:?}");
        }
        for (position, value) in found.values().enumerate() {
            assert_eq!(value.decoded().as_bytes(), naive::decode(value.raw().as_bytes()));
            assert_eq!(found.value(position).map(|value| value.raw()), Some(value.raw()));
        }
        for endpoint in found.endpoints() {
            let variables = parsed.get(*endpoint as usize).map(|template| template.variables().len());
            assert_eq!(variables, Some(found.values().count()), "{text} in {texts:?}");
        }
    }
}

/// Checks that an explanation names few endpoints, describes for each the difference that the lookup found, and quotes no terminal
/// control sequences. The bytes select endpoints and requests. The remaining bytes are one more path.
pub fn nearest(data: &[u8]) {
    let mut bytes = data.iter().copied().map(usize::from);
    let mut choose = |bound: usize| bytes.next().unwrap_or_default() % bound;
    let parsed = chosen_templates(&mut choose);
    let suffixes = chosen_suffixes(&mut choose);
    let methods = ["GET", "PUT", "g\u{202e}\u{1b}[0m"];
    let hosts = ["a.example.com", "b.example.com"];
    let mut pick = |of: &[&'static str]| of.get(choose(of.len())).copied().unwrap_or_default();
    let listed: Vec<Listed> = parsed
        .iter()
        .map(|template| Listed { hosts: vec![pick(&hosts)], methods: vec![pick(&methods)], template })
        .collect();
    let (host, method) = (pick(&hosts), pick(&methods));
    let here = (0..).zip(&listed).filter(|(_, endpoint)| endpoint.hosts.contains(&host));
    let Ok(built) = Table::build(here.map(|(number, endpoint)| (number, endpoint.template)), suffixes) else { return };
    let own = [b"/", data].concat();
    let chosen: Vec<String> = (0..4).map(|_| chosen_path(&mut choose)).collect();
    for path in chosen.iter().map(String::as_bytes).chain([own.as_slice()]) {
        let Ok(path) = CanonicalPath::parse_with_text(path) else { continue };
        let near = crate::allowlist::nearest(&Asked { method, host, path }, &listed, suffixes);
        assert!(near.len() <= 3);
        let found = built.table.find(&path);
        for near in near {
            let is_listed = listed.get(near.endpoint).is_some_and(|own| own.methods.contains(&method));
            let number = u32::try_from(near.endpoint).unwrap_or(u32::MAX);
            let is_found = found.as_ref().is_some_and(|found| found.endpoints().contains(&number));
            assert_eq!(near.misses.is_empty(), is_found && is_listed, "{path:?} {near:?} {parsed:?}");
            for miss in near.misses {
                assert!(miss.len() < 1_000 && !miss.chars().any(|c| c.is_control() || c == '\u{202e}'), "{miss:?}");
            }
        }
    }
}

/// Segments of templates. `$` is replaced by a variable's name.
const TEMPLATE_PARTS: [&str; 24] = [
    "a",
    "A",
    "b",
    "me",
    "a:b",
    "a%3Ab",
    "caf%C3%A9",
    "",
    "{$}",
    "{$}",
    "{$:int}",
    "{$:text}",
    "{$:uuid}",
    "{$:slug}",
    "{$}:run",
    "{$:text}:run",
    "v{$:int}",
    "a{$}",
    "a{$}b",
    "a.",
    "{$}.",
    "{$}.json",
    "me.json",
    "{$...}",
];

/// Segments of paths. Most are similar to a segment of a template.
const PATH_PARTS: [&str; 66] = [
    "a",
    "A",
    "b",
    "B",
    "me",
    "Me",
    "me%2F",
    "me.",
    "me%20.",
    "a.",
    "A..",
    "x:run.",
    "me.;x",
    "m%65",
    "a:b",
    "a%3Ab",
    "A%3aB",
    "A%3AB",
    "caf%C3%A9",
    "CAF%C3%A9",
    "",
    "7",
    "07",
    "v7",
    "V7",
    "v7x",
    "aab",
    "aAB",
    "x:run",
    "x:RUN",
    "x%3Arun",
    "x:run:run",
    "a%2Fb",
    "x%2Fme",
    "me;x",
    "x;me",
    "..%2Fa",
    "x%5C..",
    "x%252Fy",
    "%252E%252E",
    "x%25",
    "x%3Arun;y",
    "018f6b3e-7c1a-7cc2-98c8-0123456789ab",
    ".",
    "caf%c3%a9",
    "a%3ab",
    "me.json",
    "ME.json.gz",
    "me%2Ejson",
    "me .json",
    "me%20.json",
    "x:run.json",
    "v7.json",
    "me%3Bx",
    "me.x%3By",
    "x:run%3By",
    "%2e%2E",
    "x%7Ey",
    "x[0]",
    "x^|y",
    "x%2fb",
    "x%2FB",
    "x%5cb%5C7",
    "x%252Fb",
    "x;y%2Fb",
    "x%2Fb%3By",
];

#[cfg(test)]
mod tests;
