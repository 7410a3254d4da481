//! A real Envoy: found or installed, configured from the shipped file, started, watched and ended.

mod bootstrap;
mod locate;
mod process;

pub use bootstrap::Bootstrap;
pub(crate) use bootstrap::child;
pub use locate::{Binary, OLDEST, locate, oldest, pinned_version};
pub(crate) use process::KEEPER;
pub use process::{Envoy, Options, lines_in, record_in};
