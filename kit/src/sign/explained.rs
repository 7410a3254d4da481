//! Explains signature bases line by line, and finds the lines in which two of them differ.

use std::fmt;

use callgate::identity::signature::{Component, Input, Message, Name, base, read};
use serde::Serialize;

use super::{quoted, signature_field};

/// The component of the last line.
const PARAMETERS: &str = "\"@signature-params\"";

/// A line of a signature base, or the reason why it cannot be computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The component, as the base writes it.
    pub component: String,
    /// The value that the gate computes; `None` if it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Why the gate cannot compute the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The meaning of the line.
    pub meaning: &'static str,
}

/// A line in which two signature bases differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The component, as the base writes it.
    pub component: String,
    /// The value that the client signed; `None` if it signed no such line.
    pub client: Option<String>,
    /// The value that the gate computes; `None` if it has no such line.
    pub gate: Option<String>,
    /// The meaning of the line.
    pub meaning: &'static str,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { component, client, gate, .. } = self;
        match (client, gate) {
            (Some(client), Some(gate)) => {
                write!(f, "{component}: the client signed `{client}`, the gate computes `{gate}`")
            }
            (Some(client), None) => {
                write!(f, "{component}: the client signed `{client}`, but `Signature-Input` does not list it")
            }
            (None, gate) => {
                write!(
                    f,
                    "{component}: the client did not sign it, the gate computes `{}`",
                    gate.as_deref().unwrap_or_default()
                )
            }
        }
    }
}

/// Returns every line of the base that the gate computes, including the lines that it cannot compute.
#[must_use]
pub fn lines_of(message: &Message<'_>, input: &Input<'_>) -> Vec<Line> {
    let mut lines: Vec<Line> = input.components.iter().map(|component| line_of(message, component)).collect();
    lines.push(Line {
        component: PARAMETERS.to_owned(),
        value: Some(input.parameters().to_owned()),
        problem: None,
        meaning: meaning(PARAMETERS),
    });
    lines
}

/// Returns the line of one component, computed from a base that contains only that component.
fn line_of(message: &Message<'_>, component: &Component<'_>) -> Line {
    let name = written(component);
    let (field, unsigned) = (format!("a=({name})"), signature_field("a", &[]));
    let signed = read(field.as_bytes(), unsigned.as_bytes());
    let computed = match signed.as_ref().map(|signed| signed.first()) {
        Ok(Some(one)) => base(message, &one.input).map_err(|unsignable| unsignable.to_string()),
        _ => Err("not a component that can be signed".to_owned()),
    };
    let value = computed.map(|base| {
        let line = base.lines().next().unwrap_or_default();
        line.strip_prefix(&*name).and_then(|rest| rest.strip_prefix(": ")).unwrap_or_default().to_owned()
    });
    let meaning = meaning(&name);
    let (value, problem) = match value {
        Ok(value) => (Some(value), None),
        Err(problem) => (None, Some(problem)),
    };
    Line { component: name, value, problem, meaning }
}

/// Returns a component's identifier.
fn written(component: &Component<'_>) -> String {
    let mut name = quoted(component.name.as_str());
    for (flag, is_set) in [("sf", component.sf), ("bs", component.bs)] {
        if is_set {
            name.push(';');
            name.push_str(flag);
        }
    }
    for (parameter, value) in [("key", &component.key), ("name", &component.parameter)] {
        if let Some(value) = value {
            name.push_str(&format!(";{parameter}={}", quoted(value)));
        }
    }
    name
}

/// Returns the lines in which the client's signature base differs from the gate's, in the client's order.
#[must_use]
pub fn differences(client: &str, gate: &str) -> Vec<Difference> {
    let (theirs, ours) = (parts(client), parts(gate));
    let find = |lines: &[(String, String)], component: &str| {
        lines.iter().find(|(own, _)| own == component).map(|(_, value)| value.clone())
    };
    let changed = theirs.iter().filter_map(|(component, value)| {
        let gate = find(&ours, component);
        (gate.as_ref() != Some(value)).then(|| Difference {
            component: component.clone(),
            client: Some(value.clone()),
            gate,
            meaning: meaning(component),
        })
    });
    let unsigned = ours.iter().filter(|(component, _)| find(&theirs, component).is_none());
    let unsigned = unsigned.map(|(component, value)| Difference {
        component: component.clone(),
        client: None,
        gate: Some(value.clone()),
        meaning: meaning(component),
    });
    changed.chain(unsigned).collect()
}

