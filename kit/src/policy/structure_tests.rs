use crate::document;

use super::*;

/// The smallest policy with a valid structure.
const SOUND: &str = "\
callgate: v1
name: gate
mode: enforce
gateway: envoy
resource: https://api.example.com
hosts: [api.example.com]
issuers:
  corp:
    issuer: https://idp.example.com
    profile: at+jwt
    algorithms: [ES256]
    max_lifetime: 15m
    keys: { jwks: { keys: [] } }
agents: {}
endpoints:
  - { id: a, methods: [GET], path: /a, effect: read, scopes: none }
upstream: { authorization: keep }
audit: { log: { allow: false, deny: true } }
";

fn faults(text: &str) -> Vec<String> {
    let document = document::parse("p", text.as_bytes()).unwrap();
    crate::diagnostic::Diagnostics::wrong(check(&document)).as_slice().iter().map(ToString::to_string).collect()
}

/// Returns the problems after `from` is replaced with `to`.
fn changed(from: &str, to: &str) -> Vec<String> {
    assert_eq!(SOUND.matches(from).count(), 1, "{from}");
    faults(&SOUND.replace(from, to))
}

#[test]
fn accepts_a_valid_policy() {
    assert_eq!(faults(SOUND), [""; 0]);
}

#[test]
fn each_mistake_is_reported_with_a_fix() {
    for (from, to, told) in [
        ("callgate: v1", "callgate: v2", "p:1:1: callgate: invalid value `v2`; did you mean `v1`?"),
        ("callgate: v1", "callgate: 1", "p:1:1: callgate: expected `v1`, not a number"),
        ("mode: enforce", "mode: enforced", "p:3:1: mode: invalid value `enforced`; did you mean `enforce`?"),
        ("mode: enforce", "mode: block", "p:3:1: mode: invalid value `block`; expected `enforce` or `observe`"),
        ("mode: enforce", "mode:", "p:3:1: mode: expected `enforce` or `observe`, not an empty value"),
        (
            "mode: enforce\n",
            "",
            "p:1:1: mode: required field is missing; whether denials are enforced (`enforce`) or only recorded (`observe`)",
        ),
        (
            "max_lifetime: 15m",
            "max_lifetime: 15 minutes",
            "p:12:5: issuers.corp.max_lifetime: invalid value `15 minutes`; expected a duration: a whole number and a unit, such as `90s`, `15m`, `12h` or `30d`",
        ),
        (
            "max_lifetime: 15m",
            "max_lifetime: 900",
            "p:12:5: issuers.corp.max_lifetime: invalid duration `900`; add a unit, such as `900s`",
        ),
        (
            "mode: enforce",
            "mode: enforce\nmax_body: 1048576",
            "p:4:1: max_body: invalid size `1048576`; add a unit, such as `1MiB`",
        ),
        (
            "hosts: [api.example.com]",
            "hosts: api.example.com",
            "p:6:1: hosts: expected a list, not text; write it as `[...]`",
        ),
        ("mode: enforce", "mode: enforce\npreflite: pass", "p:4:1: preflite: unknown field; did you mean `preflight`?"),
        (
            "mode: enforce",
            "mode: enforce\nlate_body_check: accept",
            "p:4:1: late_body_check: this field was renamed; write `body_check: after_headers`",
        ),
        (
            "mode: enforce",
            "mode: enforce\npreflight: refuse",
            "p:4:1: preflight: invalid value `refuse`; expected `pass` or `reject`",
        ),
        (
            "scopes: none }",
            "scopes: none, max_json: 65536 }",
            "p:16:68: endpoints[0].max_json: invalid size `65536`; add a unit, such as `64KiB`",
        ),
        (
            "scopes: none }",
            "scopes: none, maxjson: 64KiB }",
            "p:16:68: endpoints[0].maxjson: unknown field; did you mean `max_json`?",
        ),
        ("hosts: [api.example.com]", "hosts: [1.5]", "p:6:9: hosts[0]: expected text, not a number; quote it"),
        (
            "algorithms: [ES256]",
            "algorithms: [es256]",
            "p:11:18: issuers.corp.algorithms[0]: invalid value `es256`; did you mean `ES256`?",
        ),
        (
            "algorithms: [ES256]",
            "algorithms: [EdDSA]",
            "p:11:18: issuers.corp.algorithms[0]: `EdDSA` is not accepted; write `Ed25519`, which accepts tokens that name `EdDSA` as well",
        ),
        (
            "algorithms: [ES256]",
            "algorithms: [ES512]",
            "p:11:18: issuers.corp.algorithms[0]: `ES512` is not accepted; use `ES384` or `ES256`",
        ),
        (
            "algorithms: [ES256]",
            "algorithms: [none]",
            "p:11:18: issuers.corp.algorithms[0]: `none` is not accepted, because anyone could create such a token; list the algorithms that sign the tokens",
        ),
        (
            // No mode has this name.
            "mode: enforce",
            "mode: none",
            "p:3:1: mode: invalid value `none`; expected `enforce` or `observe`",
        ),
        ("{ keys: [] }", "[]", "p:13:13: issuers.corp.keys.jwks: expected a mapping, not a list"),
        (
            "agents: {}",
            "agents: {}\nrequirements: { reed: {} }",
            "p:15:17: requirements.reed: invalid value `reed`; did you mean `read`?",
        ),
        ("agents: {}", "agents: []", "p:14:1: agents: expected a mapping, not a list"),
        (
            "scopes: none",
            "scopes: admin",
            "p:16:54: endpoints[0].scopes: invalid value `admin`; expected `none`, a list of scopes that are all required, or `{ all: [...], any: [...] }`",
        ),
        ("scopes: none", "scopes: [1]", "p:16:63: endpoints[0].scopes[0]: expected text, not a number; quote it"),
        (
            "scopes: none",
            "scopes: { some: [x] }",
            "p:16:64: endpoints[0].scopes.some: unknown field; expected `all` or `any`",
        ),
        (
            "scopes: none",
            "scopes: { all: x }",
            "p:16:64: endpoints[0].scopes.all: expected a list, not text; write it as `[...]`",
        ),
        ("allow: false", "allow: 0", "p:18:17: audit.log.allow: expected `true` or `false`, not a number"),
        (
            "authorization: keep",
            "authorization: drop",
            "p:17:13: upstream.authorization: invalid value `drop`; expected `keep` or `remove`",
        ),
    ] {
        assert_eq!(changed(from, to), [told]);
    }
}

