//! The host calls of ABI 0.2.1, as Envoy implements them, with the differences of other hosts.

use wasmtime::{Caller, ExternType, Linker, Module};

use super::calls::CALL_RESPONSE;
use super::foreign::{self, Answer, ForeignFunction};
use super::guest::{Guest, Stop};
use super::interface::SDK_CALLS;
use super::profile::{Body, Head, Properties, Removal};
use super::shared::Unusable;
use super::state::{Level, Log, REQUEST_HEADERS, Reply, State, Stream, status};
use super::{head, pairs};

/// The ABI's number for the body of the request.
const REQUEST_BODY: u32 = 0;
/// The ABI's number for the body of the response.
const RESPONSE_BODY: u32 = 1;
/// The ABI's number for the body of the response to a call.
const CALL_BODY: u32 = 4;
/// The ABI's number for the direction from the client to the upstream.
const REQUEST_STREAM: u32 = 0;
/// The ABI's number for the plugin's configuration.
const PLUGIN_CONFIGURATION: u32 = 7;
/// The ABI's number for a counter.
const COUNTER: u32 = 0;
/// The ABI's number for a gauge.
const GAUGE: u32 = 1;
/// Lines that ngx_wasm_module does not change although it reports success.
const READ_ONLY: [&[u8]; 2] = [b":authority", b":scheme"];
/// The prefix that Envoy adds to the path of a property that a module sets.
const FILTER_STATE_PREFIX: &[u8] = b"wasm.";

