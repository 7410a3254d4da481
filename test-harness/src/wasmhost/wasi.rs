//! The WASI calls that the module makes. Its printed output goes to the log, as in Envoy.

use wasmtime::{Caller, Error, Linker};

use super::guest::{Guest, Stop};
use super::proxy::host_calls;
use super::state::{Level, Log, State};

const BAD_FILE: i32 = 8;
const INVALID: i32 = 28;

/// WASI's clock for the time of day.
const REALTIME: u32 = 0;
/// WASI's clock that only moves forward.
const MONOTONIC: u32 = 1;

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    host_calls! { linker, "wasi_snapshot_preview1";
        fn random_get(guest, at: u32, size: u32) {
            let bytes: Vec<u8> = (0..size).map(|_| guest.state().random_byte()).collect();
            guest.write(at, &bytes)
        }

        fn clock_time_get(guest, clock: u32, precision: u64, at: u32) {
            let _ = precision;
            let state = guest.state();
            let now = match clock {
                REALTIME => state.clock,
                MONOTONIC => state.shared.monotonic(),
                _ => return Err(Stop::Status(INVALID)),
            };
            guest.write(at, &now.to_le_bytes())
        }

        fn environ_sizes_get(guest, count_at: u32, size_at: u32) {
            let variables = variables(guest);
            guest.write(count_at, &word(variables.len())?)?;
            guest.write(size_at, &word(variables.iter().map(Vec::len).sum())?)
        }

        fn environ_get(guest, pointers_at: u32, text_at: u32) {
            let (mut pointer_at, mut text_at) = (pointers_at, text_at);
            for variable in variables(guest) {
                guest.write(pointer_at, &text_at.to_le_bytes())?;
                guest.write(text_at, &variable)?;
                pointer_at += 4;
                text_at += u32::from_le_bytes(word(variable.len())?);
            }
            Ok(())
        }

        fn fd_write(guest, file: u32, slices_at: u32, slices: u32, written_at: u32) {
            let level = match file {
                1 => Level::Info,
                2 => Level::Error,
                _ => return Err(Stop::Status(BAD_FILE)),
            };
            let mut text = Vec::new();
            for slice in guest.read(slices_at, slices.saturating_mul(8))?.chunks_exact(8) {
                let (at, size) = slice.split_at(4);
                let number = |bytes: &[u8]| bytes.try_into().map(u32::from_le_bytes).map_err(|_| Stop::Status(INVALID));
                text.extend(guest.read(number(at)?, number(size)?)?);
            }
            guest.write(written_at, &word(text.len())?)?;
            let message = String::from_utf8_lossy(&text).trim_end_matches('\n').to_owned();
            guest.state().logs.push(Log { level, message });
            Ok(())
        }
    }
    linker.func_wrap(
        "wasi_snapshot_preview1",
        "proc_exit",
        |_: Caller<'_, State>, code: u32| -> wasmtime::Result<()> {
            Err(Error::msg(format!("the module exited with code {code}")))
        },
    )?;
    Ok(())
}

/// Returns the environment in the call's format: name, equals sign, value, zero byte.
fn variables(guest: &mut Guest<'_>) -> Vec<Vec<u8>> {
    guest.state().environment.iter().map(|(name, value)| format!("{name}={value}\0").into_bytes()).collect()
}

fn word(length: usize) -> Result<[u8; 4], Stop> {
    u32::try_from(length).map(u32::to_le_bytes).map_err(|_| Stop::Status(INVALID))
}
