//! Where things are: the repository's root, its `target/`, and the cargo that runs us.
//! Never changes anything.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// The repository's root: the parent of this crate's folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is a folder of the workspace, so it has a parent")
}

/// The build directory; everything that xtask fetches, starts or measures lives below it.
pub fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// A release binary of this workspace.
pub fn release_binary(name: &str) -> PathBuf {
    target_dir().join("release").join(name)
}

/// A binary of this workspace as the tests build it.
pub fn debug_binary(name: &str) -> PathBuf {
    target_dir().join("debug").join(name)
}

/// The cargo that started xtask (so that the pinned toolchain is kept), run in the root.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}
