use crate::{callgate, file, json, line_of, quickstart};

#[test]
fn summarizes_a_valid_policy() {
    let out = callgate("check examples/quickstart/policy.yaml").fine();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "examples/quickstart/policy.yaml: valid");
    assert_eq!(lines[1], "  name       quickstart");
    let version = lines[2].strip_prefix("  version    ").unwrap();
    assert!(version.len() == 64 && version.bytes().all(|b| b.is_ascii_hexdigit()), "{version}");
    assert_eq!(lines[3..5], ["  mode       enforce", "  gateway    envoy"]);
    let endpoints = quickstart().matches(" id: ").count();
    assert_eq!(lines[7], format!("  endpoints  {endpoints}"));
    assert_eq!(lines[8], "  limits     2");
}

#[test]
fn policy_version_does_not_depend_on_formatting() {
    let version = |path: &str| callgate(&format!("check {path}")).fine().lines().nth(2).unwrap().to_owned();
    let policy =
        callgate_kit::policy::load(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/quickstart/policy.yaml")).unwrap();
    assert_eq!(version(&file("same.json", policy.policy_json)), version("examples/quickstart/policy.yaml"));
}

#[test]
fn reports_every_mistake_with_its_position() {
    let path = file(
        "mistakes.yaml",
        quickstart()
            .replace("mode: enforce #", "mode: enforced #")
            .replace("authorization: remove", "authorization: drop"),
    );
    let err = callgate(&format!("check {path}")).failed(2);
    assert_eq!(
        err.lines().collect::<Vec<_>>(),
        [
            format!("{path}:5:1: mode: invalid value `enforced`; did you mean `enforce`?"),
            format!(
                "{path}:{}:13: upstream.authorization: invalid value `drop`; expected `keep` or `remove`",
                line_of("authorization: remove")
            ),
        ]
    );
}

#[test]
fn json_output_is_an_array_with_and_without_errors() {
    let path = file(
        "mistake.yaml",
        quickstart().replace("issuer: corp, client_id: review-agent", "issuer: crop, client_id: review-agent"),
    );
    let ran = callgate(&format!("check --format json {path}"));
    assert_eq!((ran.code, &*ran.err), (2, ""));
    let found = json(&ran.out);
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!(found[0]["file"], *path);
    assert_eq!(found[0]["line"], line_of("client_id: review-agent"));
    assert_eq!(found[0]["path"], "agents.review-agent.identity.issuer");
    assert_eq!(found[0]["severity"], "error");
    assert!(found[0]["column"].is_u64() && found[0]["message"].as_str().unwrap().contains("crop"), "{found}");

    assert_eq!(json(&callgate("check --format json examples/quickstart/policy.yaml").fine()), serde_json::json!([]));
    let missing = callgate("check --format json missing.yaml");
    assert_eq!((missing.code, &json(&missing.out)[0]["line"]), (1, &serde_json::Value::Null));
}

#[test]
fn checks_a_gateway_with_or_without_a_policy() {
    let open = "gateway-check/tests/gateway/fail_open.yaml";
    let ran = callgate(&format!("check --gateway {open}"));
    assert_eq!((ran.code, &*ran.out), (2, "1 way around the gate\n"));
    assert!(ran.err.starts_with(&format!("{open}:")) && ran.err.ends_with(" [fail_open]\n"), "{}", ran.err);
    assert_eq!(ran.err.lines().count(), 1);

    let found = json(&callgate(&format!("check --format json --gateway {open}")).out);
    assert_eq!((&found[0]["code"], &found[0]["severity"]), (&"fail_open".into(), &"error".into()));
    assert!(found[0]["line"].is_u64() && found[0].get("accepted").is_none(), "{found}");

    let accepted = callgate("check --gateway envoy/front.yaml envoy/envoy.yaml").fine();
    assert_eq!(accepted, "no way around the gate found, 1 accepted\n");
    let found = json(&callgate("check --format json --gateway envoy/front.yaml envoy/envoy.yaml").fine());
    assert!(found[0]["accepted"].as_str().unwrap().contains("behind this Envoy"), "{found}");

    let warned = callgate("check --gateway gateway-check/tests/gateway/other_upstream.yaml");
    assert_eq!((warned.code, &*warned.out), (0, "no way around the gate found, 1 warning\n"));

    let both = callgate("check examples/quickstart/policy.yaml --gateway envoy/envoy.yaml");
    assert!(both.out.starts_with("examples/quickstart/policy.yaml: valid\n"), "{}", both.out);
    assert!(both.code == 2 && both.err.contains("[policy_of_another]"), "{}", both.err);
    assert_eq!(callgate("check --gateway missing.yaml").failed(1), "missing.yaml: does not exist\n");
    assert!(callgate("check").failed(1).contains("<POLICY>"));
}

#[test]
fn finds_nothing_in_a_rendered_gateway() {
    // The quickstart's policy also needs a cluster, which only the complete configuration contains.
    for (policy, form) in [("envoy", ""), ("examples/quickstart", "--full")] {
        let rendered = callgate(&format!("render {policy}/policy.yaml --for envoy {form}")).fine();
        let path = file("rendered.yaml", rendered);
        let ran = callgate(&format!("check {policy}/policy.yaml --gateway {path}")).fine();
        assert!(ran.ends_with("no way around the gate found\n"), "{ran}");
    }
}

#[test]
fn warnings_are_printed_and_do_not_fail_the_check() {
    // A key of an algorithm that the issuer does not accept.
    let other = "- { kid: other, kty: OKP, crv: Ed25519, x: YWUM1MiMinEsnuay8fP5DiSqd5b96bMipg2qMcyIbqY }";
    let policy = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../envoy/policy.yaml")).unwrap();
    let path =
        file("unused-key.yaml", policy.replace("- kid: replace-me", &format!("{other}\n          - kid: replace-me")));
    let ran = callgate(&format!("check {path}"));
    assert_eq!(ran.code, 0);
    assert!(ran.out.starts_with(&format!("{path}: valid, 1 warning\n")), "{}", ran.out);
    assert!(
        ran.err.starts_with(&format!("{path}:")) && ran.err.contains(": warning: issuers.corp.keys.jwks.keys[0]: "),
        "{}",
        ran.err
    );
    assert_eq!(json(&callgate(&format!("check --format json {path}")).fine())[0]["severity"], "warning");
}

#[test]
fn rejects_files_that_are_not_policies_with_a_position() {
    for (name, content, told) in [
        ("empty.yaml", &b""[..], ":1:1: the document is empty"),
        ("comment.yaml", b"# nothing\n", ":1:1: the document is empty"),
        ("binary.yaml", b"\x7fELF\x02\x01\x01\0\0\0\xff", ":1:11: not UTF-8 text; save the file as UTF-8"),
        ("latin1.yaml", b"name: gate\nowner: J\xfcrgen\n", ":2:9: not UTF-8 text; save the file as UTF-8"),
        ("text.yaml", b"just text\n", ":1:1: expected a mapping, not text"),
        ("list.json", b"[]", ":1:1: expected a mapping, not a list"),
        ("deep.json", "[".repeat(100_000).as_bytes(), ": nested more than 64 levels deep"),
        ("two.yaml", b"a: b\n---\nc: d\n", ":2:1: a second document begins here; expected one document per file"),
        ("open.json", b"{\"a\": ", ": not readable as YAML or JSON: "),
        ("nul.yaml", b"a: \0\n", ": not readable as YAML or JSON: "),
    ] {
        let path = file(name, content);
        let err = callgate(&format!("check {path}")).failed(2);
        assert!(err.starts_with(&path) && err.contains(told) && err.lines().count() == 1, "{name}: {err}");
    }
}

#[test]
fn exits_with_1_for_unreadable_files() {
    for (path, told) in [
        ("missing.yaml", "missing.yaml: does not exist\n"),
        ("examples", "examples: is a directory; name a file\n"),
        ("/dev/zero", "/dev/zero: is larger than 32 MiB\n"),
    ] {
        assert_eq!(callgate(&format!("check {path}")).failed(1), told);
    }
}

#[test]
fn escapes_control_characters_from_policy_files() {
    let path = file("hostile.yaml", "\"\\e[2Jx\": 1\n\"\\u202Ey\": \"\\e]0;z\\a\"\n");
    let ran = callgate(&format!("check {path}"));
    assert!(ran.err.contains("\\u{1b}[2Jx") && ran.err.contains("\\u{202e}y"), "{}", ran.err);
    let json = callgate(&format!("check --format json {path}"));
    for text in [ran.out, ran.err, json.out, json.err] {
        assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{7}']), "{text:?}");
    }
}

/// Returns the lines that `check` prints for a policy that compiles.
fn warnings(name: &str, policy: String) -> Vec<String> {
    let ran = callgate(&format!("check {}", file(name, policy)));
    assert_eq!(ran.code, 0, "{}", ran.err);
    ran.err.lines().map(str::to_owned).collect()
}

#[test]
fn warns_about_an_agent_that_has_expired() {
    let agent = "identity: { issuer: corp, client_id: review-agent }";
    assert_eq!(quickstart().matches(agent).count(), 1);
    let expires = |date: &str| quickstart().replace(agent, &format!("{agent}\n    expires: {date}"));
    let found = warnings("expired.yaml", expires("2020-06-30"));
    let [warning] = &found[..] else { panic!("{found:#?}") };
    let place = format!(
        ":{}:5: warning: agents.review-agent.expires: this agent has expired",
        line_of("client_id: review-agent") + 1
    );
    assert!(warning.contains(&place), "{warning}");
    assert_eq!(warnings("lasting.yaml", expires("2999-06-30")), [""; 0]);
}

#[test]
fn warns_about_an_identity_that_looks_like_a_pattern() {
    let found = warnings("pattern.yaml", quickstart().replace("client_id: review-agent", "client_id: review-*"));
    let [warning] = &found[..] else { panic!("{found:#?}") };
    assert!(
        warning.contains(": warning: agents.review-agent.identity.client_id: `*` is compared literally"),
        "{warning}"
    );
}
