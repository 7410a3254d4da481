use std::path::Path;

use crate::{callgate, file, json};

#[test]
fn help_and_version_exit_with_0() {
    for arguments in [
        "--help",
        "help check",
        "check --help",
        "explain --help",
        "access --help",
        "token --help",
        "keys --help",
        "import --help",
        "import mcp --help",
        "mcp --help",
        "mcp pin --help",
        "render --help",
        "test --help",
        "records --help",
        "revoke --help",
        "revocations --help",
        "revocations sign --help",
        "revocations show --help",
    ] {
        assert!(callgate(arguments).fine().contains("Usage: callgate"), "{arguments}");
    }
    assert_eq!(callgate("--version").fine(), concat!("callgate ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn wrong_usage_exits_with_1_and_prints_usage() {
    for arguments in [
        "",
        "chek",
        "check",
        "check a b",
        "check --format yaml a",
        "explain examples/quickstart/policy.yaml",
        "explain examples/quickstart/policy.yaml --path / --at noon",
        "explain examples/quickstart/policy.yaml --path / --header nocolon",
        "explain examples/quickstart/policy.yaml --path / --source here",
        "keys",
        "keys --algorithms none -",
        "import",
        "import mcp",
        "import openapi x",
        "mcp",
        "mcp pin",
        "mcp pin --tool",
        "records",
        "records --decision perhaps x",
        "render examples/quickstart/policy.yaml",
        "render examples/quickstart/policy.yaml --for nginx",
        "revoke",
        "revoke --jti 1",
        "revoke --agent a --issuer corp",
        "revoke --issuer corp --jti 1 --subject s",
        "revoke --agent a --until noon",
        "revocations",
        "revocations sign",
        "revocations sign x --key {} --expires 2h",
        "revocations show x",
        "schema token",
        "test",
        "token",
        "token --key {} --lifetime 5",
    ] {
        let err = callgate(arguments).failed(1);
        assert!(err.contains("Usage: callgate") || err.starts_with("error: "), "{arguments}: {err}");
    }
}

#[test]
fn printed_schemas_match_the_ones_in_docs() {
    let page = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference").join(name);
        json(&std::fs::read_to_string(path).unwrap())
    };
    assert_eq!(json(&callgate("schema").fine()), page("policy.schema.json"));
    assert_eq!(json(&callgate("schema policy").fine()), page("policy.schema.json"));
    assert_eq!(json(&callgate("schema record").fine()), page("record.schema.json"));
}

#[test]
fn generated_pages_are_up_to_date() {
    let stale = callgate("docs");
    assert_eq!((stale.code, &*stale.out, &*stale.err), (0, "", ""));
}

#[test]
fn names_stale_pages_and_the_command_to_regenerate_them() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("docs");
    std::fs::create_dir_all(&folder).unwrap();
    let folder = folder.to_str().unwrap();
    assert_eq!(callgate(&format!("docs --write --folder {folder}")).fine(), "");
    assert_eq!(callgate(&format!("docs --folder {folder}")).fine(), "");
    std::fs::write(format!("{folder}/reasons.md"), "old").unwrap();
    let stale = callgate(&format!("docs --folder {folder}"));
    assert_eq!(stale.code, 2);
    assert_eq!(
        stale.out,
        format!("{folder}/reasons.md: differs from the code; run `cargo run -p callgate-cli -- docs --write`\n")
    );
    assert_eq!(callgate(&format!("docs --write --folder {folder}/missing")).code, 1);
}

#[test]
fn test_runs_and_counts_cases() {
    let out = callgate("test examples/quickstart").fine();
    assert!(out.ends_with(" cases, all pass\n"), "{out}");
    let report = json(&callgate("test --format json examples/quickstart").fine());
    assert_eq!(report["differing"], serde_json::json!([]));
    assert!(report["cases"].as_u64().unwrap() > 10, "{report}");
}

#[test]
fn every_example_policy_is_valid_and_passes_its_cases() {
    let mut policies = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.ends_with("policy.yaml") {
                policies.push(path);
            }
        }
    }
    assert!(policies.len() >= 7, "{policies:?}");
    for policy in policies {
        let ran = callgate(&format!("check {}", policy.display()));
        assert_eq!(ran.code, 0, "{}", ran.err);
    }
    callgate("test examples").fine();
}

#[test]
fn test_reports_a_failing_case_and_exits_with_2() {
    let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/quickstart/policy.yaml");
    let cases = format!(
        "policy: {policy}\nnow: \"2026-11-21T12:00:00Z\"\nrequest: {{ host: api.example.com }}\ncases:\n  - name: open\n    intent: everybody\n    \
         request: {{ path: /repos/a/b }}\n    expect: {{ decision: allow }}\n"
    );
    let path = file("differs.cases.yaml", cases);
    let ran = callgate(&format!("test {path}"));
    assert_eq!((ran.code, &*ran.err), (2, ""));
    assert!(
        ran.out.starts_with(&format!(
            "{path}:5:5: open: everybody\n    expected `allow`, got `deny` (`credentials_missing`)\n"
        )),
        "{}",
        ran.out
    );
    assert!(ran.out.ends_with("1 case, 1 fails\n"), "{}", ran.out);
    let programs = callgate(&format!("test --format json {path}"));
    assert_eq!((programs.code, &json(&programs.out)["differing"][0]["name"]), (2, &"open".into()));
}

#[test]
fn test_exit_code_separates_missing_from_invalid_cases() {
    assert_eq!(callgate("test missing.yaml").code, 1);
    assert_eq!(callgate(&format!("test {}", file("wrong.cases.yaml", "casez: []\n"))).code, 2);
}

#[test]
fn reason_explains_codes_of_records_and_answers() {
    let expired = callgate("reason token_expired").fine();
    assert!(expired.starts_with("token_expired: the access token has expired\n  status 401"), "{expired}");
    for part in ["Usual causes:\n- ", "\nClient: ", "\nOperator: "] {
        assert!(expired.contains(part), "{expired}");
    }
    assert_eq!(callgate("reason callgate_token_expired").fine(), expired);
    let agents = callgate("reason agent_refused").fine();
    assert!(agents.contains("agent_unknown: ") && agents.contains("agent_expired: "), "{agents}");
    assert!(callgate("reason").fine().lines().any(|line| line.starts_with("rate_limited ") && line.contains(" 429 ")));
    let parsed = json(&callgate("reason dpop_nonce --format json").fine());
    assert_eq!((&parsed[0]["code"], &parsed[0]["status"]), (&"dpop_nonce".into(), &401.into()));
    let unknown = callgate("reason callgate_token_expird").failed(1);
    assert!(unknown.contains("unknown reason `callgate_token_expird`; did you mean `token_expired`?"), "{unknown}");
}

/// The `type` of an answer is a URL that leads to a heading of the reference.
#[test]
fn types_of_problems_lead_to_sections_of_the_reference() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/reasons.md");
    let page = std::fs::read_to_string(page).unwrap();
    for reason in callgate::Reason::ALL {
        let url = reason.disclosed().url();
        let (file, heading) = url.split_once('#').unwrap();
        assert_eq!(file, "https://github.com/callgate/callgate/blob/main/docs/reference/reasons.md");
        assert!(page.contains(&format!("\n## {heading}\n")), "{url}");
    }
}
