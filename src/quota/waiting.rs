//! Bounds the requests that wait for a document in one worker.
//!
//! Whoever sends tokens with unknown keys can make requests wait. Each source has a share of the places, so that it cannot take
//! those of others.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::request::incoming::Source;

/// The maximum number of requests that wait in one worker.
const MOST: u32 = 256;
/// The maximum number of requests of one source that wait in one worker.
const MOST_OF_SOURCE: u32 = 8;

/// The requests that wait for documents in one worker. Clones share the same table.
#[derive(Debug, Clone, Default)]
pub struct WaitingRequests(Rc<RefCell<Table>>);

#[derive(Debug, Default)]
struct Table {
    total: u32,
    /// By IPv4 address, or the /64 of an IPv6 address. Requests without a source share one entry.
    sources: BTreeMap<Option<[u8; 16]>, u32>,
}

/// The place of one waiting request. It is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct WaitingPlace {
    waiting: WaitingRequests,
    source: Option<[u8; 16]>,
}

impl WaitingRequests {
    /// Takes a place. `None` if the worker or the source has no more.
    pub(crate) fn enter(&self, source: Option<Source>) -> Option<WaitingPlace> {
        let source = source.map(|source| source.network());
        let mut table = self.0.try_borrow_mut().ok()?;
        let of_source = table.sources.get(&source).copied().unwrap_or_default();
        if table.total >= MOST || of_source >= MOST_OF_SOURCE {
            return None;
        }
        table.total += 1;
        table.sources.insert(source, of_source + 1);
        Some(WaitingPlace { waiting: self.clone(), source })
    }

    /// Returns the number of requests that wait.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.0.try_borrow().map_or(0, |table| table.total)
    }
}

impl Drop for WaitingPlace {
    fn drop(&mut self) {
        // INVARIANT: no other code runs while the table is borrowed, so it is never borrowed here.
        let Ok(mut table) = self.waiting.0.try_borrow_mut() else { return };
        table.total = table.total.saturating_sub(1);
        match table.sources.get(&self.source).copied().unwrap_or_default() {
            0 | 1 => drop(table.sources.remove(&self.source)),
            more => drop(table.sources.insert(self.source, more - 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: u32) -> Option<Source> {
        let [a, b, c, d] = number.to_be_bytes();
        Source::parse(format!("{a}.{b}.{c}.{d}:1").as_bytes())
    }

    #[test]
    fn a_source_takes_only_its_share() {
        let waiting = WaitingRequests::default();
        let mut places: Vec<_> = (0..MOST_OF_SOURCE).map(|_| waiting.enter(source(1)).unwrap()).collect();
        assert!(waiting.enter(source(1)).is_none());
        assert!(waiting.enter(source(2)).is_some());
        places.pop();
        assert!(waiting.enter(source(1)).is_some());
        drop(places);
        assert_eq!(waiting.total(), 0);
        assert!(waiting.0.borrow().sources.is_empty(), "no entry is left");
    }

    #[test]
    fn a_worker_has_a_fixed_number_of_places() {
        let waiting = WaitingRequests::default();
        let places: Vec<_> = (0..MOST).map(|number| waiting.enter(source(number)).unwrap()).collect();
        assert!(waiting.enter(source(MOST)).is_none());
        assert_eq!(waiting.total(), MOST);
        drop(places);
        assert!(waiting.enter(None).is_some());
    }
}
