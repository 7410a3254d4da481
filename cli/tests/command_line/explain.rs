use crate::{PUBLISHED, callgate, coding_token, file, json, line_of, run};

const POLICY: &str = "examples/quickstart/policy.yaml";

#[test]
fn shows_every_check_and_header_change_of_an_allowed_request() {
    let token = coding_token();
    let path = file("explain.token", format!("{token}\n"));
    let out =
        callgate(&format!("explain {POLICY} {PUBLISHED} --path /repos/acme/gateway/pulls --token @{path}")).fine();
    let (agent, owner) = (line_of("  coding-agent:"), line_of("path.owner: token.org"));
    for line in [
        "request GET https://api.example.com/repos/acme/gateway/pulls at ",
        "pass  credential      issuer: corp, client: coding-agent, subject: coding-agent\n",
        &format!(
            "pass  agent           agent: coding-agent\n                      {POLICY}:{agent}:3: agents.coding-agent\n"
        ),
        "pass  scopes          requires: code:read, has: code:read code:write pulls:write\n",
        &format!("                      {POLICY}:{owner}:18: endpoints[3].bind[\"path.owner\"]\n"),
        "pass  limits          cost: 1, limit: calls, left: 99 of 100\n",
        "\nALLOW allowed\n",
        "removed for the upstream: authorization\n",
        "added for the upstream: x-callgate-agent: coding-agent\n",
    ] {
        assert!(out.contains(line), "{line}\n{out}");
    }
    assert!(!out.contains(&token));
}

#[test]
fn shows_the_remaining_checks_of_a_denied_request() {
    let arguments =
        ["explain", POLICY, PUBLISHED, "--method", "POST", "--path", "/repos/globex/other/pulls", "--token", "-"];
    let out = run(&arguments, &coding_token()).fine();
    assert_eq!(out.matches("DENY  binding         binding_mismatch: ").count(), 2, "{out}");
    assert!(out.contains("\nDENY  403 binding_mismatch\n"), "{out}");
}

#[test]
fn evaluates_the_request_at_the_given_time() {
    let token = coding_token();
    let explain = |at| {
        let arguments = ["explain", POLICY, PUBLISHED, "--path", "/repos/acme/gateway", "--token", "-", "--at", at];
        run(&arguments, &token).fine()
    };
    assert!(explain("+0s").contains("\nALLOW allowed\n"));
    let late = explain("+1h");
    assert!(late.contains("\nDENY  401 token_expired\n"), "{late}");
    assert!(
        late.contains("claims, not verified: {") && late.contains("exp is: 20") && !late.contains(&token),
        "{late}"
    );
    assert!(explain("2026-06-30T12:00:00Z").contains(" at 2026-06-30T12:00:00Z\n"));
    assert!(explain("1782820800").contains(" at 2026-06-30T12:00:00Z\n"));
}

#[test]
fn json_output_has_the_decision_and_checks() {
    let out = run(&["explain", POLICY, "--path", "/repos/acme/gateway", "--format", "json"], "").fine();
    let explained = json(&out);
    assert_eq!(explained["status"], 401);
    assert_eq!(explained["record"]["decision"], "deny");
    assert_eq!(explained["record"]["reason"], "credentials_missing");
    assert_eq!(explained["policy"]["name"], "quickstart");
    let denied = explained["checks"].as_array().unwrap().iter().find(|check| check["outcome"] == "deny").unwrap();
    assert_eq!(
        (&denied["check"], &denied["rule"], &denied["line"]),
        (&"credential".into(), &"issuers".into(), &line_of("issuers:").into())
    );
}

#[test]
fn uses_the_given_headers_host_and_source() {
    let explain = |more: &[&str]| {
        let arguments = [&["explain", POLICY, "--path", "/health", "--format", "json"], more].concat();
        json(&run(&arguments, "").fine())["record"].clone()
    };
    assert_eq!(explain(&[])["decision"], "allow");
    assert_eq!(explain(&["--host", "other.example.com"])["reason"], "credentials_missing");
    assert_eq!(explain(&["-H", "X-HTTP-Method-Override: DELETE"])["reason"], "method_override");
    assert_eq!(explain(&["-H", "host: a", "-H", "host: b"])["reason"], "duplicate_host");
    assert_eq!(explain(&["--source", "192.0.2.1"])["source"], "192.0.2.1");
}

#[test]
fn exits_with_1_for_an_unreadable_token() {
    let empty = file("empty.token", "\n");
    for (token, told) in [
        ("@missing.token", "callgate: --token: missing.token does not exist\n".to_owned()),
        ("@examples", "callgate: --token: examples is a directory; name a file\n".to_owned()),
        (&format!("@{empty}"), format!("callgate: --token: {empty} is empty\n")),
        (
            "env:CALLGATE_TEST_NOT_SET",
            "callgate: --token: the environment variable CALLGATE_TEST_NOT_SET is not set\n".to_owned(),
        ),
        (
            "env:CALLGATE_TEST_EMPTY",
            "callgate: --token: the environment variable CALLGATE_TEST_EMPTY is empty\n".to_owned(),
        ),
        ("-", "callgate: --token: standard input is empty\n".to_owned()),
    ] {
        assert_eq!(callgate(&format!("explain {POLICY} --path / --token {token}")).failed(1), told);
    }
}

