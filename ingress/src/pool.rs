//! A thread's things of one kind, used again and again: a request takes one and gives it back when
//! it drops it, so that after warm-up none is made.
//!
//! A pool is bounded in number and in bytes; what does not fit goes back to the allocator. A burst
//! or huge requests do not keep their memory for ever.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Kept per thread and kind: one for each request that may be waiting for the log.
const POOLED_MAX: usize = 1_024;
/// What those kept may hold in all.
const POOLED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What a pool keeps.
pub(crate) trait Reusable {
    /// Forgets everything but its buffers.
    fn reset(&mut self);

    /// The room in its buffers, in bytes.
    fn bytes(&self) -> usize;
}

/// A thread's idle things.
#[derive(Debug)]
pub(crate) struct Pool<T>(RefCell<Idle<T>>);

#[derive(Debug)]
struct Idle<T> {
    /// Boxed: some are hundreds of bytes, and would be copied on each way.
    things: Vec<Box<T>>,
    bytes: usize,
}

/// One of them in use; goes back on drop.
#[derive(Debug)]
pub(crate) struct Pooled<'p, T: Reusable> {
    pool: &'p Pool<T>,
    thing: Option<Box<T>>,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self(RefCell::new(Idle { things: Vec::new(), bytes: 0 }))
    }
}

impl<T: Reusable> Pool<T> {
    /// One that is as good as new.
    pub fn take(&self) -> Pooled<'_, T>
    where
        T: Default,
    {
        self.take_or_else(T::default)
    }

    /// One that is as good as `make`'s.
    pub fn take_or_else(&self, make: impl FnOnce() -> T) -> Pooled<'_, T> {
        let mut idle = self.0.borrow_mut();
        let thing = idle.things.pop();
        idle.bytes -= thing.as_ref().map_or(0, |thing| thing.bytes());
        Pooled { pool: self, thing: Some(thing.unwrap_or_else(|| Box::new(make()))) }
    }
}

impl<T: Reusable> Deref for Pooled<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.thing.as_ref().expect("there until it is dropped")
    }
}

impl<T: Reusable> DerefMut for Pooled<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.thing.as_mut().expect("there until it is dropped")
    }
}

impl<T: Reusable> Drop for Pooled<'_, T> {
    fn drop(&mut self) {
        let Some(mut thing) = self.thing.take() else { return };
        let mut idle = self.pool.0.borrow_mut();
        let bytes = idle.bytes + thing.bytes();
        if idle.things.len() < POOLED_MAX && bytes <= POOLED_BYTES_MAX {
            thing.reset();
            idle.bytes = bytes;
            idle.things.push(thing);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Reusable for String {
        fn reset(&mut self) {
            self.clear();
        }

        fn bytes(&self) -> usize {
            self.capacity()
        }
    }

    #[test]
    fn what_comes_back_is_used_again() {
        let pool = Pool::<String>::default();
        let mut text = pool.take();
        text.push_str("of the last request");
        let place = text.as_ptr();
        drop(text);
        let text = pool.take();
        assert_eq!((text.as_str(), text.as_ptr()), ("", place));
    }

    #[test]
    fn neither_a_burst_nor_huge_requests_are_kept() {
        let check = |count: usize, bytes_each: usize, kept: usize| {
            let pool = Pool::<String>::default();
            let mut burst: Vec<_> = (0..count).map(|_| pool.take()).collect();
            burst.iter_mut().for_each(|text| text.reserve_exact(bytes_each));
            drop(burst);
            assert_eq!(pool.0.borrow().things.len(), kept);
            let again: Vec<_> = (0..count).map(|_| pool.take()).collect();
            assert_eq!(pool.0.borrow().bytes, 0);
            drop(again);
        };
        check(2 * POOLED_MAX, 1, POOLED_MAX);
        check(10, POOLED_BYTES_MAX / 4, 4);
    }
}