#[test]
fn parts_of_a_body_are_bound_by_pointers() {
    let bound = |part: &str| changed("scopes: none }", &format!("scopes: none, bind: {{ {part}: token.org }} }}"));
    for part in ["body./owner", "\"body./items/0/a~1b/~0\"", "\"body./\"", "\"body./the owner\""] {
        assert_eq!(bound(part), [""; 0], "{part}");
    }
    assert_eq!(changed("scopes: none }", "scopes: none, max_json: 64KiB }"), [""; 0]);
}

/// Returns the problems of a policy whose endpoint has this rule for a header.
fn bound(rule: &str) -> Vec<String> {
    changed("scopes: none }", &format!("scopes: none, bind: {{ header.x-a: {rule} }} }}"))
}

#[test]
fn mistakes_in_the_rules_of_bindings_are_reported_with_a_fix() {
    for rule in
        ["token.a", "{ in: [EUR, 840] }", "{ prefix: { literal: /a } }", "{ at_most: 5 }", "{ equals: agent.a }"]
    {
        assert_eq!(bound(rule), [""; 0], "{rule}");
    }
    let place = "endpoints[0].bind[\"header.x-a\"]";
    for (rule, told) in [
        (
            "5",
            format!(
                "{place}: expected a reference such as `token.org`, or a mapping with one operator, such as `{{ in: [EUR, USD] }}`, not a number"
            ),
        ),
        ("{ at_mots: 5 }", format!("{place}.at_mots: unknown field; did you mean `at_most`?")),
        (
            "{}",
            format!(
                "{place}: expected exactly one of `equals`, `in`, `prefix` and `at_most`, with the value that the part is compared with"
            ),
        ),
        (
            "{ equals: token.a, in: token.b }",
            format!(
                "{place}: expected exactly one of `equals`, `in`, `prefix` and `at_most`, with the value that the part is compared with"
            ),
        ),
        (
            "{ at_most: 99.5 }",
            format!(
                "{place}.at_most: `at_most` accepts whole numbers in policies; expected the number that the part must not exceed: a reference, a whole number, or `{{ literal: \"99.50\" }}` for a fraction"
            ),
        ),
        (
            "{ at_most: { literal: 99.5 } }",
            format!("{place}.at_most.literal: expected a whole number or text, not a fraction; quote it"),
        ),
        ("{ in: [EUR, 1.5] }", format!("{place}.in[1]: expected a whole number or text, not a fraction; quote it")),
        ("{ in: [[a]] }", format!("{place}.in[0]: expected a whole number or text, not a list")),
        ("{ prefix: { value: /a } }", format!("{place}.prefix.value: unknown field; expected `literal`")),
    ] {
        let found = bound(rule);
        assert!(found.iter().any(|found| found.ends_with(&told)), "{rule}: {found:?}");
    }
}

