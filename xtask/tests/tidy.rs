//! The real tree is tidy: the same run as `cargo xtask tidy`, so that `cargo test` alone finds a
//! forbidden edge between crates. Never looks at what git ignores.

use std::process::Command;

#[test]
fn the_tree_is_tidy() {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).arg("tidy").output().expect("it runs");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
}
