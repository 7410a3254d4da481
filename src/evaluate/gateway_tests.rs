//! Tests for gateways that cannot make every change to a request: the filter makes an equivalent change or denies the request.

use super::*;

type Lines = Vec<(Vec<u8>, Vec<u8>)>;

/// Returns the test policy for Kong, with some of its members replaced.
fn on_kong(mode: &str, members: Value) -> Policy {
    let mut document = document(mode);
    document["gateway"] = json!("kong");
    for (name, member) in members.as_object().unwrap() {
        document[name] = member.clone();
    }
    testing::policy(document)
}

/// Applies the changes as Kong does: it cannot remove a line, a replacement rewrites only the first line of a name, and a line
/// with an empty value is hidden from later replacements.
fn forwarded(lines: &[(Vec<u8>, Vec<u8>)], changes: &[Change<'_>]) -> Lines {
    let (mut lines, mut hidden) = (lines.to_vec(), Lines::new());
    let replace = |lines: &mut Lines, name: &[u8], value: &[u8]| match lines
        .iter_mut()
        .find(|(own, _)| own.eq_ignore_ascii_case(name))
    {
        Some((_, own)) => *own = value.to_vec(),
        None => lines.push((name.to_vec(), value.to_vec())),
    };
    for change in changes {
        match change {
            Change::Remove(name) => panic!("Kong removes nothing: {}", name.escape_ascii()),
            Change::Clear(name) => {
                replace(&mut lines, name, b"");
                let (cleared, others) = lines.into_iter().partition(|(own, value)| own == name && value.is_empty());
                lines = others;
                hidden.extend::<Lines>(cleared);
            }
            Change::Set(name, value) => replace(&mut lines, name.as_bytes(), value.as_bytes()),
            Change::Add(name, value) => lines.push((name.as_bytes().to_vec(), value.as_bytes().to_vec())),
        }
    }
    [lines, hidden].concat()
}

/// Returns the headers that the upstream receives, or the reason why the request is denied.
fn decided(policy: &Policy, lines: &[(Vec<u8>, Vec<u8>)]) -> Result<Lines, Reason> {
    let headers: Headers = lines.iter().map(|(name, value)| (name, value)).collect();
    let now = Timestamp::from_secs(NOW);
    let call =
        Request { headers: &headers, end_of_stream: true, source: None, certificate: None, now, id: DecisionId(7) };
    let mut cache = TokenCache::default();
    let recent = Recent::default();
    let context = alone(&mut cache, &recent, None);
    match evaluate(policy, call, None, context) {
        Outcome::Decided(Decision::Allow(allow)) => Ok(forwarded(lines, &allow.changes())),
        Outcome::Decided(Decision::Deny(deny)) => Err(deny.reason()),
        other => panic!("nothing here is signed or published: {other:?}"),
    }
}

fn good(more: &[(&str, &str)]) -> Lines {
    let mut lines = request("GET", "/x", "api.example.com", Some(&format!("Bearer {}", token("agent"))));
    lines.extend(more.iter().map(|(name, value)| line(name, value)));
    lines
}

fn values<'l>(lines: &'l [(Vec<u8>, Vec<u8>)], name: &str) -> Vec<&'l str> {
    let own = lines.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name.as_bytes()));
    own.map(|(_, value)| str::from_utf8(value).unwrap()).collect()
}

#[test]
fn replaces_headers_that_kong_cannot_remove() {
    let policy = on_kong("enforce", json!({ "overrides": "remove" }));
    let sent = good(&[
        ("X-Callgate-Agent", "admin"),
        ("X-Callgate-Subject", "root"),
        ("x_callgate_scopes", "all"),
        ("X-Callgate-Whatever", "1"),
        ("X-HTTP-Method-Override", "DELETE"),
    ]);
    let got = decided(&policy, &sent).unwrap();
    assert_eq!(values(&got, "authorization"), [""]);
    // Callgate's header replaces the one that imitates it, and occurs once.
    assert_eq!(values(&got, "x-callgate-agent"), ["a"]);
    assert_eq!(values(&got, "x-callgate-subject"), ["s"]);
    assert_eq!(values(&got, "x_callgate_scopes"), [""]);
    assert_eq!(values(&got, "x-callgate-scopes"), ["read"]);
    assert_eq!(values(&got, "x-callgate-whatever"), [""]);
    assert_eq!(values(&got, "x-http-method-override"), [""]);
    assert_eq!(values(&decided(&policy, &good(&[])).unwrap(), "x-callgate-agent"), ["a"]);
}

#[test]
fn empties_the_header_with_the_token_on_kong() {
    let places = json!({ "credentials_from": [{ "header": "x-jwt" }, { "websocket_protocol": "bearer." }] });
    let policy = on_kong("enforce", places);
    let sent = |more: &[(&str, &str)]| {
        let mut lines = request("GET", "/x", "api.example.com", None);
        lines.extend(more.iter().map(|(name, value)| line(name, value)));
        decided(&policy, &lines)
    };
    let got = sent(&[("X-Jwt", &token("agent")), ("Authorization", "Bearer forged")]).unwrap();
    assert_eq!((values(&got, "x-jwt"), values(&got, "authorization")), (vec![""], vec![""]));
    assert_eq!(values(&got, "x-callgate-agent"), ["a"]);
    let got = sent(&[("Sec-WebSocket-Protocol", &format!("chat, bearer.{}", token("agent")))]).unwrap();
    assert_eq!(values(&got, "sec-websocket-protocol"), ["chat"]);
    let got = sent(&[("Sec-WebSocket-Protocol", &format!("bearer.{}", token("agent")))]).unwrap();
    assert_eq!(values(&got, "sec-websocket-protocol"), [""]);
    assert_eq!(sent(&[("x-jwt", &token("agent")), ("X-Jwt", "")]), Err(Reason::DuplicateCredentials));
    assert_eq!(sent(&[("authorization", &format!("Bearer {}", token("agent")))]), Err(Reason::CredentialsMissing));
}

