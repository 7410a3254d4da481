//! The same check as `cargo harness glewlwyd`.

use identity_provider::glewlwyd::{Installed, check};

#[test]
#[ignore = "downloads a server from Debian; CI runs `cargo harness glewlwyd`"]
fn glewlwyd_issues_tokens_that_the_engine_accepts() {
    let installed = Installed::find_or_download().unwrap();
    check(&installed).unwrap().iter().for_each(|line| println!("{line}"));
}
