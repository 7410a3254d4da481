//! The headers that report limits to clients: `RateLimit-Policy`, `RateLimit` and `Retry-After`.
//!
//! The first two are lists of structured fields (draft-ietf-httpapi-ratelimit-headers-10). Each limit has an item: its name, with
//! parameters.

use sfv::{BareItem, Item, List, ListEntry, Parser};

use super::{Gcra, LimitStatus};

/// The headers with the definition of the limits and with the remaining quota.
pub const RATE_LIMIT_HEADERS: [&str; 2] = ["ratelimit-policy", "ratelimit"];

const SECOND: u64 = 1_000_000_000;

/// Returns a limit's member of `RateLimit-Policy`: `q` is the burst in requests, and `w` the seconds in which it refills.
pub(crate) fn policy_member(name: &str, gcra: Gcra) -> Box<str> {
    format!("\"{name}\";q={};w={}", gcra.burst(), gcra.refill().div_ceil(SECOND).max(1)).into()
}

/// The reported state of one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown<'l> {
    /// The limit's name. It consists of letters, digits, `-`, `_` and `.`, which need no escape in a string.
    pub(crate) name: &'l str,
    /// The limit's member of `RateLimit-Policy`.
    pub(crate) policy: &'l str,
    pub(crate) standing: LimitStatus,
}

/// Returns the members for each of [`RATE_LIMIT_HEADERS`]. Limits that the upstream reports itself are omitted. `theirs` contains
/// the upstream's value of each header, all lines joined by commas.
pub(crate) fn members<'l>(shown: impl Iterator<Item = Shown<'l>>, theirs: [Option<&[u8]>; 2]) -> [String; 2] {
    let [mut policies, mut members] = [(); 2].map(|()| String::with_capacity(96));
    let [their_policies, their_members] = theirs.map(|theirs| theirs.and_then(names));
    let taken = |theirs: &Option<Vec<String>>, name: &str| theirs.iter().flatten().any(|own| own == name);
    for Shown { name, policy, standing } in shown {
        let separate = |list: &mut String| {
            if !list.is_empty() {
                list.push_str(", ");
            }
        };
        if !taken(&their_policies, name) {
            separate(&mut policies);
            policies.push_str(policy);
        }
        if !taken(&their_members, name) {
            separate(&mut members);
            let LimitStatus { remaining, more_in } = standing;
            members.push('"');
            members.push_str(name);
            members.push_str("\";r=");
            members.push_str(itoa::Buffer::new().format(remaining));
            members.push_str(";t=");
            members.push_str(itoa::Buffer::new().format(more_in.div_ceil(SECOND)));
        }
    }
    [policies, members]
}

/// Returns the names in a list, or `None` if it is malformed, because clients ignore a malformed list as a whole.
fn names(list: &[u8]) -> Option<Vec<String>> {
    let list: List = Parser::new(list).parse().ok()?;
    let name = |entry: ListEntry| match entry {
        ListEntry::Item(Item { bare_item: BareItem::String(name), .. }) => Some(String::from(name)),
        ListEntry::Item(_) | ListEntry::InnerList(_) => None,
    };
    Some(list.into_iter().filter_map(name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(theirs: [Option<&[u8]>; 2]) -> [String; 2] {
        let gcra = Gcra::new(60, 60 * SECOND, 10).unwrap();
        let (minute, hour) = (policy_member("minute", gcra), policy_member("hour", gcra));
        let shown = [("minute", &minute, 3, 1), ("hour", &hour, 0, 1_500_000_000)];
        let shown = shown.map(|(name, policy, remaining, more_in)| Shown {
            name,
            policy,
            standing: LimitStatus { remaining, more_in },
        });
        members(shown.into_iter(), theirs)
    }

    #[test]
    fn formats_quota_window_remaining_and_wait_in_seconds() {
        assert_eq!(
            told([None, None]),
            ["\"minute\";q=10;w=10, \"hour\";q=10;w=10".to_owned(), "\"minute\";r=3;t=1, \"hour\";r=0;t=2".to_owned()]
        );
    }

    #[test]
    fn does_not_repeat_limits_that_the_upstream_reports() {
        let [policies, members] = told([Some(b"\"hour\";q=5;w=1"), Some(b"\"day\";r=1, (\"hour\" \"minute\"), hour")]);
        assert_eq!(policies, "\"minute\";q=10;w=10");
        assert_eq!(members, "\"minute\";r=3;t=1, \"hour\";r=0;t=2", "only a string names a limit");
        let [_, members] = told([None, Some(b"\"minute\";r=1, \"hour\";r=2")]);
        assert_eq!(members, "");
    }

    #[test]
    fn ignores_a_malformed_list_of_the_upstream() {
        let [policies, _] = told([Some(b"\"minute\";;"), Some(b"\xff")]);
        assert_eq!(policies, "\"minute\";q=10;w=10, \"hour\";q=10;w=10");
    }
}
