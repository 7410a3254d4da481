//! Makes the calls that fetch documents, from a root context.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::gate::Gate;
use super::{Host, Map};
use crate::evaluate::{CallId, CallResult, DocumentCall, DocumentWork};
use crate::request::headers::Headers;

/// The calls that a root context is waiting for, by the number that the gateway gave them.
pub(super) struct Calls<H: Host>(RefCell<BTreeMap<u32, Call<H>>>);

/// A call, and the policy for which it was made.
type Call<H> = (Rc<Gate<H>>, CallId);

impl<H: Host> Default for Calls<H> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<H: Host> Calls<H> {
    /// Makes the calls that are due under a policy.
    pub(super) fn make(&self, host: &H, gate: &Rc<Gate<H>>) {
        match gate.engine.fetch_documents() {
            Ok(work) => self.carry_out(host, gate, work),
            Err(error) => log::error!("documents are not fetched: {error}"),
        }
    }

    /// Processes the result of a call. `size` is the length of its body.
    pub(super) fn receive(&self, host: &H, call: u32, size: usize) {
        let Some((gate, id)) = self.0.borrow_mut().remove(&call) else { return };
        // A body that is too large is not copied into the VM. One byte more than the maximum is enough to reject it.
        let body = host.call_body(size.min(gate.engine.most_bytes(id).saturating_add(1)));
        let head = head(host);
        let result = match (&head, &body) {
            (Some((status, etag)), Ok(body)) => CallResult::Response { status: *status, etag: etag.as_deref(), body },
            _ => CallResult::NoResponse,
        };
        self.process(host, &gate, id, result);
    }

    fn process(&self, host: &H, gate: &Rc<Gate<H>>, id: CallId, result: CallResult<'_>) {
        match gate.engine.receive_document(id, result) {
            Ok(work) => self.carry_out(host, gate, work),
            Err(error) => log::error!("a fetched document is not used: {error}"),
        }
    }

    fn carry_out(&self, host: &H, gate: &Rc<Gate<H>>, work: DocumentWork) {
        gate.tell_documents(&work.events);
        for call in work.calls {
            match self.call(host, &call) {
                Ok(number) => {
                    self.0.borrow_mut().insert(number, (Rc::clone(gate), call.id()));
                }
                Err(error) => self.process(host, gate, call.id(), CallResult::NotMade(&error)),
            }
        }
    }

    fn call(&self, host: &H, call: &DocumentCall) -> Result<u32, String> {
        let headers: Vec<_> = call.headers().collect();
        host.call(call.upstream(), &headers, call.timeout()).map_err(|error| {
            let upstream = call.upstream();
            format!("{error}; the gateway must know `{upstream}`, and allow the capability `proxy_http_call`")
        })
    }
}

/// Returns the status of the response to a call, and its entity tag. A failed call has no headers, or none with the status.
fn head<H: Host>(host: &H) -> Option<(u16, Option<Vec<u8>>)> {
    let headers = Headers::decode(host.header_pairs(Map::CallHeaders).ok()?).ok()?;
    let (_, value) = headers.iter().find(|(name, _)| *name == b":status")?;
    let status = str::from_utf8(value).ok()?.parse().ok()?;
    let mut tags = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"etag"));
    // A response with several tags has none that identifies it.
    let tag = tags.next().filter(|_| tags.next().is_none()).map(|(_, value)| value.to_vec());
    Some((status, tag))
}
