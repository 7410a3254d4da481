//! The names in a certificate's DER (RFC 5280, section 4.1).
//!
//! Only the elements that lead to the extensions are read. Each must be where the standard has it, and nothing may follow the last.

use der::asn1::{GeneralizedTime, UtcTime};
use der::{AnyRef, Reader as _, SliceReader, Tag, TagNumber, Tagged as _};

use super::{MOST_CERTIFICATE_BYTES, Names};
use crate::text::time::Timestamp;

/// The object identifiers of extensions, without tag and length (RFC 5280, sections 4.2.1.6, 4.2.1.9 and 4.2.1.3).
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];

/// The bits `keyCertSign` (5) and `cRLSign` (6) in the first byte of a key usage. Leaf certificates of SPIFFE must have neither (X509-SVID,
/// section 4.3).
const SIGNS_CERTIFICATES: u8 = 0b0000_0110;

/// The maximum number of extensions. Each is compared with those before it, and usual certificates have about ten.
const MOST_EXTENSIONS: usize = 64;

/// Version 3, the only one with extensions.
const V3: &[u8] = &[2];

impl Names {
    /// Reads the names, and the last moment at which the certificate is valid. Returns `None` if it is malformed or too large.
    pub(super) fn read(der: &[u8]) -> Option<(Self, Timestamp)> {
        if der.len() > MOST_CERTIFICATE_BYTES {
            return None;
        }
        let mut outside = Elements::of(der)?;
        let mut certificate = Elements::of(outside.next(Tag::Sequence)?)?;
        outside.end()?;
        let mut signed = Elements::of(certificate.next(Tag::Sequence)?)?;
        certificate.next(Tag::Sequence)?;
        certificate.next(Tag::BitString)?;
        certificate.end()?;

        let mut version = Elements::of(signed.next(tagged(0, true))?)?;
        if version.next(Tag::Integer)? != V3 {
            return None;
        }
        version.end()?;
        signed.next(Tag::Integer)?;
        // The signature's algorithm and the issuer.
        signed.next(Tag::Sequence)?;
        signed.next(Tag::Sequence)?;
        let not_after = not_after(signed.next(Tag::Sequence)?)?;
        // The subject and its key.
        signed.next(Tag::Sequence)?;
        signed.next(Tag::Sequence)?;
        // The unique identifiers of issuer and subject, which are obsolete.
        for number in [1, 2] {
            signed.optional(tagged(number, false))?;
        }
        let mut names = Self::default();
        if let Some(extensions) = signed.optional(tagged(3, true))? {
            names.take_extensions(extensions)?;
        }
        signed.end()?;
        Some((names, not_after))
    }

    fn take_extensions(&mut self, der: &[u8]) -> Option<()> {
        let mut outside = Elements::of(der)?;
        let mut extensions = Elements::of(outside.next(Tag::Sequence)?)?;
        outside.end()?;
        let mut seen = Vec::new();
        while !extensions.is_at_end() {
            let mut extension = Elements::of(extensions.next(Tag::Sequence)?)?;
            let id = extension.next(Tag::ObjectIdentifier)?;
            // The default is false, which is not written.
            if extension.optional(Tag::Boolean)?.is_some_and(|critical| critical != [0xff]) {
                return None;
            }
            let value = extension.next(Tag::OctetString)?;
            extension.end()?;
            // A second extension of the same kind could hide the first.
            if seen.contains(&id) || seen.len() >= MOST_EXTENSIONS {
                return None;
            }
            seen.push(id);
            match id {
                SUBJECT_ALT_NAME => self.take_alternative_names(value)?,
                BASIC_CONSTRAINTS => self.is_authority |= is_authority(value)?,
                KEY_USAGE => self.is_authority |= signs_certificates(value)?,
                _ => {}
            }
        }
        Some(())
    }

    /// Takes the URIs and the DNS names. Names of other kinds identify nobody.
    fn take_alternative_names(&mut self, der: &[u8]) -> Option<()> {
        let mut outside = Elements::of(der)?;
        let mut names = Elements::of(outside.next(Tag::Sequence)?)?;
        outside.end()?;
        while !names.is_at_end() {
            let name = names.any()?;
            if name.tag() == tagged(6, false) {
                self.uris.push(text(name.value())?.into());
            } else if name.tag() == tagged(2, false) {
                self.dns.push(text(name.value())?.to_ascii_lowercase().into());
            } else if !is_other_name(name.tag()) {
                return None;
            }
        }
        Some(())
    }
}

