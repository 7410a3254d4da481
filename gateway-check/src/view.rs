//! A part of a configuration and its place, read like protobuf's JSON form: names in either spelling, enums by name in either case
//! or by number, null as absent.
//!
//! A setting that could open a bypass counts as set unless it is clearly off ([`View::says`]). A setting that closes one counts
//! only if it is clearly on ([`View::affirms`]). An unexpected form is therefore never taken for the harmless one.

use callgate::document::Place;
use serde_json::Value;

use callgate_kit::document::Document;

/// A value somewhere in a document.
#[derive(Debug, Clone)]
pub(super) struct View<'a> {
    pub(super) document: &'a Document,
    pub(super) value: &'a Value,
    pub(super) place: Place,
}

impl<'a> View<'a> {
    pub(super) fn root(document: &'a Document) -> Self {
        Self { document, value: document.value(), place: Place::root() }
    }

    /// Returns a field by its name in snake case; a null field is absent.
    pub(super) fn get(&self, name: &str) -> Option<Self> {
        let fields = self.value.as_object()?;
        let spelled = if fields.contains_key(name) { name.to_owned() } else { camel(name) };
        let value = fields.get(&spelled).filter(|value| !value.is_null())?;
        Some(Self { document: self.document, value, place: self.place.field(&spelled) })
    }

    /// Returns a nested field; dots separate the names.
    pub(super) fn path(&self, path: &str) -> Option<Self> {
        path.split('.').try_fold(self.clone(), |view, name| view.get(name))
    }

    /// Returns the items of a repeated field. A field that is not a list counts as its own only item.
    pub(super) fn each(&self, path: &str) -> Vec<Self> {
        self.path(path).map(|list| list.items()).unwrap_or_default()
    }

    /// Returns the items of a list. Any other value counts as its own only item.
    pub(super) fn items(&self) -> Vec<Self> {
        match self.value {
            Value::Array(items) => (items.iter().enumerate())
                .map(|(index, value)| Self { document: self.document, value, place: self.place.index(index) })
                .collect(),
            Value::Null => Vec::new(),
            _ => vec![self.clone()],
        }
    }

    /// Returns the fields of a mapping.
    pub(super) fn fields(&self) -> Vec<(&'a str, Self)> {
        let fields = self.value.as_object().into_iter().flatten();
        fields
            .map(|(name, value)| {
                (name.as_str(), Self { document: self.document, value, place: self.place.field(name) })
            })
            .collect()
    }

    /// Returns the text of a field.
    pub(super) fn text(&self, path: &str) -> Option<&'a str> {
        self.path(path)?.value.as_str()
    }

    /// Returns the number of a field, or `None` unless it is a non-negative integer.
    pub(super) fn number(&self, path: &str) -> Option<u64> {
        let field = self.path(path)?;
        match field.value {
            Value::String(text) => text.parse().ok().filter(|number: &u64| number.to_string() == *text),
            value => value.as_u64(),
        }
    }

    /// Returns the field unless it is clearly off.
    pub(super) fn says(&self, path: &str) -> Option<Self> {
        self.path(path).filter(|field| match field.value {
            Value::Bool(value) => *value,
            Value::String(text) => !text.eq_ignore_ascii_case("false"),
            _ => true,
        })
    }

    /// Returns whether the field is clearly on.
    pub(super) fn affirms(&self, path: &str) -> bool {
        self.path(path).is_some_and(|field| match field.value {
            Value::Bool(value) => *value,
            Value::String(text) => text == "true",
            _ => false,
        })
    }

    /// Returns whether the field is this value of an enum.
    pub(super) fn is(&self, path: &str, name: &str, number: u64) -> bool {
        let plain = |text: &str| text.replace(['_', '-'], "").to_ascii_uppercase();
        self.number(path) == Some(number) || self.text(path).is_some_and(|text| plain(text) == plain(name))
    }

    /// Returns the full type name and the content of an `Any`. A `TypedStruct` is unwrapped.
    pub(super) fn open(&self) -> (&'a str, Self) {
        let full = |url: &'a str| url.rsplit('/').next().unwrap_or_default();
        let name = self.value.get("@type").and_then(Value::as_str).map(full).unwrap_or_default();
        if matches!(name, "xds.type.v3.TypedStruct" | "udpa.type.v1.TypedStruct") {
            let content = self.get("value").unwrap_or_else(|| self.clone());
            return (self.text("type_url").map(full).unwrap_or_default(), content);
        }
        (name, self.clone())
    }

    /// Returns every part that is an `Any` whose type ends with one of `ends`, at any depth, but not those inside of another match.
    pub(super) fn find(&self, ends: &[&str]) -> Vec<Self> {
        let (name, content) = self.open();
        if ends.iter().any(|end| name.ends_with(end)) {
            return vec![content];
        }
        match self.value {
            Value::Array(_) => self.items().iter().flat_map(|item| item.find(ends)).collect(),
            Value::Object(_) => self.fields().iter().flat_map(|(_, field)| field.find(ends)).collect(),
            _ => Vec::new(),
        }
    }

    /// Returns the first part that contains a name in both spellings; readers could use either one.
    pub(super) fn spelled_twice(&self) -> Option<Self> {
        match self.value {
            Value::Array(_) => self.items().iter().find_map(Self::spelled_twice),
            Value::Object(fields) => {
                let twice = |name: &str| name.contains('_') && fields.contains_key(&camel(name));
                (self.fields().into_iter()).find_map(
                    |(name, field)| {
                        if twice(name) { Some(field) } else { field.spelled_twice() }
                    },
                )
            }
            _ => None,
        }
    }
}

