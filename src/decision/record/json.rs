//! A JSON serializer for records.
//!
//! The record is the longest text that a decision writes, and most of it needs no escaping. serde_json checks each byte
//! separately; this module checks sixteen at a time. Of the 39,300 instructions of a warm decision in Wasm, the record takes
//! 8,900. With serde_json alone it takes 19,500, which is about 0.8 µs more. Values that records do not contain are rejected,
//! and the caller falls back to serde_json.

use std::fmt;

use serde::Serialize;
use serde::ser::{Impossible, SerializeMap, SerializeSeq, SerializeStruct, Serializer};

use crate::text::ascii::are_unescaped_in_json;

/// The initial capacity in bytes. A record of typical size fits without reallocation.
const USUAL: usize = 1024;
/// The maximum length of a member's name. With a longer one, the caller falls back to serde_json.
const LONGEST_NAME: usize = 28;

/// Returns a value as JSON, identical to serde_json's output. Returns `None` if it contains a value that records do not
/// contain.
pub(super) fn to_json(value: &impl Serialize) -> Option<Vec<u8>> {
    let mut writer = Writer { out: Vec::with_capacity(USUAL) };
    value.serialize(&mut writer).ok()?;
    Some(writer.out)
}

struct Writer {
    out: Vec<u8>,
}

impl Writer {
    fn text(&mut self, text: &str) -> Result<(), fmt::Error> {
        if are_unescaped_in_json(text.as_bytes()) {
            self.plain(text);
            Ok(())
        } else {
            serde_json::to_writer(&mut self.out, text).map_err(|_| fmt::Error)
        }
    }

    /// Writes text that is known to need no escaping.
    #[inline(always)]
    fn plain(&mut self, text: &str) {
        self.out.reserve(text.len() + 2);
        self.out.push(b'"');
        self.out.extend_from_slice(text.as_bytes());
        self.out.push(b'"');
    }
}

/// Writes members or items, separated by commas.
struct Several<'w> {
    writer: &'w mut Writer,
    is_first: bool,
    end: u8,
}

impl<'w> Several<'w> {
    fn begin(writer: &'w mut Writer, begin: u8, end: u8) -> Self {
        writer.out.push(begin);
        Self { writer, is_first: true, end }
    }

    fn next(&mut self) -> &mut Writer {
        if !std::mem::take(&mut self.is_first) {
            self.writer.out.push(b',');
        }
        self.writer
    }

    fn finish(self) {
        self.writer.out.push(self.end);
    }
}

/// Writes the members of a struct.
struct Members<'w> {
    writer: &'w mut Writer,
    /// What precedes the next member: the opening brace, and then commas.
    before: u8,
}

impl SerializeStruct for Members<'_> {
    type Ok = ();
    type Error = fmt::Error;

    // The names are constants at the call site, so after inlining each takes one check of the capacity and a few stores.
    #[inline(always)]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), fmt::Error> {
        let mut name = [0; LONGEST_NAME + 4];
        let name = name.get_mut(..key.len() + 4).ok_or(fmt::Error)?;
        if let [before, quote, text @ .., end, colon] = name {
            [*before, *quote, *end, *colon] = [self.before, b'"', b'"', b':'];
            text.copy_from_slice(key.as_bytes());
        }
        self.before = b',';
        self.writer.out.extend_from_slice(name);
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), fmt::Error> {
        let end: &[u8] = if self.before == b'{' { b"{}" } else { b"}" };
        self.writer.out.extend_from_slice(end);
        Ok(())
    }
}

impl SerializeMap for Several<'_> {
    type Ok = ();
    type Error = fmt::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), fmt::Error> {
        key.serialize(self.next())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), fmt::Error> {
        self.writer.out.push(b':');
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), fmt::Error> {
        self.finish();
        Ok(())
    }
}

impl SerializeSeq for Several<'_> {
    type Ok = ();
    type Error = fmt::Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), fmt::Error> {
        value.serialize(self.next())
    }

    fn end(self) -> Result<(), fmt::Error> {
        self.finish();
        Ok(())
    }
}

type Unknown = Impossible<(), fmt::Error>;

macro_rules! refuse {
    ($($name:ident($($argument:ty),*) -> $result:ty;)*) => {
        $(fn $name(self, $(_: $argument),*) -> Result<$result, fmt::Error> {
            Err(fmt::Error)
        })*
    };
}

