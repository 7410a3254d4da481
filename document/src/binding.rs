//! The field `bind` of an endpoint.

use std::fmt;

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::Value;

#[cfg(feature = "schema")]
use super::form;

/// The bound parts of a request, each with its rule, in the order of the parts. The first that does not hold is the reason of a denial.
// A list, because a map with these values would add the code of `BTreeMap` to the module once more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bindings(Vec<(String, BindingRule)>);

impl Bindings {
    /// Iterates over the parts and their rules.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &BindingRule)> {
        self.0.iter().map(|(part, rule)| (part.as_str(), rule))
    }

    /// Returns whether this part is bound.
    #[must_use]
    pub fn binds(&self, part: &str) -> bool {
        self.0.iter().any(|(other, _)| other == part)
    }
}

impl<'de> Deserialize<'de> for Bindings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(BindingsVisitor)
    }
}

struct BindingsVisitor;

impl<'de> Visitor<'de> for BindingsVisitor {
    type Value = Bindings;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping from parts of the request to rules")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut bindings: Vec<(String, BindingRule)> = Vec::new();
        while let Some(part) = map.next_key::<String>()? {
            let rule = map.next_value()?;
            match bindings.binary_search_by(|(other, _)| other.as_str().cmp(&part)) {
                Ok(_) => return Err(de::Error::custom("a part of the request is bound twice; remove one")),
                Err(at) => bindings.insert(at, (part, rule)),
            }
        }
        Ok(Bindings(bindings))
    }
}

/// What a bound part of a request must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindingRule {
    /// How the part is compared.
    pub operator: Operator,
    /// What it is compared with.
    pub operand: Operand,
}

/// How a bound part of a request is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// It equals the value, or one item of a list.
    Equals,
    /// It equals one item of a list.
    In,
    /// It is the same path, or continues after it with further segments.
    Prefix,
    /// It is a number that is not greater.
    AtMost,
}

impl Operator {
    const ALL: [Self; 4] = [Self::Equals, Self::In, Self::Prefix, Self::AtMost];

    /// Returns the operator's name in the document.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Equals => "equals",
            Self::In => "in",
            Self::Prefix => "prefix",
            Self::AtMost => "at_most",
        }
    }

    /// Returns the form of the values that this operator accepts, for error messages.
    fn operand_form(self) -> &'static str {
        match self {
            Self::Equals => "expected a reference such as `token.org`, a whole number, or `{ literal: TEXT }`",
            Self::In => "expected a reference such as `agent.regions`, or a list of text and whole numbers",
            Self::Prefix => "expected a reference such as `agent.folder`, or `{ literal: /srv/acme }`",
            Self::AtMost => {
                "expected a reference such as `agent.limit`, a whole number, or `{ literal: \"99.50\" }` for a fraction"
            }
        }
    }
}

/// What a bound part of a request is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operand {
    /// A known value of the caller, such as `token.org` or `agent.repositories`.
    Reference(String),
    /// A fixed value: text, a whole number, or a list of these.
    Literal(Value),
}

impl<'de> Deserialize<'de> for BindingRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RuleVisitor)
    }
}

struct RuleVisitor;

impl<'de> Visitor<'de> for RuleVisitor {
    type Value = BindingRule;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a reference such as `token.org`, or a mapping with one operator, such as `{ in: [EUR, USD] }`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(BindingRule { operator: Operator::Equals, operand: Operand::Reference(text.to_owned()) })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        // The code that reads values of any form is there for attributes already.
        let members = Value::deserialize(de::value::MapAccessDeserializer::new(map))?;
        BindingRule::read(members).map_err(de::Error::custom)
    }
}

impl BindingRule {
    fn read(members: Value) -> Result<Self, String> {
        let Some((name, operand)) = only(members) else {
            return Err("expected exactly one of `equals`, `in`, `prefix` and `at_most`".to_owned());
        };
        let Some(operator) = Operator::ALL.into_iter().find(|operator| operator.name() == name) else {
            let shown = name.escape_debug();
            return Err(format!("unknown operator `{shown}`; expected `equals`, `in`, `prefix` or `at_most`"));
        };
        let form = operator.operand_form();
        if operator != Operator::Prefix && matches!(&operand, Value::Number(number) if !is_whole(number)) {
            return Err(format!("`{name}` accepts whole numbers in policies; {form}"));
        }
        let operand = Operand::read(operand).ok_or(form)?;
        Ok(Self { operator, operand })
    }
}

