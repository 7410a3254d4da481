//! Properties that hold for any header names, in headers and in trailers.

use super::naive;
use crate::allowlist::bound_header;
use crate::document::{HEADER_PREFIX as PREFIX, Overrides};
use crate::policy::trailers::RemovedTrailers;
use crate::reason::Reason;
use crate::request::head::{Head, OVERRIDE_HEADERS, WITHOUT_LOOKALIKES};
use crate::request::headers::Headers;
use crate::request::headers::{folded_name, name_begins_like, name_reads_as};

const BOUND: &str = "x-org";
/// A header that the policy adds to those that override the method or the path.
const ADDED: &str = "x-forwarded-prefix";

/// Checks lines with any names (one on each line of the input). The engine finds exactly those names that some server reads as a header
/// that Callgate sets, rejects or checks.
pub fn header_names(data: &[u8]) {
    let names: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let folded: Vec<String> = names.iter().map(|name| naive::header_name(name)).collect();
    let added = [Box::from(ADDED)];
    let removed = RemovedTrailers::of(OVERRIDE_HEADERS.into_iter().chain([ADDED, BOUND, "content-length"]));
    for (name, read) in names.iter().zip(&folded) {
        let shown = name.escape_ascii();
        for known in OVERRIDE_HEADERS.into_iter().chain(WITHOUT_LOOKALIKES).chain([BOUND, ADDED, "te", PREFIX]) {
            assert_eq!(name_reads_as(name, known), read == known, "{shown} as {known}");
            assert_eq!(folded_name(name).eq(known.bytes()), read == known, "{shown} as {known}");
        }
        assert_eq!(name_begins_like(name, PREFIX), read.starts_with(PREFIX), "{shown}");
        for (other, other_read) in names.iter().zip(&folded) {
            assert_eq!(
                folded_name(name).eq(folded_name(other)),
                read == other_read,
                "{shown} and {}",
                other.escape_ascii()
            );
        }
        let goes = read.starts_with(PREFIX)
            || [ADDED, BOUND, "content-length"].iter().chain(&OVERRIDE_HEADERS).any(|known| known == read);
        assert_eq!(removed.contains(name, PREFIX), goes, "{shown} as a trailer");
    }

    let headers: Headers = names.iter().map(|name| (name, "v")).collect();
    let mut reasons = Vec::new();
    let head = Head::read(&headers, PREFIX, Overrides::Reject, &added, |reason| reasons.push(reason));
    let lines = || names.iter().copied().zip(&folded);
    let posing = lines().filter(|(_, read)| read.starts_with(PREFIX)).map(|(name, _)| name);
    assert!(head.posing.iter().copied().eq(posing), "{:?}", head.posing);
    let overrides = |read: &&str| OVERRIDE_HEADERS.contains(read) || *read == ADDED;
    let overriding = lines().filter(|(_, read)| overrides(&read.as_str())).map(|(name, _)| name);
    assert!(head.overrides.iter().copied().eq(overriding), "{:?}", head.overrides);
    let count = |wanted: Reason| reasons.iter().filter(|reason| **reason == wanted).count();
    assert_eq!(count(Reason::MethodOverride), head.overrides.len());
    let is_spelled = |name: &[u8], read: &str| name.to_ascii_lowercase() == read.as_bytes();
    let poses =
        |(name, read): &(&[u8], &String)| WITHOUT_LOOKALIKES.contains(&read.as_str()) && !is_spelled(name, read);
    assert_eq!(count(Reason::HeaderLookalike), lines().filter(poses).count());

    let bound: Vec<_> = lines().filter(|(_, read)| *read == BOUND).collect();
    let expected = match bound.as_slice() {
        [] => Ok(None),
        [(name, read)] if is_spelled(name, read) => Ok(Some("v")),
        _ => Err(Reason::BindingAmbiguous),
    };
    assert_eq!(bound_header(&headers, BOUND), expected);
}