/// Returns a name in snake case as protobuf's JSON form spells it.
fn camel(name: &str) -> String {
    let mut spelled = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        if c == '_' {
            upper = true;
        } else if std::mem::take(&mut upper) {
            spelled.push(c.to_ascii_uppercase());
        } else {
            spelled.push(c);
        }
    }
    spelled
}

#[cfg(test)]
mod tests {
    use super::*;
    use callgate_kit::document;

    fn document(text: &str) -> Document {
        document::parse_configuration("x.yaml", text.as_bytes()).unwrap().remove(0)
    }

    #[test]
    fn reads_camel_and_snake_case_names_and_ignores_null() {
        let document = document("useRemoteAddress: true\nmerge_slashes: ~\na_b: { cD: [1] }\n");
        let root = View::root(&document);
        assert!(root.affirms("use_remote_address"));
        assert!(root.get("merge_slashes").is_none());
        assert_eq!(root.each("a_b.c_d").len(), 1);
        assert_eq!(root.path("a_b.c_d").unwrap().place.as_str(), "a_b.cD");
    }

    #[test]
    fn reads_enums_by_name_in_any_case_or_by_number() {
        for written in ["FAIL_OPEN", "fail_open", "fail-open", "FailOpen", "3", "'3'"] {
            let document = document(&format!("failure_policy: {written}\n"));
            assert!(View::root(&document).is("failure_policy", "FAIL_OPEN", 3), "{written}");
        }
        let other = document("failure_policy: FAIL_CLOSED\n");
        assert!(!View::root(&other).is("failure_policy", "FAIL_OPEN", 3));
    }

    #[test]
    fn treats_a_field_as_set_unless_it_is_false_or_null() {
        for (written, says, affirms) in [
            ("true", true, true),
            ("yes", true, true),
            ("'true'", true, true),
            ("1", true, false),
            ("{}", true, false),
            ("false", false, false),
            ("no", false, false),
            ("'False'", false, false),
            ("~", false, false),
        ] {
            let document = document(&format!("disabled: {written}\n"));
            let root = View::root(&document);
            assert_eq!((root.says("disabled").is_some(), root.affirms("disabled")), (says, affirms), "{written}");
        }
    }

    #[test]
    fn unwraps_typed_structs() {
        let document = document(
            "'@type': type.googleapis.com/udpa.type.v1.TypedStruct\ntype_url: type.googleapis.com/a.b.C\nvalue: { x: 1 }\n",
        );
        let (name, content) = View::root(&document).open();
        assert_eq!((name, content.number("x")), ("a.b.C", Some(1)));
    }

    #[test]
    fn detects_a_field_given_in_both_spellings() {
        let document = document("a: [{ is_x: 1, isX: 2 }]\n");
        assert_eq!(View::root(&document).spelled_twice().unwrap().place.as_str(), "a[0].is_x");
    }
}
