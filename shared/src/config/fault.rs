//! What is wrong with a configuration: each fault with its place, all of them together.
//!
//! A fault never carries the value of a secret key; see [`super::keys::Key::secret`].

use std::fmt;
use std::path::PathBuf;

/// Faults beyond this number are not collected: a file that is not a configuration at all would
/// otherwise fill the screen and the memory.
pub(super) const FAULTS_MAX: usize = 200;

/// Where a setting was typed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nowhere: the default.
    Default,
    /// In a file, on a line (from 1; 0 = the file as a whole).
    File(PathBuf, usize),
    /// In an environment variable of that name.
    Variable(String),
    /// In a `--set key=value`.
    Flag,
    /// Decided by the command itself, such as `shock dev --data-dir`.
    Command,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, 0) => write!(f, "{}", path.display()),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag => f.write_str("--set"),
            Self::Command => f.write_str("command line"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where it was typed.
    pub place: Origin,
    /// Which key; empty where a file as a whole is meant.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", printable(&self.key))?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong, in the order of the layers and lines.
#[derive(Debug, thiserror::Error)]
pub struct ConfigError(pub Vec<Fault>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        if self.0.len() >= FAULTS_MAX {
            write!(f, "\nfurther faults are not listed")?;
        }
        Ok(())
    }
}

/// A text as it may stand in a message: one line, of a bounded length.
pub(super) fn printable(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    let mut shown: String = text.chars().take(CHARS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}
