//! What is wrong with an event, point by point: the `errors` of a 422.
//!
//! Never holds a value of the event: senders log what we answer, and events are personal.

use serde::Serialize;

/// The most violations one answer lists; the rest is said to be cut.
pub(crate) const VIOLATIONS_MAX: usize = 20;

/// One violation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Violation {
    /// JSON Pointer into the event.
    pub pointer: String,
    /// The keyword that says no.
    pub keyword: String,
    /// JSON Pointer into the schema; empty for the envelope, which has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub schema_pointer: String,
    /// What must hold, in words.
    pub message: String,
    /// Which event of the request; absent where there is only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
}

/// The first [`VIOLATIONS_MAX`] violations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Violations {
    /// What was found.
    pub list: Vec<Violation>,
    /// Whether there were more.
    pub truncated: bool,
}

impl Violations {
    /// Adds one while there is room; `false` once there is none and looking on is useless.
    pub fn push(&mut self, violation: Violation) -> bool {
        self.truncated = self.list.len() == VIOLATIONS_MAX;
        if !self.truncated {
            self.list.push(violation);
        }
        !self.truncated
    }

    /// Adds what an attribute of the envelope must be.
    pub fn attribute(&mut self, name: &str, keyword: &str, message: &str) {
        self.push(Violation {
            pointer: format!("/{name}"),
            keyword: keyword.to_owned(),
            schema_pointer: String::new(),
            message: message.to_owned(),
            index: None,
        });
    }
}
