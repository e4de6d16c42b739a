//! Whether any of a set of files has become another one: asked again and again, never notified.
//!
//! Polling sees what notifications miss: the symbolic link that a ConfigMap or a mounted secret is
//! swapped by, a file on a network mount, a file that was not there before. It reads no content: a
//! file is another one when its device, inode, length or times are.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What the system says of a file; `None` where there is none.
type Stamp = Option<[i64; 7]>;

/// Files, and what they were when somebody read them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<PathBuf, Stamp>);

impl Files {
    /// Adds a file that is about to be read; call it before, so that no change falls in between.
    pub fn add(&mut self, path: &Path) {
        self.0.entry(path.to_owned()).or_insert_with(|| stamp(path));
    }

    /// What the same files are now.
    fn again(&self) -> Self {
        Self(self.0.keys().map(|path| (path.clone(), stamp(path))).collect())
    }

    /// The files that differ.
    fn differing<'f>(&'f self, other: &'f Self) -> impl Iterator<Item = &'f Path> {
        let differs = |path: &PathBuf| self.0.get(path) != other.0.get(path);
        self.0.keys().filter(move |path| differs(path)).map(PathBuf::as_path)
    }
}

/// A directory's stamp changes when an entry is added, removed or renamed. The path is followed
/// through its links, so that a link that was swapped leads to another inode.
fn stamp(path: &Path) -> Stamp {
    let meta = std::fs::metadata(path).ok()?;
    // Only compared: a value beyond the range wraps the same way each time.
    let [device, inode, length] = [meta.dev(), meta.ino(), meta.len()].map(|part| part as i64);
    let (changed, modified) = (meta.ctime(), meta.mtime());
    Some([device, inode, length, changed, meta.ctime_nsec(), modified, meta.mtime_nsec()])
}

/// Compares files with what they were when they were read.
#[derive(Debug)]
pub struct Watch {
    read: Files,
    last: Files,
}

impl Watch {
    /// Watches files that have been read.
    pub fn new(read: Files) -> Self {
        Self { last: read.clone(), read }
    }

    /// Looks again. `true`: they are no longer what was read, and have been quiet since the look
    /// before, so that nobody reads a file that is being written.
    pub fn changed(&mut self) -> bool {
        let now = self.read.again();
        let quiet = now == self.last;
        self.last = now;
        quiet && self.last != self.read
    }

    /// The files that are no longer what was read.
    pub fn differing(&self) -> impl Iterator<Item = &Path> {
        self.read.differing(&self.last)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// What two looks after a change say: never at once, then yes, if it was one.
    fn check(path: &Path, change: impl FnOnce(), expected: bool) {
        let mut files = Files::default();
        files.add(path);
        let mut watch = Watch::new(files);
        assert!(!watch.changed(), "nothing has changed yet");
        change();
        let looks = [watch.changed(), watch.changed()];
        assert_eq!(looks, [false, expected], "{}", path.display());
        assert_eq!(watch.differing().count(), usize::from(expected));
    }

    #[test]
    fn every_kind_of_change_is_seen_once_it_is_quiet() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let write = |name: &str, text: &str| std::fs::write(at(name), text).expect("written");
        write("a", "1");
        check(&at("a"), || {}, false);
        check(&at("a"), || write("a", "2"), true);
        check(&at("a"), || std::fs::remove_file(at("a")).expect("removed"), true);
        check(&at("a"), || write("a", "3"), true);
        check(
            &at("a"),
            || {
                write("b", "3");
                std::fs::rename(at("b"), at("a")).expect("renamed");
            },
            true,
        );
        check(directory.path(), || write("c", ""), true);
    }

    /// As the kubelet does it: `file → ..data/file`, `..data → ..1`, and `..data` is replaced.
    #[test]
    fn the_swap_of_a_mounted_directory_is_seen() {
        let mount = tempfile::tempdir().expect("a directory");
        let at = |name: &str| mount.path().join(name);
        for (version, text) in [("..1", "old"), ("..2", "new")] {
            std::fs::create_dir(at(version)).expect("made");
            std::fs::write(at(version).join("keys.toml"), text).expect("written");
        }
        symlink("..1", at("..data")).expect("linked");
        symlink("..data/keys.toml", at("keys.toml")).expect("linked");
        let swap = || {
            symlink("..2", at("..data_tmp")).expect("linked");
            std::fs::rename(at("..data_tmp"), at("..data")).expect("swapped");
        };
        check(&at("keys.toml"), swap, true);
        assert_eq!(std::fs::read_to_string(at("keys.toml")).expect("read"), "new");
    }

    #[test]
    fn a_file_that_is_being_written_is_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("a");
        std::fs::write(&file, "").expect("written");
        let mut files = Files::default();
        files.add(&file);
        let mut watch = Watch::new(files);
        for length in 1..5 {
            std::fs::write(&file, "x".repeat(length)).expect("written");
            assert!(!watch.changed());
        }
        assert!(watch.changed());
    }
}
