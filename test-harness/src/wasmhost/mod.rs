//! A proxy-wasm host on wasmtime, so that the filter can be run without a gateway.
//!
//! It follows Envoy: header maps and their serialisation, properties, filter state, local replies that end the stream, the
//! limits on what a module hands over. Where Envoy would go on with undefined behaviour (a second local reply, a line break
//! in a header), it traps. It does what no gateway does on demand: any host call can be made to fail, the clock and the
//! random numbers are the test's, and what a request cost is counted in instructions.
//!
//! It is Envoy's host unless it is told to behave like another gateway's ([`HostProfile`]): the same module then meets other
//! answers, other properties, other ways to share, and bodies that come earlier, later or not at all.
//!
//! It offers only what [`interface`] lists, and knows no policy and no decision: tests read the state afterwards.

mod foreign;
mod guest;
mod head;
pub mod interface;
mod module;
pub mod offers;
mod open;
pub mod pairs;
mod profile;
mod proxy;
mod request;
mod shared;
mod state;
mod vm;
mod wasi;
mod zones;

#[cfg(test)]
mod tests;

pub use foreign::{Answer, ForeignFunction, verify_signature};
pub use head::received;
pub use module::Module;
pub use open::OpenStream;
pub use pairs::Pairs;
pub use profile::{Body, HostProfile, HostQuirks, Refused, Removal, Store};
pub use request::{Outcome, Request, Verdict};
pub use shared::{SharedData, Snapshot, ZONE};
pub use state::{Fault, Level, Log, Reply};
pub use vm::{ConfigureFailed, Root, Vm};
