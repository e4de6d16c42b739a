//! What a process says on stdout when it is up: where it listens. Programs read it too.

/// `name     value`, flushed at once.
#[expect(clippy::print_stdout, reason = "where it listens is the answer to having started it")]
pub fn line(name: &str, value: &str) {
    println!("{name:<8} {value}");
}