macro_rules! host_calls {
    ($linker:ident, $module:literal; $(fn $name:ident($guest:ident $(, $arg:ident: $type:ty)*) $body:block)*) => {
        $($linker.func_wrap(
            $module,
            stringify!($name),
            |caller: Caller<'_, State> $(, $arg: $type)*| Guest::call(caller, stringify!($name), |$guest| $body),
        )?;)*
    };
}
pub(super) use host_calls;

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    host_calls! { linker, "env";
        fn proxy_log(guest, level: u32, message: u32, size: u32) {
            let level = Level::from_abi(level).ok_or(Stop::Status(status::BAD_ARGUMENT))?;
            let message = String::from_utf8_lossy(&guest.read(message, size)?).into_owned();
            guest.state().logs.push(Log { level, message });
            Ok(())
        }

        fn proxy_get_current_time_nanoseconds(guest, time_at: u32) {
            let now = unrestricted(guest)?.clock;
            guest.write(time_at, &now.to_le_bytes())
        }

        fn proxy_get_buffer_bytes(guest, buffer: u32, start: u32, max_size: u32, data_at: u32, size_at: u32) {
            let state = unrestricted(guest)?;
            let bytes = match buffer {
                REQUEST_BODY => state.stream.as_ref().and_then(|stream| stream.body.clone()),
                CALL_BODY => {
                    let context = state.context();
                    let response = state.response.as_ref().filter(|response| Some(response.context) == context);
                    response.and_then(|response| response.body.clone())
                }
                RESPONSE_BODY => state.stream.as_ref().and_then(|stream| stream.response_body.clone()),
                PLUGIN_CONFIGURATION => state.configuration.clone(),
                _ => None,
            };
            let bytes = bytes.ok_or(Stop::Status(status::NOT_FOUND))?;
            // ngx_wasm_module always returns bytes from the beginning, regardless of the requested range.
            let start = if guest.quirks().body == Body::Whole { 0 } else { start as usize };
            let end = start.saturating_add(max_size as usize).min(bytes.len());
            match bytes.get(start..end) {
                Some(part) if !part.is_empty() => guest.hand_over(part, data_at, size_at),
                _ => Ok(()),
            }
        }

        fn proxy_get_header_map_pairs(guest, map: u32, data_at: u32, size_at: u32) {
            // A map that is not accessible reads as an empty one.
            let lines = unrestricted(guest)?.map(map)?.cloned().unwrap_or_default();
            match guest.quirks().listed {
                Some(most) => {
                    let (bytes, size) = pairs::encode_listed(&lines, most);
                    guest.hand_over_as(&bytes, size, data_at, size_at)
                }
                None => guest.hand_over(&pairs::encode(&lines), data_at, size_at),
            }
        }

        fn proxy_get_header_map_value(guest, map: u32, name: u32, name_size: u32, data_at: u32, size_at: u32) {
            let wanted = guest.read(name, name_size)?;
            let lines = unrestricted(guest)?.map(map)?.ok_or(Stop::Status(status::BAD_ARGUMENT))?;
            let found = lines.iter().find(|(name, _)| name.eq_ignore_ascii_case(&wanted)).map(|(_, value)| value.clone());
            guest.hand_over(&found.ok_or(Stop::Status(status::NOT_FOUND))?, data_at, size_at)
        }

        fn proxy_replace_header_map_value(guest, map: u32, name: u32, name_size: u32, value: u32, value_size: u32) {
            let line = line(guest, name, name_size, value, value_size)?;
            if guest.quirks().head == Head::Kong && READ_ONLY.contains(&line.0.as_slice()) {
                return Ok(());
            }
            if map == REQUEST_HEADERS && guest.quirks().removal == Removal::Hides {
                return stream(guest)?.replace_first(line);
            }
            let lines = stream(guest)?.map(map).ok_or(Stop::Status(status::BAD_ARGUMENT))?;
            lines.retain(|(name, _)| !name.eq_ignore_ascii_case(&line.0));
            lines.push(line);
            Ok(())
        }

        fn proxy_add_header_map_value(guest, map: u32, name: u32, name_size: u32, value: u32, value_size: u32) {
            let line = line(guest, name, name_size, value, value_size)?;
            stream(guest)?.map(map).ok_or(Stop::Status(status::BAD_ARGUMENT))?.push(line);
            Ok(())
        }

        fn proxy_get_shared_data(guest, key: u32, key_size: u32, data_at: u32, size_at: u32, version_at: u32) {
            let key = guest.read(key, key_size)?;
            let found = unrestricted(guest)?.shared.get(&key).map_err(unusable)?;
            let (value, version) = found.ok_or(Stop::Status(status::NOT_FOUND))?;
            guest.hand_over(&value, data_at, size_at)?;
            guest.write(version_at, &version.to_le_bytes())
        }

        fn proxy_set_shared_data(guest, key: u32, key_size: u32, value: u32, value_size: u32, version: u32) {
            let (key, value) = (guest.read(key, key_size)?, guest.read(value, value_size)?);
            let written = unrestricted(guest)?.shared.set(&key, &value, version).map_err(unusable)?;
            if written { Ok(()) } else { Err(Stop::Status(status::CAS_MISMATCH)) }
        }

        fn proxy_remove_header_map_value(guest, map: u32, name: u32, name_size: u32) {
            let removed = guest.read(name, name_size)?;
            if map == REQUEST_HEADERS && guest.quirks().removal == Removal::Hides {
                return stream(guest)?.hide(&removed);
            }
            let lines = stream(guest)?.map(map).ok_or(Stop::Status(status::BAD_ARGUMENT))?;
            lines.retain(|(name, _)| !name.eq_ignore_ascii_case(&removed));
            Ok(())
        }

        fn proxy_get_property(guest, path: u32, path_size: u32, data_at: u32, size_at: u32) {
            let path = head::name(guest.quirks(), &guest.read(path, path_size)?);
            let own = match guest.quirks().properties {
                Properties::Binary => [FILTER_STATE_PREFIX, &path].concat(),
                Properties::Text { .. } | Properties::Variables { .. } => path.clone(),
            };
            let stream = stream(guest)?;
            let value = stream.properties.get(&path).or_else(|| stream.written.get(&own)).cloned();
            guest.hand_over(&value.ok_or(Stop::Status(status::NOT_FOUND))?, data_at, size_at)
        }

        fn proxy_set_effective_context(guest, context: u32) {
            let state = unrestricted(guest)?;
            if state.is_open(context) {
                state.choose(Some(context));
            } else if state.root == Some(context) {
                state.choose(None);
            } else {
                return Err(Stop::Status(status::BAD_ARGUMENT));
            }
            Ok(())
        }

        fn proxy_set_tick_period_milliseconds(guest, period: u32) {
            let fixed = guest.quirks().timers_are_fixed;
            let state = unrestricted(guest)?;
            let parent = state.stream.as_ref().map(|stream| stream.root).filter(|_| !fixed);
            let root = parent.or(state.root.filter(|_| state.stream.is_none()));
            let root = root.ok_or_else(|| Stop::misuse("a timer is set outside a root context"))?;
            if fixed && state.timers.contains_key(&root) {
                return Err(Stop::misuse("a timer is set twice"));
            }
            state.timers.insert(root, period);
            Ok(())
        }

        fn proxy_set_buffer_bytes(guest, buffer: u32, start: u32, size: u32, data: u32, data_size: u32) {
            let bytes = guest.read(data, data_size)?;
            if buffer != RESPONSE_BODY {
                return Err(Stop::misuse("only the body of a response is replaced"));
            }
            let body = stream(guest)?.response_body.as_mut().ok_or(Stop::Status(status::NOT_FOUND))?;
            if start != 0 || size as usize != body.len() {
                return Err(Stop::misuse("a part of a chunk is replaced"));
            }
            *body = bytes;
            Ok(())
        }

        fn proxy_continue_stream(guest, kind: u32) {
            if kind != REQUEST_STREAM {
                return Err(Stop::Status(status::BAD_ARGUMENT));
            }
            let state = unrestricted(guest)?;
            // In a callback for its headers, body or trailers, the request is not held yet.
            if state.root.is_none() && state.callback != CALL_RESPONSE {
                return Err(Stop::misuse("a request is continued in a callback whose result decides whether it is held"));
            }
            let stream = state.stream.as_mut();
            stream.ok_or_else(|| Stop::misuse("a root context is continued, and the request remains held"))?.continue_held()
        }

        fn proxy_set_property(guest, path: u32, path_size: u32, value: u32, value_size: u32) {
            let path = guest.read(path, path_size)?;
            let value = guest.read(value, value_size)?;
            let name = head::name(guest.quirks(), &path);
            let name = match guest.quirks().properties {
                Properties::Binary => [FILTER_STATE_PREFIX, &name].concat(),
                Properties::Text { writable } if writable.iter().any(|start| name.starts_with(start.as_bytes())) => name,
                Properties::Variables { writable } if writable.iter().any(|own| name == own.as_bytes()) => name,
                Properties::Text { .. } | Properties::Variables { .. } => return Err(Stop::Status(status::NOT_FOUND)),
            };
            stream(guest)?.written.insert(name, value);
            Ok(())
        }

        fn proxy_send_local_response(
            guest,
            status: u32,
            details: u32,
            details_size: u32,
            body: u32,
            body_size: u32,
            headers: u32,
            headers_size: u32,
            grpc_status: i32
        ) {
            let details = String::from_utf8_lossy(&guest.read(details, details_size)?).replace(char::is_whitespace, "_");
            let quirks = guest.quirks();
            let body = [&guest.read(body, body_size)?, quirks.answer_ends].concat();
            let headers = pairs::decode(&guest.read(headers, headers_size)?);
            if headers.iter().any(|(_, value)| has_line_break(value)) {
                return Err(Stop::misuse("a line break in a response header"));
            }
            let grpc_status = Some(grpc_status).filter(|status| quirks.grpc_answers && (0..=16).contains(status));
            let reply = Reply { status, headers, body, details, grpc_status };
            let stream = stream(guest)?;
            if std::mem::replace(&mut stream.replied, true) {
                return Err(Stop::misuse("a second local reply"));
            }
            stream.reply = Some(reply);
            Ok(())
        }

        fn proxy_call_foreign_function(
            guest,
            name: u32,
            name_size: u32,
            arguments: u32,
            arguments_size: u32,
            data_at: u32,
            size_at: u32
        ) {
            let (name, arguments) = (guest.read(name, name_size)?, guest.read(arguments, arguments_size)?);
            match guest.quirks().foreign {
                ForeignFunction::Traps => return Err(Stop::misuse("a function that the host does not have")),
                ForeignFunction::Verifies if name == b"verify_signature" => {}
                ForeignFunction::Verifies | ForeignFunction::Unknown => return Err(Stop::Status(status::NOT_FOUND)),
            }
            match unrestricted(guest)?.answer {
                Some(Answer::Status(status)) => Err(Stop::Status(status)),
                Some(Answer::Bytes(bytes)) => guest.hand_over(bytes, data_at, size_at),
                None => {
                    let answer = foreign::verify_signature(&arguments).ok_or(Stop::Status(status::BAD_ARGUMENT))?;
                    guest.hand_over(&answer, data_at, size_at)
                }
            }
        }

        fn proxy_define_metric(guest, kind: u32, name: u32, name_size: u32, id_at: u32) {
            let name = String::from_utf8_lossy(&guest.read(name, name_size)?).into_owned();
            let state = unrestricted(guest)?;
            match kind {
                COUNTER => drop(state.counters.entry(name.clone()).or_default()),
                GAUGE => drop(state.gauges.entry(name.clone()).or_default()),
                _ => return Err(Stop::misuse("a metric that is neither counter nor gauge")),
            }
            state.metric_ids.push(name);
            let id = u32::try_from(state.metric_ids.len() - 1).map_err(|_| Stop::Status(status::INTERNAL_FAILURE))?;
            guest.write(id_at, &(id << 2 | kind).to_le_bytes())
        }

        fn proxy_increment_metric(guest, id: u32, offset: i64) {
            let gauges = guest.quirks().gauges;
            let state = unrestricted(guest)?;
            let name = state.metric_ids.get((id >> 2) as usize).ok_or(Stop::Status(status::NOT_FOUND))?;
            let missing = Stop::Status(status::NOT_FOUND);
            match id & 3 {
                COUNTER => {
                    let offset = u64::try_from(offset).ok().filter(|offset| *offset > 0);
                    *state.counters.get_mut(name).ok_or(missing)? += offset.ok_or(Stop::Status(status::BAD_ARGUMENT))?;
                }
                _ if !gauges => return Err(Stop::Status(status::BAD_ARGUMENT)),
                _ => {
                    let gauge = state.gauges.get_mut(name).ok_or(missing)?;
                    *gauge = gauge.checked_add(offset).filter(|value| *value >= 0).ok_or_else(|| Stop::misuse("a gauge below zero"))?;
                }
            }
            Ok(())
        }
    }
    Ok(())
}

