//! The names of query parameters, as lenient parsers read them.
//!
//! Every raw name is decoded once, into a few [readings](each_reading) of limited length. The number of names to compare with does not
//! change how often a byte is read.

use super::percent;
use crate::reason::Reason;
use crate::text::sort;

/// The maximum length of a name to look for, in bytes. A longer raw name does not match any name.
pub(crate) const MOST_NAME: usize = 128;

/// The maximum number of leading characters to keep. Some parsers drop these characters, others treat them as part of the name.
const MOST_LEAD: usize = 8;

/// A parameter that no query may contain: RFC 6750 (section 2.3) allowed it, RFC 9700 (section 4.3.2) forbids it.
const CREDENTIAL: &str = "access_token";

/// Parameters that frameworks use as the method.
const OVERRIDES: [&str; 4] = ["_method", "x-http-method-override", "x-http-method", "x-method-override"];

/// The names that no query may contain, prepared for lookups.
#[derive(Debug)]
pub struct RejectedNames {
    /// In the form in which readings are compared, sorted and unique.
    names: Vec<(Box<[u8]>, Reason)>,
    /// The possible first bytes of a name in that form.
    first: [bool; 256],
    shortest: usize,
    ends: Ends,
}

impl RejectedNames {
    /// Returns the names that are always rejected (`access_token` and method overrides), and those that a policy adds.
    #[must_use]
    pub fn new(added: &[impl AsRef<str>]) -> Self {
        let folded = |name: &str| name.bytes().map(folded).collect::<Box<[u8]>>();
        let overrides = OVERRIDES.iter().map(|name| (folded(name), Reason::MethodOverride));
        let added = added.iter().map(|name| (folded(name.as_ref()), Reason::QueryRefused));
        let credential = [(folded(CREDENTIAL), Reason::QueryCredential)];
        // The first of two equal names stays.
        let mut numbered: Vec<_> = credential.into_iter().chain(overrides).chain(added).zip(0_usize..).collect();
        sort::sort_by(&mut numbered, |((one, _), at), ((other, _), after)| (one, at) < (other, after));
        numbered.dedup_by(|((one, _), _), ((other, _), _)| one == other);
        let names: Vec<_> = numbered.into_iter().map(|(name, _)| name).collect();
        let mut first = [false; 256];
        let mut ends = Ends::default();
        for (name, _) in &names {
            if let Some(place) = name.first().and_then(|byte| first.get_mut(usize::from(*byte))) {
                *place = true;
            }
            ends = ends.max(Ends::of(name.iter().copied()));
        }
        let shortest = names.iter().map(|(name, _)| name.len()).min().unwrap_or_default();
        Self { names, first, shortest, ends }
    }

    /// Returns the reason to reject a parameter with this raw name, if there is one.
    pub(super) fn find(&self, raw_name: &[u8]) -> Option<Reason> {
        let begins = |byte: u8| self.first.get(usize::from(byte)).is_some_and(|yes| *yes);
        if !may_read(raw_name, self.shortest, begins) {
            return None;
        }
        let mut reason = None;
        each_reading(percent::decoded(raw_name), self.ends, |reading| {
            let found = self.names.binary_search_by(|(name, _)| (**name).cmp(reading));
            reason = found.ok().and_then(|place| self.names.get(place)).map(|(_, reason)| *reason);
            reason.is_some()
        });
        reason
    }
}

/// Returns whether a common parser reads a parameter's raw name as `wanted`, which is [plain](super::is_plain_name).
pub(super) fn reads_as(raw_name: &str, wanted: &str) -> bool {
    let folded_bytes = || wanted.bytes().map(folded);
    let is_wanted = |reading: &[u8]| reading.len() == wanted.len() && folded_bytes().eq(reading.iter().copied());
    may_read(raw_name.as_bytes(), wanted.len(), |byte| folded_bytes().next() == Some(byte))
        && each_reading(percent::decoded(raw_name.as_bytes()), Ends::of(folded_bytes()), is_wanted)
}

/// Returns whether a raw name can read as a name with at least this length and such a beginning. This rules out nearly all names.
fn may_read(raw_name: &[u8], shortest: usize, begins: impl FnOnce(u8) -> bool) -> bool {
    // Decoding never makes a name longer.
    let first = raw_name.first().filter(|_| raw_name.len() >= shortest);
    first.is_some_and(|first| begins(folded(*first)) || *first == b'%' || is_dropped(*first))
}

