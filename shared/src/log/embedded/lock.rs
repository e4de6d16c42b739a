//! The lock on the data directory: one process per directory. It never waits and never breaks a
//! lock: the operating system releases it when its holder dies, however it dies.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::OpenError;

/// The locked file inside the data directory; its text is the holder's process id.
const LOCK_FILE: &str = "lock";

/// A data directory that this process alone uses, until this is dropped.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    // Closing the file releases the lock.
    _file: File,
}

impl DataDirectory {
    /// Makes the directory where there is none and takes its lock, or says who has it.
    pub fn lock(directory: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Directory { directory: directory.to_owned(), source };
        // Events are personal: what we make, only we read. A directory that is there stays as it is.
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        // Not truncated on opening: the holder's process id must stay readable to the loser.
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(directory.join(LOCK_FILE))
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // The holder may not have written its id yet; the refusal stands without it.
                let _ = file.read_to_string(&mut text);
                return Err(OpenError::Locked {
                    directory: directory.to_owned(),
                    pid: text.trim().parse().ok(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        file.set_len(0).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { path: directory.to_owned(), _file: file })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_of_ours_is_private() {
        let parent = tempfile::tempdir().expect("a directory");
        let directory = DataDirectory::lock(&parent.path().join("a/b")).expect("locked");
        let mode = std::fs::metadata(directory.path()).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
