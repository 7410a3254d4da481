//! Envoy's log as the backend of the `log` crate, and the log line of a panic.
#![expect(unsafe_code, reason = "Envoy's log is a foreign function")]

use crate::abi::{self, ModuleBuffer};

struct GatewayLog;

/// Sends the records of `log`, and the location of a panic, to Envoy's log. Envoy applies its own log level.
pub(crate) fn install() {
    log::set_max_level(log::LevelFilter::Info);
    // Fails only if a logger is already set, which can only be this one.
    let _ = log::set_logger(&GatewayLog);
    std::panic::set_hook(Box::new(|panic| {
        // Logs the location but not the message, because messages of the standard library quote the text that was processed.
        let place = panic.location().map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
        write(abi::CRITICAL, &format!("callgate stopped{place}; this is a defect, please report it"));
    }));
}

/// Writes a line to Envoy's log.
pub(crate) fn write(level: u32, message: &str) {
    // SAFETY: the message outlives the call. Envoy's loggers can be used by all threads.
    unsafe { abi::envoy_dynamic_module_callback_log(level, ModuleBuffer::of(message.as_bytes())) };
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
            log::Level::Error => abi::ERROR,
            log::Level::Warn => abi::WARN,
            log::Level::Info => abi::INFO,
            log::Level::Debug => abi::DEBUG,
            log::Level::Trace => abi::TRACE,
        };
        match record.args().as_str() {
            Some(message) => write(level, message),
            None => write(level, &record.args().to_string()),
        }
    }

    fn flush(&self) {}
}
