//! The map that all workers share. It belongs to the process, so policies that replace each other keep limits and replay protection.

use std::sync::LazyLock;

use callgate::state::{MemoryStore, SharedStore, StoreError, Versioned};

static STORE: LazyLock<MemoryStore> = LazyLock::new(MemoryStore::default);

#[cfg(any(test, feature = "testing"))]
thread_local! {
    /// A map that this thread uses instead, in tests whose results must not depend on others.
    pub(crate) static OWN: std::cell::RefCell<Option<std::rc::Rc<MemoryStore>>> = const { std::cell::RefCell::new(None) };
}

fn with<T>(act: impl FnOnce(&MemoryStore) -> T) -> T {
    #[cfg(any(test, feature = "testing"))]
    if let Some(own) = OWN.with_borrow(Clone::clone) {
        return act(&own);
    }
    act(&STORE)
}

/// The process-wide map.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProcessStore;

impl SharedStore for ProcessStore {
    fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        with(|store| store.get(key))
    }

    fn create(&self, key: &[u8], value: &[u8]) -> Result<bool, StoreError> {
        with(|store| store.create(key, value))
    }

    fn compare_and_set(&self, key: &[u8], value: &[u8], version: u32) -> Result<bool, StoreError> {
        with(|store| store.compare_and_set(key, value, version))
    }

    fn forgets(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_share_the_map() {
        let key = b"the key of a test";
        std::thread::spawn(|| assert_eq!(ProcessStore.create(key, b"1"), Ok(true))).join().unwrap();
        assert_eq!(ProcessStore.create(key, b"2"), Ok(false));
        let stored = ProcessStore.get(key).unwrap().unwrap();
        assert_eq!(ProcessStore.compare_and_set(key, b"3", stored.version), Ok(true));
        assert_eq!(ProcessStore.compare_and_set(key, b"4", stored.version), Ok(false));
        assert!(!ProcessStore.forgets());
    }
}