#[test]
fn escapes_control_characters_from_requests() {
    for format in ["human", "json"] {
        let hostile = "/a\u{1b}[2J\u{202e}\u{9b}";
        let out = run(
            &["explain", POLICY, "--path", hostile, "--host", hostile, "--method", hostile, "--format", format],
            "",
        )
        .fine();
        assert!(!out.contains(['\u{1b}', '\u{202e}', '\u{9b}']), "{out:?}");
    }
    // A token can contain anything, and even a rejected one is shown.
    let token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJcdTAwMWJbMkpcdTIwMmUifQ.";
    let out = run(&["explain", POLICY, "--path", "/repos/acme/gateway", "--token", token], "").fine();
    assert!(out.contains("claims, not verified: ") && !out.contains(['\u{1b}', '\u{202e}']), "{out:?}");
}

#[test]
fn reports_an_invalid_policy_as_check_does() {
    let path = file("explain-wrong.yaml", "callgate: v1\n");
    let explained = callgate(&format!("explain {path} --path /")).failed(2);
    assert_eq!(explained, callgate(&format!("check {path}")).failed(2));
}

#[test]
fn uses_the_given_key_set_in_place_of_the_fetched_one() {
    let explain = |keys: &[&str]| {
        let arguments = [&["explain", POLICY, "--path", "/repos/acme/gateway", "--token", "-"], keys].concat();
        run(&arguments, &coding_token())
    };
    let without = explain(&[]).fine();
    assert!(without.contains("\nDENY  503 keys_unavailable\n"), "{without}");
    let hint = "to verify the token here: give this command the key set of its issuer with `--keys`\n";
    assert!(without.contains(hint), "{without}");
    assert!(explain(&[PUBLISHED]).fine().contains("\nALLOW allowed\n"));
    let other = explain(&["--keys", "partner=@examples/quickstart/keys/jwks.json"]).failed(1);
    assert_eq!(other, "callgate: --keys: partner: the policy has no issuer `partner`\n");
    let unreadable = explain(&["--keys", "corp=@examples/quickstart/keys/es256.jwk.json"]).failed(1);
    assert!(unreadable.starts_with("callgate: --keys: corp: "), "{unreadable}");
}

/// Returns a token with this header, these claims and an invalid signature.
fn unsigned(header: &str, claims: &str) -> String {
    use base64::Engine as _;
    let part = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{}", part(header), part(claims), part("signature"))
}