#[test]
fn mistakes_in_the_operations_of_an_endpoint_are_reported_with_a_fix() {
    let found = |rpc: &str| changed("scopes: none }", &format!("scopes: none, rpc: {rpc} }}"));
    let revisions = "revisions: [2025-11-25, 2026-07-28]";
    assert_eq!(
        found(&format!("{{ protocol: mcp, {revisions}, tools: [{{ name: a, effect: read, scopes: none }}] }}")),
        [""; 0]
    );
    for (rpc, told) in [
        ("{ revisions: [2026-07-28] }", "rpc.protocol: required field is missing; the protocol of the messages"),
        ("{ protocol: jsonrpc }", "rpc.protocol: invalid value `jsonrpc`; did you mean `json-rpc`?"),
        (
            "{ protocol: mcp, revisions: [latest] }",
            "rpc.revisions[0]: invalid value `latest`; expected `2025-06-18`, `2025-11-25` or `2026-07-28`",
        ),
        ("{ protocol: mcp, tool: [] }", "rpc.tool: unknown field; did you mean `tools`?"),
        ("{ protocol: mcp, max_answer: 65536 }", "rpc.max_answer: invalid size `65536`; add a unit, such as `64KiB`"),
        (
            "{ protocol: mcp, list: all }",
            "rpc.list: invalid value `all`; expected `granted`, `reachable` or `unfiltered`",
        ),
        (
            "{ protocol: mcp, tools: [{ name: a, effect: read, header: {} }] }",
            "rpc.tools[0].header: unknown field; did you mean `headers`?",
        ),
        (
            "{ protocol: mcp, tools: [{ effect: read }] }",
            "rpc.tools[0].name: required field is missing; the tool's name, compared byte for byte",
        ),
        (
            "{ protocol: mcp, prompts: [{ name: 7, effect: read }] }",
            "rpc.prompts[0].name: expected text, not a number; quote it",
        ),
        (
            "{ protocol: mcp, tools: [{ name: a, effect: read, bind: { argument./a: 5 } }] }",
            "rpc.tools[0].bind[\"argument./a\"]: expected a reference such as `token.org`, or a mapping with one operator, such as `{ in: [EUR, USD] }`, not a number",
        ),
    ] {
        let found = found(rpc);
        assert!(found.len() == 1 && found[0].ends_with(&format!("endpoints[0].{told}")), "{rpc}: {found:?}");
    }
}

#[test]
fn reports_all_mistakes_in_file_order() {
    let text =
        SOUND.replace("mode: enforce", "mode: on!").replace("effect: read", "effect: reed").replace("audit:", "odit:");
    let told = faults(&text);
    let starts = [
        "p:1:1: audit: required field is missing",
        "p:3:1: mode: ",
        "p:16:40: endpoints[0].effect: ",
        "p:18:1: odit: ",
    ];
    assert_eq!(told.len(), starts.len(), "{told:#?}");
    for (told, start) in told.iter().zip(starts) {
        assert!(told.starts_with(start), "{told}");
    }
}

