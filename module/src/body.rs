//! The bodies of a stream.
//!
//! Envoy has two buffers for each body. *Received* is what it passes to the current hook, and empty outside of hooks for bodies. *Buffered*
//! is what it holds, because a hook returned `StopIterationAndBuffer`. Between two hooks, Envoy moves received bytes behind the buffered
//! ones. Some versions do that with the last part before the hook. If another filter held the body, both may be the same buffer.
#![expect(unsafe_code, reason = "Envoy's functions are foreign functions")]

use aws_lc_rs::digest::{Context, SHA256};
use callgate::host::HostError;

use crate::abi::{self, EnvoyBuffer, EnvoyStream, ModuleBuffer};
use crate::io::{FAILED, Io};

impl Io {
    /// Returns the number of bytes of the request's body that Envoy has: those that it holds, and those that it passes to the current hook.
    pub(crate) fn request_size(&self) -> Result<usize, HostError> {
        let envoy = self.envoy("http_get_body_size")?;
        let buffered = size(envoy, abi::BUFFERED_REQUEST_BODY);
        let received = if self.receives_buffered(envoy) { 0 } else { size(envoy, abi::RECEIVED_REQUEST_BODY) };
        Ok(buffered.saturating_add(received))
    }

    /// Returns at most `most` bytes of the request's body from byte `start` on.
    pub(crate) fn request_body(&self, start: usize, most: usize) -> Result<Vec<u8>, HostError> {
        let envoy = self.envoy("http_get_body_chunks")?;
        let mut all = chunks(envoy, abi::BUFFERED_REQUEST_BODY)?;
        if !self.receives_buffered(envoy) {
            all.extend(chunks(envoy, abi::RECEIVED_REQUEST_BODY)?);
        }
        // SAFETY: Envoy filled the buffers, and nothing changed the bodies since.
        Ok(cut(all.into_iter().map(|chunk| unsafe { chunk.bytes() }), start, most))
    }

    /// Returns whether the part of the body that Envoy passes to the current hook is what it held for another filter.
    fn receives_buffered(&self, envoy: EnvoyStream) -> bool {
        // SAFETY: the caller got the stream from `envoy`.
        unsafe { abi::envoy_dynamic_module_callback_http_received_buffered_request_body(envoy) }
    }

    /// Finds the part of the response's body that Envoy passes to the current hook. Returns its size.
    ///
    /// Envoy may move the last part behind what it holds for a filter that the response reaches after this one. If that is everything that
    /// this filter let pass, only the rest is new. If not, nobody knows where the new part begins, so everything is filtered again.
    pub(crate) fn find_response_part(&self, end_of_stream: bool) -> Result<usize, HostError> {
        let envoy = self.envoy("http_get_body_size")?;
        let received = size(envoy, abi::RECEIVED_RESPONSE_BODY);
        // SAFETY: the stream is valid.
        let same = || unsafe { abi::envoy_dynamic_module_callback_http_received_buffered_response_body(envoy) };
        let moved = received == 0 && end_of_stream && !same();
        let buffered = if moved { size(envoy, abi::BUFFERED_RESPONSE_BODY) } else { 0 };
        self.part.set(if buffered > 0 { abi::BUFFERED_RESPONSE_BODY } else { abi::RECEIVED_RESPONSE_BODY });
        let passed = self.passed.borrow();
        let is_behind = buffered > 0 && passed.size > 0 && passed.is(&self.part_bytes(0, passed.size)?);
        let start = if is_behind { passed.size } else { 0 };
        self.part_start.set(start);
        Ok(if buffered > 0 { buffered.saturating_sub(start) } else { received })
    }

    /// Returns the number of bytes in the part that [`find_response_part`](Self::find_response_part) found, after changes.
    pub(crate) fn response_part_size(&self) -> usize {
        let all = self.envoy("http_get_body_size").map_or(0, |envoy| size(envoy, self.part.get()));
        all.saturating_sub(self.part_start.get())
    }

    /// Returns at most `most` bytes of that part.
    pub(crate) fn response_part(&self, most: usize) -> Result<Vec<u8>, HostError> {
        let bytes = self.part_bytes(self.part_start.get(), most)?;
        self.passed.borrow_mut().part.clone_from(&bytes);
        Ok(bytes)
    }

