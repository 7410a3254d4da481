//! The validator of a published document: the entity tag with which the server identifies the response that the document was read from. A
//! request with it as its condition transfers no body while the document stays the same.
//!
//! A validator belongs to one published version. What it states remains true: the response with this tag had the content of this version.
//! It therefore does not matter which of two workers writes it last.

use super::ledger::Version;
use super::source::Source;
use crate::state::{SharedStore, StoreError};

/// The first byte of a validator. Hosts may confuse two keys, so no other value starts with it.
const TAG: u8 = 0x24;
/// The maximum length of an entity tag, in bytes.
const MOST_TAG: usize = 128;

/// An entity tag (RFC 9110, section 8.8.3), strong or weak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EntityTag(Box<str>);

impl EntityTag {
    /// Reads the value of the header `ETag`. Returns `None` if it is no entity tag, contains bytes that are not ASCII, or is longer than
    /// 128 bytes.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        if value.len() > MOST_TAG {
            return None;
        }
        let inner = opaque(value).strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        let is_valid = inner.iter().all(|byte| matches!(*byte, b'!' | b'#'..=b'~'));
        let text = str::from_utf8(value).ok().filter(|_| is_valid)?;
        Some(Self(text.into()))
    }

    /// Returns the tag as it is in a header.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether the value of a header `ETag` is the same tag by the weak comparison (RFC 9110, section 8.8.3.2).
    pub(super) fn matches(&self, value: &[u8]) -> bool {
        opaque(self.0.as_bytes()) == opaque(value)
    }
}

/// Returns an entity tag without the mark of a weak one.
fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// What is known about the response that a document was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Validator {
    pub(crate) tag: EntityTag,
    /// When the content of the response expires, in seconds since the epoch.
    pub(crate) expires: u64,
}

/// Reads the validator of a version. `None` if there is none, or if it belongs to another version.
pub(super) fn read(
    store: &dyn SharedStore,
    source: &Source,
    version: Version,
) -> Result<Option<Validator>, StoreError> {
    let found = store.get(source.validator_key().as_bytes())?;
    Ok(found.and_then(|found| decode(&found.value, version)))
}

/// Writes the validator of a version. It replaces that of any other version.
pub(super) fn write(
    store: &dyn SharedStore,
    source: &Source,
    version: Version,
    validator: &Validator,
) -> Result<(), StoreError> {
    let (key, value) = (source.validator_key(), encode(version, validator));
    match store.get(key.as_bytes())? {
        Some(found) if found.value == value => Ok(()),
        // If another worker was faster, the validator that it wrote is as good as this one.
        Some(found) => store.compare_and_set(key.as_bytes(), &value, found.version).map(|_| ()),
        None => store.create(key.as_bytes(), &value).map(|_| ()),
    }
}

fn encode(version: Version, validator: &Validator) -> Vec<u8> {
    let words = [version.number, version.by, validator.expires].into_iter().flat_map(u64::to_le_bytes);
    std::iter::once(TAG).chain(words).chain(validator.tag.as_str().bytes()).collect()
}

fn decode(value: &[u8], version: Version) -> Option<Validator> {
    let (words, tag) = value.strip_prefix(&[TAG])?.split_first_chunk::<24>()?;
    let (words, _) = words.as_chunks::<8>();
    let &[number, by, expires] = words else { return None };
    let [number, by, expires] = [number, by, expires].map(u64::from_le_bytes);
    if (Version { number, by }) != version {
        return None;
    }
    Some(Validator { tag: EntityTag::parse(tag)?, expires })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_tag_is_accepted_as_the_specification_has_it() {
        let longest = format!("\"{}\"", "x".repeat(MOST_TAG - 2));
        for accepted in ["\"\"", "\"xyzzy\"", "W/\"xyzzy\"", "W/\"\"", "\"!#\\~\"", longest.as_str()] {
            assert_eq!(EntityTag::parse(accepted.as_bytes()).unwrap().as_str(), accepted);
        }
        let too_long = format!("\"{}\"", "x".repeat(MOST_TAG - 1));
        for rejected in [
            "",
            "\"",
            "W/",
            "W/\"",
            "xyzzy",
            "\"xyzzy",
            "xyzzy\"",
            "w/\"xyzzy\"",
            "W/W/\"xyzzy\"",
            "W\"xyzzy\"",
            "\"a\"b\"",
            "\"a b\"",
            " \"a\"",
            "\"a\" ",
            "\"a\tb\"",
            "\"a\r\nb\"",
            "\"a\0\"",
            "\"\u{7f}\"",
            "\"\u{e9}\"",
            "\"a\", \"b\"",
            "*",
            &too_long,
        ] {
            assert_eq!(EntityTag::parse(rejected.as_bytes()), None, "{rejected:?}");
        }
        assert_eq!(EntityTag::parse(b"\"\xe9\""), None, "not UTF-8");
    }

    #[test]
    fn a_weak_tag_matches_the_strong_one() {
        for tag in ["\"t\"", "W/\"t\""] {
            let tag = EntityTag::parse(tag.as_bytes()).unwrap();
            for (other, matches) in
                [("\"t\"", true), ("W/\"t\"", true), ("\"T\"", false), ("\"\"", false), ("t", false)]
            {
                assert_eq!(tag.matches(other.as_bytes()), matches, "{tag:?} {other}");
            }
        }
    }

    #[test]
    fn a_validator_belongs_to_one_version() {
        let version = Version { number: 3, by: 7 };
        let validator = Validator { tag: EntityTag::parse(b"W/\"t\"").unwrap(), expires: 1_800_000_600 };
        let encoded = encode(version, &validator);
        assert_eq!(decode(&encoded, version), Some(validator));
        for other in [Version { number: 4, by: 7 }, Version { number: 3, by: 8 }, Version::default()] {
            assert_eq!(decode(&encoded, other), None, "{other:?}");
        }
        for cut in 0..encoded.len() {
            assert_eq!(decode(&encoded[..cut], version), None, "{cut}");
        }
        assert_eq!(decode(&[&encoded[..], b"x"].concat(), version), None);
        let other_kind = [&[0x22_u8][..], &encoded[1..]].concat();
        assert_eq!(decode(&other_kind, version), None);
    }
}
