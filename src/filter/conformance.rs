//! Lets a test host put published vectors to the engine inside the module. Not in the filter that ships.

use super::host::{self, Level};
use crate::conformance::{Verdict, judge};

/// Answers the case that the host shows as the plugin's configuration; the verdict goes to the log.
#[expect(unsafe_code, reason = "the host finds it by its name, which nothing else in the module has")]
#[unsafe(no_mangle)]
extern "C" fn callgate_conformance(size: usize) -> u32 {
    let verdict = match host::plugin_configuration(size) {
        Ok(case) => judge(&case),
        Err(error) => Verdict::Broken(format!("{error:?}")),
    };
    let Ok(text) = serde_json::to_string(&verdict) else { return 0 };
    host::log(Level::Info, &text);
    1
}
