//! The source of everything that `callgate render` prints next to the filter: `envoy/envoy.yaml`, the configuration that users copy and
//! that tests start, and `envoy/module/envoy.yaml` for the dynamic module.
//!
//! This module takes parts out of the text instead of the value, because the comments in it are for users too. It must not contain
//! separate configuration.

use serde_json::{Map, Value};

use callgate_kit::document;
use callgate_kit::policy::Loaded;

/// A configuration that users copy.
pub(super) struct Shipped(&'static str);

/// The configuration with the Wasm filter.
pub(super) static WASM: Shipped = Shipped(include_str!("../../../envoy/envoy.yaml"));
/// The configuration with the dynamic module.
static MODULE: Shipped = Shipped(include_str!("../../../envoy/module/envoy.yaml"));

/// Returns the configuration with the same kind of filter as the policy has.
pub(super) fn of(loaded: &Loaded) -> &'static Shipped {
    if super::is_module(loaded) { &MODULE } else { &WASM }
}

/// A text in three parts: the lines of a block, and the lines before and after it.
pub(super) struct Cut<'t> {
    before: Vec<&'t str>,
    block: Vec<&'t str>,
    after: Vec<&'t str>,
}

impl<'t> Cut<'t> {
    /// Finds the first block of `text` that starts with the line `first`: a field or an entry of a list, with everything that is part of
    /// it. Empty lines at its end are not part of it.
    pub(super) fn new(text: &'t str, first: &str) -> Result<Self, String> {
        let lines: Vec<&str> = text.lines().collect();
        let start = lines.iter().position(|line| line.trim_start() == first);
        let start = start.ok_or_else(|| format!("the shipped configuration has no line `{first}`"))?;
        let (before, rest) = lines.split_at(start);
        let own = rest.first().map_or(0, |line| indentation(line));
        // The items of a list can have the same indentation as the field that contains them.
        let has_items = !first.starts_with("- ");
        let belongs = |line: &&&str| {
            let deeper = line.is_empty() || indentation(line) > own;
            deeper || (has_items && indentation(line) == own && line.trim_start().starts_with("- "))
        };
        let length = 1 + rest.iter().skip(1).take_while(belongs).count();
        let (block, after) = rest.split_at(length);
        let filled = block.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
        let (block, empty) = block.split_at(filled);
        Ok(Self { before: before.to_vec(), block: block.to_vec(), after: [empty, after].concat() })
    }

    /// Returns the block without the indentation of its first line.
    pub(super) fn block(&self) -> String {
        let own = self.indentation();
        self.block.iter().map(|line| format!("{}\n", line.get(own..).unwrap_or_default())).collect()
    }

    /// Returns the whole text with these lines, which get the indentation of the block, in place of the block.
    pub(super) fn replaced(&self, lines: &str) -> String {
        let own = " ".repeat(self.indentation());
        let indented = lines.lines().map(|line| if line.is_empty() { String::new() } else { format!("{own}{line}") });
        let before = self.before.iter().map(|line| (*line).to_owned());
        let after = self.after.iter().map(|line| (*line).to_owned());
        before.chain(indented).chain(after).map(|line| line + "\n").collect()
    }

    fn indentation(&self) -> usize {
        self.block.first().map_or(0, |line| indentation(line))
    }
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

impl Shipped {
    /// Returns the configuration without the comment at its top, which describes the file.
    pub(super) fn configuration(&self) -> Result<&'static str, String> {
        let (_, configuration) =
            self.0.split_once("\n\n").ok_or("the shipped configuration has no comment at its top")?;
        Ok(configuration)
    }

    /// Returns the field `stats_config` of the bootstrap. The metrics of the dynamic module have labels without it.
    pub(super) fn stats_config(&self) -> Result<String, String> {
        Ok(Cut::new(self.configuration()?, "stats_config:")?.block())
    }

