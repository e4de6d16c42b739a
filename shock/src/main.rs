//! `shock`: the one binary. All of it is the library's, for whoever adds effects in Rust.

use std::process::ExitCode;

/// For librdkafka and SQLite as well: the crate's `override` puts it in the place of C's `malloc`.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    shock::main()
}
