//! Reports all mistakes in the structure of a policy at once, with our own messages.
//!
//! The schema that is generated from the raw types finds the mistakes; this module states what to write instead. It has no rules of
//! its own, and the engine still checks every document that passes here.

use callgate::document;
use callgate::document::{Place, nearest, renamed};
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::paths::{Location, LocationSegment};
use jsonschema::{JsonType, ValidationError};
use serde_json::Value;

use crate::diagnostic::Diagnostic;
use crate::document::Document;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// The longest part of a value that a message repeats, in characters.
const SHOWN: usize = 60;

/// The definitions whose patterns are checked here, because the engine parses these values while it reads the document and has no better
/// message. It checks all other text itself, and its messages state what is wrong with a value: their patterns are for editors.
const CHECKED: [&str; 3] = ["Duration", "Rate", "Size"];

/// Returns the JSON Schema of the policy document.
#[must_use]
pub fn schema() -> Value {
    document::Document::schema().to_value()
}

/// Returns the part of the schema that is checked here: without the patterns that only editors use.
fn structure() -> Value {
    let mut schema = schema();
    // Locations in errors are then relative to the document's root.
    if let Some(root) = schema.as_object_mut() {
        root.remove("$id");
    }
    let definitions = schema.get_mut("$defs").and_then(Value::as_object_mut).into_iter().flatten();
    for (_, form) in definitions.filter(|(name, _)| !CHECKED.contains(&name.as_str())) {
        if let Some(form) = form.as_object_mut() {
            form.remove("pattern");
        }
    }
    schema
}

/// Returns the problems in the structure of a policy.
pub(super) fn check(document: &Document) -> Vec<Diagnostic> {
    let schema = structure();
    // A test compiles the schema. If it were invalid, the engine would still check the document.
    let Ok(validator) = jsonschema::validator_for(&schema) else { return Vec::new() };
    let mut words = Words { schema: &schema, faults: Vec::new() };
    for error in validator.iter_errors(document.value()) {
        words.error(&error);
    }
    words.faults.into_iter().map(|(place, message)| document.error(&place, message)).collect()
}

struct Words<'a> {
    schema: &'a Value,
    faults: Vec<(Place, String)>,
}

