//! The configuration of the filter: a policy, or a policy with the environment variables that it may use.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// The parts of a configuration.
#[derive(Debug)]
pub(crate) struct Settings<'c> {
    /// The policy's JSON, as its author wrote it.
    pub(crate) policy: &'c [u8],
    /// The names of the environment variables that the policy may use.
    pub(crate) environment: Vec<String>,
}

/// The members that tell the forms apart.
#[derive(Deserialize)]
struct Form {
    callgate: Option<IgnoredAny>,
    policy: Option<IgnoredAny>,
}

/// A policy with the environment variables that it may use.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WithEnvironment<'c> {
    #[serde(borrow)]
    policy: &'c RawValue,
    #[serde(default)]
    environment: Vec<String>,
}

impl<'c> Settings<'c> {
    /// Reads the configuration of a filter. It is either a policy, or `{ "policy": {...}, "environment": ["NAME", ...] }`.
    ///
    /// A Wasm filter sees only the variables that its configuration passes to it. A module runs in Envoy's process and could read all of
    /// them, with the secrets of others. For this reason a policy can use only those that the configuration names, and none without that
    /// list.
    ///
    /// # Errors
    /// A line for the log, if the configuration has the second form and other members, or members of other types.
    pub(crate) fn read(configuration: &'c [u8]) -> Result<Self, String> {
        let form = serde_json::from_slice::<Form>(configuration);
        // The policy's own errors are reported by the code that compiles it.
        if !form.is_ok_and(|form| form.callgate.is_none() && form.policy.is_some()) {
            return Ok(Self { policy: configuration, environment: Vec::new() });
        }
        let WithEnvironment { policy, environment } = serde_json::from_slice(configuration).map_err(|error| {
            format!(
                "the configuration is neither a policy nor a policy with its environment: {error}; expected \
                 `{{ \"policy\": {{...}}, \"environment\": [\"NAME\", ...] }}`"
            )
        })?;
        Ok(Self { policy: policy.get().as_bytes(), environment })
    }

    /// Returns the listed variables that exist, with their values.
    pub(crate) fn variables(&self, read: impl Fn(&str) -> Option<Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
        self.environment.iter().filter_map(|name| Some((name.clone(), read(name)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_forms() {
        let policy = br#"{ "callgate": "v1", "name": "a" }"#;
        let settings = Settings::read(policy).unwrap();
        assert_eq!((settings.policy, settings.environment.len()), (&policy[..], 0));

        let both = br#"{ "environment": ["A", "B"], "policy": { "callgate":"v1",  "name": "a" } }"#;
        let settings = Settings::read(both).unwrap();
        assert_eq!(settings.policy, br#"{ "callgate":"v1",  "name": "a" }"#, "the text of the policy is unchanged");
        assert_eq!(settings.environment, ["A", "B"]);
        assert!(Settings::read(br#"{ "policy": {} }"#).unwrap().environment.is_empty());
    }

    #[test]
    fn rejects_unknown_members_and_types() {
        for wrong in [
            r#"{ "policy": {}, "variables": [] }"#,
            r#"{ "policy": {}, "environment": "A" }"#,
            r#"{ "policy": {}, "environment": [1] }"#,
        ] {
            let error = Settings::read(wrong.as_bytes()).unwrap_err();
            assert!(error.starts_with("the configuration is neither"), "{error}");
        }
    }

    #[test]
    fn what_is_no_object_is_left_to_the_policy() {
        for text in
            ["", "x", "[]", r#"{ "callgate": "v1", "policy": {} }"#, r#"{ "policy": {}, "policy": {} }"#, "\u{0}"]
        {
            assert_eq!(Settings::read(text.as_bytes()).unwrap().policy, text.as_bytes(), "{text}");
        }
    }

    #[test]
    fn only_listed_variables_are_visible() {
        let read = |name: &str| (name != "MISSING").then(|| name.repeat(2).into_bytes());
        let settings = Settings::read(br#"{ "policy": {}, "environment": ["A", "MISSING"] }"#).unwrap();
        assert_eq!(settings.variables(read), BTreeMap::from([("A".to_owned(), b"AA".to_vec())]));
        assert!(Settings::read(b"{}").unwrap().variables(read).is_empty());
    }
}
