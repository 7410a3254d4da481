//! The agents of delegated tokens: earlier actors, clients and subjects that are revoked, or whose registration ends.

use super::*;

#[test]
fn a_stream_ends_with_the_registration_of_an_earlier_actor() {
    let agent = |name: &str, changes: Value| {
        let actor = json!({ "issuer": "corp", "client_id": name, "actor": { "issuer": "corp", "sub": name } });
        with(json!({ "owner": "o", "identity": actor }), changes)
    };
    let mut policy = document(json!({
        "delegation": { "prior_actors": "checked" },
        "agents": { "a": agent("a", json!({})), "b": agent("b", json!({ "expires": "2027-01-15T08:00:20Z" })) },
    }));
    policy["endpoints"][3]["delegation"] = json!("allowed");
    let store = Rc::new(MemoryStore::default());
    let older = Arc::new(testing::policy(policy.clone()));
    let worker = Worker::joining(&older, &store, 1);
    let stream = worker.stream(&token("a", json!({ "act": { "sub": "a", "act": { "sub": "b" } } })));
    assert_eq!(worker.at(1).recheck(&stream), Ok(()));
    let mut newer = policy;
    newer["agents"]["b"]["suspended"] = json!(true);
    let _newest = Worker::joining(&Arc::new(testing::policy(newer)), &store, 2);
    assert_eq!(worker.at(2).recheck(&stream), Err(Reason::ActorUnknown));
    let worker = Worker::joining(&older, &store, 3);
    assert_eq!(worker.at(19).recheck(&stream), Ok(()));
    assert_eq!(worker.at(20).recheck(&stream), Err(Reason::ActorUnknown));
}

#[test]
fn a_revoked_earlier_actor_is_rejected_wherever_the_entry_is() {
    let agent = |name: &str| {
        let actor = json!({ "issuer": "corp", "client_id": name, "actor": { "issuer": "corp", "sub": name } });
        json!({ "owner": "o", "identity": actor })
    };
    let changes = |prior: &str| {
        json!({
            "delegation": { "prior_actors": prior }, "requirements": { "read": { "delegation": "allowed" } },
            "agents": { "a": agent("a"), "b": agent("b") },
        })
    };
    let entries = json!([{ "agent": "b", "reason": "incident 7" }]);
    let chained = token("a", json!({ "act": { "sub": "a", "act": { "sub": "b" } } }));
    let alone = token("a", json!({ "act": { "sub": "a" } }));
    for (prior, expected) in [("checked", Some(Reason::ActorUnknown)), ("recorded", None)] {
        let own = Worker::new(with(document(changes(prior)), json!({ "revoked": entries.clone() })));
        let fetched = Worker::new(with(fetching(json!({})), changes(prior)));
        fetched.serve(&list(NOW, json!([])));
        let stream = fetched.stream(&chained);
        assert_eq!(fetched.recheck(&stream), Ok(()));
        fetched.at(10).serve(&list(NOW + 10, entries.clone()));
        assert_eq!(fetched.recheck(&stream), expected.map_or(Ok(()), Err), "{prior}");
        for (worker, rule) in [(&own, "revoked"), (&fetched, "revocations")] {
            assert_eq!(worker.ask("/", &chained), expected, "{prior} {rule}");
            assert_eq!(worker.ask("/", &alone), None, "{prior} {rule}");
            if expected.is_some() {
                let record = worker.record("/", &chained);
                assert_eq!((&record["rule"], &record["revoked"]), (&json!(rule), &json!("incident 7")));
            }
        }
    }
}

#[test]
fn a_stream_ends_with_the_registration_of_the_client_or_the_subject_of_a_delegated_token() {
    let actor = json!({ "issuer": "corp", "sub": "a", "clients": ["b"] });
    let ends = json!({ "expires": "2027-01-15T08:00:20Z" });
    let mut policy = document(json!({
        "delegation": {},
        "agents": {
            "a": { "owner": "o", "identity": { "issuer": "corp", "client_id": "a", "actor": actor } },
            "b": with(testing::agent("b"), ends.clone()),
            "c": with(json!({ "owner": "o", "identity": { "issuer": "corp", "subject": "helper" } }), ends),
        },
    }));
    policy["endpoints"][3]["delegation"] = json!("allowed");
    let worker = Worker::new(policy);
    let act = json!({ "sub": "a" });
    let streams = [("b", "s", false), ("a", "helper", false), ("a", "s", true)].map(|(client, subject, lasts)| {
        (worker.stream(&token(client, json!({ "sub": subject, "act": act.clone() }))), lasts)
    });
    for (stream, lasts) in streams {
        assert_eq!(worker.at(19).recheck(&stream), Ok(()));
        let expected = if lasts { Ok(()) } else { Err(Reason::AgentExpired) };
        assert_eq!(worker.at(20).recheck(&stream), expected);
    }
}
