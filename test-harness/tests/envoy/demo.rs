//! What `cargo demo` shows is true.

use test_harness::demo::Demo;

#[test]
fn every_call_of_the_demo_ends_as_its_table_says() {
    for outcome in Demo::start().unwrap().call_all().unwrap() {
        assert!(
            outcome.is_expected(),
            "{}: expected {:?}, got {:?}, {:?}",
            outcome.title,
            outcome.expected,
            outcome.got,
            outcome.upstream
        );
    }
}
