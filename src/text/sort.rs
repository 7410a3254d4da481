//! Sorting and ordered collections with little code.
//!
//! The standard library's sorts are fast for long lists, and take three to ten kilobytes of the module for each type of item, as does
//! collecting into its maps and sets, which sorts first. Lists in policies and tokens are short.

use std::collections::{BTreeMap, BTreeSet};

/// The length up to which lists are sorted by insertion, which keeps equal items in their order.
const SHORT: usize = 20;

/// Sorts a list. Equal items keep their order in lists of up to 20 items, and may change it in longer ones.
pub(crate) fn sort<T: Ord>(items: &mut [T]) {
    sort_by(items, |one, other| one < other);
}

/// Sorts a list as [`sort`] does, by a key of each item.
pub(crate) fn sort_by_key<T, K: Ord>(items: &mut [T], key: impl Fn(&T) -> K) {
    sort_by(items, |one, other| key(one) < key(other));
}

/// Sorts a list as [`sort`] does. `is_less` returns whether the first of two items precedes the second.
#[inline(never)]
pub(crate) fn sort_by<T>(items: &mut [T], is_less: impl Fn(&T, &T) -> bool) {
    let precedes = |items: &[T], one: usize, other: usize| {
        items.get(one).zip(items.get(other)).is_some_and(|(one, other)| is_less(one, other))
    };
    let length = items.len();
    if length <= SHORT {
        for end in 1..length {
            for at in (1..=end).rev() {
                if !precedes(items, at, at - 1) {
                    break;
                }
                items.swap(at, at - 1);
            }
        }
        return;
    }
    // Heapsort: the first half of the steps build a heap, and each of the others moves its largest item to the end.
    for step in (0..length + length / 2).rev() {
        let (mut at, end) = if step < length {
            items.swap(0, step);
            (0, step)
        } else {
            (step - length, length)
        };
        loop {
            let mut child = 2 * at + 1;
            if child + 1 < end && precedes(items, child, child + 1) {
                child += 1;
            }
            if child >= end || !precedes(items, at, child) {
                break;
            }
            items.swap(at, child);
            at = child;
        }
    }
}

/// Collects a map. Of several values with the same key, the last one stays.
pub(crate) fn map<K: Ord, V>(pairs: impl Iterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    for (key, value) in pairs {
        map.insert(key, value);
    }
    map
}

/// Collects a set.
pub(crate) fn set<T: Ord>(items: impl Iterator<Item = T>) -> BTreeSet<T> {
    let mut set = BTreeSet::new();
    for item in items {
        set.insert(item);
    }
    set
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sorts_lists_of_any_length(mut items in vec(0_u8..50, 0..100)) {
            let mut expected = items.clone();
            expected.sort_unstable();
            sort(&mut items);
            prop_assert_eq!(items, expected);
        }

        #[test]
        fn keeps_the_order_of_equal_items_in_short_lists(keys in vec(0_u8..5, 0..=SHORT)) {
            let mut items: Vec<_> = keys.into_iter().zip(0_u8..).collect();
            let mut expected = items.clone();
            expected.sort_by_key(|(key, _)| *key);
            sort_by_key(&mut items, |(key, _)| *key);
            prop_assert_eq!(items, expected);
        }

        #[test]
        fn collects_as_the_standard_library_does(pairs in vec((0_u8..20, any::<u8>()), 0..50)) {
            let expected: BTreeMap<u8, u8> = pairs.iter().copied().collect();
            prop_assert_eq!(map(pairs.iter().copied()), expected);
            let expected: BTreeSet<u8> = pairs.iter().map(|(key, _)| *key).collect();
            prop_assert_eq!(set(pairs.iter().map(|(key, _)| *key)), expected);
        }
    }

    #[test]
    fn long_lists_take_few_comparisons() {
        let count = std::cell::Cell::new(0);
        for order in [|at: u32| at, |at: u32| 10_000 - at, |at: u32| at * 7919 % 10_007, |_| 1] {
            let mut items: Vec<u32> = (0..10_000).map(order).collect();
            count.set(0);
            sort_by(&mut items, |one, other| {
                count.set(count.get() + 1);
                one < other
            });
            assert!(items.is_sorted());
            assert!(count.get() < 300_000, "{}", count.get());
        }
    }
}