/// The number of characters at either end of a name that some parsers drop.
#[derive(Debug, Clone, Copy, Default)]
struct Ends {
    before: usize,
    behind: usize,
}

impl Ends {
    /// Counts them in a name that has the form in which readings are compared.
    fn of(name: impl DoubleEndedIterator<Item = u8> + Clone) -> Self {
        let before = name.clone().take_while(|byte| *byte == b'-' || is_dropped(*byte)).count();
        let behind = name.rev().take_while(|byte| *byte == b'-' || is_blank(*byte)).count();
        Self { before: before.min(MOST_LEAD), behind }
    }

    fn max(self, other: Self) -> Self {
        Self { before: self.before.max(other.before), behind: self.behind.max(other.behind) }
    }
}

/// Passes the readings of a parameter's name by common parsers to `is_wanted`, given its decoded bytes, until it accepts one. Returns
/// whether it did. Readings are in lower case, and a hyphen represents every character that some parser reads as `_`:
///
/// - ASP.NET compares names case-insensitively;
/// - PHP drops leading spaces, and reads `.`, a space and an unmatched `[` as `_`;
/// - PHP, Rack (Rails) and qs (Express) read `org[]`, `org[0]` and `org[x]` as a part of `org`; Rack and qs read `[org]` as `org`, and
///   Rack also `org]`;
/// - qs reads `org.x` as a part of `org` if dots are allowed;
/// - `URLSearchParams` drops a leading `?`, and some parsers drop white space at either end;
/// - parsers in C end a name at a zero byte;
/// - `_`, `.`, `-` and spaces, including leading ones, are equivalent if parameters become variables of an environment or a template.
///
/// Some parsers accept `;` as a separator (Python before 3.9.2, Go before 1.17, Rack before 3, Perl's CGI). For these, names are also
/// split at `;`.
///
/// Each byte is read once, and there are at most three readings for each way to cut the `ends`.
fn each_reading(decoded: impl Iterator<Item = u8>, ends: Ends, mut is_wanted: impl FnMut(&[u8]) -> bool) -> bool {
    let mut bytes = decoded.take_while(|byte| *byte != 0);
    // Some parsers drop these leading characters, and others read them as an underscore, so the last of them are kept.
    let mut lead: u64 = 0;
    let mut lead_length = 0;
    let mut next = bytes.next();
    while let Some(byte) = next.filter(|byte| is_dropped(*byte)) {
        lead = lead << 8 | u64::from(folded(byte));
        lead_length = ends.before.min(lead_length + 1);
        next = bytes.next();
    }
    let mut text = [0; MOST_LEAD + MOST_NAME];
    if let Some(place) = text.first_chunk_mut() {
        *place = lead.to_be_bytes();
    }
    // The end of a reading without and with trailing blanks: of the whole name, up to a bracket, and up to a bracket or dot.
    let (mut all, mut bracket, mut dot) = (None, None, None);
    let (mut trimmed, mut length) = (0, 0);
    loop {
        let Some(byte) = next else {
            all = Some((trimmed, length));
            break;
        };
        if matches!(byte, b'[' | b']') {
            bracket = bracket.or(Some((trimmed, length)));
        }
        if matches!(byte, b'[' | b']' | b'.') {
            dot = dot.or(Some((trimmed, length)));
        }
        if length < MOST_NAME {
            if let Some(place) = text.get_mut(MOST_LEAD + length) {
                *place = folded(byte);
            }
            length += 1;
            trimmed = if is_blank(byte) { trimmed } else { length };
        } else if !is_blank(byte) {
            // The reading is longer than every name.
            break;
        }
        next = bytes.next();
    }
    let bracket = bracket.filter(|bracket| Some(*bracket) != all);
    let dot = dot.filter(|dot| Some(*dot) != bracket);
    [all, bracket, dot].into_iter().flatten().any(|(trimmed, length)| {
        (trimmed..=length.min(trimmed.saturating_add(ends.behind))).any(|end| {
            (0..=lead_length).any(|before| {
                let reading = text.get(MOST_LEAD.saturating_sub(before)..MOST_LEAD.saturating_add(end));
                reading.is_some_and(&mut is_wanted)
            })
        })
    })
}

