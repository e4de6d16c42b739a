//! State that goes back: what a refused statement changed in memory is undone, at the cost of what was
//! changed and not of what there is.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// State whose changes stay or go with a statement.
pub trait Reversible {
    /// What was changed since the last call of either is committed.
    fn keep(&mut self);

    /// What was changed since the last call of either goes back.
    fn undo(&mut self);
}

/// Nothing is kept.
impl Reversible for () {
    fn keep(&mut self) {}

    fn undo(&mut self) {}
}

/// A map that remembers what its entries were before they were changed.
#[derive(Clone, Debug)]
pub struct UndoMap<K, V> {
    entries: HashMap<K, V>,
    /// What changed entries were; `None`: not there.
    before: HashMap<K, Option<V>>,
}

impl<K, V> Default for UndoMap<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), before: HashMap::new() }
    }
}

impl<K: Clone + Eq + Hash, V> UndoMap<K, V> {
    /// What was committed before.
    pub fn new(entries: impl IntoIterator<Item = (K, V)>) -> Self {
        Self { entries: entries.into_iter().collect(), before: HashMap::new() }
    }

    /// An entry, with the changes that are not committed yet.
    pub fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key)
    }

    /// Puts an entry.
    pub fn insert(&mut self, key: K, value: V) {
        let before = self.entries.insert(key.clone(), value);
        self.before.entry(key).or_insert(before);
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &K) {
        let before = self.entries.remove(key);
        self.before.entry(key.clone()).or_insert(before);
    }

    /// The keys of entries that were changed and are not committed yet.
    pub fn changed(&self) -> impl Iterator<Item = &K> {
        self.before.keys()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<K: Clone + Eq + Hash, V> Reversible for UndoMap<K, V> {
    fn keep(&mut self) {
        self.before.clear();
    }

    fn undo(&mut self) {
        for (key, before) in self.before.drain() {
            match before {
                Some(value) => drop(self.entries.insert(key, value)),
                None => drop(self.entries.remove(&key)),
            }
        }
    }
}

/// Small state that is copied before it is changed.
#[derive(Clone, Debug, Default)]
pub struct Copied<T> {
    value: T,
    before: Option<T>,
}

impl<T: Clone> Copied<T> {
    /// What was committed before.
    pub const fn new(value: T) -> Self {
        Self { value, before: None }
    }

    /// To read it.
    pub const fn get(&self) -> &T {
        &self.value
    }

    /// To change it.
    pub fn change(&mut self) -> &mut T {
        if self.before.is_none() {
            self.before = Some(self.value.clone());
        }
        &mut self.value
    }
}

impl<T: Clone> Reversible for Copied<T> {
    fn keep(&mut self) {
        self.before = None;
    }

    fn undo(&mut self) {
        if let Some(before) = self.before.take() {
            self.value = before;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_goes_back_to_what_was_kept() {
        let mut map = UndoMap::new([("a", 1), ("b", 2)]);
        map.insert("a", 10);
        map.insert("a", 11);
        map.insert("c", 3);
        map.remove(&"b");
        assert_eq!((map.get("a"), map.get("b"), map.get("c")), (Some(&11), None, Some(&3)));
        map.undo();
        assert_eq!((map.get("a"), map.get("b"), map.get("c")), (Some(&1), Some(&2), None));
        map.undo();
        assert_eq!(map.len(), 2);
        map.insert("a", 10);
        map.remove(&"b");
        map.keep();
        map.insert("b", 5);
        map.undo();
        assert_eq!((map.get("a"), map.get("b"), map.len()), (Some(&10), None, 1));
        assert_eq!(map.changed().count(), 0);
    }

    #[test]
    fn a_copy_goes_back_to_what_was_kept() {
        let mut copied = Copied::new(vec![1]);
        copied.change().push(2);
        copied.change().push(3);
        copied.undo();
        assert_eq!(copied.get(), &[1]);
        copied.change().push(2);
        copied.keep();
        copied.undo();
        assert_eq!(copied.get(), &[1, 2]);
    }
}
