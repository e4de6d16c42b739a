//! The ledger: every request that was sent, and what was answered, in the order in which it happened.
//!
//! The file is the specification: one JSON object a line, appended with one write each, a `sent` line
//! before the first byte of the request leaves and an `answered` line after its last byte arrived. So
//! a line's number is a time: A was answered before B was sent exactly where A's line is above B's. A
//! request without an answered line is unknown. The ledger never judges; [`crate::verify`] does.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::canonical::Digest;

/// What makes two arrivals the same event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Whose event.
    pub tenant: String,
    /// CloudEvents `source`.
    pub source: String,
    /// CloudEvents `id`.
    pub id: String,
}

/// One event of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posted {
    /// Which event.
    #[serde(flatten)]
    pub identity: Identity,
    /// What is kept in order: events of one key take effect as they were accepted.
    pub key: String,
    /// Of the bytes that the record's value must have.
    pub value: Digest,
    /// Of what the effect's data must mean.
    pub data: Digest,
}

/// What an answer says of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is in the log.
    Accepted,
    /// It is not in the log.
    Refused,
    /// It may or may not be in the log.
    Unknown,
}

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Line {
    /// A request is about to leave.
    Sent {
        /// The request's number, unique in the file.
        request: u64,
        /// Its events, in the request's order.
        events: Vec<Posted>,
    },
    /// Its answer arrived, or is known never to arrive.
    Answered {
        /// The request's number.
        request: u64,
        /// The HTTP status, where there was one.
        status: Option<u16>,
        /// One per event.
        outcomes: Vec<Outcome>,
    },
}

/// The writing side. Shared by all connections of a run.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    file: Mutex<File>,
    next: AtomicU64,
}

impl Ledger {
    /// A fresh file; an old one of that name is an error, never continued.
    pub fn create(path: impl Into<PathBuf>) -> anyhow::Result<Self> {
        let path = path.into();
        let file = File::create_new(&path).with_context(|| format!("ledger {}", path.display()))?;
        Ok(Self { path, file: Mutex::new(file), next: AtomicU64::new(0) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Notes a request before it is sent; its number belongs to [`Ledger::answered`].
    pub fn sent(&self, events: Vec<Posted>) -> anyhow::Result<u64> {
        let request = self.next.fetch_add(1, Ordering::Relaxed);
        self.write(&Line::Sent { request, events })?;
        Ok(request)
    }

    /// Notes what became of a request.
    pub fn answered(
        &self,
        request: u64,
        status: Option<u16>,
        outcomes: Vec<Outcome>,
    ) -> anyhow::Result<()> {
        self.write(&Line::Answered { request, status, outcomes })
    }

    fn write(&self, line: &Line) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec(line).context("a line is JSON")?;
        text.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.write_all(&text).with_context(|| format!("ledger {}", self.path.display()))
    }

    /// Reads a file back, so that what is judged is what stands on the disk.
    pub fn read(path: &Path) -> anyhow::Result<Vec<Line>> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("ledger {}", path.display()))?;
        text.lines()
            .enumerate()
            .map(|(number, line)| {
                serde_json::from_str(line)
                    .with_context(|| format!("{}:{} is no ledger line", path.display(), number + 1))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical;

    #[test]
    fn lines_are_read_back_in_their_order() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("ledger.jsonl");
        let ledger = Ledger::create(&path).expect("fresh");
        let digest = canonical::of_bytes(b"{}");
        let identity = Identity { tenant: "acme".into(), source: "/".into(), id: "\"1\"\n".into() };
        let event = Posted { identity, key: "acme".into(), value: digest, data: digest };
        let first = ledger.sent(vec![event.clone()]).expect("written");
        let second = ledger.sent(vec![event.clone(), event.clone()]).expect("written");
        ledger.answered(first, Some(202), vec![Outcome::Accepted]).expect("written");
        assert!(Ledger::create(&path).is_err(), "an old ledger is never continued");
        let expected = [
            Line::Sent { request: first, events: vec![event.clone()] },
            Line::Sent { request: second, events: vec![event.clone(), event] },
            Line::Answered { request: first, status: Some(202), outcomes: vec![Outcome::Accepted] },
        ];
        assert_eq!(Ledger::read(&path).expect("readable"), expected);
    }
}
