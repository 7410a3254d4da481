//! A gateway in memory, for tests of the shared adapter code. It records the host calls, and fails those that a test selects.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::{AnswerHeaders, Host, HostError, Map};
use crate::decision::metrics::Kind;
use crate::policy::ClockCall;
use crate::state::{MemoryStore, SharedStore};
use crate::text::monotonic::Monotonic;
use crate::text::time::Timestamp;

pub(super) type Lines = Vec<(String, String)>;

/// An answer that the filter sent.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sent {
    pub(super) status: u16,
    pub(super) details: String,
    pub(super) headers: Lines,
}

#[derive(Default)]
pub(super) struct Memory {
    pub(super) maps: RefCell<BTreeMap<u8, Lines>>,
    pub(super) body: RefCell<Vec<u8>>,
    /// The chunk of the response's body that the filter gets.
    pub(super) response_body: RefCell<Vec<u8>>,
    pub(super) configuration: RefCell<Vec<u8>>,
    pub(super) variables: RefCell<BTreeMap<String, Vec<u8>>>,
    pub(super) properties: RefCell<BTreeMap<Vec<u8>, Vec<u8>>>,
    pub(super) sent: RefCell<Vec<Sent>>,
    pub(super) log: RefCell<Vec<Vec<u8>>>,
    pub(super) metrics: RefCell<Vec<(String, i64)>>,
    pub(super) contexts: RefCell<Vec<u32>>,
    pub(super) periods: RefCell<Vec<Duration>>,
    pub(super) seconds: Cell<u64>,
    /// The nanoseconds after the whole seconds.
    pub(super) nanos: Cell<u64>,
    pub(super) millis: Cell<u64>,
    /// The upstreams and paths of calls.
    pub(super) calls: RefCell<Vec<String>>,
    /// Their conditions: the values of `If-None-Match`.
    pub(super) conditions: RefCell<Vec<Option<String>>>,
    /// The body of the response to a call.
    pub(super) call_body: RefCell<Vec<u8>>,
    /// How many requests were continued.
    pub(super) continued: Cell<u32>,
    /// The name of the host call that fails.
    pub(super) fails: Cell<Option<&'static str>>,
    store: Rc<MemoryStore>,
}

/// A gateway in memory.
#[derive(Clone, Default)]
pub(super) struct Fake(pub(super) Rc<Memory>);

impl Fake {
    /// Returns another worker's host, with the same store.
    pub(super) fn sibling(&self) -> Self {
        Self(Rc::new(Memory { store: Rc::clone(&self.0.store), ..Memory::default() }))
    }

    fn call_is(&self, call: &'static str) -> Result<(), HostError> {
        if self.0.fails.get() == Some(call) { Err(HostError { call, status: 10 }) } else { Ok(()) }
    }

    pub(super) fn set(&self, map: Map, lines: &[(&str, &str)]) {
        let lines = lines.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.0.maps.borrow_mut().insert(map as u8, lines);
    }

    pub(super) fn lines(&self, map: Map) -> Lines {
        self.0.maps.borrow().get(&(map as u8)).cloned().unwrap_or_default()
    }