impl Operand {
    fn read(value: Value) -> Option<Self> {
        match value {
            Value::String(reference) => Some(Self::Reference(reference)),
            Value::Object(_) => only(value)
                .filter(|(name, literal)| name == "literal" && is_literal(literal))
                .map(|(_, literal)| Self::Literal(literal)),
            Value::Array(items) if items.iter().all(is_literal) => Some(Self::Literal(Value::Array(items))),
            Value::Number(number) if is_whole(&number) => Some(Self::Literal(Value::Number(number))),
            _ => None,
        }
    }
}

/// Returns the member of a mapping that has no other.
fn only(value: Value) -> Option<(String, Value)> {
    match value {
        Value::Object(members) if members.len() == 1 => members.into_iter().next(),
        _ => None,
    }
}

fn is_literal(value: &Value) -> bool {
    match value {
        Value::String(_) => true,
        Value::Number(number) => is_whole(number),
        _ => false,
    }
}

/// Fractions are written as text, because the version of a policy must not depend on how they are rounded.
fn is_whole(number: &serde_json::Number) -> bool {
    number.is_i64() || number.is_u64()
}

/// The form of a rule with an operator, for the JSON Schema.
#[cfg(feature = "schema")]
enum OperatorForm {}

#[cfg(feature = "schema")]
impl JsonSchema for OperatorForm {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "BindingOperator".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let reference = generator.subschema_for::<form::BindingValue>();
        let literal = generator.subschema_for::<LiteralForm>();
        schemars::json_schema!({
            "description": "Exactly one of `equals`, `in`, `prefix` and `at_most`, with the value that the part is compared with. A value \
                            that could be read in two ways matches nothing.",
            "type": "object",
            "properties": {
                "equals": {
                    "description": "The value that the part must equal: a reference, a whole number or `{ literal: TEXT }`. This is the \
                                    operator of a reference without one. Text is compared exactly, and a whole number by its decimal \
                                    form. If the value is a list, the part must equal one of its items.",
                    "anyOf": [reference.clone(), { "type": "integer" }, literal.clone()]
                },
                "in": {
                    "description": "The values of which the part must equal one: a reference, or a list of text and whole numbers. A \
                                    claim or attribute that is not a list is the only value. Text in the list is a fixed value, not a \
                                    reference.",
                    "anyOf": [reference.clone(), { "type": "array", "items": { "type": ["string", "integer"] } }]
                },
                "prefix": {
                    "description": "The path that the part must equal or continue: a reference or `{ literal: TEXT }`. Only whole \
                                    segments match: `/srv/acme` matches `/srv/acme/a`, and not `/srv/acmex`. A part with an empty \
                                    segment, a segment of dots, a slash at its end, `%`, `\\`, `?`, `#`, a comma, a control \
                                    character, or a character that Unicode normalization turns into one of these does not match. \
                                    Neither does a claim \
                                    that is not such a path. If the value is a list, one of its items must match.",
                    "anyOf": [reference.clone(), literal.clone()]
                },
                "at_most": {
                    "description": "The number that the part must not exceed: a reference, a whole number, or `{ literal: \"99.50\" }` \
                                    for a fraction. Numbers are compared exactly. The part must be a JSON number with at most 30 \
                                    digits: `1e3` is one, and `+5`, `007` and `0x10` are not. Numbers with a minus sign, also in the exponent, do not match. A claim \
                                    must be such a number as text, or a whole number. A list does not match.",
                    "anyOf": [reference, { "type": "integer" }, literal]
                }
            },
            "additionalProperties": false,
            "minProperties": 1,
            "maxProperties": 1
        })
    }
}

/// The form of a literal, for the JSON Schema.
#[cfg(feature = "schema")]
enum LiteralForm {}

#[cfg(feature = "schema")]
impl JsonSchema for LiteralForm {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "BindingLiteral".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A fixed value, which is the same for every caller.",
            "type": "object",
            "properties": {
                "literal": {
                    "description": "Text that is not empty, or a whole number.",
                    "type": ["string", "integer"]
                }
            },
            "required": ["literal"],
            "additionalProperties": false
        })
    }
}

