//! The types that a variable of a path template can have.

use std::fmt;

use crate::request::percent;
use crate::text::ascii::are_unreserved;

/// The values that a variable matches. Only the end of a [`Rest`](Self::Rest) can be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `{x:int}`: a decimal number that fits 64 bits, without sign and leading zeros.
    Int,
    /// `{x...}`: the rest of the path, one or more segments.
    Rest,
    /// `{x:slug}`: ASCII letters, digits, `-` and `_`.
    Slug,
    /// `{x:text}`: any segment, with its escapes decoded once.
    Text,
    /// `{x}`: the unreserved characters of RFC 3986 (section 2.3).
    Unreserved,
    /// `{x:uuid}`: a UUID in its usual form (RFC 9562, section 4), in upper or lower case.
    Uuid,
}

impl Kind {
    /// The types that a template names after a colon.
    pub(super) const NAMED: [(&'static str, Self); 4] =
        [("int", Self::Int), ("slug", Self::Slug), ("text", Self::Text), ("uuid", Self::Uuid)];

    /// The notation of each type of variable and the values it matches, for the policy reference.
    pub const DESCRIBED: [(&'static str, Self, &'static str); 6] = [
        ("{x}", Self::Unreserved, "one segment of ASCII letters, digits, `-`, `.`, `_` and `~`"),
        ("{x:int}", Self::Int, "a decimal number from 0 to 18446744073709551615, without sign or leading zeros"),
        ("{x:slug}", Self::Slug, "one segment of ASCII letters, digits, `-` and `_`"),
        ("{x:uuid}", Self::Uuid, "a UUID in the format of RFC 9562, in upper or lower case and without braces"),
        (
            "{x:text}",
            Self::Text,
            "one segment of any characters that are valid in a path: the characters of `{x}`, `! $ & ' ( ) * + , = : @`, raw `[ \
             ] ^ |`, and escapes of everything except control characters",
        ),
        (
            "{x...}",
            Self::Rest,
            "the rest of the path: one or more segments that `{x:text}` matches; the last one may be empty",
        ),
    ];

    /// Returns whether values can contain escapes and `;`. Only then can an endpoint allow them.
    #[must_use]
    pub fn takes_escapes(self) -> bool {
        matches!(self, Self::Rest | Self::Text)
    }

    /// Returns whether a variable of this type matches this text of one segment.
    pub(crate) fn takes(self, value: &[u8]) -> bool {
        if value.is_empty() {
            return false;
        }
        match self {
            Self::Int => is_int(value),
            Self::Rest | Self::Text => true,
            Self::Slug => value.iter().all(|byte| self.has_character(*byte)),
            Self::Unreserved => are_unreserved(value),
            Self::Uuid => is_uuid(value),
        }
    }

    /// Returns whether the upstream's own variable could match a decoded text: it may accept more values than the policy's variable.
    pub(super) fn may_take(self, decoded: &[u8]) -> bool {
        let all = |fits: fn(&u8) -> bool| decoded.iter().all(fits);
        !decoded.is_empty()
            && match self {
                Self::Int => all(|byte| byte.is_ascii_digit() || b"+-._ ".contains(byte)),
                Self::Uuid => all(|byte| byte.is_ascii_hexdigit() || b"-{}".contains(byte)),
                Self::Rest | Self::Slug | Self::Text | Self::Unreserved => true,
            }
    }

    /// Returns whether values of this type can contain a character.
    pub(super) fn has_character(self, byte: u8) -> bool {
        match self {
            Self::Int => byte.is_ascii_digit(),
            Self::Rest | Self::Text => true,
            Self::Slug => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'),
            Self::Unreserved => percent::is_unreserved(byte),
            Self::Uuid => byte.is_ascii_hexdigit() || byte == b'-',
        }
    }

    /// Returns whether every value of the other type is also a value of this type.
    pub(super) fn includes(self, other: Self) -> bool {
        match self {
            Self::Rest | Self::Text => true,
            Self::Unreserved => !other.takes_escapes(),
            Self::Slug => matches!(other, Self::Int | Self::Slug | Self::Uuid),
            Self::Int | Self::Uuid => self == other,
        }
    }
}

fn is_int(value: &[u8]) -> bool {
    let canonical = value == b"0" || value.first().is_some_and(|first| matches!(first, b'1'..=b'9'));
    canonical && str::from_utf8(value).is_ok_and(|text| text.parse::<u64>().is_ok())
}

fn is_uuid(value: &[u8]) -> bool {
    let lengths = value.split(|byte| *byte == b'-').map(<[u8]>::len);
    lengths.eq([8, 4, 4, 4, 12]) && value.iter().all(|byte| Kind::Uuid.has_character(*byte))
}

impl fmt::Display for Kind {
    /// Writes the part of the notation after the variable's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rest => f.write_str("..."),
            Self::Unreserved => Ok(()),
            named => {
                Self::NAMED.iter().filter(|(_, kind)| kind == named).try_for_each(|(name, _)| write!(f, ":{name}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_matches_only_valid_values() {
        let uuid = "018f6b3e-7c1a-7cc2-98c8-0123456789ab";
        let rows: [(Kind, &[&str], &[&str]); 5] = [
            (Kind::Unreserved, &["a", "A-._~9", "...", uuid], &["", "a:b", "a%20b", "a@b", "a,b", "a+b", "a;b"]),
            (
                Kind::Int,
                &["0", "7", "10", "18446744073709551615"],
                &["", "00", "01", "-1", "+1", "1.0", "1e3", "0x1", " 1", "18446744073709551616", "\u{661}"],
            ),
            (Kind::Slug, &["a", "A_b-9", "-", uuid], &["", "a.b", "a~", "a%20", "\u{e4}"]),
            (
                Kind::Uuid,
                &[uuid, "018F6B3E-7C1A-7CC2-98C8-0123456789AB"],
                &[
                    "",
                    "018f6b3e7c1a7cc298c80123456789ab",
                    "018f6b3e-7c1a-7cc2-98c8-0123456789a",
                    "{018f6b3e-7c1a-7cc2-98c8-0123456789ab}",
                    "018f6b3g-7c1a-7cc2-98c8-0123456789ab",
                ],
            ),
            (Kind::Text, &["a", "a:b", "%20", "a;b", "..."], &[""]),
        ];
        for (kind, taken, refused) in rows {
            for value in taken {
                assert!(kind.takes(value.as_bytes()), "{kind:?} {value}");
            }
            for value in refused {
                assert!(!kind.takes(value.as_bytes()), "{kind:?} {value}");
            }
        }
    }

    #[test]
    fn type_descriptions_match_their_syntax() {
        for (written, kind, _) in Kind::DESCRIBED {
            assert_eq!(written, format!("{{x{kind}}}"));
        }
        let kinds: Vec<Kind> = Kind::DESCRIBED.iter().map(|(_, kind, _)| *kind).collect();
        assert!(Kind::NAMED.iter().all(|(_, kind)| kinds.contains(kind)));
    }

    #[test]
    fn includes_a_type_if_it_matches_all_its_values() {
        let kinds = [Kind::Int, Kind::Rest, Kind::Slug, Kind::Text, Kind::Unreserved, Kind::Uuid];
        let values = ["1", "a", "a.b", "a%20b", "a:b", "018f6b3e-7c1a-7cc2-98c8-0123456789ab"];
        for wide in kinds {
            for narrow in kinds {
                let counterexample =
                    values.iter().find(|value| narrow.takes(value.as_bytes()) && !wide.takes(value.as_bytes()));
                assert_eq!(wide.includes(narrow), counterexample.is_none(), "{wide:?} {narrow:?} {counterexample:?}");
            }
        }
    }
}
