//! Conditional requests for a list, and lists of the same second.

use super::*;

/// A worker's server, which identifies each list by a tag.
struct Server {
    tag: &'static str,
    body: Vec<u8>,
    /// How often the list was sent, and how often it was confirmed.
    sent: Cell<usize>,
    confirmed: Cell<usize>,
}

impl Server {
    fn new(tag: &'static str, body: Vec<u8>) -> Self {
        Self { tag, body, sent: Cell::default(), confirmed: Cell::default() }
    }

    fn answer(&self, condition: Option<&str>) -> CallResult<'_> {
        if condition == Some(self.tag) {
            self.confirmed.set(self.confirmed.get() + 1);
            return NOT_MODIFIED;
        }
        self.sent.set(self.sent.get() + 1);
        tagged(self.tag, &self.body)
    }

    fn counts(&self) -> (usize, usize) {
        (self.sent.get(), self.confirmed.get())
    }
}

const NOT_MODIFIED: CallResult<'_> = CallResult::Response { status: 304, etag: None, body: b"" };

fn tagged<'a>(tag: &'a str, body: &'a [u8]) -> CallResult<'a> {
    CallResult::Response { status: 200, etag: Some(tag.as_bytes()), body }
}

impl Worker {
    /// Fires the timer. If a fetch is due, it is answered according to its condition.
    fn fetch<'a>(&self, answer: impl Fn(Option<&str>) -> CallResult<'a>) -> Vec<DocumentEvent> {
        let work = self.engine.fetch_documents().unwrap();
        let mut events = work.events;
        for call in work.calls {
            let condition = call.headers().find(|(name, _)| *name == "if-none-match").map(|(_, value)| value);
            events.extend(self.engine.receive_document(call.id(), answer(condition)).unwrap().events);
        }
        events
    }

    fn fetch_from(&self, server: &Server) -> Vec<DocumentEvent> {
        self.fetch(|condition| server.answer(condition))
    }

    /// Returns the condition of the fetch that is due, which fails.
    fn condition(&self) -> Option<String> {
        let condition = Cell::new(None);
        let events = self.fetch(|sent| {
            condition.set(Some(sent.map(str::to_owned)));
            CallResult::NoResponse
        });
        assert!(matches!(&events[..], [DocumentEvent::RevocationsFailed { .. }]), "{events:?}");
        condition.take().unwrap()
    }
}

#[test]
fn an_unchanged_list_is_sent_once_to_all_workers() {
    let (policy, store) = (Arc::new(testing::policy(fetching(json!({})))), Rc::default());
    let workers: Vec<_> = (1..=4).map(|number| Worker::joining(&policy, &store, number)).collect();
    let (revoked, other) = (token("a", json!({})), token("b", json!({})));
    let server = Server::new("W/\"1\"", list(NOW, json!([{ "agent": "a" }])));
    for second in 0..=300 {
        for worker in workers.iter().cycle().skip(second % 4).take(4) {
            worker.at(second as u64).fetch_from(&server);
        }
        // The age restarts with each confirmation: `stale_after` is a minute.
        for worker in &workers {
            assert_eq!(worker.ask("/", &revoked), Some(Reason::AgentSuspended), "{second}");
            assert_eq!(worker.ask("/", &other), None, "{second}");
        }
    }
    assert_eq!(server.counts(), (1, 30));
    // A worker that starts later reads the list in the store, and confirms that one.
    let late = Worker::joining(&policy, &store, 5);
    assert_eq!(late.at(310).fetch_from(&server), [DocumentEvent::RevocationsFetched]);
    assert_eq!((server.counts(), late.ask("/", &revoked)), ((1, 31), Some(Reason::AgentSuspended)));
    // After a change, the list is sent once again, and its tag is the new condition.
    let server = Server::new("\"2\"", list(NOW + 310, json!([])));
    for second in 311..=340 {
        workers.iter().for_each(|worker| drop(worker.at(second).fetch_from(&server)));
    }
    assert_eq!((server.counts(), workers[0].ask("/", &revoked)), ((1, 2), None));
}

