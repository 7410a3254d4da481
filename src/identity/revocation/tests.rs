//! Lists against a list that is searched entry by entry, and what is no list.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::identity::crypto::sha256;
use crate::text::time::Timestamp;

const SKEW: Duration = Duration::from_secs(60);

fn secs(seconds: u64) -> Timestamp {
    Timestamp::from_secs(seconds)
}

fn at(seconds: u64) -> Moment {
    Moment { now: secs(seconds), skew: SKEW }
}

fn entry(kind: Kind, mark: Mark) -> Entry<'static> {
    Entry { kind, mark, issued_before: None, until: None, reason: None }
}

fn list(entries: &[Entry<'_>]) -> Entries {
    let mut builder = Builder::default();
    entries.iter().for_each(|entry| builder.add(*entry));
    assert_eq!(builder.len(), entries.len());
    let made = builder.finish(7);
    // What another worker opens is the same list.
    let opened = Entries::open(made.bytes().to_vec()).unwrap();
    assert_eq!(opened, made);
    assert_eq!(opened.issued(), 7);
    opened
}

/// Returns whether an entry applies, by its definition.
fn applies(entry: &Entry<'_>, issued: Option<Timestamp>, moment: Moment) -> bool {
    let runs = entry.until.is_none_or(|until| moment.now < until);
    let before = match (entry.issued_before, issued) {
        (Some(before), Some(issued)) if !entry.kind.is_key() => issued < before.plus(moment.skew),
        _ => true,
    };
    runs && before
}

fn entries() -> impl Strategy<Value = Vec<Entry<'static>>> {
    let time = prop::option::weighted(0.7, (0..40_u64).prop_map(secs));
    let kind = prop::sample::select(vec![Kind::Token, Kind::Agent, Kind::Kid, Kind::Issuer]);
    let entry = (kind, 0..3_u128, time.clone(), time).prop_map(|(kind, mark, issued_before, until)| Entry {
        kind,
        mark: mark::Mark(mark),
        issued_before,
        until,
        reason: None,
    });
    prop::collection::vec(entry, 0..24)
}

#[test]
fn a_list_includes_what_it_revokes_for_as_long_and_as_much() {
    let mark = mark::Mark(1);
    let ends = |until, issued_before: Option<u64>| Entry {
        until: Some(secs(until)),
        issued_before: issued_before.map(secs),
        ..entry(Kind::Agent, mark)
    };
    let always = entry(Kind::Agent, mark);
    let reason = Entry { reason: Some("other"), ..always };
    let cases: [(&[Entry<'_>], &[Entry<'_>], bool); 12] = [
        (&[always], &[], true),
        (&[], &[always], false),
        (&[always], &[always], true),
        (&[always], &[reason], true),
        (&[entry(Kind::Kid, mark)], &[always], false),
        (&[entry(Kind::Agent, mark::Mark(2))], &[always], false),
        (&[always], &[ends(10, Some(5))], true),
        (&[ends(10, None)], &[always], false),
        (&[ends(11, Some(6)), ends(20, Some(3))], &[ends(10, Some(5))], true),
        (&[ends(11, Some(6)), ends(20, Some(3))], &[ends(12, Some(3))], true),
        (&[ends(11, Some(6)), ends(20, Some(3))], &[ends(12, Some(4))], false),
        (&[ends(11, Some(6)), ends(20, Some(3))], &[ends(21, Some(3))], false),
    ];
    for (own, other, expected) in cases {
        assert_eq!(list(own).includes(&list(other)), expected, "{own:?} {other:?}");
    }
}

