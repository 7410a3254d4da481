use serde_json::Value;

use crate::{PUBLISHED, callgate, coding_token, file, json, quickstart, run};

const POLICY: &str = "examples/quickstart/policy.yaml";

/// Returns the endpoints that the caller at a position reaches.
fn reached(report: &Value, caller: usize) -> Vec<&str> {
    let reaches = report.pointer(&format!("/callers/{caller}/reaches")).unwrap().as_array().unwrap();
    reaches.iter().map(|reached| reached["endpoint"].as_str().unwrap()).collect()
}

#[test]
fn lists_what_each_agent_reaches_and_what_it_takes() {
    let out = callgate(&format!("access {POLICY}")).fine();
    assert!(out.lines().all(|line| line.chars().count() <= 100), "{out}");
    let begin = out.split("\nreview-agent").next().unwrap();
    // The version changes with every change of the policy.
    let (first, rest) = begin.split_once('\n').unwrap();
    assert!(first.starts_with("policy quickstart, version "), "{first}");
    let expected = "
anyone, without a credential
  health                   GET HEAD /health                 read

coding-agent (platform@example.com)
  repos.get                GET /repos/{owner}/{repo}        read; token; only where path.owner =
                                                            token.org; only where path.repo =
                                                            gateway or website; limit calls: 600/1m,
                                                            burst 100, per agent
";
    assert!(rest.starts_with(expected), "{rest}");
    assert!(out.contains("\nmigration-agent (platform@example.com): SUSPENDED, every request is denied\n"), "{out}");
}

#[test]
fn one_agent_and_one_endpoint_can_be_selected() {
    let out = callgate(&format!("access {POLICY} --agent review-agent --endpoint pulls.create --format json")).fine();
    let report = json(&out);
    assert_eq!(report["callers"].as_array().unwrap().len(), 1);
    let reached = &report["callers"][0]["reaches"][0];
    assert_eq!(reached["scopes"]["all"], serde_json::json!(["code:write", "pulls:write"]));
    let repo = serde_json::json!({ "part": "path.repo", "operator": "equals", "to": "agent.repositories", "values": ["gateway"] });
    assert!(reached["bindings"].as_array().unwrap().contains(&repo), "{reached}");
    assert_eq!(reached["limits"][1]["per"], serde_json::json!(["agent", "endpoint"]));
    for (arguments, says) in [
        ("--agent review-agents", "--agent: unknown `review-agents`; did you mean `review-agent`?"),
        ("--endpoint pulls.created", "--endpoint: unknown `pulls.created`; did you mean `pulls.create`?"),
    ] {
        let error = callgate(&format!("access {POLICY} {arguments}")).failed(1);
        assert!(error.contains(says), "{error}");
    }
    callgate(&format!("access {POLICY} --agent review-agent --token x")).failed(1);
}

#[test]
fn a_token_reaches_what_its_scopes_and_bindings_allow() {
    let token = coding_token();
    let report = json(&run(&["access", POLICY, PUBLISHED, "--token", "-", "--format", "json"], &token).fine());
    assert_eq!(
        (&report["token"]["verified"], &report["token"]["agent"], &report["token"]["rejected"]),
        (&true.into(), &"coding-agent".into(), &Value::Null)
    );
    let everything = [
        "health",
        "repos.get",
        "contents.get",
        "pulls.list",
        "pulls.create",
        "pulls.get",
        "reviews.create",
        "search.issues",
        "pipelines.run",
    ];
    assert_eq!(reached(&report, 0), everything);
    let excluded = &report["callers"][0]["cannot_reach"];
    assert_eq!((excluded.as_array().unwrap().len(), &excluded[0]["endpoint"]), (1, &"labels.delete".into()));
    assert!(excluded[0]["why"].as_str().unwrap().starts_with("insufficient_scope (requires: "), "{excluded}");
    let table = run(&["access", POLICY, PUBLISHED, "--token", "-"], &token).fine();
    let joined = table.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(joined.contains("only where path.owner = acme;"), "{table}");
    assert!(!table.contains(&token) && table.lines().all(|line| line.chars().count() <= 100), "{table}");
}