    /// Replaces that part.
    pub(crate) fn replace_response_part(&self, bytes: &[u8]) -> Result<(), HostError> {
        let envoy = self.envoy("http_drain_body")?;
        let part = self.part.get();
        // Bytes can be removed only from the beginning.
        let new = [&self.part_bytes(0, self.part_start.get())?, bytes].concat();
        let old = size(envoy, part);
        // SAFETY: the stream is valid.
        if old > 0 && !unsafe { abi::envoy_dynamic_module_callback_http_drain_body(envoy, part, old) } {
            return Err(HostError { call: "http_drain_body", status: FAILED });
        }
        let data = ModuleBuffer::of(&new);
        // SAFETY: the stream is valid, and Envoy copies the bytes.
        if !new.is_empty() && !unsafe { abi::envoy_dynamic_module_callback_http_append_body(envoy, part, data) } {
            return Err(HostError { call: "http_append_body", status: FAILED });
        }
        self.passed.borrow_mut().part = bytes.to_vec();
        Ok(())
    }

    /// Notes that the part passes the filter.
    pub(crate) fn pass_response_part(&self) {
        self.response.add(self.response_part_size());
        self.passed.borrow_mut().add_part();
    }

    fn part_bytes(&self, start: usize, most: usize) -> Result<Vec<u8>, HostError> {
        let envoy = self.envoy("http_get_body_chunks")?;
        let all = chunks(envoy, self.part.get())?;
        // SAFETY: Envoy filled the buffers, and nothing changed the body since.
        Ok(cut(all.into_iter().map(|chunk| unsafe { chunk.bytes() }), start, most))
    }
}

/// What a filtered response consisted of so far, after the filter. Responses that are not filtered are not read.
#[derive(Default)]
pub(crate) struct Passed {
    size: usize,
    digest: Option<Context>,
    /// The part in the current hook.
    part: Vec<u8>,
}

impl Passed {
    fn add_part(&mut self) {
        let part = std::mem::take(&mut self.part);
        if !part.is_empty() {
            self.size = self.size.saturating_add(part.len());
            self.digest.get_or_insert_with(|| Context::new(&SHA256)).update(&part);
        }
    }

    /// Returns whether these bytes are all that passed.
    fn is(&self, bytes: &[u8]) -> bool {
        let Some(passed) = &self.digest else { return bytes.is_empty() };
        let mut other = Context::new(&SHA256);
        other.update(bytes);
        bytes.len() == self.size && other.finish().as_ref() == passed.clone().finish().as_ref()
    }
}

/// Returns the size of a body of a valid stream.
fn size(envoy: EnvoyStream, body: u32) -> usize {
    // SAFETY: callers pass a stream that `Io::envoy` returned.
    unsafe { abi::envoy_dynamic_module_callback_http_get_body_size(envoy, body) }
}

/// Returns the chunks of a body of a valid stream.
fn chunks(envoy: EnvoyStream, body: u32) -> Result<Vec<EnvoyBuffer>, HostError> {
    // SAFETY: callers pass a stream that `Io::envoy` returned.
    let count = unsafe { abi::envoy_dynamic_module_callback_http_get_body_chunks_size(envoy, body) };
    let mut chunks = vec![EnvoyBuffer::EMPTY; count];
    // SAFETY: the stream is valid, and Envoy writes as many chunks as it reported, because nothing changed the body meanwhile.
    if count > 0
        && !unsafe { abi::envoy_dynamic_module_callback_http_get_body_chunks(envoy, body, chunks.as_mut_ptr()) }
    {
        return Err(HostError { call: "http_get_body_chunks", status: FAILED });
    }
    Ok(chunks)
}

/// Returns at most `most` of the bytes in all chunks, from byte `start` on.
pub(crate) fn cut<'c>(chunks: impl Iterator<Item = &'c [u8]>, start: usize, most: usize) -> Vec<u8> {
    let (mut skip, mut bytes) = (start, Vec::new());
    for chunk in chunks {
        let rest = chunk.get(skip..).unwrap_or_default();
        skip = skip.saturating_sub(chunk.len());
        let room = most.saturating_sub(bytes.len());
        bytes.extend_from_slice(rest.get(..room).unwrap_or(rest));
        if bytes.len() == most {
            break;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_across_chunks() {
        let read = |start, most| cut([&b"ab"[..], b"", b"cde", b"f"].into_iter(), start, most);
        for (start, most, expected) in [
            (0, usize::MAX, "abcdef"),
            (0, 6, "abcdef"),
            (0, 0, ""),
            (1, 3, "bcd"),
            (2, 1, "c"),
            (4, 9, "ef"),
            (5, 1, "f"),
            (6, 1, ""),
            (usize::MAX, usize::MAX, ""),
        ] {
            assert_eq!(read(start, most), expected.as_bytes(), "{start} {most}");
        }
    }
}
