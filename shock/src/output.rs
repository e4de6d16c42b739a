//! stdout: what a command was asked for, and what a server says when it is up.

use std::io::{ErrorKind, Write};

/// Writes the text as it is. A reader that has seen enough (`| head`) is no error.
pub fn text(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Writes the text as one line.
pub fn line(line: &str) -> std::io::Result<()> {
    text(&format!("{line}\n"))
}

/// `name     value`: where a server listens and what one can do next. Programs read it too.
pub fn announce(name: &str, value: &str) -> std::io::Result<()> {
    line(&format!("{name:<8} {value}"))
}