#[test]
fn without_the_keys_a_token_is_not_called_verified() {
    let token = coding_token();
    let unverified = json(&run(&["access", POLICY, "--token", "-", "--format", "json"], &token).fine());
    let verified = json(&run(&["access", POLICY, PUBLISHED, "--token", "-", "--format", "json"], &token).fine());
    assert_eq!((&unverified["token"]["verified"], &verified["token"]["verified"]), (&false.into(), &true.into()));
    assert_eq!(unverified["callers"], verified["callers"]);
    let out = run(&["access", POLICY, "--token", "-"], &token).fine();
    assert!(out.contains("\nnote   its signature was not verified"), "{out}");
}

#[test]
fn an_expired_token_reaches_only_what_is_observed() {
    let token = coding_token();
    let out = run(&["access", POLICY, PUBLISHED, "--token", "-", "--at", "+1h", "--format", "json"], &token).fine();
    let report = json(&out);
    assert_eq!(report["token"]["rejected"]["reason"], "token_expired");
    assert_eq!(reached(&report, 0), ["pipelines.run"]);
}

#[test]
fn the_page_is_complete_and_escapes_text_of_others() {
    let policy =
        file("access.yaml", quickstart().replace("owner: quality@example.com", "owner: \"<script>alert(1)</script>\""));
    let page = callgate(&format!("access {policy} --format html")).fine();
    assert!(page.starts_with("<!doctype html>\n") && page.ends_with("</html>\n"), "{page}");
    assert!(page.contains("review-agent (&lt;script&gt;alert(1)&lt;/script&gt;)"), "{page}");
    for absent in ["<script", "src=", "href=", "url("] {
        assert!(!page.contains(absent), "{absent}");
    }
    for (begin, end) in [("<table>", "</table>"), ("<tr>", "</tr>"), ("<td", "</td>"), ("<h2>", "</h2>")] {
        assert_eq!(page.matches(begin).count(), page.matches(end).count(), "{begin}");
    }
}

/// A policy with classes of agents, and endpoints that list agents or check open streams again.
const CLASSES: &str = r#"
callgate: v1
name: classes
mode: enforce
gateway: envoy
resource: https://api.example.com
hosts: [api.example.com]
tls: { client_certificates: validated, trust_domains: [example.org] }
issuers:
  corp:
    issuer: https://idp.example.com
    profile: at+jwt
    algorithms: [ES256]
    max_lifetime: 1h
    keys: { remote: { url: "https://idp.example.com/jwks", cluster: idp } }
agents:
  robots: { owner: o, identity: { spiffe: "spiffe://example.org/robots/*" } }
  plain: { owner: o, identity: { issuer: corp, client_id: plain } }
groups: { machines: [robots] }
endpoints:
  - { id: events, methods: [GET], path: /events, effect: read, scopes: none, authenticate: [token, certificate], streams: recheck }
  - { id: jobs, methods: [GET], path: /jobs, effect: read, scopes: none, authenticate: [token, certificate], agents: [machines, plain] }
upstream: { authorization: remove }
audit: { log: { allow: false, deny: false } }
"#;

#[test]
fn classes_lists_of_agents_and_streams_are_shown() {
    let policy = file("access-classes.yaml", CLASSES);
    let report = json(&callgate(&format!("access {policy} --format json")).fine());
    let callers = report["callers"].as_array().unwrap();
    let of = |name: &str| callers.iter().find(|caller| caller["agent"] == name).unwrap();
    assert_eq!((&of("robots")["each"], &of("plain")["each"]), (&"workload".into(), &Value::Null));
    let reaches = |position: usize, member: &str| of("plain")["reaches"][position][member].clone();
    assert_eq!((reaches(0, "streams"), reaches(0, "agents")), ("recheck".into(), Value::Null));
    assert_eq!((reaches(1, "streams"), reaches(1, "agents")), (Value::Null, serde_json::json!(["machines", "plain"])));
    let table = callgate(&format!("access {policy}")).fine();
    let joined = table.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(joined.contains("robots (o), each workload counts by itself events GET"), "{table}");
    assert!(joined.contains("plain (o) events GET") && joined.contains("only for machines or plain;"), "{table}");
    assert!(joined.contains("; open streams are checked again"), "{table}");
}