impl Words<'_> {
    fn error(&mut self, error: &ValidationError<'_>) {
        let place = place(error.instance_path());
        let message = match error.kind() {
            Kind::AdditionalProperties { unexpected } => {
                for name in unexpected {
                    self.faults.push((place.field(name), self.unknown(name, error)));
                }
                return;
            }
            Kind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                self.faults.push((place.field(name), self.missing(name, error)));
                return;
            }
            Kind::AnyOf { context } | Kind::OneOfNotValid { context } => return self.alternatives(error, context),
            // The constant does not match either, and its message is more specific.
            Kind::Type { .. } if self.rule(error).is_some_and(|rule| rule.get("const").is_some()) => return,
            Kind::Type { kind } => {
                let pattern = self.rule(error).and_then(|rule| rule.get("pattern")?.as_str());
                pattern
                    .and_then(|pattern| without_unit(pattern, error.instance()))
                    .unwrap_or_else(|| wrong_type(kind, error.instance()))
            }
            Kind::Constant { expected_value } => not_among(error.instance(), [expected_value.as_ref()]),
            Kind::Enum { options } => not_among(error.instance(), options.as_array().into_iter().flatten()),
            Kind::PropertyNames { error } => {
                let name = error.instance().as_str().unwrap_or_default();
                self.faults.push((place.field(name), not_among(error.instance(), allowed(error))));
                return;
            }
            Kind::Pattern { .. } => self.misshapen(error),
            Kind::MinProperties { .. } | Kind::MaxProperties { .. } => {
                format!("expected {}", self.rule(error).and_then(|rule| self.about(rule)).unwrap_or_default())
            }
            Kind::Minimum { limit } => format!("invalid value `{}`; expected {limit} or more", error.instance()),
            // The policy's schema uses no other keywords. The library's masked message does not repeat the value.
            _ => error.masked().to_string(),
        };
        self.faults.push((place, message));
    }

    fn unknown(&self, name: &str, error: &ValidationError<'_>) -> String {
        let known = self.rule(error).and_then(|rule| rule.get("properties")).and_then(Value::as_object);
        let names: Vec<&str> = known.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        if let Some(new) = renamed(name) {
            return format!("this field was renamed; write `{new}`");
        }
        match nearest(name, names.iter().copied()) {
            Some(near) => format!("unknown field; did you mean `{near}`?"),
            None => format!("unknown field; expected {}", list("or", &names)),
        }
    }

    fn missing(&self, name: &str, error: &ValidationError<'_>) -> String {
        let described =
            self.rule(error).and_then(|rule| rule.get("properties")?.get(name)).and_then(|field| self.about(field));
        match described {
            Some(about) => format!("required field is missing; {about}"),
            None => "required field is missing".to_owned(),
        }
    }

    fn misshapen(&self, error: &ValidationError<'_>) -> String {
        invalid(error.instance(), self.rule(error).and_then(|rule| self.about(rule)).as_deref())
    }

    /// Reports a value that fits none of its possible forms, with the problems of the form that was probably meant.
    fn alternatives(&mut self, error: &ValidationError<'_>, context: &[Vec<ValidationError<'_>>]) {
        let at = error.instance_path();
        let forms: Vec<_> = context.iter().filter(|form| !form.iter().all(wants_null)).collect();
        if let [only] = forms.as_slice() {
            only.iter().for_each(|error| self.error(error));
            return;
        }
        let here = |error: &ValidationError<'_>| error.instance_path() == at;
        let another = |error: &ValidationError<'_>| {
            here(error) && matches!(error.kind(), Kind::Type { .. } | Kind::Constant { .. } | Kind::Enum { .. })
        };
        if let Some(meant) = forms.iter().filter(|form| !form.iter().any(another)).min_by_key(|form| form.len()) {
            meant.iter().for_each(|error| self.error(error));
            return;
        }
        let words: Vec<&Value> = forms.iter().flat_map(|form| form.iter()).flat_map(allowed).collect();
        let message = match self.rule(error).and_then(|rule| self.about(rule)) {
            _ if words.len() >= forms.len() => {
                self.instead(error).unwrap_or_else(|| not_among(error.instance(), words))
            }
            about if is_fraction(error.instance()) && forms.iter().flat_map(|form| form.iter()).any(wants_whole) => {
                not_whole(at, about.as_deref())
            }
            about => invalid(error.instance(), about.as_deref()),
        };
        self.faults.push((place(at), message));
    }

    /// Returns what to write instead of an algorithm that other software accepts.
    fn instead(&self, error: &ValidationError<'_>) -> Option<String> {
        let algorithms = self.schema.pointer("/$defs/AlgorithmName")?;
        let name = error
            .instance()
            .as_str()
            .filter(|_| self.rule(error).is_some_and(|rule| std::ptr::eq(rule, algorithms)))?;
        document::AlgorithmName::instead_of(name).map(str::to_owned)
    }

    /// Returns the part of the schema that an error comes from.
    fn rule(&self, error: &ValidationError<'_>) -> Option<&Value> {
        let (rule, _keyword) = error.schema_path().as_str().rsplit_once('/')?;
        self.schema.pointer(rule)
    }

    /// Returns the first sentence of a value's description in the schema, in a form that can follow a colon.
    fn about(&self, rule: &Value) -> Option<String> {
        let description = match rule.get("description") {
            Some(description) => description.as_str()?,
            None => {
                self.schema.pointer(rule.get("$ref")?.as_str()?.strip_prefix('#')?)?.get("description")?.as_str()?
            }
        };
        let sentence = description.split(". ").next()?.trim_end_matches('.').replace('\n', " ");
        let mut rest = sentence.chars();
        let first = rest.next()?;
        // Abbreviations stay in capitals.
        let lower = !rest.as_str().starts_with(|c: char| c.is_uppercase() || c == ' ') || sentence.starts_with("A ");
        Some(if lower { first.to_lowercase().chain(rest).collect() } else { sentence })
    }
}

fn place(location: &Location) -> Place {
    location.iter().fold(Place::root(), |place, segment| match segment {
        LocationSegment::Property(name) => place.field(&name),
        LocationSegment::Index(index) => place.index(index),
    })
}

fn wants_null(error: &ValidationError<'_>) -> bool {
    matches!(error.kind(), Kind::Type { kind: TypeKind::Single(JsonType::Null) })
}

fn wants_whole(error: &ValidationError<'_>) -> bool {
    match error.kind() {
        Kind::Type { kind: TypeKind::Single(one) } => *one == JsonType::Integer,
        Kind::Type { kind: TypeKind::Multiple(set) } => set.iter().any(|one| one == JsonType::Integer),
        _ => false,
    }
}