/// Returns whether a parser drops this character before a name.
fn is_dropped(byte: u8) -> bool {
    is_blank(byte) || matches!(byte, b'?' | b'[' | b']')
}

/// Returns whether a parser reads this byte as white space. Most parsers read a raw `+` as a space.
fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == b'+' || byte == 0x0b
}

fn folded(byte: u8) -> u8 {
    match byte {
        b'_' | b'.' | b' ' | b'+' | b'[' => b'-',
        other => other.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Returns how many bytes of a name are read, and how many readings it has, if no reading is accepted.
    fn work(name: &[u8], ends: Ends) -> (usize, usize) {
        let (taken, readings) = (Cell::new(0), Cell::new(0));
        let bytes = name.iter().copied().inspect(|_| taken.set(taken.get() + 1));
        let found = each_reading(bytes, ends, |reading| {
            assert!(reading.len() <= MOST_LEAD + MOST_NAME);
            readings.set(readings.get() + 1);
            false
        });
        assert!(!found);
        (taken.get(), readings.get())
    }

    #[test]
    fn reads_each_byte_once_for_any_number_of_rejected_names() {
        let many: Vec<String> = (0..500).map(|number| format!("__parameter{number}_")).collect();
        for ends in [RejectedNames::new(&[""; 0]).ends, RejectedNames::new(&many).ends] {
            let most = 3 * (1 + ends.before) * (1 + ends.behind);
            for unit in
                ["?", "[", "]", "+", " ", ".", "_", "-", "a", "a]", "?]", "access_token", "access_token ", "_ ", "a.["]
            {
                let name = unit.repeat(60_000 / unit.len());
                let (taken, readings) = work(name.as_bytes(), ends);
                assert!(taken <= name.len() && readings <= most, "{unit}: {taken} bytes, {readings} readings");
            }
        }
        assert!(RejectedNames::new(&[""; 0]).ends.before == 1 && RejectedNames::new(&[""; 0]).ends.behind == 0);
        assert!(RejectedNames::new(&many).ends.before == 2 && RejectedNames::new(&many).ends.behind == 1);
    }

    #[test]
    fn built_in_rejected_names_take_precedence() {
        let rejected = RejectedNames::new(&["access-token", "_METHOD", "x"]);
        assert_eq!(rejected.find(b"access.token"), Some(Reason::QueryCredential));
        assert_eq!(rejected.find(b"-method"), Some(Reason::MethodOverride));
        assert_eq!(rejected.find(b"X"), Some(Reason::QueryRefused));
    }

    #[test]
    fn separators_at_the_ends_of_a_name_are_significant() {
        for (name, others) in [
            ("from_", ["from", "from__", "_from_"]),
            ("__proto__", ["_proto__", "__proto_", "proto"]),
            ("?x", ["x", "-x", "?y"]),
        ] {
            let rejected = RejectedNames::new(&[name]);
            assert_eq!(rejected.find(name.as_bytes()), Some(Reason::QueryRefused), "{name}");
            for other in others {
                assert_eq!(rejected.find(other.as_bytes()), None, "{other} for {name}");
            }
        }
        assert_eq!(RejectedNames::new(&["from_"]).find(b"from+ "), Some(Reason::QueryRefused));
        assert_eq!(RejectedNames::new(&["__x"]).find(b"?+[x"), Some(Reason::QueryRefused));
        assert!(reads_as("+from%20%20", "from_") && !reads_as("from", "from_"));
    }

    #[test]
    fn compares_names_of_any_length() {
        let longest = "n".repeat(MOST_NAME);
        let rejected = RejectedNames::new(&[&longest]);
        assert_eq!(rejected.find(longest.as_bytes()), Some(Reason::QueryRefused));
        assert_eq!(rejected.find(format!("??{longest}+++[").as_bytes()), Some(Reason::QueryRefused));
        assert_eq!(rejected.find(format!("{longest}n").as_bytes()), None);
        assert_eq!(rejected.find(&longest.as_bytes()[1..]), None);
        assert_eq!(
            RejectedNames::new(&["x"]).find(format!("x{}[", "+".repeat(500)).as_bytes()),
            Some(Reason::QueryRefused)
        );
    }
}
