//! Who changes something on the admin port, and why: every change there is signed.
//!
//! The port asks for no key, whoever reaches it may write; the author is what they say of themselves,
//! for whoever reads the log or the table later.

/// The longest author and reason, in characters.
const BY_MAX: usize = 128;
const WHY_MAX: usize = 1_024;

/// The longest body of a change, in bytes: an author, a reason, and some numbers.
pub const CHANGE_BYTES_MAX: usize = 16_384;

/// What is wrong with an author or a reason, for the one who asks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unsigned(String);

/// Who asks: one line, of at most 128 characters.
pub fn signed(by: &str) -> Result<String, Unsigned> {
    line("by", by, BY_MAX)
}

/// Why: one line, of at most 1,024 characters.
pub fn reason(why: &str) -> Result<String, Unsigned> {
    line("why", why, WHY_MAX)
}

fn line(name: &str, text: &str, most: usize) -> Result<String, Unsigned> {
    let text = text.trim();
    match text.chars().count() {
        0 => Err(Unsigned(format!("{name} is missing: who reads it later wants to know"))),
        length if length > most => {
            Err(Unsigned(format!("{name} has {length} characters, at most {most}")))
        }
        _ if text.chars().any(char::is_control) => {
            Err(Unsigned(format!("{name} has to be one line")))
        }
        _ => Ok(text.to_owned()),
    }
}