    pub(super) fn value(&self, map: Map, name: &str) -> Option<String> {
        self.lines(map).into_iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn change(&self, map: Map, change: impl FnOnce(&mut Lines)) {
        change(self.0.maps.borrow_mut().entry(map as u8).or_default());
    }

    /// Returns the record that the access log would contain.
    pub(super) fn record(&self) -> Option<serde_json::Value> {
        let json = self.0.properties.borrow().get(&b"callgate"[..]).cloned()?;
        Some(serde_json::from_slice(&json).unwrap())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

impl Host for Fake {
    fn header_pairs(&self, map: Map) -> Result<Vec<u8>, HostError> {
        self.call_is("header_pairs")?;
        let lines = self.lines(map);
        let mut encoded = u32::try_from(lines.len()).unwrap().to_le_bytes().to_vec();
        for part in lines.iter().flat_map(|(name, value)| [name, value]) {
            encoded.extend_from_slice(&u32::try_from(part.len()).unwrap().to_le_bytes());
        }
        for part in lines.iter().flat_map(|(name, value)| [name, value]) {
            encoded.extend_from_slice(part.as_bytes());
            encoded.push(0);
        }
        Ok(encoded)
    }

    fn has_header(&self, map: Map, name: &[u8]) -> Result<bool, HostError> {
        self.call_is("has_header")?;
        Ok(self.value(map, &text(name)).is_some())
    }

    fn replace_header(&self, map: Map, name: &[u8], value: &[u8]) -> Result<(), HostError> {
        self.remove_header(map, name)?;
        self.add_header(map, name, value)
    }

    fn add_header(&self, map: Map, name: &[u8], value: &[u8]) -> Result<(), HostError> {
        self.call_is("add_header")?;
        self.change(map, |lines| lines.push((text(name), text(value))));
        Ok(())
    }

    fn remove_header(&self, map: Map, name: &[u8]) -> Result<(), HostError> {
        self.call_is("remove_header")?;
        let name = text(name);
        self.change(map, |lines| lines.retain(|(own, _)| !own.eq_ignore_ascii_case(&name)));
        Ok(())
    }

    fn property(&self, path: &[u8]) -> Result<Option<Vec<u8>>, HostError> {
        self.call_is("property")?;
        Ok(self.0.properties.borrow().get(path).cloned())
    }

    fn set_property(&self, path: &[u8], value: &[u8]) -> Result<(), HostError> {
        self.call_is("set_property")?;
        self.0.properties.borrow_mut().insert(path.to_vec(), value.to_vec());
        Ok(())
    }

    fn request_body(&self, start: usize, most: usize) -> Result<Vec<u8>, HostError> {
        self.call_is("request_body")?;
        let body = self.0.body.borrow();
        Ok(body.iter().skip(start).take(most).copied().collect())
    }

    fn response_body(&self, size: usize) -> Result<Vec<u8>, HostError> {
        self.call_is("response_body")?;
        Ok(self.0.response_body.borrow().iter().take(size).copied().collect())
    }

    fn set_response_body(&self, _: usize, bytes: &[u8]) -> Result<(), HostError> {
        self.call_is("set_response_body")?;
        self.0.response_body.replace(bytes.to_vec());
        Ok(())
    }

    fn continue_request(&self) -> Result<(), HostError> {
        self.call_is("continue_request")?;
        self.0.continued.set(self.0.continued.get() + 1);
        Ok(())
    }

    fn call(&self, upstream: &str, headers: &[(&str, &str)], _: Duration) -> Result<u32, HostError> {
        self.call_is("call")?;
        let path = headers.iter().find(|(name, _)| *name == ":path").map_or("", |(_, path)| path);
        let condition = headers.iter().find(|(name, _)| *name == "if-none-match");
        self.0.conditions.borrow_mut().push(condition.map(|(_, value)| (*value).to_owned()));
        let mut calls = self.0.calls.borrow_mut();
        calls.push(format!("{upstream} {path}"));
        Ok(u32::try_from(calls.len()).unwrap())
    }

    fn call_body(&self, most: usize) -> Result<Vec<u8>, HostError> {
        self.call_is("call_body")?;
        Ok(self.0.call_body.borrow().iter().take(most).copied().collect())
    }

    fn configuration(&self, _: usize) -> Result<Vec<u8>, HostError> {
        self.call_is("configuration")?;
        Ok(self.0.configuration.borrow().clone())
    }

    fn variable(&self, name: &str) -> Option<Vec<u8>> {
        self.0.variables.borrow().get(name).cloned()
    }

    fn send_response(
        &self,
        status: u16,
        details: &str,
        headers: &AnswerHeaders<'_>,
        _: &[u8],
        _: Option<u32>,
    ) -> Result<(), HostError> {
        self.call_is("send_response")?;
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.0.sent.borrow_mut().push(Sent { status, details: details.to_owned(), headers });
        Ok(())
    }

    fn set_tick_period(&self, period: Duration) -> Result<(), HostError> {
        self.call_is("set_tick_period")?;
        self.0.periods.borrow_mut().push(period);
        Ok(())
    }

    fn set_effective_context(&self, context: u32) -> Result<(), HostError> {
        self.call_is("set_effective_context")?;
        self.0.contexts.borrow_mut().push(context);
        Ok(())
    }

    fn define_metric(&self, _: Kind, name: &str) -> Result<u32, HostError> {
        self.call_is("define_metric")?;
        let mut metrics = self.0.metrics.borrow_mut();
        let known = metrics.iter().position(|(own, _)| own == name);
        let at = known.unwrap_or_else(|| {
            metrics.push((name.to_owned(), 0));
            metrics.len() - 1
        });
        Ok(u32::try_from(at).unwrap())
    }

    fn change_metric(&self, metric: u32, change: i64) -> Result<(), HostError> {
        self.call_is("change_metric")?;
        self.0.metrics.borrow_mut()[metric as usize].1 += change;
        Ok(())
    }

    fn log_record(&self, json: &[u8]) {
        self.0.log.borrow_mut().push(json.to_vec());
    }

    fn now(&self, _: ClockCall) -> Result<Timestamp, HostError> {
        self.call_is("now")?;
        Ok(Timestamp::from_secs(self.0.seconds.get()).plus(Duration::from_nanos(self.0.nanos.get())))
    }

    fn monotonic(&self) -> Result<Monotonic, HostError> {
        self.call_is("monotonic")?;
        Ok(Monotonic::from_millis(self.0.millis.get()))
    }

    fn random(&self, bytes: &mut [u8]) -> Result<(), HostError> {
        self.call_is("random")?;
        bytes.fill(7);
        Ok(())
    }

    fn verify_signature(&self, _: &[u8]) -> Result<Vec<u8>, HostError> {
        Err(HostError { call: "verify_signature", status: 12 })
    }

    fn store(&self, _: bool) -> Rc<dyn SharedStore> {
        Rc::clone(&self.0.store) as Rc<dyn SharedStore>
    }

    fn expect_overrun(&self, _: usize) {}
}