impl<'w> Serializer for &'w mut Writer {
    type Ok = ();
    type Error = fmt::Error;
    type SerializeSeq = Several<'w>;
    type SerializeMap = Several<'w>;
    type SerializeStruct = Members<'w>;
    type SerializeTuple = Unknown;
    type SerializeTupleStruct = Unknown;
    type SerializeTupleVariant = Unknown;
    type SerializeStructVariant = Unknown;

    fn serialize_str(self, text: &str) -> Result<(), fmt::Error> {
        self.text(text)
    }

    fn serialize_bool(self, value: bool) -> Result<(), fmt::Error> {
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_u64(self, value: u64) -> Result<(), fmt::Error> {
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        Ok(())
    }

    fn serialize_u32(self, value: u32) -> Result<(), fmt::Error> {
        self.serialize_u64(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<(), fmt::Error> {
        self.serialize_u64(value.into())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), fmt::Error> {
        value.serialize(self)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, name: &'static str) -> Result<(), fmt::Error> {
        self.plain(name);
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Several<'w>, fmt::Error> {
        Ok(Several::begin(self, b'[', b']'))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Several<'w>, fmt::Error> {
        Ok(Several::begin(self, b'{', b'}'))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Members<'w>, fmt::Error> {
        Ok(Members { writer: self, before: b'{' })
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), fmt::Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), fmt::Error> {
        Err(fmt::Error)
    }

    refuse! {
        serialize_i8(i8) -> ();
        serialize_i16(i16) -> ();
        serialize_i32(i32) -> ();
        serialize_i64(i64) -> ();
        serialize_u8(u8) -> ();
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_none() -> ();
        serialize_unit() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_tuple(usize) -> Unknown;
        serialize_tuple_struct(&'static str, usize) -> Unknown;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Unknown;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Unknown;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// A value with all types that records contain.
    #[derive(Debug, Serialize)]
    struct Sample {
        text: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        number: Option<u64>,
        list: Vec<String>,
        map: BTreeMap<String, String>,
        inner: Inner,
        is: bool,
    }

    #[derive(Debug, Serialize)]
    struct Inner {
        small: u16,
        kind: Kind,
    }

    #[derive(Debug, Serialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Allow,
    }

    proptest! {
        #[test]
        fn writes_the_same_json_as_serde_json(
            text: String,
            number: Option<u64>,
            list: Vec<String>,
            map: BTreeMap<String, String>,
            small: u16,
            is: bool,
        ) {
            let sample = Sample { text, number, list, map, inner: Inner { small, kind: Kind::Allow }, is };
            prop_assert_eq!(to_json(&sample).unwrap(), serde_json::to_vec(&sample).unwrap());
        }
    }

    #[test]
    fn escapes_characters_at_any_position() {
        for text in ["\"", "a\\b", "0123456\"", "01234567\n", "\u{0}", "\u{7f}é\u{2028}😀", "plain text of some length"]
        {
            assert_eq!(to_json(&text).unwrap(), serde_json::to_vec(text).unwrap());
        }
    }

    #[test]
    fn writes_members_in_any_number() {
        #[derive(Serialize)]
        struct Optional {
            #[serde(skip_serializing_if = "Option::is_none")]
            first: Option<u64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            with_a_name_of_28_characters: Option<bool>,
        }
        for (first, second) in [(None, None), (Some(1), None), (None, Some(true)), (Some(1), Some(false))] {
            let optional = Optional { first, with_a_name_of_28_characters: second };
            assert_eq!(to_json(&optional).unwrap(), serde_json::to_vec(&optional).unwrap());
        }
        #[derive(Serialize)]
        struct Long {
            with_a_name_of_more_than_28_characters: bool,
        }
        assert_eq!(to_json(&Long { with_a_name_of_more_than_28_characters: true }), None);
        assert!(super::super::Record::MEMBERS.iter().all(|name| name.len() <= LONGEST_NAME));
    }

    #[test]
    fn rejects_types_that_records_do_not_contain() {
        assert_eq!(to_json(&1.5), None);
        assert_eq!(to_json(&()), None);
        assert_eq!(to_json(&None::<u64>), None);
        assert_eq!(to_json(&vec![(1, 2)]), None);
    }
}
