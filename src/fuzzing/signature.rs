//! Properties that hold for any signature fields, any digest of a body, and any request for which a base is built.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sfv::{BareItem, Dictionary, FieldType as _, InnerList, Item, ListEntry, Parser};
use sha2::Digest as _;

use super::naive;
use crate::identity::signature::{Component, Malformed, Message, Name, Signed, StructuredFields, base, read};
use crate::reason::Reason;
use crate::request::digest::ContentDigest;
use crate::request::headers::Headers;
use crate::request::headers::folded_name;

/// Compares with a parser that keeps the last of repeated members. An input is accepted only if the last member is the only one, and then
/// has the same meaning.
pub fn signature_input(data: &[u8]) {
    let dictionary = Parser::new(data).parse::<Dictionary>();
    let labels: Vec<_> = dictionary.iter().flat_map(|dictionary| dictionary.keys()).map(|key| key.as_str()).collect();
    let signature = labels.iter().map(|label| format!("{label}=:AA==:")).collect::<Vec<_>>().join(", ");
    let signed = match (read(data, signature.as_bytes()), &dictionary) {
        (Ok(signed), Ok(_)) => signed,
        (Ok(_), Err(_)) => {
            assert!(dictionary.is_ok(), "{:?}", String::from_utf8_lossy(data));
            return;
        }
        // A dictionary is a syntax error only if a member is not an inner list, or if it has dates or other types that RFC 9651 added.
        (Err(Malformed::Syntax), Ok(dictionary)) => {
            let is_list = |entry: &ListEntry| matches!(entry, ListEntry::InnerList(_));
            assert!(!dictionary.values().all(is_list) || data.contains(&b'@') || data.contains(&b'%'));
            return;
        }
        (Err(_), _) => return,
    };
    assert!(signed.len() == labels.len() && signed.len() <= 8 && data.len() <= 16 * 1024);
    for (Signed { input, signature }, (label, entry)) in signed.iter().zip(dictionary.iter().flatten()) {
        assert_eq!((&*input.label, signature.as_slice()), (label.as_str(), &[0][..]));
        assert_eq!(Some(input.parameters()), vec![entry.clone()].serialize().as_deref());
        let list = match entry {
            ListEntry::InnerList(list) => list,
            ListEntry::Item(_) => &InnerList::default(),
        };
        let integer = |name: &str| list.params.get(name).and_then(BareItem::as_integer).map(i64::from);
        let text = |name: &str| list.params.get(name).and_then(BareItem::as_string).map(|text| text.as_str());
        assert_eq!((input.created, input.expires), (integer("created"), integer("expires")));
        let own = [&input.keyid, &input.alg, &input.nonce, &input.tag].map(|text| text.as_deref());
        assert_eq!(own, ["keyid", "alg", "nonce", "tag"].map(text));
        assert!(input.components.len() == list.items.len() && input.components.len() <= 64);
        let different: BTreeSet<_> = input
            .components
            .iter()
            .map(|Component { name, sf, key, bs, parameter, .. }| (name.as_str(), *sf, key, *bs, parameter))
            .collect();
        assert_eq!(different.len(), input.components.len(), "nothing is covered twice");
        let again = format!("{}={}", input.label, input.parameters());
        let signature = format!("{}=::", input.label);
        let same = read(again.as_bytes(), signature.as_bytes());
        assert!(same.is_ok_and(|same| same.iter().all(|same| same.input.parameters() == input.parameters())));
    }
}

/// Checks that the signatures are those that a generic parser finds, each with a label that occurs once.
pub fn signature(data: &[u8]) {
    let dictionary = Parser::new(data).parse::<Dictionary>();
    let labels: Vec<_> = dictionary.iter().flat_map(|dictionary| dictionary.keys()).map(|key| key.as_str()).collect();
    let input = labels.iter().map(|label| format!("{label}=()")).collect::<Vec<_>>().join(", ");
    let Ok(signed) = read(input.as_bytes(), data) else { return };
    assert_eq!(signed.len(), labels.len());
    for (signed, (label, entry)) in signed.iter().zip(dictionary.iter().flatten()) {
        let bytes = bytes_of(entry);
        assert_eq!((&*signed.input.label, bytes), (label.as_str(), Some(&*signed.signature)));
    }
}

fn bytes_of(entry: &ListEntry) -> Option<&[u8]> {
    match entry {
        ListEntry::Item(Item { bare_item, .. }) => bare_item.as_byte_sequence(),
        ListEntry::InnerList(_) => None,
    }
}

/// Checks that a digest (the first line) is accepted for a body (the rest) exactly if it has a strong digest and all its strong digests
/// match the body.
pub fn content_digest(data: &[u8]) {
    let mut lines = data.splitn(2, |byte| *byte == b'\n');
    let (field, body) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    // The fuzzer cannot find a hash, so `HASH` in the input stands for the right one.
    let hash = STANDARD.encode(crate::identity::crypto::sha256(body));
    let field = String::from_utf8_lossy(field).replace("HASH", &hash);
    let most = 64;
    let verdict = ContentDigest::parse(field.as_bytes()).and_then(|digest| {
        let (mut whole, mut parts) = (digest.clone().begin(most), digest.begin(most));
        let taken = whole.update(body);
        let taken_in_parts = body.chunks(3).try_for_each(|part| parts.update(part));
        assert_eq!(taken, taken_in_parts);
        assert_eq!(taken.is_ok(), body.len() as u64 <= most);
        taken?;
        assert_eq!(whole.seen(), parts.seen());
        let verdict = whole.finish();
        assert_eq!(verdict, parts.finish(), "however it comes");
        verdict
    });
    let dictionary = Parser::new(field.as_bytes()).parse::<Dictionary>();
    let strong = |name: &str| bytes_of(dictionary.as_ref().ok()?.get(name)?);
    let (sha256, sha512) = (strong("sha-256"), strong("sha-512"));
    match verdict {
        Ok(()) => {
            assert!(sha256.is_some() || sha512.is_some());
            assert!(sha256.is_none_or(|digest| digest == crate::identity::crypto::sha256(body)));
            assert!(sha512.is_none_or(|digest| digest == <[u8; 64]>::from(sha2::Sha512::digest(body))));
        }
        Err(Reason::ContentDigestMissing) => assert!(sha256.is_none() && sha512.is_none()),
        Err(Reason::ContentDigestMismatch) => assert!(sha256.is_some() || sha512.is_some()),
        Err(reason) => assert!(matches!(reason, Reason::ContentDigestMalformed | Reason::BodyTooLarge)),
    }
}