#[test]
fn a_confirmation_without_a_condition_is_a_failed_fetch() {
    let worker = Worker::new(fetching(json!({})));
    for second in [0, 2, 5] {
        let events = worker.at(second).fetch(|condition| {
            assert_eq!(condition, None);
            NOT_MODIFIED
        });
        assert!(
            matches!(&events[..], [DocumentEvent::RevocationsFailed { why, .. }] if why.contains("no condition")),
            "{second}: {events:?}"
        );
    }
    assert_eq!(worker.ask("/", &token("a", json!({}))), Some(Reason::RevocationsUnavailable));
}

#[test]
fn a_confirmation_of_another_tag_is_a_failed_fetch() {
    for (confirmed, is_accepted) in [("\"1\"", true), ("W/\"1\"", true), ("\"2\"", false), ("1", false)] {
        let worker = Worker::new(fetching(json!({})));
        let server = Server::new("W/\"1\"", list(NOW, json!([])));
        worker.fetch_from(&server);
        let events = worker.at(10).fetch(|condition| {
            assert_eq!(condition, Some("W/\"1\""));
            CallResult::Response { status: 304, etag: Some(confirmed.as_bytes()), body: b"" }
        });
        if is_accepted {
            assert_eq!(events, [DocumentEvent::RevocationsFetched], "{confirmed}");
        } else {
            assert!(
                matches!(&events[..], [DocumentEvent::RevocationsFailed { why, .. }] if why.contains("entity tag")),
                "{confirmed}: {events:?}"
            );
            // The list is sent again.
            worker.at(12).fetch_from(&server);
            assert_eq!(server.counts(), (2, 0), "{confirmed}");
        }
    }
}

#[test]
fn a_list_is_not_confirmed_beyond_its_end() {
    let worker = Worker::new(fetching(json!({})));
    let server = Server::new("\"1\"", list(NOW, json!([])));
    let token = token("a", json!({}));
    // `exp` is 600 seconds after `iat`, and the skew is 60 seconds.
    for second in 0..660 {
        worker.at(second).fetch_from(&server);
    }
    assert_eq!((server.counts(), worker.ask("/", &token)), ((1, 65), None));
    let events = worker.at(660).fetch_from(&server);
    assert!(
        matches!(&events[..], [DocumentEvent::RevocationsRefused { why, .. }] if why.contains("expired")),
        "{events:?}"
    );
    // A server that confirms everything is asked without a condition now, and then denied by the age of the list.
    for second in 661..=711 {
        let events = worker.at(second).fetch(|condition| {
            assert_eq!(condition, None, "{second}");
            NOT_MODIFIED
        });
        assert!(!events.contains(&DocumentEvent::RevocationsFetched), "{second}: {events:?}");
    }
    assert_eq!(worker.ask("/", &token), Some(Reason::RevocationsUnavailable));
}

#[test]
fn the_fetch_after_a_failed_one_has_no_condition() {
    let worker = Worker::new(fetching(json!({})));
    let server = Server::new("\"1\"", list(NOW, json!([])));
    worker.fetch_from(&server);
    assert_eq!(worker.at(10).condition().as_deref(), Some("\"1\""));
    assert_eq!(worker.at(12).fetch_from(&server), [DocumentEvent::RevocationsFetched]);
    assert_eq!(server.counts(), (2, 0));
    assert_eq!(worker.at(22).condition().as_deref(), Some("\"1\""), "it was sent again");
}

#[test]
fn only_an_entity_tag_becomes_a_condition() {
    let long = format!("\"{}\"", "x".repeat(127));
    for tag in ["", "1", "\"1", "w/\"1\"", "\"a b\"", "\"1\"\r\nx: y", "\"\u{e9}\"", long.as_str()] {
        let worker = Worker::new(fetching(json!({})));
        let body = list(NOW, json!([]));
        assert_eq!(worker.fetch(|_| tagged(tag, &body)).len(), 2, "{tag:?}: the list is used");
        assert_eq!(worker.at(10).condition(), None, "{tag:?}");
    }
}