#[cfg(feature = "schema")]
impl JsonSchema for BindingRule {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "BindingRule".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let forms = [generator.subschema_for::<form::BindingValue>(), generator.subschema_for::<OperatorForm>()];
        schemars::json_schema!({
            "description": "A reference such as `token.org`, or a mapping with one operator, such as `{ in: [EUR, USD] }`.",
            "anyOf": forms
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(json: &str) -> Result<BindingRule, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_references_and_operators() {
        let reference = |text: &str| Operand::Reference(text.to_owned());
        for (json, operator, operand) in [
            (r#""token.org""#, Operator::Equals, reference("token.org")),
            (r#"{"equals":"token.org"}"#, Operator::Equals, reference("token.org")),
            (r#"{"equals":{"literal":"eu"}}"#, Operator::Equals, Operand::Literal(json!("eu"))),
            (r#"{"equals":-7}"#, Operator::Equals, Operand::Literal(json!(-7))),
            (r#"{"in":["EUR",7]}"#, Operator::In, Operand::Literal(json!(["EUR", 7]))),
            (r#"{"in":"agent.regions"}"#, Operator::In, reference("agent.regions")),
            (r#"{"prefix":"agent.root"}"#, Operator::Prefix, reference("agent.root")),
            (r#"{"at_most":1000}"#, Operator::AtMost, Operand::Literal(json!(1000))),
            (r#"{"at_most":{"literal":"99.50"}}"#, Operator::AtMost, Operand::Literal(json!("99.50"))),
        ] {
            assert_eq!(read(json), Ok(BindingRule { operator, operand }), "{json}");
        }
    }

    #[test]
    fn errors_name_the_expected_form() {
        for (json, says) in [
            ("5", "invalid type: integer `5`, expected a reference such as `token.org`"),
            ("[\"token.org\"]", "expected a reference such as `token.org`, or a mapping with one operator"),
            ("{}", "expected exactly one of `equals`, `in`, `prefix` and `at_most`"),
            (r#"{"equals":"token.a","in":["b"]}"#, "expected exactly one of"),
            (r#"{"at_mots":5}"#, "unknown operator `at_mots`; expected `equals`, `in`, `prefix` or `at_most`"),
            (r#"{"Equals":"token.a"}"#, "unknown operator `Equals`"),
            (r#"{"literal":"x"}"#, "unknown operator `literal`"),
            (
                r#"{"at_most":99.5}"#,
                "`at_most` accepts whole numbers in policies; expected a reference such as `agent.limit`",
            ),
            (
                r#"{"equals":99.5}"#,
                "`equals` accepts whole numbers in policies; expected a reference such as `token.org`",
            ),
            (r#"{"prefix":99.5}"#, Operator::Prefix.operand_form()),
            (r#"{"at_most":true}"#, Operator::AtMost.operand_form()),
            (r#"{"at_most":{"literal":99.5}}"#, "`{ literal: \"99.50\" }` for a fraction"),
            (r#"{"equals":{}}"#, Operator::Equals.operand_form()),
            (r#"{"equals":{"literal":["a"]}}"#, Operator::Equals.operand_form()),
            (r#"{"equals":{"literal":null}}"#, Operator::Equals.operand_form()),
            (r#"{"equals":{"value":"a"}}"#, Operator::Equals.operand_form()),
            (r#"{"equals":{"literal":"a","value":"a"}}"#, Operator::Equals.operand_form()),
            (r#"{"prefix":{"value":"/a"}}"#, Operator::Prefix.operand_form()),
            (r#"{"in":["a",["b"]]}"#, Operator::In.operand_form()),
            (r#"{"in":["a",{"literal":"b"}]}"#, Operator::In.operand_form()),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(says), "{json}: {error}");
        }
    }

    #[test]
    fn parts_are_in_order_and_distinct() {
        let read = |json: &str| serde_json::from_str::<Bindings>(json);
        let bindings = read(r#"{"query.b":"token.b","path.c":"token.c","query.a":{"at_most":1}}"#).unwrap();
        let parts: Vec<&str> = bindings.iter().map(|(part, _)| part).collect();
        assert_eq!(parts, ["path.c", "query.a", "query.b"]);
        assert!(bindings.binds("query.a") && !bindings.binds("query.c"));
        assert!(read(r#"{"path.a":"token.a","path.a":"token.b"}"#).unwrap_err().to_string().contains("bound twice"));
        assert_eq!(read("{}").unwrap(), Bindings::default());
    }
}
