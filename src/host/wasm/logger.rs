//! The gateway's log as the backend of the `log` crate, and the log line of a panic.

use super::host::{self, Level};

struct GatewayLog;

/// Sends the records of `log`, and the location of a panic, to the gateway's log. The gateway applies its own log level.
pub(super) fn install() {
    // The SDK traces each callback, and formatting those lines would cost more than most decisions.
    log::set_max_level(log::LevelFilter::Info);
    // Fails only if a logger is already set, which can only be this one.
    let _ = log::set_logger(&GatewayLog);
    std::panic::set_hook(Box::new(|panic| {
        // Logs the location but not the message, because messages of the standard library quote the text that was processed.
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
