//! An HTTP/2 client that sends arbitrary header blocks. Tests of the gate need requests that an ordinary client cannot send.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use httlib_hpack::{Decoder, Encoder};

use crate::client::{Response, Transport};

/// Header lines in order, with pseudo-headers first unless the test is about their order.
pub type Lines = Vec<(Vec<u8>, Vec<u8>)>;

const PATIENCE: Duration = Duration::from_secs(60);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
/// The setting with the window of new streams.
const INITIAL_WINDOW_SIZE: u16 = 4;
const END_STREAM: u8 = 1;
/// The flag of an acknowledgment, in frames of settings.
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// How many bytes may be sent before the server extends the window (RFC 9113, section 6.9.2).
const FIRST_WINDOW: i64 = 65_535;
/// The largest frame that every server accepts.
const FRAME: usize = 16_384;

/// Sends one request on a new connection: these lines unchanged, and then a body in these parts, if there is one. Returns `None` if the
/// stream or the connection ends without a response.
///
/// # Errors
/// When nothing listens at the address or no data arrives for a long time.
pub fn call(address: SocketAddr, lines: &[(Vec<u8>, Vec<u8>)], body: Option<&[Vec<u8>]>) -> Result<Option<Response>> {
    let stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
    stream.set_read_timeout(Some(PATIENCE)).context("cannot set a timeout")?;
    call_over(stream, lines, body)
}

/// Sends one request as [`call`] does, over an open transport.
///
/// # Errors
/// When no data arrives for a long time, if the transport has a timeout.
pub fn call_over(
    stream: impl Transport + 'static,
    lines: &[(Vec<u8>, Vec<u8>)],
    body: Option<&[Vec<u8>]>,
) -> Result<Option<Response>> {
    let stream = Box::new(stream);
    let mut connection = Connection { stream, early: VecDeque::new(), window: FIRST_WINDOW, of_stream: FIRST_WINDOW };
    let mut bytes = PREFACE.to_vec();
    frame(&mut bytes, SETTINGS, 0, 0, &[])?;
    head(&mut bytes, &encoded(lines)?, body.is_none())?;
    for part in body.into_iter().flatten().flat_map(|part| part.chunks(FRAME)) {
        let length = i64::try_from(part.len())?;
        // What was written so far must arrive before the server extends a window.
        if connection.room() < length {
            connection.stream.write_all(&std::mem::take(&mut bytes)).context("cannot send")?;
        }
        if !connection.make_room(length)? {
            return connection.answer();
        }
        frame(&mut bytes, DATA, 0, 1, part)?;
    }
    if body.is_some() {
        frame(&mut bytes, DATA, END_STREAM, 1, &[])?;
    }
    // A server may respond and close the connection before it has read everything.
    let sent = connection.stream.write_all(&bytes);
    let answer = connection.answer()?;
    if answer.is_none() && sent.is_err() {
        return sent.context("cannot send").map(|()| None);
    }
    Ok(answer)
}

/// A frame of the server.
struct Frame {
    kind: u8,
    flags: u8,
    payload: Vec<u8>,
}

struct Connection {
    stream: Box<dyn Transport>,
    /// Frames of the response that arrived before the request was sent completely.
    early: VecDeque<Frame>,
    /// How many bytes the server accepts on the connection, and on the stream.
    window: i64,
    of_stream: i64,
}

impl Connection {
    fn room(&self) -> i64 {
        self.window.min(self.of_stream)
    }

    /// Waits until the server accepts this many bytes, and takes them from its windows (RFC 9113, section 5.2). Returns false if the server
    /// responds or ends the stream first.
    fn make_room(&mut self, length: i64) -> Result<bool> {
        while self.room() < length {
            let Some(frame) = self.receive()? else { return Ok(false) };
            if matches!(frame.kind, HEADERS | DATA | RST_STREAM | GOAWAY) {
                self.early.push_back(frame);
                return Ok(false);
            }
        }
        self.window -= length;
        self.of_stream -= length;
        Ok(true)
    }

