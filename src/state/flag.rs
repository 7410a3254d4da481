//! A value that is true or false for all workers.

#[cfg(any(test, target_arch = "wasm32", feature = "adapter"))]
use super::MOST_ATTEMPTS;
use super::{SharedStore, StoreError, StoreKey};

/// A value that is true or false for all workers. It is false until a worker sets it.
#[derive(Clone, Copy)]
pub(crate) struct Flag(StoreKey);

impl Flag {
    /// Returns the flag under a key.
    pub(crate) fn under(key: StoreKey) -> Self {
        Self(key)
    }

    /// Returns the value.
    ///
    /// # Errors
    /// [`StoreError`] if the host fails, or another value is stored under the key.
    pub(crate) fn read(self, store: &dyn SharedStore) -> Result<bool, StoreError> {
        match store.get(self.0.as_bytes())? {
            None => Ok(false),
            Some(stored) => value(&stored.value),
        }
    }

    /// Sets the value. Returns whether it was the other one before. If several workers set the same value, one changes it.
    ///
    /// # Errors
    /// [`StoreError`] if the host fails, another value is stored under the key, or other workers were faster too often in a row.
    #[cfg(any(test, target_arch = "wasm32", feature = "adapter"))]
    pub(crate) fn set(self, store: &dyn SharedStore, on: bool) -> Result<bool, StoreError> {
        let bytes = [u8::from(on)];
        for _ in 0..MOST_ATTEMPTS {
            let written = match store.get(self.0.as_bytes())? {
                None if !on => return Ok(false),
                None => store.create(self.0.as_bytes(), &bytes)?,
                Some(stored) if value(&stored.value)? == on => return Ok(false),
                Some(stored) => store.compare_and_set(self.0.as_bytes(), &bytes, stored.version)?,
            };
            if written {
                return Ok(true);
            }
        }
        Err(StoreError)
    }
}

fn value(bytes: &[u8]) -> Result<bool, StoreError> {
    match bytes {
        [0] => Ok(false),
        [1] => Ok(true),
        _ => Err(StoreError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{MemoryStore, Namespace};

    #[test]
    fn all_workers_see_the_value_and_one_of_them_changes_it() {
        let store = MemoryStore::default();
        let namespace = Namespace::open(&store, "test", 8, [7; 16]).unwrap().namespace;
        let flag = |name: &str| Flag::under(namespace.key(namespace.identity("flag").text(name)));
        assert_eq!(flag("a").read(&store), Ok(false));
        assert_eq!(flag("a").set(&store, false), Ok(false), "nothing is stored for the usual value");
        assert_eq!(flag("a").set(&store, true), Ok(true));
        assert_eq!(flag("a").set(&store, true), Ok(false));
        assert_eq!((flag("a").read(&store), flag("b").read(&store)), (Ok(true), Ok(false)));
        assert_eq!(flag("a").set(&store, false), Ok(true));
        assert_eq!(flag("a").read(&store), Ok(false));
    }

    #[test]
    fn another_value_under_the_key_is_an_error() {
        let store = MemoryStore::default();
        let namespace = Namespace::open(&store, "test", 8, [7; 16]).unwrap().namespace;
        let key = namespace.key(namespace.identity("flag"));
        store.create(key.as_bytes(), b"on").unwrap();
        assert_eq!(Flag::under(key).read(&store), Err(StoreError));
        assert_eq!(Flag::under(key).set(&store, true), Err(StoreError));
    }
}
