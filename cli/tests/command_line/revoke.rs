use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::{callgate, coding_token, file, json, run};

/// The name of a file that does not exist yet.
fn fresh(name: &str) -> String {
    let path = file(name, "");
    std::fs::remove_file(&path).unwrap();
    path
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// Creates a key. Returns the file of the private key, and its public JWK.
fn key(name: &str) -> (String, Value) {
    let path = fresh(name);
    let made = json(&callgate(&format!("keygen ed25519 {path} --format json")).fine());
    (path, made.get("public_jwk").unwrap().clone())
}

#[test]
fn prints_an_entry_as_the_policy_contains_it() {
    let out = callgate("revoke --agent coding-agent --issued-before 2027-06-30T12:00:00Z --until 2027-07-30T00:00:00Z")
        .fine();
    assert!(out.starts_with("# for the policy, in `revoked`\n- "), "{out}");
    for line in ["agent: coding-agent", "issued_before: 2027-06-30T12:00:00Z", "until: 2027-07-30T00:00:00Z"] {
        assert!(out.replace(['"', '\''], "").contains(line), "{out}");
    }
    let now = callgate("revoke --issuer corp --client c --issued-before now").fine();
    assert!(now.contains("client: c\n") && now.contains("issuer: corp\n"), "{now}");
}

/// A day is written as given, because the gate reads it as the end of that day in UTC.
#[test]
fn a_day_does_not_depend_on_the_time_zone() {
    let arguments = ["revoke", "--agent", "a", "--issued-before", "2027-06-30", "--until", "2027-07-30"];
    // In this form, zones to the east have a minus sign.
    for zone in ["UTC0", "EAST-14", "WEST+12"] {
        let ran = Command::new(env!("CARGO_BIN_EXE_callgate")).args(arguments).env("TZ", zone).output().unwrap();
        let out = String::from_utf8(ran.stdout).unwrap().replace(['"', '\''], "");
        assert!(out.contains("issued_before: 2027-06-30\n") && out.contains("until: 2027-07-30\n"), "{zone}: {out}");
    }
    let feed = fresh("day.json");
    callgate(&format!("revoke --agent a --until 2027-07-30 --feed {feed}")).fine();
    assert_eq!(json(&read(&feed)), json!({ "entries": [{ "agent": "a", "until": "2027-07-30" }] }));
    for text in ["2027-06-31", "2027-6-30", "1969-12-31", "tomorrow"] {
        let told = run(&["revoke", "--agent", "a", "--until", text], "").failed(1);
        assert!(told.contains("a day in UTC such as `2027-06-30`"), "{text}: {told}");
    }
}

#[test]
fn an_entry_for_a_day_applies_until_that_day_ends_in_utc() {
    let is_allowed = |entry: &str, issued: &str, at: &str| {
        let entry = callgate(&format!("revoke --agent coding-agent {entry}")).fine();
        let policy = file("revoked-by-day.yaml", format!("{}\nrevoked:\n{entry}", crate::quickstart()));
        let token = "token --key @examples/quickstart/keys/es256.jwk.json --issuer https://idp.example.com --subject coding-agent \
                     --client coding-agent --audience https://api.example.com --claim org=acme --scope code:read";
        let token = callgate(&format!("{token} --at {issued}")).fine();
        let request =
            ["explain", &policy, "--path", "/repos/acme/gateway", "--token", "-", "--at", at, crate::PUBLISHED];
        let out = run(&request, token.trim()).fine();
        let is_allowed = out.contains("\nALLOW allowed\n");
        assert!(is_allowed || out.contains("\nDENY  403 agent_suspended\n"), "{out}");
        is_allowed
    };
    let issued = "2027-06-30T23:58:00Z";
    assert!(!is_allowed("--until 2027-06-30", issued, "2027-06-30T23:59:59Z"), "the day is not over");
    assert!(is_allowed("--until 2027-06-30", issued, "2027-07-01T00:00:00Z"));
    let next = "2027-07-01T00:20:00Z";
    assert!(!is_allowed("--issued-before 2027-06-30", issued, "2027-07-01T00:00:10Z"), "it was issued on that day");
    assert!(is_allowed("--issued-before 2027-06-30", next, "2027-07-01T00:20:10Z"));
}

#[test]
fn finds_a_token_by_the_hash_of_what_is_signed() {
    let token = coding_token();
    let path = file("leaked.jwt", format!("{token}\n"));
    let out = callgate(&format!("revoke --token @{path}")).fine();
    let hash = out.split("token_sha256: ").nth(1).unwrap().trim().trim_matches(['"', '\'']).to_owned();
    assert_eq!(hash.len(), 64, "{out}");
    assert_eq!(callgate(&format!("revoke --token {hash}")).fine(), out);
    assert_eq!(run(&["revoke", "--token", "-"], &format!("Bearer {token}")).fine(), out, "as it is in `Authorization`");
    // Another valid form of the signature is the same token.
    let (signed, _) = token.rsplit_once('.').unwrap();
    assert_eq!(run(&["revoke", "--token", "-"], &format!("{signed}.AAAA")).fine(), out);
    let short = callgate(&format!("revoke --token {}", hash.get(..16).unwrap())).failed(1);
    assert!(short.contains("expected 64 hexadecimal digits") && short.contains("revoke its `jti`"), "{short}");
    assert!(callgate(&format!("revoke --token {token}")).failed(1).contains("invalid hash"), "not on the command line");
    assert!(run(&["revoke", "--token", "-"], "secret").failed(1).contains("contains no JSON Web Token"));
}

#[test]
fn names_must_be_those_of_the_policy_if_one_is_given() {
    let check = |arguments: &str| callgate(&format!("revoke {arguments} --policy examples/quickstart/policy.yaml"));
    check("--agent coding-agent").fine();
    check("--issuer corp --subject s").fine();
    let told = check("--agent codng-agent").failed(1);
    assert_eq!(
        told,
        "callgate: --agent: examples/quickstart/policy.yaml has no agent `codng-agent`; did you mean `coding-agent`?\n"
    );
    assert!(check("--issuer okta").failed(1).contains("has no issuer `okta`; it has corp"));
    assert!(check("--actor nobody-at-all").failed(1).contains("has no agent `nobody-at-all`"));
}

#[test]
fn adds_entries_to_a_file_in_their_order_and_each_once() {
    let feed = fresh("feed.json");
    let add = |arguments: &str| callgate(&format!("revoke {arguments} --feed {feed}"));
    let told = add("--agent zoe --reason leaked").fine();
    assert_eq!(told, format!("added to {feed}, which now has 1 entry; sign it with `callgate revocations sign`\n"));
    add("--agent adam").fine();
    let both = read(&feed);
    assert_eq!(json(&both), json!({ "entries": [{ "agent": "zoe", "reason": "leaked" }, { "agent": "adam" }] }));
    assert_eq!(both.lines().count(), 4, "one line for each entry: {both}");
    let told = add("--agent zoe --reason other").failed(1);
    assert_eq!(told, format!("callgate: {feed}: entries[0] already revokes this; nothing was changed\n"));
    assert_eq!(read(&feed), both);
    add("--agent zoe --issued-before 2027-01-01T00:00:00Z").fine();
    assert!(!Path::new(&format!("{feed}.new")).exists());
}

#[test]
fn runs_at_the_same_time_lose_no_entry() {
    const RUNS: usize = 16;
    let feed = fresh("together.json");
    let told: Vec<_> = std::thread::scope(|scope| {
        let add = |number: usize| callgate(&format!("revoke --agent agent-{number} --feed {feed}")).fine();
        let runs: Vec<_> = (0..RUNS).map(|number| scope.spawn(move || add(number))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    let list = json(&read(&feed));
    let mut agents: Vec<_> =
        list["entries"].as_array().unwrap().iter().map(|entry| entry["agent"].to_string()).collect();
    agents.sort();
    agents.dedup();
    assert_eq!(agents.len(), RUNS, "{list}");
    // Each of them counted the entries of those before it.
    let mut counts: Vec<_> = told.iter().map(|told| told.split("now has ").nth(1).unwrap()).collect();
    counts.sort_unstable();
    counts.dedup();
    assert_eq!(counts.len(), RUNS, "{told:?}");
}

#[test]
fn lists_that_are_signed_at_the_same_time_are_whole_and_each_newer_than_the_one_before() {
    const RUNS: u64 = 8;
    let (private, _) = key("revocations-together.jwk");
    let (feed, out) = (fresh("signed-together.json"), fresh("signed-together.jws"));
    callgate(&format!("revoke --agent zoe --feed {feed}")).fine();
    let issued = || {
        let shown = callgate(&format!("revocations show {out} --key @{private} --format json")).fine();
        json(&shown)["iat"].as_u64().unwrap()
    };
    let sign = || callgate(&format!("revocations sign {feed} --key @{private} --out {out}")).fine();
    sign();
    let first = issued();
    std::thread::scope(|scope| (0..RUNS).for_each(|_| drop(scope.spawn(sign))));
    let last = issued();
    assert!(last >= first + RUNS, "{first} {last}");
}

#[test]
fn a_file_that_is_no_list_is_reported_and_stays() {
    for (content, message) in [
        ("[]", ":1:"),
        ("{\"entries\": [{\"agent\": \"a\", \"agent\": \"b\"}]}", "duplicate field `agent`"),
        ("{\"entries\": [{\"agnet\": \"a\"}]}", "unknown field `agnet`"),
        ("{\"entries\": [], \"iat\": 1}", "unknown field `iat`"),
        ("{\"entries\": [{\"agent\": \"a\"}, {}]}", "entries[1]: names nothing; expected one of"),
        ("{\"entries\": [{\"jti\": \"1\"}]}", "entries[0]: `jti` without `issuer`"),
        ("{\"entries\": [{\"agent\": \"a\", \"issuer\": \"i\"}]}", "entries[0]: `agent` with `issuer`"),
        ("{\"entries\": [{\"agent\": \"a\", \"actor\": \"b\"}]}", "entries[0]: names `agent` and `actor`"),
        ("{\"entries\": [{\"agent\": \"\"}]}", "entries[0]: agent: is empty"),
        ("{\"entries\": [{\"agent\": \"a\", \"tenant\": \"t\"}]}", "entries[0]: `tenant` without `issuer`"),
        ("{\"entries\": [{\"token_sha256\": \"00\"}]}", "entries[0]: token_sha256: expected 64 hexadecimal digits"),
        (
            "{\"entries\": [{\"issuer\": \"i\", \"jti\": \"1\", \"tenant\": \"t\"}]}",
            "entries[0]: `tenant` with `jti` or `kid`",
        ),
        ("{\"entries\": [{\"thumbprint\": \"00\"}]}", "entries[0]: thumbprint: expected SHA-256"),
        ("{\"entries\": [{\"agent\": \"a\", \"until\": \"-1h\"}]}", "entries[0]: until: expected a time such as"),
        (
            "{\"entries\": [{\"agent\": \"a\", \"until\": \"2027-06-30T12:00Z\"}]}",
            "entries[0]: until: expected a time such as",
        ),
        ("{\"entries\": [{\"agent\": \"a\", \"reason\": \"\u{e9}\"}]}", "entries[0]: reason: expected 1 to 128"),
    ] {
        let feed = file("no-feed.json", content);
        let told = callgate(&format!("revoke --agent x --feed {feed}")).failed(2);
        assert!(told.starts_with(&feed) && told.contains(message), "{content}: {told}");
        assert_eq!(read(&feed), content);
    }
    let told = run(&["revoke", "--agent", "x", "--reason", &"x".repeat(129)], "").failed(1);
    assert!(told.contains("reason: expected 1 to 128 printable ASCII characters"), "{told}");
}

#[test]
fn a_signed_list_verifies_with_its_key_only() {
    let (private, public) = key("revocations.jwk");
    let feed = fresh("signed.json");
    callgate(&format!("revoke --agent zoe --feed {feed}")).fine();
    let signed = callgate(&format!("revocations sign {feed} --key @{private}")).fine();
    let list = file("list.jws", &signed);
    let public = file("revocations.pub.jwk", public.to_string());
    let shown = callgate(&format!("revocations show {list} --key @{public}")).fine();
    assert!(shown.starts_with("1 entry, issued at ") && shown.ends_with("\n{\"agent\":\"zoe\"}\n"), "{shown}");
    assert_eq!(callgate(&format!("revocations show {list} --key @{private}")).fine(), shown);
    let parsed = json(&callgate(&format!("revocations show {list} --key @{public} --format json")).fine());
    assert_eq!(parsed["entries"], json!([{ "agent": "zoe" }]));
    assert_eq!(parsed["exp"].as_u64().unwrap(), parsed["iat"].as_u64().unwrap() + 3_600);
    let (other, _) = key("revocations-other.jwk");
    let told = callgate(&format!("revocations show {list} --key @{other}")).failed(2);
    assert_eq!(told, format!("{list}: the signature does not verify with this key\n"));
    let (head, tail) = signed.split_at(signed.len() / 2);
    let forged = file("forged.jws", format!("{head}A{tail}"));
    callgate(&format!("revocations show {forged} --key @{public}")).failed(2);
    let token = file("a-token.jws", coding_token());
    let told = callgate(&format!("revocations show {token} --key @{public}")).failed(2);
    assert!(told.contains("the `typ` of the JWS is `at+jwt`; expected `callgate-revocations+jws`"), "{told}");
    assert!(callgate(&format!("revocations show {feed} --key @{public}")).failed(2).contains("not a signed list"));
}

#[test]
fn each_signed_list_is_newer_than_the_one_that_it_replaces() {
    let (private, _) = key("revocations-again.jwk");
    let feed = fresh("again.json");
    callgate(&format!("revoke --agent zoe --feed {feed}")).fine();
    let out = fresh("again.jws");
    let issued = || {
        let told = callgate(&format!("revocations sign {feed} --key @{private} --expires 10m --out {out}")).fine();
        assert!(told.starts_with(&format!("wrote {out}, valid until ")), "{told}");
        let shown = callgate(&format!("revocations show {out} --key @{private} --format json")).fine();
        json(&shown)["iat"].as_u64().unwrap()
    };
    let first = issued();
    let second = issued();
    let third = issued();
    assert!(first < second && second < third, "{first} {second} {third}");
}

#[test]
fn only_a_private_key_signs_a_list() {
    let feed = fresh("keys.json");
    callgate(&format!("revoke --agent zoe --feed {feed}")).fine();
    let secret = fresh("secret.jwk");
    callgate(&format!("keygen hmac {secret}")).fine();
    let told = callgate(&format!("revocations sign {feed} --key @{secret}")).failed(1);
    assert!(told.contains("a secret that gates also have cannot sign the list"), "{told}");
    let (_, public) = key("revocations-public.jwk");
    let public = file("public-only.jwk", public.to_string());
    callgate(&format!("revocations sign {feed} --key @{public}")).failed(1);
    let told = callgate(&format!("revocations sign {feed} --key @{feed}")).failed(1);
    assert!(told.contains("--key: "), "{told}");
    assert_eq!(callgate("revocations sign missing.json --key {}").code, 1);
}

#[test]
fn a_list_is_signed_with_the_name_of_the_key() {
    let feed = fresh("kid.json");
    callgate(&format!("revoke --agent zoe --feed {feed}")).fine();
    let (private, _) = key("revocations-kid.jwk");
    let mut jwk = json(&read(&private));
    jwk.as_object_mut().unwrap().remove("kid").unwrap();
    let nameless = file("nameless.jwk", jwk.to_string());
    let told = callgate(&format!("revocations sign {feed} --key @{nameless}")).failed(1);
    assert!(told.contains("the key has no `kid`, and gates need one"), "{told}");
    let named = callgate(&format!("revocations sign {feed} --key @{nameless} --kid k")).fine();
    let list = file("named.jws", named);
    callgate(&format!("revocations show {list} --key @{nameless}")).fine();
}

/// The 16 digits in records and the 64 digits of an entry name the same token.
#[test]
fn the_entry_of_a_token_begins_with_its_name_in_records() {
    let token = coding_token();
    let path = file("named.jwt", &token);
    let out = callgate(&format!("revoke --token @{path}")).fine();
    let short = callgate::identity::token::token_hash(token.as_bytes()).unwrap();
    assert!(out.contains(&short), "{out} {short}");
}

/// Returns the quickstart policy with a list that the gate fetches.
fn fetching(name: &str, of_list: &str) -> String {
    let remote = "remote: { url: \"https://revocations.example.com/list\", cluster: revocations }";
    file(name, format!("{}\nrevocations: {{ {remote}, on_stale: deny, {of_list} }}\n", crate::quickstart()))
}

#[test]
fn explains_a_request_with_the_list_that_the_gate_fetches() {
    let (private, public) = key("explained.jwk");
    let policy = fetching("explained.yaml", &format!("signed_by: {public}"));
    let signed = |agent: &str| {
        let feed = fresh(&format!("explained-{agent}.json"));
        callgate(&format!("revoke --agent {agent} --feed {feed}")).fine();
        let list = callgate(&format!("revocations sign {feed} --key @{private}")).fine();
        format!("@{}", file(&format!("explained-{agent}.jws"), list))
    };
    let token = coding_token();
    let explain = |policy: &str, more: &[&str]| {
        let arguments = ["explain", policy, "--path", "/repos/acme/gateway", "--token", "-", crate::PUBLISHED];
        run(&[&arguments[..], more].concat(), &token)
    };
    let without = explain(&policy, &[]).fine();
    assert!(without.contains("\nDENY  503 revocations_unavailable\n"), "{without}");
    let hint = "the list is not known here: give this command the list that the gate fetches with `--revocations`\n";
    assert!(without.contains(hint), "{without}");
    let revoked = explain(&policy, &["--revocations", &signed("coding-agent")]).fine();
    assert!(revoked.contains("\nDENY  403 agent_suspended\n") && !revoked.contains(hint), "{revoked}");
    let other = explain(&policy, &["--revocations", &signed("review-agent")]).fine();
    assert!(other.contains("\nALLOW allowed\n"), "{other}");
    let plain = file("explained.json", r#"{ "iat": 1, "exp": 601, "entries": [{ "agent": "coding-agent" }] }"#);
    let plain = format!("@{plain}");
    let told = explain(&policy, &["--revocations", &plain]).failed(1);
    assert!(told.starts_with("callgate: --revocations: it is not a signed list"), "{told}");
    let trusted = fetching("explained-trusted.yaml", "trusted: true");
    let revoked = explain(&trusted, &["--revocations", &plain]).fine();
    assert!(revoked.contains("\nDENY  403 agent_suspended\n"), "{revoked}");
    let told = explain("examples/quickstart/policy.yaml", &["--revocations", &plain]).failed(1);
    assert_eq!(told, "callgate: --revocations: the policy fetches no list of revoked credentials\n");
}

#[test]
fn reports_what_a_token_reaches_with_the_list_that_the_gate_fetches() {
    let policy = fetching("reached.yaml", "trusted: true");
    let token = coding_token();
    let access = |more: &[&str]| {
        let arguments = ["access", &policy, "--token", "-", "--format", "json", crate::PUBLISHED];
        run(&[&arguments[..], more].concat(), &token)
    };
    let list = |agent: &str| {
        let list = json!({ "iat": 1, "exp": 601, "entries": [{ "agent": agent }] });
        format!("@{}", file(&format!("reached-{agent}.json"), list.to_string()))
    };
    let reached = |report: &Value| report["callers"][0]["reaches"].as_array().unwrap().len();
    let without = json(&access(&[]).fine());
    let note = without["token"]["notes"][0].as_str().unwrap();
    assert!(note.contains("not known here, so the token may be revoked; give it with `--revocations`"), "{note}");
    let other = json(&access(&["--revocations", &list("review-agent")]).fine());
    assert_eq!((&other["token"]["notes"], reached(&other)), (&json!([]), reached(&without)));
    let revoked = json(&access(&["--revocations", &list("coding-agent")]).fine());
    // Only what is observed.
    assert_eq!(reached(&revoked), 1, "{revoked}");
    let nothing = list("nobody");
    callgate(&format!("access {policy} --revocations {nothing}")).failed(1);
    assert!(access(&["--revocations", "{}"]).failed(1).starts_with("callgate: --revocations: it is not a valid list"));
}

#[test]
fn a_list_for_another_audience_is_not_used() {
    let (private, public) = key("audience.jwk");
    let policy = fetching("audience.yaml", &format!("signed_by: {public}, audience: shop"));
    let feed = fresh("audience.json");
    callgate(&format!("revoke --agent coding-agent --feed {feed}")).fine();
    let signed = |name: &str, more: &str| {
        let list = callgate(&format!("revocations sign {feed} --key @{private} {more}")).fine();
        file(&format!("audience-{name}.jws"), list)
    };
    let shown = |list: &str, more: &str| callgate(&format!("revocations show {list} --key @{private} {more}")).fine();
    let none = signed("none", "");
    assert_eq!(json(&shown(&none, "--format json")).get("aud"), None);
    let both = signed("both", "--audience desk --audience shop");
    assert_eq!(json(&shown(&both, "--format json"))["aud"], json!(["desk", "shop"]));
    assert_eq!(shown(&both, "").lines().nth(1), Some("for [\"desk\",\"shop\"]"));
    let token = coding_token();
    let explain = |list: &str| {
        let list = format!("@{list}");
        let request = ["explain", policy.as_str(), "--path", "/repos/acme/gateway", "--token", "-", crate::PUBLISHED];
        run(&[&request[..], &["--revocations", list.as_str()][..]].concat(), &token)
    };
    let revoked = explain(&both).fine();
    assert!(revoked.contains("\nDENY  403 agent_suspended\n"), "{revoked}");
    for list in [none, signed("other", "--audience desk")] {
        let told = explain(&list).failed(1);
        assert!(told.starts_with("callgate: --revocations: its `aud` does not contain the `audience`"), "{told}");
    }
}
