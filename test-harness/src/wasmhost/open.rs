//! Streams that stay open while the host does other work: their bodies arrive one part at a time, and timers fire in between.

use super::request::{Outcome, Request, Verdict};
use super::stream::Going;
use super::vm::{Root, Vm};

/// A request that has not ended yet.
#[derive(Debug)]
pub struct OpenStream {
    number: u32,
    request: Request,
    going: Going,
    /// The result of the stream, if known.
    verdict: Option<Verdict>,
}

impl OpenStream {
    /// Returns the result of the stream, or `None` while it is held or its body is forwarded as it arrives.
    #[must_use]
    pub fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_ref()
    }
}

impl Vm {
    /// Lets a root context decide the head of a request. Ignores body and trailers of the request.
    pub fn open(&mut self, root: Root, request: &Request) -> OpenStream {
        self.arrive(request);
        let number = self.context_id();
        let mut stream = OpenStream { number, request: request.clone(), going: Going::default(), verdict: None };
        let shown = self.callback::<_, ()>("proxy_on_context_create", (number, root.0));
        let shown = shown.and_then(|()| self.show_head(number, request, &mut stream.going));
        self.leave(&mut stream, shown);
        stream
    }

    /// Shows the next part of a body to the module.
    pub fn send(&mut self, stream: &mut OpenStream, part: &[u8], ends: bool) {
        self.begin(None);
        self.store.data_mut().choose(Some(stream.number));
        let shown = self.show_part(stream.number, part, ends, &mut stream.going);
        self.leave(stream, shown);
    }

    /// Fires the timer of a root context, if it has one. [`Vm::look`] then finds local replies that it sent.
    ///
    /// # Errors
    /// When the module traps.
    pub fn tick(&mut self, root: Root) -> Result<bool, String> {
        self.begin(None);
        let state = self.store.data_mut();
        if state.timers.get(&root.0).is_none_or(|period| *period == 0) {
            return Ok(false);
        }
        state.choose(None);
        state.root = Some(root.0);
        let ticked = self.callback::<_, ()>("proxy_on_tick", root.0);
        let state = self.store.data_mut();
        state.choose(None);
        state.root = None;
        ticked.map(|()| true)
    }

    /// Checks whether a timer sent a reply on a stream.
    pub fn look(&mut self, stream: &mut OpenStream) {
        self.store.data_mut().choose(Some(stream.number));
        self.leave(stream, Ok(None));
    }

    /// Ends a stream, either because it was answered or because its client went away.
    pub fn close(&mut self, mut stream: OpenStream) -> Outcome {
        self.begin(None);
        self.look(&mut stream);
        self.store.data_mut().choose(Some(stream.number));
        let OpenStream { number, request, going, verdict } = stream;
        let mut gone = None;
        let ended = self.end(number, &request, verdict.unwrap_or(Verdict::Hang), going, &mut gone);
        let outcome = self.outcome(ended.unwrap_or_else(Verdict::Trap), gone);
        self.store.data_mut().chosen = None;
        outcome
    }

    /// Suspends a stream and stores the result of the last callback.
    fn leave(&mut self, stream: &mut OpenStream, shown: Result<Option<Verdict>, String>) {
        let state = self.store.data_mut();
        let reply = state.stream.as_mut().and_then(|stream| stream.reply.take()).map(Verdict::Reply);
        let shown = shown.unwrap_or_else(|trap| Some(Verdict::Trap(trap)));
        // A gateway does not forward anything more of a request that was answered.
        stream.verdict = stream.verdict.take().or(shown).or(reply);
        state.chosen = Some(stream.number);
        state.choose(None);
    }
}