#[test]
fn names_the_claim_or_header_parameter_of_a_rejected_token() {
    let explain = |header: &str, claims: &str| {
        let token = unsigned(header, claims);
        let out = run(&["explain", POLICY, "--path", "/repos/acme/gateway", "--token", "-"], &token).fine();
        assert!(!out.contains(&token) && !out.contains('\u{1b}'), "{out}");
        out
    };
    let good = r#"{"typ":"at+jwt","alg":"ES256","kid":"corp-es256"}"#;
    let issuer = r#""iss":"https://idp.example.com""#;
    for (header, claims, lines) in [
        (good, format!("{{{issuer},\"aud\":\"\\u001b[2J\"}}"), ["token_audience", "claim: aud", "is: \"\\u001b[2J\""]),
        (good, format!("{{{issuer}}}"), ["token_claim", "claim: aud", "is: absent"]),
        (r#"{"alg":"none"}"#, format!("{{{issuer}}}"), ["token_algorithm", "header parameter: alg", "is: \"none\""]),
        (
            good,
            format!("{{{issuer},\"sub\":1,\"sub\":2}}"),
            ["token_json", "part: claims", "fault: the name `sub` occurs twice at line 1 column 46"],
        ),
    ] {
        let out = explain(header, &claims);
        assert!(out.contains(&format!("DENY  credential      {}: ", lines[0])), "{out}");
        for line in &lines[1..] {
            assert!(out.contains(&format!("\n                      {line}\n")), "{line}\n{out}");
        }
    }
    // Claims that were sent twice are shown twice.
    assert!(explain(good, r#"{"sub":1,"sub":2}"#).contains(r#"claims, as sent: {"sub":1,"sub":2}"#));
}

#[test]
fn a_body_is_needed_where_it_decides_unless_the_headers_do() {
    let explain = |project: &str, body: &[&str]| {
        let path = format!("/projects/{project}/reports");
        let url = format!("https://artifacts.example.com{path}");
        let sign =
            ["sign", &url, "--key", "@examples/signing/keys/report-agent.jwk.json", "--tag", "artifacts", "-X", "POST"];
        let signed =
            ["-H", "content-type: text/plain", "--body", "all is well", "--created", "1795262400", "--format", "json"];
        let signed = json(&run(&[&sign[..], &signed].concat(), "").fine());
        let headers = signed["headers"].as_object().unwrap().iter();
        let headers: Vec<String> =
            headers.map(|(name, value)| format!("--header={name}: {}", value.as_str().unwrap())).collect();
        let fixed =
            ["explain", "examples/signing/policy.yaml", "--method", "POST", "--path", &path, "--at", "1795262400"];
        let mut arguments = [&fixed[..], &["--header=content-type: text/plain"]].concat();
        arguments.extend(headers.iter().map(String::as_str));
        arguments.extend(body);
        run(&arguments, "all is well")
    };
    let saved = format!("@{}", file("explain-body.txt", "all is well"));
    for body in
        [&["--body", "all is well"][..], &["--body=all is well"], &["--body", "-"], &["--body=-"], &["--body", &saved]]
    {
        let out = explain("gateway", body).fine();
        assert!(out.contains("\nALLOW allowed\n"), "{body:?}\n{out}");
    }
    for body in [&["--body", "all is lost"][..], &[]] {
        let out = explain("gateway", body).fine();
        assert!(out.contains("\nDENY  "), "{body:?}\n{out}");
    }
    let told = explain("gateway", &["--body"]).failed(1);
    assert_eq!(told, "callgate: --body: the decision depends on the body; pass `--body @FILE`\n");
    let out = explain("other", &["--body"]).fine();
    assert!(out.contains("\nDENY  403 binding_mismatch\n"), "{out}");
    let told = explain("gateway", &["--body", "@missing.txt"]).failed(1);
    assert_eq!(told, "callgate: --body: missing.txt does not exist\n");
}

#[test]
fn suggests_the_nearest_endpoint() {
    let explain = |arguments: &[&str]| {
        let fixed = ["explain", POLICY, PUBLISHED, "--token", "-"];
        run(&[&fixed, arguments].concat(), &coding_token()).fine()
    };
    for (arguments, line) in [
        (
            &["--path", "/repos/acme/gateway/pulls/latest"][..],
            "nearest: `pulls.get` (GET /repos/{owner}/{repo}/pulls/{number:int}): `latest` is not an int\n",
        ),
        (
            &["--path", "/repos/acme/ab@12"],
            "nearest: `repos.get` (GET /repos/{owner}/{repo}): `ab@12` needs `{repo:text}`\n",
        ),
        (&["--path", "/repos/acme/gateway/"], "nearest: `repos.get` (GET /repos/{owner}/{repo}): trailing slash\n"),
        (
            &["--path", "/repos/acme/gateway", "--method", "PUT"],
            "nearest: `repos.get` (GET /repos/{owner}/{repo}): method `PUT` is not `GET`\n",
        ),
        (
            &["--path", "/repos/acme/gateway", "--host", "other.example.com"],
            "nearest: `repos.get` (GET /repos/{owner}/{repo}): host `other.example.com` is not `api.example.com`\n",
        ),
    ] {
        let out = explain(arguments);
        assert!(out.contains("DENY  allowlist       endpoint_not_allowed: "), "{out}");
        assert!(out.contains(line), "{line}\n{out}");
    }
    let out = explain(&["--path", "/nothing/like/it"]);
    assert!(!out.contains("nearest"), "{out}");
    let json = json(&explain(&["--path", "/repos/acme/gateway/", "--format", "json"]));
    let allowlist = json["checks"].as_array().unwrap().iter().find(|check| check["check"] == "allowlist").unwrap();
    assert_eq!(allowlist["facts"][0]["name"], "nearest");
    assert_eq!(allowlist["facts"][0]["value"], "`repos.get` (GET /repos/{owner}/{repo}): trailing slash");
}

#[test]
fn explains_what_a_client_certificate_contains_and_whom_it_identifies() {
    let explain = |certificate: &str, path: &str| {
        let policy = "test-harness/corpus/policies/certificates.yaml";
        callgate(&format!("explain {policy} --path {path} --certificate {certificate}"))
    };
    let certificate = "src/request/certificate/openssl.pem";
    let out = explain(&format!("@{certificate}"), "/jobs/7").fine();
    assert!(out.contains("pass  certificate     spiffe: spiffe://example.org/ns/prod/agent, sha256: "), "{out}");
    assert!(out.contains("\nDENY  403 agent_unknown\n"), "{out}");
    // Of a chain, the leaf counts.
    let pem = std::fs::read_to_string(format!("{}/../{certificate}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let chain = file("chain.pem", format!("leaf\n{pem}{pem}"));
    assert!(explain(&format!("@{chain}"), "/jobs/7").fine().contains("\nDENY  403 agent_unknown\n"));
    for wrong in ["nothing", "@examples/quickstart/keys/es256.jwk.json"] {
        let told = explain(wrong, "/jobs/7").failed(1);
        assert!(told.contains("--certificate: ") && told.contains(" is no certificate; expected one in PEM"), "{told}");
    }
}
