#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| callgate_module::fuzz(data));
