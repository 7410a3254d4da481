//! The module as seen by a host call: its memory, its allocator, and errors for it.

use wasmtime::{Caller, Error};

use super::profile::HostQuirks;
use super::state::{State, status};

/// Why a host call does not return `Ok`.
pub(super) enum Stop {
    /// The module gets this status.
    Status(i32),
    /// The module did something that would be undefined behavior in a gateway, or it cannot continue.
    Trap(Error),
}

impl Stop {
    pub(super) fn misuse(what: &str) -> Self {
        Self::Trap(Error::msg(format!("misuse of the host: {what}")))
    }
}

/// The module during a host call.
pub(super) struct Guest<'a> {
    caller: Caller<'a, State>,
}

impl<'a> Guest<'a> {
    /// Runs a host call, unless a test makes it fail.
    pub(super) fn call(
        caller: Caller<'a, State>,
        name: &'static str,
        body: impl FnOnce(&mut Self) -> Result<(), Stop>,
    ) -> wasmtime::Result<i32> {
        let mut guest = Self { caller };
        // This fails only if fuel is not counted.
        let fuel_left = guest.caller.get_fuel().unwrap_or_default();
        if let Some(status) = guest.state().enter(name, fuel_left) {
            return Ok(status);
        }
        if let Some(status) = guest.quirks().idles(name) {
            return Ok(status);
        }
        match body(&mut guest) {
            Ok(()) => Ok(0),
            Err(Stop::Status(status)) => Ok(status),
            Err(Stop::Trap(error)) => Err(error),
        }
    }

    pub(super) fn state(&mut self) -> &mut State {
        self.caller.data_mut()
    }

    pub(super) fn quirks(&self) -> &'static HostQuirks {
        self.caller.data().quirks()
    }

    pub(super) fn read(&mut self, at: u32, size: u32) -> Result<Vec<u8>, Stop> {
        let memory = self.caller.data().memory.ok_or(Stop::Status(status::INVALID_MEMORY_ACCESS))?;
        let start = at as usize;
        memory
            .data(&self.caller)
            .get(start..start.saturating_add(size as usize))
            .map(<[u8]>::to_vec)
            .ok_or(Stop::Status(status::INVALID_MEMORY_ACCESS))
    }

    pub(super) fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Stop> {
        let memory = self.caller.data().memory.ok_or(Stop::Status(status::INVALID_MEMORY_ACCESS))?;
        memory.write(&mut self.caller, at as usize, bytes).map_err(|_| Stop::Status(status::INVALID_MEMORY_ACCESS))
    }

    /// Returns the size of a block of the module's allocator. wasi-libc stores the size of a block, including one word of overhead, in the
    /// word in front of it, and flags in the lowest bits.
    fn room(&mut self, data: u32) -> Result<usize, Stop> {
        let word: [u8; 4] =
            self.read(data.wrapping_sub(4), 4)?.try_into().map_err(|_| Stop::Status(status::INVALID_MEMORY_ACCESS))?;
        Ok(((u32::from_le_bytes(word) & !7) as usize).saturating_sub(4))
    }

    /// Copies bytes into memory from the module's allocator, and writes their address and size to `data_at` and `size_at`.
    pub(super) fn hand_over(&mut self, bytes: &[u8], data_at: u32, size_at: u32) -> Result<(), Stop> {
        self.hand_over_as(bytes, bytes.len(), data_at, size_at)
    }

    /// Copies bytes into an allocation of the given size. A gateway also writes bytes that exceed the module's block; this host traps
    /// instead.
    pub(super) fn hand_over_as(&mut self, bytes: &[u8], size: usize, data_at: u32, size_at: u32) -> Result<(), Stop> {
        let size = u32::try_from(size).map_err(|_| Stop::Status(status::INTERNAL_FAILURE))?;
        let mut data = 0;
        if size > 0 {
            let allocate = self.caller.data().allocate.clone().ok_or(Stop::Status(status::INTERNAL_FAILURE))?;
            data = allocate.call(&mut self.caller, size).map_err(Stop::Trap)?;
            if bytes.len() > size as usize && bytes.len() > self.room(data)? {
                return Err(Stop::misuse(
                    "the buffer that the module allocated is smaller than the data that the host writes",
                ));
            }
            self.write(data, bytes)?;
        }
        self.write(data_at, &data.to_le_bytes())?;
        self.write(size_at, &size.to_le_bytes())
    }
}