proptest! {
    #[test]
    fn a_list_with_more_entries_includes_the_list_without_them(other in entries(), more in entries()) {
        let own = [more, other.clone()].concat();
        prop_assert!(list(&own).includes(&list(&other)));
    }

    #[test]
    fn a_list_that_includes_another_one_revokes_what_that_one_does(
        own in entries(),
        other in entries(),
        issued in prop::option::of(0..110_u64),
        now in 0..42_u64,
    ) {
        let (other, issued, moment) = (other.get(..2).unwrap_or(&other), issued.map(secs), at(now));
        if list(&own).includes(&list(other)) {
            for wanted in other.iter().filter(|wanted| applies(wanted, issued, moment)) {
                let mut of_its_mark = own.iter().filter(|entry| (entry.kind, entry.mark) == (wanted.kind, wanted.mark));
                prop_assert!(of_its_mark.any(|entry| applies(entry, issued, moment)), "{:?}", wanted);
            }
        }
    }

    #[test]
    fn a_lookup_finds_what_any_entry_revokes(
        entries in entries(),
        now in 0..42_u64,
        issued in prop::option::weighted(0.8, 0..42_u64),
        skew in 0..4_u64,
    ) {
        let list = list(&entries);
        let moment = Moment { now: secs(now), skew: Duration::from_secs(skew) };
        let issued = issued.map(secs);
        for kind in Kind::ALL {
            for number in 0..4 {
                let mark = mark::Mark(number);
                let mut own = entries.iter().filter(|entry| entry.kind == kind && entry.mark == mark);
                let expected = own.any(|entry| applies(entry, issued, moment));
                prop_assert_eq!(list.find(kind, mark, issued, moment).is_some(), expected, "{:?} {}", kind, number);
            }
        }
        prop_assert!(list.len() <= entries.len());
    }

    #[test]
    fn bytes_that_are_no_list_do_no_harm(
        entries in entries(),
        changes in prop::collection::vec((0..400_usize, any::<u8>()), 0..6),
        cut in 0..400_usize,
    ) {
        let mut bytes = list(&entries).bytes().to_vec();
        for (at, byte) in changes {
            if let Some(own) = bytes.get_mut(at) {
                *own = byte;
            }
        }
        bytes.truncate(cut);
        if let Some(list) = Entries::open(bytes) {
            for kind in Kind::ALL {
                let _ = list.find(kind, mark::Mark(1), None, at(20));
            }
        }
    }
}

#[test]
fn an_empty_list_revokes_nothing() {
    let empty = list(&[]);
    assert!(empty.is_empty());
    for kind in Kind::ALL {
        assert_eq!(empty.find(kind, Mark::of_name("a"), None, at(0)), None);
    }
}

#[test]
fn an_entry_applies_to_its_own_kind_and_value_alone() {
    let list = list(&[entry(Kind::Agent, Mark::of_name("a"))]);
    for kind in Kind::ALL {
        assert_eq!(list.find(kind, Mark::of_name("a"), None, at(0)).is_some(), kind == Kind::Agent, "{kind:?}");
        for other in ["", "A", "aa", "a\0"] {
            assert_eq!(list.find(kind, Mark::of_name(other), None, at(0)), None, "{kind:?} {other:?}");
        }
    }
}

#[test]
fn parts_cannot_be_divided_in_another_way() {
    let marks = [
        Mark::of_name("corpa"),
        Mark::of_issuer("corpa", None),
        Mark::of_issuer("corp", Some("a")),
        Mark::of_issuer("corp", Some("")),
        Mark::of_issuer("corp", None),
        Mark::of_value("corp", None, "a"),
        Mark::of_value("corp", Some(""), "a"),
        Mark::of_value("corp", Some("a"), ""),
        Mark::of_value("corpa", None, ""),
        Mark::of_hash(&sha256(b"corpa")),
    ];
    let distinct: std::collections::BTreeSet<_> = marks.iter().collect();
    // The name alone, and the issuer with no tenant, are of different kinds, but their marks differ anyway.
    assert_eq!(distinct.len(), marks.len());
}

#[test]
fn issued_before_includes_the_skew_and_ends_exactly() {
    let entry = Entry { issued_before: Some(secs(1_000)), ..entry(Kind::Subject, Mark::of_name("s")) };
    let list = list(&[entry]);
    let find = |issued| list.find(Kind::Subject, Mark::of_name("s"), issued, at(5_000)).is_some();
    assert!(find(None) && find(Some(secs(0))) && find(Some(secs(999))) && find(Some(secs(1_059))));
    assert!(find(Some(Timestamp::from_nanos(1_060_000_000_000 - 1))));
    assert!(!find(Some(secs(1_060))) && !find(Some(secs(5_000))));
}