#[test]
fn a_tag_of_another_version_is_no_condition() {
    let (policy, store) = (Arc::new(testing::policy(fetching(json!({})))), Rc::new(MemoryStore::default()));
    let worker = Worker::joining(&policy, &store, 1);
    let body = list(NOW, json!([]));
    worker.fetch(|_| tagged("\"1\"", &body));
    // The next version has no tag. The store still has the one of the version before.
    worker.at(10).serve(&list(NOW + 10, json!([{ "agent": "a" }])));
    assert!(store.dump().iter().any(|(_, value)| value.ends_with(b"\"1\"")));
    assert_eq!(worker.at(20).condition(), None);
    // A store that lost the tag does not matter.
    let body = list(NOW + 22, json!([{ "agent": "a" }]));
    worker.at(22).fetch(|_| tagged("\"3\"", &body));
    let is_tag = |key: &[u8]| key.ends_with(b"-validator");
    store.dump().iter().filter(|(key, _)| is_tag(key)).for_each(|(key, _)| store.forget(key));
    assert_eq!(worker.at(32).condition(), None);
    assert_eq!(worker.ask("/", &token("a", json!({}))), Some(Reason::AgentSuspended));
}

#[test]
fn a_list_of_the_same_second_must_not_lack_an_entry() {
    let worker = Worker::new(fetching(json!({})));
    let (a, b) = (json!({ "agent": "a" }), json!({ "agent": "b" }));
    let (token_a, token_b) = (token("a", json!({})), token("b", json!({})));
    worker.serve(&list(NOW, json!([a])));
    assert_eq!(worker.ask("/", &token_b), None);
    // Two agents were revoked in one second.
    let events = worker.at(10).serve(&list(NOW, json!([b, a])));
    assert!(events.contains(&DocumentEvent::RevocationsFetched), "{events:?}");
    assert_eq!(worker.ask("/", &token_b), Some(Reason::AgentSuspended));
    // The list before, which somebody sends again, or one with another entry instead.
    for (second, entries) in [(20, json!([a])), (40, json!([])), (60, json!([b, { "issuer": "corp", "jti": "j" }]))] {
        let events = worker.at(second).serve(&list(NOW, entries));
        assert!(
            matches!(&events[..], [DocumentEvent::RevocationsRefused { why, .. }] if why.contains("lacks some")),
            "{second}: {events:?}"
        );
        for token in [&token_a, &token_b] {
            assert_eq!(worker.ask("/", token), Some(Reason::AgentSuspended), "{second}");
        }
    }
    worker.at(70).serve(&list(NOW + 1, json!([b])));
    assert_eq!((worker.ask("/", &token_a), worker.ask("/", &token_b)), (None, Some(Reason::AgentSuspended)));
}

/// A worker does not take the response that it knows for a confirmation of the list that another worker published since.
#[test]
fn a_list_of_the_same_second_does_not_confirm_the_one_that_replaced_it() {
    let (policy, store) = (Arc::new(testing::policy(fetching(json!({})))), Rc::default());
    let [first, second] = [1, 2].map(|number| Worker::joining(&policy, &store, number));
    let one = list(NOW, json!([{ "agent": "a" }]));
    let both = list(NOW, json!([{ "agent": "a" }, { "agent": "b" }]));
    first.fetch(|_| tagged("\"1\"", &one));
    second.at(10).fetch(|_| tagged("\"2\"", &both));
    let events = first.at(20).fetch(|_| tagged("\"1\"", &one));
    assert!(
        matches!(&events[..], [DocumentEvent::RevocationsRefused { why, .. }] if why.contains("lacks some")),
        "{events:?}"
    );
    assert_eq!(first.ask("/", &token("b", json!({}))), Some(Reason::AgentSuspended));
}
