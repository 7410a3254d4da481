//! The effect of a defect is limited to the request that triggers it. `module/panics.rs` has the same for the dynamic module.

use test_harness::build::{self, Flavor};
use test_harness::envoy::Options;

use crate::envoy::fixture::{Gate, good, policy, wasm_only};

#[test]
fn a_trap_fails_only_one_request() {
    if !wasm_only("it has no VM that could trap") {
        return;
    }
    let module = build::filter(Flavor::Testing).unwrap();
    let gate = Gate::try_start(&module, &policy().to_string(), |_| (), &Options::default()).unwrap();
    gate.ask(good()).assert_allowed();
    for _ in 0..3 {
        // Longer than the back-off, which keeps Envoy from restarting all the time a module that traps at every start. If a VM traps sooner
        // after its start, its worker's requests fail until the back-off is over.
        std::thread::sleep(std::time::Duration::from_millis(300));
        let arrived = gate.upstream.count();
        assert_eq!(gate.call(&good().header("X-Panic-On-Purpose", "1")).status, 503);
        assert_eq!(gate.upstream.count(), arrived, "what trapped reached the API");
        // Envoy recreates the VM for the next request. Allowed and denied requests are decided as before.
        gate.ask(good()).assert_allowed();
        gate.ask(good().header("X-HTTP-Method-Override", "DELETE")).assert_denied(400, "method_override");
    }
    assert_eq!(gate.envoy.stat("wasm.callgate.vm_reload_success").unwrap(), 3);
    assert!(gate.envoy.log().contains("callgate stopped at"));
}

#[test]
fn shipped_module_ignores_the_panic_header() {
    let gate = Gate::start(&policy());
    gate.ask(good().header("X-Panic-On-Purpose", "1")).assert_allowed();
}
