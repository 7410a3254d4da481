//! `Content-Digest` (RFC 9530): the expected digests of a body, and incremental hashing of the body.
//!
//! A digest proves something only if a signature covers it. The caller must check that.

use std::convert::Infallible;

use sfv::visitor::{DictionaryVisitor, EntryVisitor, Ignored, InnerListVisitor, ItemVisitor, ParameterVisitor};
use sfv::{BareItemFromInput, KeyRef, Parser};
use sha2::{Digest as _, Sha256, Sha512};

use crate::reason::Reason;

/// The maximum number of algorithms. Eight are registered.
const MOST_ALGORITHMS: usize = 16;

/// The expected digests of a body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContentDigest {
    sha256: Option<[u8; 32]>,
    sha512: Option<Box<[u8; 64]>>,
}

/// A body that is hashed incrementally.
#[derive(Clone)]
pub struct Hashing {
    digest: ContentDigest,
    sha256: Sha256,
    sha512: Sha512,
    seen: u64,
    most: u64,
}

impl ContentDigest {
    /// Parses the field with all its lines joined.
    ///
    /// # Errors
    /// [`Reason::ContentDigestMalformed`] if the field is not a dictionary, names an algorithm twice, names too many algorithms, or has a
    /// digest of the wrong length. [`Reason::ContentDigestMissing`] if the field has neither `sha-256` nor `sha-512`: the other
    /// registered algorithms can be forged, and unknown algorithms prove nothing (RFC 9530, section 5).
    pub fn parse(field: &[u8]) -> Result<Self, Reason> {
        let reading = Reading { digest: Self::default(), names: Vec::new(), sound: true };
        let read = Parser::new(field).parse_dictionary_with_visitor(reading);
        let digest = read.ok().flatten().ok_or(Reason::ContentDigestMalformed)?;
        if digest == Self::default() { Err(Reason::ContentDigestMissing) } else { Ok(digest) }
    }

    /// Starts hashing a body of at most `most` bytes.
    #[must_use]
    pub fn begin(self, most: u64) -> Hashing {
        Hashing { digest: self, sha256: Sha256::new(), sha512: Sha512::new(), seen: 0, most }
    }
}

impl Hashing {
    /// Adds the next chunk of the body.
    ///
    /// # Errors
    /// [`Reason::BodyTooLarge`] if the body is longer than the limit.
    pub fn update(&mut self, part: &[u8]) -> Result<(), Reason> {
        self.seen = self.seen.saturating_add(part.len() as u64);
        if self.seen > self.most {
            return Err(Reason::BodyTooLarge);
        }
        if self.digest.sha256.is_some() {
            self.sha256.update(part);
        }
        if self.digest.sha512.is_some() {
            self.sha512.update(part);
        }
        Ok(())
    }

    /// Returns the number of hashed bytes.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Checks that the received body is the signed one: every digest must match.
    ///
    /// # Errors
    /// [`Reason::ContentDigestMismatch`] if one does not.
    pub fn finish(self) -> Result<(), Reason> {
        let Self { digest, sha256, sha512, .. } = self;
        let matches = digest.sha256.is_none_or(|wanted| <[u8; 32]>::from(sha256.finalize()) == wanted)
            && digest.sha512.is_none_or(|wanted| <[u8; 64]>::from(sha512.finalize()) == *wanted);
        if matches { Ok(()) } else { Err(Reason::ContentDigestMismatch) }
    }
}

impl std::fmt::Debug for Hashing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hashing").field("seen", &self.seen).field("most", &self.most).finish_non_exhaustive()
    }
}

/// The state while the field is parsed. A repeated name is an error here, whereas a generic parser would keep the last value.
struct Reading<'a> {
    digest: ContentDigest,
    names: Vec<&'a str>,
    sound: bool,
}

impl<'a> DictionaryVisitor<'a> for Reading<'a> {
    type Out = Option<ContentDigest>;
    type Error = Infallible;

    fn entry(&mut self, key: &'a KeyRef) -> Result<impl EntryVisitor<'a>, Infallible> {
        self.sound &= self.names.len() < MOST_ALGORITHMS && !self.names.contains(&key.as_str());
        if self.sound {
            self.names.push(key.as_str());
        }
        Ok(Member { algorithm: key.as_str(), reading: self })
    }

    fn finish(self) -> Result<Self::Out, Infallible> {
        Ok(self.sound.then_some(self.digest))
    }
}