/// Returns whether this is the tag of a kind of name that identifies nobody. The kinds of URIs and DNS names are not among them: one in
/// parts, as BER permits, would be a name that others may read.
fn is_other_name(tag: Tag) -> bool {
    let Tag::ContextSpecific { constructed, number: TagNumber(number) } = tag else { return false };
    matches!((number, constructed), (0 | 3..=5, true) | (1 | 7 | 8, false))
}

/// Reads the dates between which a certificate is valid (RFC 5280, section 4.1.2.5). Returns the later one. The gateway has compared the
/// other one with its clock when the connection was opened.
fn not_after(der: &[u8]) -> Option<Timestamp> {
    let mut dates = Elements::of(der)?;
    dates.any()?;
    let date = dates.any()?;
    dates.end()?;
    let since_epoch = match date.tag() {
        Tag::UtcTime => date.decode_as::<UtcTime>().ok()?.to_unix_duration(),
        Tag::GeneralizedTime => date.decode_as::<GeneralizedTime>().ok()?.to_unix_duration(),
        _ => return None,
    };
    Some(Timestamp::from_secs(since_epoch.as_secs()))
}

/// Returns a name that consists of visible ASCII characters. A NUL or a space in a name has misled other readers.
fn text(bytes: &[u8]) -> Option<&str> {
    let is_visible = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic);
    std::str::from_utf8(bytes).ok().filter(|_| is_visible)
}

/// Reads basic constraints: whether the certificate is one of an authority.
fn is_authority(der: &[u8]) -> Option<bool> {
    let mut outside = Elements::of(der)?;
    let mut constraints = Elements::of(outside.next(Tag::Sequence)?)?;
    outside.end()?;
    let is_authority = match constraints.optional(Tag::Boolean)? {
        // Some authorities write the default.
        None | Some([0x00]) => false,
        Some([0xff]) => true,
        Some(_) => return None,
    };
    constraints.optional(Tag::Integer)?;
    constraints.end()?;
    Some(is_authority)
}

/// Reads a key usage: whether the key may sign certificates or revocation lists.
fn signs_certificates(der: &[u8]) -> Option<bool> {
    let mut outside = Elements::of(der)?;
    let bits = outside.next(Tag::BitString)?;
    outside.end()?;
    // The first byte is the number of unused bits in the last.
    let (unused, bytes) = bits.split_first()?;
    (*unused < 8).then(|| bytes.first().is_some_and(|first| first & SIGNS_CERTIFICATES != 0))
}

/// Returns the context-specific tag with this number.
fn tagged(number: u32, constructed: bool) -> Tag {
    Tag::ContextSpecific { constructed, number: TagNumber(number) }
}

/// The elements of a sequence, in their order.
struct Elements<'d>(SliceReader<'d>);

impl<'d> Elements<'d> {
    fn of(der: &'d [u8]) -> Option<Self> {
        SliceReader::new(der).ok().map(Self)
    }

    fn is_at_end(&self) -> bool {
        self.0.is_finished()
    }

    /// Returns the next element.
    fn any(&mut self) -> Option<AnyRef<'d>> {
        self.0.decode::<AnyRef<'d>>().ok()
    }

    /// Returns the contents of the next element, which must have this tag.
    fn next(&mut self, tag: Tag) -> Option<&'d [u8]> {
        self.any().filter(|element| element.tag() == tag).map(AnyRef::value)
    }

    /// Returns the contents of the next element if it has this tag.
    #[expect(clippy::option_option, reason = "a malformed element is not an absent one")]
    fn optional(&mut self, tag: Tag) -> Option<Option<&'d [u8]>> {
        if self.is_at_end() || Tag::peek(&self.0).ok()? != tag {
            return Some(None);
        }
        self.next(tag).map(Some)
    }

    /// Checks that there are no more elements.
    fn end(self) -> Option<()> {
        self.0.finish().ok()
    }
}