fn is_fraction(value: &Value) -> bool {
    value.as_f64().is_some_and(|number| number.fract() != 0.0)
}

/// Returns the message for a fraction in a place where a whole number is one of several forms.
fn not_whole(at: &Location, expected: Option<&str>) -> String {
    let expected = expected.unwrap_or("a whole number");
    match at.iter().last() {
        Some(LocationSegment::Property(name)) => {
            format!("`{name}` accepts whole numbers in policies; expected {expected}")
        }
        _ => format!("policies accept whole numbers here; expected {expected}"),
    }
}

/// Returns the values that would have been valid.
fn allowed<'a>(error: &'a ValidationError<'_>) -> Vec<&'a Value> {
    match error.kind() {
        Kind::Constant { expected_value } => vec![expected_value.as_ref()],
        Kind::Enum { options } => options.as_array().into_iter().flatten().collect(),
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            context.iter().flatten().flat_map(allowed).collect()
        }
        _ => Vec::new(),
    }
}

fn not_among<'a>(value: &Value, words: impl IntoIterator<Item = &'a Value>) -> String {
    let words: Vec<&str> = words.into_iter().filter_map(Value::as_str).collect();
    match value.as_str().and_then(|value| nearest(value, words.iter().copied())) {
        Some(near) => format!("invalid value {}; did you mean `{near}`?", shown(value)),
        None => invalid(value, Some(&list("or", &words))),
    }
}

/// Returns the message for a value in the place of an expected one.
fn invalid(value: &Value, expected: Option<&str>) -> String {
    match (value, expected) {
        (Value::String(_), Some(expected)) => format!("invalid value {}; expected {expected}", shown(value)),
        (_, Some(expected)) => format!("expected {expected}, not {}", shown(value)),
        (_, None) => format!("invalid value {}", shown(value)),
    }
}

/// Returns what to write instead of a whole number if a number with a unit is expected, by the field's pattern. A size was probably meant
/// in bytes.
fn without_unit(pattern: &str, value: &Value) -> Option<String> {
    let number = value.as_u64()?;
    let (what, example) = match pattern {
        "^[0-9]+[smhd]$" => ("duration", format!("{number}s")),
        "^[0-9]+(KiB|MiB)$" => (
            "size",
            if number % MIB == 0 { format!("{}MiB", number / MIB) } else { format!("{}KiB", number.div_ceil(KIB)) },
        ),
        _ => return None,
    };
    Some(format!("invalid {what} `{number}`; add a unit, such as `{example}`"))
}

fn wrong_type(kind: &TypeKind, value: &Value) -> String {
    let wanted: Vec<JsonType> = match kind {
        TypeKind::Single(one) => vec![*one],
        TypeKind::Multiple(set) => set.iter().filter(|one| *one != JsonType::Null).collect(),
    };
    let names: Vec<&str> = wanted.iter().map(|one| name(*one)).collect();
    let wants_text = wanted == [JsonType::String];
    let rejects_fraction = is_fraction(value) && wanted.contains(&JsonType::Integer);
    let help = match value {
        Value::Number(_) if rejects_fraction && wanted.contains(&JsonType::String) => "; quote it",
        Value::Bool(_) | Value::Number(_) if wants_text => "; quote it",
        Value::String(_) | Value::Number(_) if wanted == [JsonType::Array] => "; write it as `[...]`",
        _ => "",
    };
    let found = if rejects_fraction { "a fraction" } else { described(value) };
    format!("expected {}, not {found}{help}", names.join(" or "))
}

fn name(kind: JsonType) -> &'static str {
    match kind {
        JsonType::Null => "nothing",
        JsonType::Boolean => "`true` or `false`",
        JsonType::Integer => "a whole number",
        JsonType::Number => "a number",
        JsonType::String => "text",
        JsonType::Array => "a list",
        JsonType::Object => "a mapping",
    }
}

fn described(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// Formats a value for a message: the start of a text, or the type of any other value.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.chars().count() > SHOWN => {
            format!("`{}…`", text.chars().take(SHOWN).collect::<String>())
        }
        Value::String(text) => format!("`{text}`"),
        Value::Null => "an empty value".to_owned(),
        other => described(other).to_owned(),
    }
}

fn list(last_joint: &str, names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => "nothing".to_owned(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} {last_joint} {last}", first.join(", ")),
    }
}

#[cfg(test)]
#[path = "structure_tests.rs"]
mod tests;