#[test]
fn an_entry_ends_exactly_at_until() {
    let list = list(&[Entry { until: Some(secs(1_000)), ..entry(Kind::Token, Mark::of_name("t")) }]);
    let find = |now| list.find(Kind::Token, Mark::of_name("t"), None, Moment { now, skew: SKEW }).is_some();
    assert!(find(secs(0)) && find(secs(999)) && find(Timestamp::from_nanos(1_000_000_000_000 - 1)));
    assert!(!find(secs(1_000)) && !find(secs(u64::MAX)));
}

#[test]
fn times_after_2106_are_far_in_the_future() {
    let late = secs(1 << 40);
    let ends = list(&[Entry { until: Some(late), ..entry(Kind::Token, Mark::of_name("t")) }]);
    let before = list(&[Entry { issued_before: Some(late), ..entry(Kind::Token, Mark::of_name("t")) }]);
    for list in [ends, before] {
        assert!(list.find(Kind::Token, Mark::of_name("t"), Some(secs(1 << 31)), at(1 << 33)).is_some());
    }
}

#[test]
fn who_has_a_key_cannot_choose_a_later_time() {
    for (kind, applies) in [(Kind::Kid, true), (Kind::Thumbprint, true), (Kind::Client, false)] {
        let list = list(&[Entry { issued_before: Some(secs(10)), ..entry(kind, Mark::of_name("k")) }]);
        assert_eq!(list.find(kind, Mark::of_name("k"), Some(secs(9_999)), at(9_999)).is_some(), applies, "{kind:?}");
    }
}

#[test]
fn the_reason_is_that_of_an_entry_that_applies() {
    let own = entry(Kind::Agent, Mark::of_name("a"));
    let short = "s".repeat(255);
    let long = "é".repeat(300);
    let entries = list(&[
        Entry { reason: Some("leaked"), until: Some(secs(50)), ..own },
        Entry { reason: Some("old"), issued_before: Some(secs(10)), ..own },
        Entry { reason: Some("leaked"), ..entry(Kind::Agent, Mark::of_name("b")) },
        Entry { reason: Some(&short), ..entry(Kind::Agent, Mark::of_name("c")) },
        Entry { reason: Some(&long), ..entry(Kind::Agent, Mark::of_name("d")) },
        entry(Kind::Agent, Mark::of_name("e")),
    ]);
    let reason = |name, now| entries.find(Kind::Agent, Mark::of_name(name), Some(secs(5)), at(now)).unwrap().reason;
    assert_eq!(reason("a", 49), Some("leaked"));
    assert_eq!(reason("a", 50), Some("old"));
    assert_eq!(reason("b", 50), Some("leaked"));
    assert_eq!(reason("c", 50), Some(&*short));
    assert_eq!(reason("d", 50), Some(&*"é".repeat(127)));
    assert_eq!(reason("e", 50), None);
}

#[test]
fn a_list_needs_28_bytes_for_each_entry() {
    let entries: Vec<_> = (0..1_000).map(|n| entry(Kind::Jti, Mark::of_name(&n.to_string()))).collect();
    let list = list(&entries);
    assert_eq!((list.len(), list.bytes().len()), (1_000, entries::HEAD + 28_000));
    let found = (0..2_000).filter(|n| list.find(Kind::Jti, Mark::of_name(&n.to_string()), None, at(0)).is_some());
    assert_eq!(found.count(), 1_000);
}

#[test]
fn entries_that_others_include_take_no_room() {
    let own = entry(Kind::Jti, Mark::of_name("j"));
    let repeated: Vec<_> =
        (0..100).map(|n| Entry { until: Some(secs(n)), issued_before: Some(secs(n)), ..own }).collect();
    assert_eq!(list(&repeated).len(), 1);
    assert_eq!(list(&[&repeated[..], &[own]].concat()).len(), 1);
    // None of these includes another.
    let steps: Vec<_> =
        (0..100).map(|n| Entry { until: Some(secs(n)), issued_before: Some(secs(200 - n)), ..own }).collect();
    assert_eq!(list(&steps).len(), 100);
}
