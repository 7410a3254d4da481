//! A real Envoy: finds or installs it, configures it from the shipped file, and starts, observes and stops it.

mod bootstrap;
mod locate;
mod process;

pub use bootstrap::{Bootstrap, child, cluster};
pub use locate::{Binary, OLDEST, locate, oldest, pinned_version};
pub use process::{Envoy, Options, lines_in, record_in};