struct Member<'a, 'r> {
    algorithm: &'a str,
    reading: &'r mut Reading<'a>,
}

impl<'a> EntryVisitor<'a> for Member<'a, '_> {
    type Error = Infallible;

    fn item(self) -> Result<impl ItemVisitor<'a>, Infallible> {
        Ok(self)
    }

    fn inner_list(self) -> Result<impl InnerListVisitor<'a>, Infallible> {
        self.reading.sound = false;
        Ok(Ignored)
    }
}

impl<'a> ItemVisitor<'a> for Member<'a, '_> {
    type Out = ();
    type Error = Infallible;

    fn bare_item(self, item: BareItemFromInput<'a>) -> Result<impl ParameterVisitor<'a, Out = ()>, Infallible> {
        let Reading { digest, sound, .. } = self.reading;
        let BareItemFromInput::ByteSequence(bytes) = item else {
            *sound = false;
            return Ok(Ignored);
        };
        match self.algorithm {
            "sha-256" => {
                digest.sha256 = bytes.try_into().ok();
                *sound &= digest.sha256.is_some();
            }
            "sha-512" => {
                digest.sha512 = <[u8; 64]>::try_from(bytes).ok().map(Box::new);
                *sound &= digest.sha512.is_some();
            }
            _ => {}
        }
        Ok(Ignored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA_256: &str = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:";
    const SHA_512: &str =
        "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:";
    const BODY: &str = "{\"hello\": \"world\"}";

    fn check(field: &str, parts: &[&str]) -> Result<(), Reason> {
        let mut hashing = ContentDigest::parse(field.as_bytes())?.begin(64);
        parts.iter().try_for_each(|part| hashing.update(part.as_bytes()))?;
        hashing.finish()
    }

    #[test]
    fn every_active_digest_must_match_in_any_chunking() {
        assert_eq!(check(SHA_256, &[BODY]), Ok(()));
        assert_eq!(check(SHA_512, &["{\"hello\"", "", ": \"world\"}"]), Ok(()));
        assert_eq!(check(&format!("{SHA_512}, md5=:AAAA:, unheard=:AA==:, {SHA_256}"), &[BODY]), Ok(()));
        let wrong = SHA_256.replace("X48", "X58");
        assert_eq!(check(&wrong, &[BODY]), Err(Reason::ContentDigestMismatch));
        assert_eq!(check(&format!("{SHA_512}, {wrong}"), &[BODY]), Err(Reason::ContentDigestMismatch));
        assert_eq!(check(SHA_256, &[BODY, " "]), Err(Reason::ContentDigestMismatch));
        assert_eq!(check(SHA_256, &[]), Err(Reason::ContentDigestMismatch));
        assert_eq!(
            check("sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:", &[]),
            Ok(()),
            "an empty body has one"
        );
    }

    #[test]
    fn ignores_insecure_and_unknown_digests() {
        for field in ["md5=:MMkJMgTbWtHPJTLo0Xmnhg==:", "sha=:07CavjDP4u3/TungoUHJO/Wzr4c=:", "unheard=:AA==:", ""] {
            assert_eq!(check(field, &[BODY]), Err(Reason::ContentDigestMissing), "{field}");
        }
    }

    #[test]
    fn rejects_malformed_digests() {
        for field in [
            "sha-256",
            "sha-256=?1",
            "sha-256=AAAA",
            "sha-256=:AAAA:",
            "sha-256=(:AAAA:)",
            "sha-256=:!:",
            "SHA-256=:AAAA:",
            &format!("{SHA_256}, {SHA_256}"),
            &format!("{SHA_256}, sha-512=:AAAA:"),
            &format!("{SHA_256},"),
            &(0..17).map(|n| format!("a{n}=:AA==:")).collect::<Vec<_>>().join(", "),
        ] {
            assert_eq!(check(field, &[BODY]), Err(Reason::ContentDigestMalformed), "{field}");
        }
    }

    #[test]
    fn rejects_a_body_over_the_size_limit() {
        assert_eq!(check(SHA_256, &[&"x".repeat(64)]), Err(Reason::ContentDigestMismatch));
        assert_eq!(check(SHA_256, &[&"x".repeat(64), "x"]), Err(Reason::BodyTooLarge));
    }
}
