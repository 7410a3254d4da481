//! The gateway's log as the backend of the `log` crate, and what is left of a panic.

use super::host::{self, Level};

struct GatewayLog;

/// Sends `log`'s records, and the place of a panic, to the gateway's log. The gateway filters by its own level.
pub(super) fn install() {
    // The SDK traces each callback; forming those lines would cost more than most decisions.
    log::set_max_level(log::LevelFilter::Info);
    // Fails only when a logger is there already, and then it is this one.
    let _ = log::set_logger(&GatewayLog);
    std::panic::set_hook(Box::new(|panic| {
        // The place and not the message: messages of the standard library quote the text that was cut.
        let place = panic.location().map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
        host::log(Level::Critical, &format!("callgate stopped{place}; this is a defect, please report it"));
    }));
}

impl log::Log for GatewayLog {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = match record.level() {
            log::Level::Error => Level::Error,
            log::Level::Warn => Level::Warn,
            log::Level::Info => Level::Info,
            log::Level::Debug => Level::Debug,
            log::Level::Trace => Level::Trace,
        };
        match record.args().as_str() {
            Some(message) => host::log(level, message),
            None => host::log(level, &record.args().to_string()),
        }
    }

    fn flush(&self) {}
}
