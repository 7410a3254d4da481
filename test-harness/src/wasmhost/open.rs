//! Streams that stay open while the host does other work: their bodies arrive one part at a time, timers fire and calls are answered in
//! between.

use super::pairs::Pairs;
use super::profile::Body;
use super::request::{Outcome, Request, Verdict};
use super::state::ForwardedBy;
use super::vm::{Root, Vm};

/// A request that has not ended yet.
#[derive(Debug)]
pub struct OpenStream {
    number: u32,
    request: Request,
    /// What arrived while the gateway showed nothing to the module.
    unshown: Unshown,
    /// Whether the client has sent the whole request.
    ended: bool,
    forwarded_by: Option<ForwardedBy>,
    /// The result of the stream, if known.
    verdict: Option<Verdict>,
}

/// The parts of a request that the module has not seen.
#[derive(Debug, Default)]
struct Unshown {
    /// The body, and whether the request ends with it.
    body: Option<(Vec<u8>, bool)>,
    trailers: Option<Pairs>,
}

impl OpenStream {
    /// Returns the result of the stream, or `None` while it is held or its body is forwarded as it arrives.
    #[must_use]
    pub fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_ref()
    }

    /// Returns what made the gateway forward the headers, or `None` if it has not.
    ///
    /// A module that waits for the result of a call must not let a part of the body or the trailers continue: Envoy would forward the
    /// request that is still undecided. A test of such a module expects [`ForwardedBy::Continued`].
    #[must_use]
    pub fn forwarded_by(&self) -> Option<ForwardedBy> {
        self.forwarded_by
    }
}

impl Vm {
    /// Lets a root context decide the head of a request. Ignores body and trailers of the request.
    pub fn open(&mut self, root: Root, request: &Request) -> OpenStream {
        let number = self.arrive(root, request);
        let mut stream = OpenStream {
            number,
            request: request.clone(),
            unshown: Unshown::default(),
            ended: request.end_of_stream,
            forwarded_by: None,
            verdict: None,
        };
        let shown = self.callback::<_, ()>("proxy_on_context_create", (number, root.0));
        let shown = shown.and_then(|()| self.show_head(number, request));
        self.leave(&mut stream, shown);
        stream
    }

    /// Lets the next part of a body arrive. The gateway shows it to the module, except where it shows nothing while the head is held.
    pub fn send(&mut self, stream: &mut OpenStream, part: &[u8], ends: bool) {
        self.begin(None);
        self.look(stream);
        stream.ended |= ends;
        self.store.data_mut().choose(Some(stream.number));
        let mut shown = Ok(None);
        if self.shows_nothing() {
            let (body, ended) = stream.unshown.body.get_or_insert_default();
            body.extend_from_slice(part);
            *ended |= ends;
        } else {
            shown = self.show_part(stream.number, part, ends);
        }
        self.leave(stream, shown);
    }

    /// Lets the trailers of a request arrive, which end it. Some gateways do not forward them.
    pub fn send_trailers(&mut self, stream: &mut OpenStream, trailers: &Pairs) {
        self.begin(None);
        self.look(stream);
        stream.ended = true;
        self.store.data_mut().choose(Some(stream.number));
        let mut shown = Ok(None);
        if self.shows_nothing() {
            stream.unshown.trailers = Some(trailers.clone());
        } else {
            shown = self.show_trailers(stream.number, trailers);
        }
        self.leave(stream, shown);
    }

    /// Carries out what the module did with a stream in a callback of another context, or of a call: it sent a reply, or it continued
    /// the request.
    pub fn look(&mut self, stream: &mut OpenStream) {
        self.store.data_mut().choose(Some(stream.number));
        let shown = self.resume(stream);
        self.leave(stream, shown);
    }

    /// Ends a stream, either because it was answered or because its client went away.
    pub fn close(&mut self, mut stream: OpenStream) -> Outcome {
        self.begin(None);
        self.look(&mut stream);
        self.store.data_mut().choose(Some(stream.number));
        let OpenStream { number, request, ended, verdict, .. } = stream;
        let mut otherwise = Verdict::Hang;
        if let Some(own) = self.store.data_mut().stream.as_mut().filter(|own| ended && !own.held && verdict.is_none()) {
            own.forward(ForwardedBy::Headers);
            otherwise = Verdict::Continue { headers: Pairs::new() };
        }
        let mut gone = None;
        let ended = self.end(number, &request, verdict.unwrap_or(otherwise), &mut gone);
        self.outcome(ended.unwrap_or_else(Verdict::Trap), gone)
    }

    /// Returns whether the gateway shows the module nothing of the current stream before the held head continues.
    fn shows_nothing(&self) -> bool {
        let state = self.store.data();
        let holds_head = state.stream.as_ref().is_some_and(|stream| stream.held && stream.headers.is_some());
        holds_head && state.quirks().body != Body::WithTheHead
    }

    /// Continues the current stream if the module has asked for that. The gateway then shows what it has not shown before.
    fn resume(&mut self, stream: &mut OpenStream) -> Result<Option<Verdict>, String> {
        let own = self.store.data_mut().stream.as_mut();
        let Some(own) = own.filter(|own| own.continued) else { return Ok(None) };
        (own.continued, own.held) = (false, false);
        let Unshown { body, trailers } = std::mem::take(&mut stream.unshown);
        if let Some((body, ends)) = body
            && let Some(verdict) = self.show_part(stream.number, &body, ends)?
        {
            return Ok(Some(verdict));
        }
        match trailers {
            Some(trailers) => self.show_trailers(stream.number, &trailers),
            None => Ok(None),
        }
    }

    /// Suspends a stream and stores the result of the last callback.
    fn leave(&mut self, stream: &mut OpenStream, shown: Result<Option<Verdict>, String>) {
        let state = self.store.data_mut();
        let reply = state.stream.as_mut().and_then(|stream| stream.reply.take()).map(Verdict::Reply);
        let shown = shown.unwrap_or_else(|trap| Some(Verdict::Trap(trap)));
        // A gateway does not forward anything more of a request that was answered.
        stream.verdict = stream.verdict.take().or(shown).or(reply);
        stream.forwarded_by = state.stream.as_ref().and_then(|own| own.forwarded_by);
        state.choose(None);
    }
}
