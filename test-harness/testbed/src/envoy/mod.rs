//! A real Envoy: finds or installs it, configures it from the shipped file, and starts, observes and stops it.

mod adapter;
mod bootstrap;
mod locate;
mod process;
mod stats;

pub use adapter::Adapter;
pub use bootstrap::{Bootstrap, child, cluster};
pub use locate::{Binary, MODULE_RELEASES, OLDEST, locate, oldest, pinned_version, release};
pub use process::{Envoy, Options, lines_in, record_in};