#[test]
fn rejects_a_document_that_is_not_a_mapping() {
    assert_eq!(faults("[a]"), ["p:1:1: expected a mapping, not a list"]);
    assert_eq!(faults("text"), ["p:1:1: expected a mapping, not text"]);
}

#[test]
fn does_not_print_an_inline_secret() {
    let told = changed("keys: { jwks: { keys: [] } }", "keys: { secret: hunter2 }");
    assert_eq!(told, ["p:13:13: issuers.corp.keys.secret: expected a mapping, not text"]);
}

#[test]
fn truncates_long_values_in_messages() {
    let told = changed("mode: enforce", &format!("mode: {}", "x".repeat(100_000)));
    assert!(told[0].len() < 200, "{}", told[0]);
}

/// The engine's messages about these values are better than "invalid value".
#[test]
fn leaves_the_forms_of_text_to_the_engine() {
    for (from, to) in [
        ("name: gate", "name: a b"),
        ("[api.example.com]", "['*.example.com']"),
        ("[GET]", "[get]"),
        ("path: /a", "path: a"),
        ("scopes: none", "scopes: ['pulls:*']"),
        ("agents: {}", "agents: { a b: { owner: x, expires: tomorrow, scopes: ['*'] } }"),
    ] {
        assert_eq!(changed(from, to), [""; 0], "{to}");
        let text = SOUND.replace(from, to);
        let document = document::parse("p", text.as_bytes()).unwrap();
        assert!(!jsonschema::validator_for(&schema()).unwrap().is_valid(document.value()), "{to}");
    }
}

/// A pattern outside of the definitions would be checked here and hide the engine's message.
#[test]
fn checks_only_patterns_with_a_message() {
    let structure = structure();
    let definitions = structure["$defs"].as_object().unwrap();
    let with_pattern: Vec<_> = definitions.iter().filter(|(_, form)| form.get("pattern").is_some()).collect();
    assert_eq!(with_pattern.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), CHECKED);
    assert_eq!(structure.to_string().matches("\"pattern\":").count(), CHECKED.len());
}

#[test]
fn schema_uses_only_keywords_that_have_messages() {
    fn keywords(schema: &Value, found: &mut std::collections::BTreeSet<String>) {
        for (keyword, value) in schema.as_object().into_iter().flatten() {
            found.insert(keyword.clone());
            match keyword.as_str() {
                "properties" | "$defs" => value.as_object().unwrap().values().for_each(|part| keywords(part, found)),
                "anyOf" | "oneOf" => value.as_array().unwrap().iter().for_each(|part| keywords(part, found)),
                "items" | "additionalProperties" | "propertyNames" => keywords(value, found),
                _ => {}
            }
        }
    }
    jsonschema::validator_for(&schema()).unwrap();
    jsonschema::validator_for(&structure()).unwrap();
    let mut found = std::collections::BTreeSet::new();
    keywords(&schema(), &mut found);
    for known in [
        "$defs",
        "$id",
        "$ref",
        "$schema",
        "additionalProperties",
        "anyOf",
        "const",
        "default",
        "description",
        // For readers and editors; the validator ignores them.
        "examples",
        // States the number of bits of an integer; the validator does not check it.
        "format",
        "items",
        "maxProperties",
        "minProperties",
        "minimum",
        "oneOf",
        "pattern",
        "properties",
        "propertyNames",
        "required",
        "title",
        "type",
    ] {
        found.remove(known);
    }
    assert!(found.is_empty(), "put these into words in this module first: {found:?}");
}

#[test]
fn schema_has_the_accepted_versions_of_the_format() {
    let schema = schema();
    let versions = schema.pointer("/$defs/FormatVersion/oneOf").unwrap().as_array().unwrap();
    let versions: Vec<_> = versions.iter().map(|version| version["const"].as_str().unwrap()).collect();
    assert_eq!(versions, callgate::document::FormatVersion::NAMES);
}
