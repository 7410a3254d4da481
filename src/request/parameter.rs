//! The names of query parameters, as lenient parsers read them.
//!
//! Every raw name is read once, into a few [readings](each_reading) of bounded length. What they are compared with does not change
//! how often a byte is looked at.

use super::percent;
use crate::reason::Reason;

/// The longest name that is looked for, in bytes. A longer raw name reads as none of them.
pub(crate) const MOST_NAME: usize = 128;

/// How many of the characters that some parsers drop before a name are kept, for those that take them for a part of it.
const MOST_LEAD: usize = 8;

/// A parameter that no query may carry: what RFC 6750 (section 2.3) had allowed, RFC 9700 (section 4.3.2) forbids.
const CREDENTIAL: &str = "access_token";

/// Parameters that frameworks take for the method.
const OVERRIDES: [&str; 4] = ["_method", "x-http-method-override", "x-http-method", "x-method-override"];

/// The names that no query may have, ready to be looked up.
#[derive(Debug)]
pub struct RejectedNames {
    /// In the form in which readings are compared, sorted by it, each once.
    names: Vec<(Box<[u8]>, Reason)>,
    /// Which bytes a name can begin with, in that form.
    first: [bool; 256],
    shortest: usize,
    ends: Ends,
}

impl RejectedNames {
    /// The names that are rejected everywhere (`access_token` and method overrides), and those that a policy adds.
    #[must_use]
    pub fn new(added: &[impl AsRef<str>]) -> Self {
        let folded = |name: &str| name.bytes().map(folded).collect::<Box<[u8]>>();
        let overrides = OVERRIDES.iter().map(|name| (folded(name), Reason::MethodOverride));
        let added = added.iter().map(|name| (folded(name.as_ref()), Reason::QueryRefused));
        let mut names: Vec<_> = [(folded(CREDENTIAL), Reason::QueryCredential)].into_iter().collect();
        names.extend(overrides.chain(added));
        // The sort is stable: of two names that read alike the first stays.
        names.sort_by(|(one, _), (other, _)| one.cmp(other));
        names.dedup_by(|(one, _), (other, _)| one == other);
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

    /// The reason to reject a parameter with this raw name, if there is one.
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

/// Whether some common parser takes a parameter's raw name for `wanted`, which is [plain](super::is_plain_name).
pub(super) fn reads_as(raw_name: &str, wanted: &str) -> bool {
    let folded_bytes = || wanted.bytes().map(folded);
    let is_wanted = |reading: &[u8]| reading.len() == wanted.len() && folded_bytes().eq(reading.iter().copied());
    may_read(raw_name.as_bytes(), wanted.len(), |byte| folded_bytes().next() == Some(byte))
        && each_reading(percent::decoded(raw_name.as_bytes()), Ends::of(folded_bytes()), is_wanted)
}

/// Whether a raw name may read as one that has at least this length and begins in this way. That tells nearly all names apart.
fn may_read(raw_name: &[u8], shortest: usize, begins: impl FnOnce(u8) -> bool) -> bool {
    // Decoding makes no name longer.
    let first = raw_name.first().filter(|_| raw_name.len() >= shortest);
    first.is_some_and(|first| begins(folded(*first)) || *first == b'%' || is_dropped(*first))
}

/// How many characters at either end of a name are such as parsers drop.
#[derive(Debug, Clone, Copy, Default)]
struct Ends {
    before: usize,
    behind: usize,
}

impl Ends {
    /// Of a name in the form in which readings are compared.
    fn of(name: impl DoubleEndedIterator<Item = u8> + Clone) -> Self {
        let before = name.clone().take_while(|byte| *byte == b'-' || is_dropped(*byte)).count();
        let behind = name.rev().take_while(|byte| *byte == b'-' || is_blank(*byte)).count();
        Self { before: before.min(MOST_LEAD), behind }
    }

    fn max(self, other: Self) -> Self {
        Self { before: self.before.max(other.before), behind: self.behind.max(other.behind) }
    }
}

/// Hands over what common parsers make of a parameter's name, given its decoded bytes, until one of these readings is the wanted
/// one; whether one was. They are in lower case, and what some parsers take for `_` is a hyphen:
///
/// - ASP.NET compares names without regard to case;
/// - PHP drops leading spaces, and reads `.`, a space and an unmatched `[` as `_`;
/// - PHP, Rack (Rails) and qs (Express) read `org[]`, `org[0]` and `org[x]` as a part of `org`, Rack and qs `[org]`
///   as `org`, and Rack `org]` too;
/// - qs reads `org.x` as a part of `org` where dots are allowed;
/// - `URLSearchParams` drops a leading `?`, and some parsers drop white space at either end;
/// - parsers in C end a name at a zero byte;
/// - `_`, `.`, `-` and spaces, leading ones too, are one wherever parameters become variables of an environment or a
///   template.
///
/// Names that were split at `;` as well cover the parsers that take it for a separator (Python before 3.9.2, Go before
/// 1.17, Rack before 3, Perl's CGI).
///
/// Each byte is taken once, and there are at most three readings for each way to cut the `ends`.
fn each_reading(decoded: impl Iterator<Item = u8>, ends: Ends, mut is_wanted: impl FnMut(&[u8]) -> bool) -> bool {
    let mut bytes = decoded.take_while(|byte| *byte != 0);
    // What some parsers drop before a name is an underscore to others: the last of it is kept.
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
    // Where a reading ends without the blanks behind it, and with them: all of the name, up to a bracket, up to a bracket or dot.
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
            // Longer than every name.
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

/// What some parser drops before a name.
fn is_dropped(byte: u8) -> bool {
    is_blank(byte) || matches!(byte, b'?' | b'[' | b']')
}

/// White space to some parser; a raw `+` is a space to most.
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

    /// How many bytes are taken of a name, and how many readings there are of it, where none is the wanted one.
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
    fn each_byte_of_a_name_is_read_once_however_many_names_are_rejected() {
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
    fn a_name_that_reads_as_two_is_rejected_for_the_first() {
        let rejected = RejectedNames::new(&["access-token", "_METHOD", "x"]);
        assert_eq!(rejected.find(b"access.token"), Some(Reason::QueryCredential));
        assert_eq!(rejected.find(b"-method"), Some(Reason::MethodOverride));
        assert_eq!(rejected.find(b"X"), Some(Reason::QueryRefused));
    }

    #[test]
    fn separators_at_either_end_of_a_name_count() {
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
    fn names_of_any_length_are_compared() {
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