#[test]
fn replaces_headers_of_claims_that_kong_cannot_remove() {
    let claims = json!({ "authorization": "remove", "claims": { "x-user-org": "org", "x-user-email": "email" } });
    for mode in ["enforce", "observe"] {
        let policy = on_kong(mode, json!({ "upstream": claims }));
        let sent = good(&[("X-User-Org", "root"), ("x_user_org", "root"), ("X-User-Email", "root")]);
        let got = decided(&policy, &sent).unwrap();
        assert_eq!((values(&got, "x-user-org"), values(&got, "x_user_org")), (vec!["acme"], vec![""]), "{mode}");
        assert_eq!(values(&got, "x-user-email"), [""], "{mode}");
        let twice = good(&[("X-User-Email", "root"), ("x-user-email", "root")]);
        assert_eq!(decided(&policy, &twice), Err(Reason::UnremovableHeader), "{mode}");
    }
}

#[test]
fn adds_no_header_where_there_is_nothing_to_remove() {
    let got = decided(&on_kong("enforce", json!({})), &request("GET", "/health", "api.example.com", None)).unwrap();
    assert!(values(&got, "authorization").is_empty() && values(&got, "dpop").is_empty(), "{got:?}");
}

#[test]
fn rejects_duplicates_of_a_header_that_kong_cannot_remove() {
    for mode in ["enforce", "observe"] {
        let policy = on_kong(mode, json!({ "overrides": "remove" }));
        let posing = good(&[("X-Callgate-Agent", "admin"), ("x-callgate-agent", "admin")]);
        assert_eq!(decided(&policy, &posing), Err(Reason::UnremovableHeader), "{mode}");
        // Two spellings are two names, and each is replaced.
        assert!(decided(&policy, &good(&[("X-Callgate-Agent", "admin"), ("x_callgate_agent", "admin")])).is_ok());
    }
    let twice = good(&[("X-Original-URL", "/a"), ("x-original-url", "/b")]);
    let removing = json!({ "overrides": "remove" });
    assert_eq!(decided(&on_kong("enforce", removing.clone()), &twice), Err(Reason::UnremovableHeader));
    // In observation, nothing is removed from a request.
    assert!(decided(&on_kong("observe", removing), &twice).is_ok());
    // On gateways that can remove headers, all lines are removed.
    let mut envoy = document("enforce");
    envoy["overrides"] = json!("remove");
    let envoy = testing::policy(envoy);
    assert!(matches!(decide(&envoy, &twice, true, None), Decided::Allowed { .. }));
}

#[test]
fn denies_a_request_at_the_header_limit_of_kong() {
    let many = |more: usize| {
        let mut lines = good(&[]);
        lines.extend((0..more).map(|n| line(&format!("x-{n}"), "v")));
        lines
    };
    // With `:scheme`, the host's line and its own `:authority`, the list has 100 entries.
    let own = good(&[]).len() + 1;
    for mode in ["enforce", "observe"] {
        let policy = on_kong(mode, json!({}));
        assert!(decided(&policy, &many(99 - own)).is_ok(), "{mode}");
        assert_eq!(decided(&policy, &many(100 - own)), Err(Reason::TooManyHeaders), "{mode}");
    }
    assert!(matches!(decide(&policy("enforce"), &many(500), true, None), Decided::Allowed { .. }));
}

#[test]
fn does_not_rewrite_the_host_on_kong() {
    let mut sent = good(&[]);
    sent[2].1 = b"API.example.com:443".to_vec();
    let got = decided(&on_kong("enforce", json!({})), &sent).unwrap();
    assert_eq!((values(&got, ":authority"), values(&got, "host")), (vec!["API.example.com:443"], vec![]));
}

proptest! {
    #[test]
    fn clients_cannot_forge_callgate_headers_on_kong(lines in any_lines(), observes: bool) {
        let policy = on_kong(if observes { "observe" } else { "enforce" }, json!({ "overrides": "remove" }));
        if let Ok(got) = decided(&policy, &lines) {
            let came: Vec<_> = lines.iter().filter(|(name, _)| poses(name)).collect();
            for (name, value) in got.iter().filter(|(name, _)| poses(name)) {
                let ours = name.starts_with(b"x-callgate-") && !came.iter().any(|(own, _)| own == name);
                let set = [&b"a"[..], b"s"].contains(&value.as_slice());
                prop_assert!(value.is_empty() || ours || set, "{} {}", name.escape_ascii(), value.escape_ascii());
            }
            if !observes && values(&got, "x-callgate-agent") == ["a"] {
                prop_assert!(values(&got, "authorization").iter().all(|value| value.is_empty()));
            }
        }
    }
}
