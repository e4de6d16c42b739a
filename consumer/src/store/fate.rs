//! What became of an event, as the look-ups read it.

use shared::clock::Millis;
use shared::position::Position;

/// Where and when an identity had its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppliedAt {
    /// The record that had it.
    pub position: Position,
    /// When it was committed; `None` where the events row is gone.
    pub at: Option<Millis>,
}

/// Where and why an identity is parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedAt {
    /// The record.
    pub position: Position,
    /// The reason ([`crate::batch::Poison::reason`]).
    pub reason: String,
    /// The database's code, where it refused.
    pub sqlstate: Option<String>,
    /// How often it was tried.
    pub attempts: i32,
    /// What is to become of it.
    pub state: String,
    /// Since when.
    pub at: Millis,
}

/// An applied event, as `tail` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedEvent {
    /// Its record.
    pub position: Position,
    /// Whose.
    pub tenant: String,
    /// CloudEvents attributes.
    pub source: String,
    /// The event's id.
    pub id: String,
    /// The event's type.
    pub event_type: String,
    /// The entity.
    pub subject: Option<String>,
    /// When the ingress received it.
    pub received_at: Millis,
    /// When its effect was committed.
    pub applied_at: Millis,
    /// The payload, JSON text.
    pub data: String,
}