/// Links the calls that the SDK keeps in the module. Making one is a misuse.
pub(super) fn link_unmade(linker: &mut Linker<State>, module: &Module) -> wasmtime::Result<()> {
    let unmade = module.imports().filter(|import| import.module() == "env" && SDK_CALLS.contains(&import.name()));
    for import in unmade {
        if let ExternType::Func(signature) = import.ty() {
            let name = import.name().to_owned();
            linker.func_new("env", import.name(), signature, move |_, _, _| {
                Err(wasmtime::Error::msg(format!("misuse of the host: the filter must not call `{name}`")))
            })?;
        }
    }
    Ok(())
}

/// Returns the state, unless the module is still being initialized: Envoy rejects these calls then.
pub(super) fn unrestricted<'s>(guest: &'s mut Guest<'_>) -> Result<&'s mut State, Stop> {
    let state = guest.state();
    if state.initializing { Err(Stop::Status(status::INTERNAL_FAILURE)) } else { Ok(state) }
}

/// Returns the current stream. Calls that need a stream fail outside of one.
fn stream<'s>(guest: &'s mut Guest<'_>) -> Result<&'s mut Stream, Stop> {
    unrestricted(guest)?.stream.as_mut().ok_or(Stop::Status(status::NOT_FOUND))
}

/// Returns the effect of an unusable store on the module.
fn unusable(why: Unusable) -> Stop {
    Stop::Trap(wasmtime::Error::msg(match why {
        Unusable::NoZone => "the key belongs to no shared memory zone",
        Unusable::Full => "the shared memory zone has no room",
    }))
}

/// Returns a line that the module writes. Envoy keeps names in lower case.
fn line(
    guest: &mut Guest<'_>,
    name: u32,
    name_size: u32,
    value: u32,
    value_size: u32,
) -> Result<(Vec<u8>, Vec<u8>), Stop> {
    let mut name = guest.read(name, name_size)?;
    if guest.quirks().head != Head::Kong {
        name.make_ascii_lowercase();
    }
    let value = guest.read(value, value_size)?;
    if has_line_break(&name) || has_line_break(&value) {
        return Err(Stop::misuse("a line break in a header"));
    }
    Ok((name, value))
}

fn has_line_break(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}