    /// Reads the next frame and applies its changes to the windows. `None` if the connection ended.
    fn receive(&mut self) -> Result<Option<Frame>> {
        let mut head = [0; 9];
        match self.stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => bail!("no response within {} s", PATIENCE.as_secs()),
            Err(_) => return Ok(None),
        }
        let [high, middle, low, kind, flags, id @ ..] = head;
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, high, middle, low]))?];
        self.stream.read_exact(&mut payload).context("the connection ended inside a frame")?;
        match (kind, &payload[..]) {
            (WINDOW_UPDATE, [a, b, c, d]) => {
                let more = i64::from(u32::from_be_bytes([*a, *b, *c, *d]));
                *(if id == [0; 4] { &mut self.window } else { &mut self.of_stream }) += more;
            }
            (SETTINGS, settings) if flags & ACK == 0 => {
                // The server accepts data beyond its earlier window only after this (RFC 9113, section 6.5.3). If it has closed the
                // connection, the next read shows that.
                let mut acknowledgment = Vec::new();
                frame(&mut acknowledgment, SETTINGS, ACK, 0, &[])?;
                let _ = self.stream.write_all(&acknowledgment);
                for setting in settings.as_chunks::<6>().0 {
                    let [name @ .., a, b, c, d] = *setting;
                    if name == INITIAL_WINDOW_SIZE.to_be_bytes() {
                        // The change applies to streams that are open (RFC 9113, section 6.9.2), and a server sends it first.
                        self.of_stream += i64::from(u32::from_be_bytes([a, b, c, d])) - FIRST_WINDOW;
                    }
                }
            }
            _ => {}
        }
        Ok(Some(Frame { kind, flags, payload }))
    }

    fn answer(&mut self) -> Result<Option<Response>> {
        let mut decoder = Decoder::default();
        let mut response = Response { status: 0, headers: Vec::new(), body: Vec::new() };
        loop {
            let frame = match self.early.pop_front() {
                Some(frame) => Some(frame),
                None => self.receive()?,
            };
            let Some(Frame { kind, flags, mut payload }) = frame else { return Ok(None) };
            match kind {
                HEADERS => {
                    ensure!(flags & END_HEADERS != 0, "the response headers do not fit into one frame");
                    let mut lines = Vec::new();
                    decoder
                        .decode(&mut payload, &mut lines)
                        .map_err(|error| anyhow!("invalid header block: {error:?}"))?;
                    for (name, value, _) in lines {
                        response.headers.push((String::from_utf8(name).context("a header name is not UTF-8")?, value));
                    }
                    let status = response.header(":status").context("the response has no status")?;
                    response.status = status.parse().context("the status is not a number")?;
                    // This is an interim response.
                    if response.status < 200 {
                        response.headers.clear();
                        continue;
                    }
                }
                DATA => response.body.extend(payload),
                RST_STREAM | GOAWAY => return Ok(None),
                _ => continue,
            }
            if matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
                return Ok(Some(response));
            }
        }
    }
}

/// Encodes the lines in HPACK (RFC 7541), each as an unchanged literal.
fn encoded(lines: &[(Vec<u8>, Vec<u8>)]) -> Result<Vec<u8>> {
    let mut encoded = Vec::new();
    for (name, value) in lines {
        let line = Encoder::default().encode((name.clone(), value.clone(), 0), &mut encoded);
        line.map_err(|error| anyhow!("a header cannot be encoded: {error:?}"))?;
    }
    Ok(encoded)
}

/// Writes a header block in as many frames as it needs.
fn head(bytes: &mut Vec<u8>, block: &[u8], ends: bool) -> Result<()> {
    let mut parts = block.chunks(FRAME).peekable();
    let mut kind = HEADERS;
    let mut flags = if ends { END_STREAM } else { 0 };
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            flags |= END_HEADERS;
        }
        frame(bytes, kind, flags, 1, part)?;
        (kind, flags) = (CONTINUATION, 0);
    }
    Ok(())
}

fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<()> {
    let length = u32::try_from(payload.len()).ok().filter(|length| length >> 24 == 0).context("a frame is too long")?;
    let [_, length @ ..] = length.to_be_bytes();
    bytes.extend([length.as_slice(), &[kind, flags], &stream.to_be_bytes(), payload].concat());
    Ok(())
}
