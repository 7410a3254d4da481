//! A proxy-wasm host on wasmtime that runs the filter without a gateway.
//!
//! It follows Envoy: header maps and their serialization, properties, filter state, local replies that end the stream, and the limits on
//! data from a module. If Envoy would continue with undefined behavior (a second local reply, a line break in a header), it traps. It also
//! does what no gateway does on demand: any host call can be made to fail, the test sets the clocks and the random numbers and answers the
//! module's calls to other servers, and the instructions of a request are counted.
//!
//! It emulates Envoy's host unless another gateway's [`HostProfile`] is selected. The same module then gets that gateway's results,
//! properties and shared state, and bodies that arrive earlier, later or not at all.
//!
//! It offers only the functions that [`interface`] lists, and must not know policies or decisions: tests inspect the state afterwards.

mod calls;
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
mod stream;
mod vm;
mod wasi;
mod zones;

#[cfg(test)]
mod tests;

pub use calls::HttpCall;
pub use foreign::{Answer, ForeignFunction, verify_signature};
pub use head::received;
pub use module::Module;
pub use open::OpenStream;
pub use pairs::Pairs;
pub use profile::{Body, HostProfile, HostQuirks, HttpCalls, Refused, Removal, Store};
pub use request::{Outcome, Request, Verdict};
pub use shared::{DOCUMENTS_ZONE, DOCUMENTS_ZONE_BYTES, SharedData, Snapshot, ZONE};
pub use state::{Fault, ForwardedBy, Level, Log, Reply};
pub use vm::{ConfigureFailed, Root, Vm};