/// Returns the components and values of a base. A line without a component is keyed by its own text.
fn parts(base: &str) -> Vec<(String, String)> {
    base.lines()
        .map(|line| match line.split_once(": ") {
            Some((component, value)) => (component.to_owned(), value.to_owned()),
            None => (line.strip_suffix(':').unwrap_or(line).to_owned(), String::new()),
        })
        .collect()
}

/// Returns the meaning of a component's line, as a hint for a client whose line differs.
fn meaning(component: &str) -> &'static str {
    let name = component.split('"').nth(1).unwrap_or_default();
    match Name::parse(name.into()) {
        _ if component == PARAMETERS => {
            "components and parameters in the order of `Signature-Input`, without the label and `=`"
        }
        Some(Name::Method) => "the method as sent",
        Some(Name::TargetUri) => {
            "the whole URL that clients use; `external_url` of the policy sets its scheme, host and path prefix"
        }
        Some(Name::Authority) => {
            "the host that clients use, in lower case, without the default port of the scheme; `external_url` of the policy \
             replaces the request's host"
        }
        Some(Name::Scheme) => "`https`, or the scheme of the policy's `external_url`",
        Some(Name::RequestTarget) => "path and query as sent",
        Some(Name::Path) => "the path as sent, not decoded",
        Some(Name::Query) => "the query as sent, with `?`; only `?` if there is no query",
        Some(Name::QueryParam) => "one parameter, decoded and encoded again; a space is `%20`",
        Some(Name::Field(field)) if field == "content-digest" => "the field as sent, with all its digests",
        Some(Name::Field(field)) if field == "authorization" => "scheme and credential as sent",
        Some(Name::Field(_)) if component.contains(";bs") => "each line of the field as bytes in base64",
        Some(Name::Field(_)) if component.contains(";key=") => "one member of the field, serialized again",
        Some(Name::Field(_)) if component.contains(";sf") => "the field, serialized again",
        Some(Name::Field(_)) => {
            "the field as sent, without surrounding white space; several lines are joined with `, `"
        }
        None => "",
    }
}

#[cfg(test)]
mod tests {
    use callgate::identity::signature::StructuredFields;

    use super::*;
    use crate::sign::Request;

    #[test]
    fn lists_each_base_line_or_why_it_is_missing() {
        let mut request = Request::new("GET", "https://a.example/x?q=a+b&n=1&n=2").unwrap();
        request.headers = vec![("priority".to_owned(), b"u=1, i".to_vec()), ("cookie".to_owned(), b"a=1".to_vec())];
        let (headers, structured) = (request.lines(), StructuredFields::default());
        let message = request.message(&headers, &structured);
        let field = r#"s=("@method" "@query-param";name="q" "priority";key="u" "priority";sf "priority";bs "@query-param";name="n" "cookie" "x");created=1"#;
        let signed = read(field.as_bytes(), b"s=::").unwrap();
        let lines: Vec<_> = lines_of(&message, &signed[0].input)
            .into_iter()
            .map(|line| (line.component, line.value.ok_or(line.problem.unwrap_or_default())))
            .collect();
        let shown: Vec<_> = lines.iter().map(|(name, value)| (&**name, value.as_deref().map_err(|_| ()))).collect();
        let parameters = field.strip_prefix("s=").unwrap();
        assert_eq!(
            shown,
            [
                ("\"@method\"", Ok("GET")),
                ("\"@query-param\";name=\"q\"", Ok("a%20b")),
                ("\"priority\";key=\"u\"", Ok("1")),
                ("\"priority\";sf", Ok("u=1, i")),
                ("\"priority\";bs", Ok(":dT0xLCBp:")),
                ("\"@query-param\";name=\"n\"", Err(())),
                ("\"cookie\"", Err(())),
                ("\"x\"", Err(())),
                ("\"@signature-params\"", Ok(parameters)),
            ]
        );
    }

    #[test]
    fn reports_base_differences_by_component() {
        let client = "\"@method\": GET\n\"@path\": /a\n\"x\": \n\"@signature-params\": ()";
        let gate = "\"@path\": /b\n\"@method\": GET\n\"y\": 1\n\"@signature-params\": ()";
        let shown: Vec<_> = differences(client, gate).iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "\"@path\": the client signed `/a`, the gate computes `/b`",
                "\"x\": the client signed ``, but `Signature-Input` does not list it",
                "\"y\": the client did not sign it, the gate computes `1`",
            ]
        );
        assert!(differences(client, &format!("{client}\n")).is_empty());
    }
}