/// Checks a base: it has one line for each component (the first line of the input), for a target (the second), with fields (the others).
/// No byte in it can end a line, and each value equals that of a second implementation.
pub fn signature_base(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let (list, target) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let headers: Headers = lines
        .filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            Some((line.get(..colon)?, line.get(colon + 1..)?))
        })
        .collect();
    let input = [b"sig=(", list, b")"].concat();
    let Ok(signed) = read(&input, b"sig=:AA==:") else { return };
    let structured = StructuredFields::default();
    let message = Message {
        method: b"GET",
        scheme: "https",
        authority: "a.example",
        target,
        headers: &headers,
        structured: &structured,
    };
    for Signed { input, .. } in &signed {
        let Ok(base) = base(&message, input) else { continue };
        assert!(base.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\n')));
        let mut lines = base.split('\n');
        for component in &input.components {
            let value = lines.next().and_then(|line| value_of(line, component));
            assert!(value.is_some_and(|value| holds(&message, component, value)), "{component:?} in {base:?}");
        }
        let last = lines.next().and_then(|line| line.strip_prefix("\"@signature-params\": "));
        assert_eq!((last, lines.next()), (Some(input.parameters()), None));
    }
}

/// Returns the value on a line whose identifier begins with this name.
fn value_of<'l>(line: &'l str, component: &Component<'_>) -> Option<&'l str> {
    let rest = line.strip_prefix('"')?.strip_prefix(component.name.as_str())?.strip_prefix('"')?;
    let mut quoted = false;
    let colon = rest.find(|character: char| {
        quoted ^= character == '"';
        character == ':' && !quoted
    })?;
    rest.get(colon..)?.strip_prefix(": ")
}

/// Returns whether a value is that of the component.
fn holds(message: &Message<'_>, component: &Component<'_>, value: &str) -> bool {
    let target = String::from_utf8_lossy(message.target);
    let (path, query) = target.split_once('?').map_or((&*target, None), |(path, query)| (path, Some(query)));
    let name = match &component.name {
        Name::Method => return value == "GET",
        Name::Scheme => return value == "https",
        Name::Authority => return value == "a.example",
        Name::TargetUri => return value == format!("https://a.example{target}"),
        Name::RequestTarget => return value == target,
        Name::Path => return value == if path.is_empty() { "/" } else { path },
        Name::Query => return value == format!("?{}", query.unwrap_or_default()),
        Name::QueryParam => {
            let read = |text: &str| naive::decode(text.replace('+', " ").as_bytes());
            let wanted = naive::decode(component.parameter.as_deref().unwrap_or_default().as_bytes());
            let pieces = query.unwrap_or_default().split('&').filter(|piece| !piece.is_empty());
            let pairs = pieces.map(|piece| piece.split_once('=').unwrap_or((piece, "")));
            let values: Vec<_> = pairs.filter(|(name, _)| read(name) == wanted).map(|(_, value)| read(value)).collect();
            return matches!(&values[..], [only] if naive::decode(value.as_bytes()) == *only);
        }
        Name::Field(name) => name,
    };
    if name == "cookie" {
        return false;
    }
    let own = |line: &[u8]| line.eq_ignore_ascii_case(name.as_bytes());
    let alike = message.headers.iter().filter(|(line, _)| folded_name(line).eq(folded_name(name.as_bytes())));
    let lines: Vec<&[u8]> =
        message.headers.iter().filter(|(line, _)| own(line)).map(|(_, value)| trim(value)).collect();
    if alike.count() != lines.len() {
        return false;
    }
    let lines = if name == "host" { vec![&b"a.example"[..]] } else { lines };
    if lines.is_empty() {
        return false;
    }
    if component.bs {
        let wrapped: Vec<_> = lines.iter().map(|line| format!(":{}:", STANDARD.encode(line))).collect();
        return value == wrapped.join(", ");
    }
    let joined = lines.join(&b", "[..]);
    match (&component.key, component.sf) {
        (None, false) => joined == value.as_bytes(),
        // A strictly serialized value is its own serialization.
        (None, true) => {
            let dictionary = Parser::new(value.as_bytes()).parse::<Dictionary>();
            dictionary.is_ok_and(|dictionary| dictionary.serialize().as_deref() == Some(value))
                || Parser::new(value.as_bytes()).parse::<sfv::List>().is_ok()
        }
        (Some(key), _) => {
            let dictionary = Parser::new(&joined).parse::<Dictionary>();
            let member = dictionary.ok().and_then(|dictionary| vec![dictionary.get(key.as_ref())?.clone()].serialize());
            member.as_deref() == Some(value)
        }
    }
}

fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
