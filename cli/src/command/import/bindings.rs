//! Finds the parts of an operation that a policy should probably bind, because their names look like tenants or owners.

use serde_json::Value;

use crate::command::mcp::{Entry, List};

/// Words in the names of such parts.
const WORDS: [&str; 10] =
    ["account", "customer", "org", "organisation", "organization", "owner", "team", "tenant", "user", "workspace"];

/// Returns the keys of the bindings, such as `argument./owner`.
pub(super) fn suggested(entry: &Entry) -> Vec<String> {
    let names: Vec<&str> = match entry.list {
        List::Tools => {
            let properties = entry.definition.get("inputSchema").and_then(|schema| schema.get("properties"));
            properties.and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name.as_str()).collect()
        }
        List::Prompts => {
            let arguments = entry.definition.get("arguments").and_then(Value::as_array).into_iter().flatten();
            arguments.filter_map(|argument| argument.get("name")?.as_str()).collect()
        }
        List::Resources | List::ResourceTemplates => variables(&entry.name).unwrap_or_default(),
    };
    let names = names.into_iter().filter(|name| words(name).iter().any(|word| is_listed(word)));
    names
        .map(|name| match entry.list {
            // A JSON pointer (RFC 6901).
            List::Tools | List::Prompts => format!("argument./{}", name.replace('~', "~0").replace('/', "~1")),
            List::Resources | List::ResourceTemplates => format!("uri.{name}"),
        })
        .collect()
}

/// Returns the variables of a URI template (RFC 6570). Returns `None` if it has expressions that a policy's templates do not have, or
/// would read differently.
pub(super) fn variables(template: &str) -> Option<Vec<&str>> {
    let mut parts = template.split('{');
    if parts.next().is_some_and(|literal| literal.contains('}')) {
        return None;
    }
    let is_letter = |first: char| first.is_ascii_alphabetic() || first == '_';
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    parts
        .map(|part| {
            let (name, literal) = part.split_once('}')?;
            let is_name = name.starts_with(is_letter) && name.bytes().all(is_plain);
            (is_name && !literal.contains('}')).then_some(name)
        })
        .collect()
}

fn is_listed(word: &str) -> bool {
    WORDS.contains(&word) || word.strip_suffix('s').is_some_and(|singular| WORDS.contains(&singular))
}

/// Returns the words of a name in snake case, kebab case or camel case, in lower case.
fn words(name: &str) -> Vec<String> {
    let (mut words, mut word, mut was_small) = (Vec::new(), String::new(), false);
    for character in name.chars() {
        if !character.is_alphanumeric() || (character.is_uppercase() && was_small) {
            words.push(std::mem::take(&mut word));
        }
        if character.is_alphanumeric() {
            word.extend(character.to_lowercase());
        }
        was_small = character.is_lowercase() || character.is_numeric();
    }
    words.push(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tenants_and_owners_are_recognized_in_every_case_style() {
        let is_suggested = |name: &str| words(name).iter().any(|word| is_listed(word));
        for name in [
            "tenant",
            "owner_id",
            "accountId",
            "ORG",
            "org-name",
            "sourceOrgID",
            "users",
            "Tenant",
            "x.owner",
            "v2Owner",
        ] {
            assert!(is_suggested(name), "{name}");
        }
        for name in ["", "amount", "organize", "organic", "teammate", "forgo", "downer", "s"] {
            assert!(!is_suggested(name), "{name}");
        }
    }

    #[test]
    fn only_simple_expressions_are_variables() {
        assert_eq!(variables("file:///reports/{team}/{file_name}").unwrap(), ["team", "file_name"]);
        assert_eq!(variables("urn:a").unwrap(), [""; 0]);
        for other in [
            "a://{+path}",
            "a://{#x}",
            "a://x{?q}",
            "a://{a,b}",
            "a://{x*}",
            "a://{x:3}",
            "a://{x...}",
            "a://{}",
            "a://{x",
            "a://x}",
            "a://{x}}",
            "a://{{x}}",
            "a://{a.b}",
            "a://{1}",
            "a://{é}",
        ] {
            assert_eq!(variables(other), None, "{other}");
        }
    }
}
