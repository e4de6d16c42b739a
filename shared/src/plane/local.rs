//! The control plane within one process: words go straight to the listeners, the state into a file
//! where there is a directory for it.
//!
//! The file, `control.json`: `{"v":1,"entries":{"limit/telemetry/7":{…}}}`, subjects and entries as in
//! [`super::state`]. It is replaced as a whole, written to the disk before a change is in effect. One
//! that cannot be read is an error and stays as it is: what an operator has closed must not open by
//! itself.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::PlaneError;
use super::ears::Ears;
use super::state::{Change, Entry, State, Subject, VERSION};
use crate::clock::Millis;

/// The file inside the data directory.
const FILE: &str = "control.json";
/// The largest file that is read, in bytes: some times what the bounds of the state allow.
const BYTES_MAX: u64 = 64 << 20;

/// Why the file is not used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}; it holds what operators have set: mend it, or remove it to begin with nothing", path.display())]
pub struct FileError {
    path: PathBuf,
    cause: String,
}

#[derive(Serialize, Deserialize)]
struct Written {
    v: u16,
    entries: BTreeMap<String, Entry>,
}

/// Where the state is kept. One change at a time.
#[derive(Debug)]
pub(super) struct Local(Arc<Mutex<Option<PathBuf>>>);

impl Local {
    /// Kept nowhere.
    pub(super) fn nowhere() -> Self {
        Self(Arc::default())
    }

    /// Kept in a directory, with what is there.
    pub(super) fn open(directory: &Path) -> Result<(Self, State), FileError> {
        let path = directory.join(FILE);
        let failed = |cause: String| FileError { path: path.clone(), cause };
        let state = read(&path).map_err(failed)?;
        Ok((Self(Arc::new(Mutex::new(Some(path)))), state))
    }

    pub(super) async fn change(
        &self,
        changes: Vec<Change>,
        ears: &Arc<Ears>,
    ) -> Result<(), PlaneError> {
        let (kept, ears) = (Arc::clone(&self.0), Arc::clone(ears));
        let changed = tokio::task::spawn_blocking(move || {
            let path = kept.lock();
            if let Some(path) = path.as_deref() {
                let mut next = State::clone(&ears.state.borrow());
                for change in &changes {
                    // What does not fit is counted when it is taken below.
                    let _ = next.apply(change.clone(), ears.clock.now());
                }
                write(path, &next)?;
            }
            changes.into_iter().for_each(|change| ears.take(change));
            Ok::<(), io::Error>(())
        });
        let unavailable = |error: String| PlaneError::Unavailable(format!("{FILE}: {error}"));
        let changed = changed.await.map_err(|error| unavailable(error.to_string()))?;
        changed.map_err(|error| unavailable(error.to_string()))
    }
}

fn read(path: &Path) -> Result<State, String> {
    let text = match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(State::default()),
        Err(error) => return Err(error.to_string()),
        Ok(found) if found.len() > BYTES_MAX => return Err(format!("{} bytes", found.len())),
        Ok(_) => fs::read(path).map_err(|error| error.to_string())?,
    };
    let written: Written = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    if written.v != VERSION {
        return Err(format!("version {}, this build reads {VERSION}", written.v));
    }
    let mut state = State::default();
    for (subject, entry) in written.entries {
        let parsed = Subject::parse(&subject).ok_or_else(|| format!("{subject} is no subject"))?;
        let change = Change { subject: parsed, entry: Some(entry) };
        // No entry has to make room for another one: more than the bound is an error here.
        let applied = state.apply(change, Millis(i64::MIN));
        applied.map_err(|why| format!("the entry of {subject} is {}", why.name()))?;
    }
    Ok(state)
}

/// Whole, and on the disk, when it returns; or as it was.
fn write(path: &Path, state: &State) -> io::Result<()> {
    let entries = state.all().map(|(subject, entry)| (subject.to_string(), entry.clone()));
    let written = Written { v: VERSION, entries: entries.collect() };
    let text = serde_json::to_vec_pretty(&written)?;
    let next = path.with_extension("json.next");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    // The new name is on the disk only with its directory.
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::metrics::Registry;
    use crate::plane::Plane;
    use crate::plane::state::Setting;

    fn limit(partition: &str, limit_per_s: f64) -> Change {
        let entry = Entry {
            v: VERSION,
            setting: Setting::Limit { limit_per_s },
            until_ms: Some(1_000),
            by: "ops".to_owned(),
            why: "a test".to_owned(),
            at_ms: 0,
        };
        Change { subject: Subject::parse(partition).expect("a subject"), entry: Some(entry) }
    }

    fn open(directory: &Path) -> Result<Plane, FileError> {
        Plane::kept("dev", Clock::manual(Millis(0)), directory, &Registry::new())
    }

    #[tokio::test]
    async fn what_was_set_is_there_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let plane = open(directory.path()).expect("nothing there yet");
        plane.change(limit("limit/telemetry/0", 5.0)).await.expect("written");
        plane.change(limit("limit/telemetry/1", 0.0)).await.expect("written");
        let removed = Change { entry: None, ..limit("limit/telemetry/0", 0.0) };
        plane.change(removed).await.expect("written");
        let before = State::clone(&plane.state().borrow());
        let again = open(directory.path()).expect("read");
        assert_eq!(**again.state().borrow(), before);
        assert_eq!(before.all().count(), 1);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_refused_and_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(FILE);
        let check = |text: &str, expected: &str| {
            fs::write(&path, text).expect("written");
            let error = open(directory.path()).expect_err(text).to_string();
            assert!(error.contains(expected) && error.contains("mend it"), "{error}");
            assert_eq!(fs::read_to_string(&path).expect("still there"), text);
        };
        check("", "EOF");
        check(r#"{"v":1,"entries":{"mo"#, "EOF");
        check(r#"{"v":2,"entries":{}}"#, "version 2");
        let entry = r#"{"v":1,"set":"limit","limit_per_s":-1,"by":"a","why":"b","at_ms":1}"#;
        check(&format!(r#"{{"v":1,"entries":{{"limit/telemetry/0":{entry}}}}}"#), "malformed");
        fs::remove_file(&path).expect("removed");
        open(directory.path()).expect("begins with nothing");
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_not_in_effect() {
        let directory = tempfile::tempdir().expect("a directory");
        let plane = open(directory.path()).expect("nothing there yet");
        // A directory in the place of the file that is written first.
        fs::create_dir(directory.path().join("control.json.next")).expect("made");
        let refused = plane.change(limit("limit/telemetry/0", 5.0)).await;
        assert!(matches!(refused, Err(PlaneError::Unavailable(_))), "{refused:?}");
        assert_eq!(plane.state().borrow().all().count(), 0);
    }
}