    /// Returns the field `access_log` of the connection manager.
    pub(super) fn access_log(&self) -> Result<String, String> {
        Ok(Cut::new(self.configuration()?, "access_log:")?.block())
    }

    /// Returns the field `typed_per_filter_config` of a virtual host without the filter.
    pub(super) fn disabled(&self) -> Result<String, String> {
        let host = Cut::new(self.configuration()?, "- name: website")?.block();
        Ok(Cut::new(&host, "typed_per_filter_config:")?.block())
    }

    /// Returns the members of a line in the access log with their format operators, for gateways whose format is a mapping.
    ///
    /// The shipped format is a JSON object as text, in which some operators are not in quotes. In a mapping, the record is a string.
    pub(super) fn members(&self) -> Result<Value, String> {
        const FORMAT: &str = "/access_log/0/typed_config/log_format/text_format_source/inline_string";
        let read = document::parse("access_log", self.access_log()?.as_bytes()).map_err(|wrong| wrong.to_string())?;
        let format = read.value().pointer(FORMAT).and_then(Value::as_str);
        let format = format.ok_or_else(|| format!("the shipped configuration has no `{FORMAT}`"))?;
        let members = format.trim().trim_start_matches('{').trim_end_matches('}').split(',');
        let members = members.map(|member| -> Result<(String, Value), String> {
            let (name, operator) = member.split_once(':').ok_or_else(|| format!("`{member}` is not a member"))?;
            let operator = operator.trim_matches(['"', '[', ']']);
            Ok((name.trim().trim_matches('"').to_owned(), Value::from(operator)))
        });
        members.collect::<Result<Map<_, _>, _>>().map(Value::Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_block_ends_before_the_next_line_that_is_not_part_of_it() {
        let text = "a:\n- b: 1\n  c:\n    d: 2\n\n  # a comment\n- e: 3\n\nf: 4\n";
        for (first, block, replaced) in [
            ("a:", "a:\n- b: 1\n  c:\n    d: 2\n\n  # a comment\n- e: 3\n", "x:\n  y\n\nf: 4\n"),
            ("- b: 1", "- b: 1\n  c:\n    d: 2\n\n  # a comment\n", "a:\nx:\n  y\n- e: 3\n\nf: 4\n"),
            ("c:", "c:\n  d: 2\n", "a:\n- b: 1\n  x:\n    y\n\n  # a comment\n- e: 3\n\nf: 4\n"),
            ("f: 4", "f: 4\n", "a:\n- b: 1\n  c:\n    d: 2\n\n  # a comment\n- e: 3\n\nx:\n  y\n"),
        ] {
            let cut = Cut::new(text, first).unwrap();
            assert_eq!((cut.block(), cut.replaced("x:\n  y\n")), (block.to_owned(), replaced.to_owned()), "{first}");
        }
        assert!(Cut::new(text, "g:").is_err());
    }

    #[test]
    fn members_are_those_of_the_access_log_format() {
        let members = WASM.members().unwrap();
        assert_eq!(members["callgate"], json!("%FILTER_STATE(wasm.callgate:PLAIN)%"));
        assert_eq!(members["status"], json!("%RESPONSE_CODE%"));
        let log = WASM.access_log().unwrap();
        for (name, operator) in members.as_object().unwrap() {
            let operator = operator.as_str().unwrap();
            assert!(operator.starts_with('%') && operator.ends_with('%'), "{name}: {operator}");
            assert!(log.contains(&format!("\"{name}\":")) && log.contains(operator), "{name}: {operator}");
        }
    }

    #[test]
    fn both_adapters_have_the_same_access_log_and_hosts_without_the_filter() {
        assert_eq!(MODULE.access_log().unwrap(), WASM.access_log().unwrap());
        assert_eq!(MODULE.disabled().unwrap(), WASM.disabled().unwrap());
        assert!(MODULE.stats_config().is_err(), "its metrics have labels");
    }
}
