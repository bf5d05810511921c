//! That the program runs at all. Cargo builds a package's programs for its integration tests, and so this is also what
//! keeps `target/` current for the workspace's tests of the program.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::process::Command;

#[test]
fn says_its_version() {
    let output = Command::new(env!("CARGO_BIN_EXE_consul-session"))
        .arg("--version")
        .output()
        .unwrap();
    let version = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        version.trim(),
        concat!("consul-session ", env!("CARGO_PKG_VERSION"))
    );
}
