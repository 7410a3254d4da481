//! A published document in the shared store. Two keys take turns, so that the document in force stays as it is while its
//! successor is written.

use super::ledger::Version;
use super::source::Source;
use crate::state::{SharedStore, StoreError};

/// The first byte of a published document. Hosts may confuse two keys, so no other value starts with it.
const TAG: u8 = 0x22;
/// The bytes before the document: the tag and the version.
const HEAD: usize = 1 + 16;
fn key(source: &Source, number: u64) -> String {
    format!("{}-{}", source.document_key(), number % 2)
}

/// Reads the document of a version. `None` if the key has another document meanwhile.
pub(super) fn read(store: &dyn SharedStore, source: &Source, version: Version) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(found) = store.get(key(source, version.number).as_bytes())? else { return Ok(None) };
    let mut value = found.value;
    let head = value.first_chunk::<HEAD>().ok_or(StoreError)?;
    if *head != encode(version) {
        return Ok(None);
    }
    // A document can be large, and the memory of a VM never shrinks, so it is not copied.
    value.drain(..HEAD);
    Ok(Some(value))
}

/// Returns the host's version of the key that the document with this number is written to. `None` if the key does not exist.
pub(super) fn slot(store: &dyn SharedStore, source: &Source, number: u64) -> Result<Option<u32>, StoreError> {
    Ok(store.get(key(source, number).as_bytes())?.map(|found| found.version))
}

/// Writes a document, if its key still has the version that [`slot`] returned.
pub(super) fn write(
    store: &dyn SharedStore,
    source: &Source,
    version: Version,
    slot: Option<u32>,
    bytes: &[u8],
) -> Result<bool, StoreError> {
    let value = [&encode(version)[..], bytes].concat();
    let key = key(source, version.number);
    match slot {
        Some(slot) => store.compare_and_set(key.as_bytes(), &value, slot),
        None => store.create(key.as_bytes(), &value),
    }
}

fn encode(version: Version) -> [u8; HEAD] {
    let mut head = [TAG; HEAD];
    let words = version.number.to_le_bytes().into_iter().chain(version.by.to_le_bytes());
    head.iter_mut().skip(1).zip(words).for_each(|(to, byte)| *to = byte);
    head
}
