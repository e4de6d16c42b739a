//! A core serves many connections: whoever checks a large body gives way to the others now and then.

use std::time::{Duration, Instant};

/// The longest a request keeps its core to itself. A JSON array's text is parsed in one go, which
/// takes about a millisecond per mebibyte.
const TURN_TIME_MAX: Duration = Duration::from_micros(200);
/// The clock is read once in so many steps: a step, which is an event, is about a microsecond.
const STEPS_PER_LOOK: u32 = 16;

/// The time that a request has had its core.
#[derive(Debug)]
pub(crate) struct Turn {
    began: Instant,
    steps: u32,
}

impl Turn {
    /// Began then.
    pub const fn since(began: Instant) -> Self {
        Self { began, steps: 0 }
    }

    /// After each step: lets the others have the core when the turn is over.
    pub async fn step(&mut self) {
        self.steps += 1;
        if self.steps.is_multiple_of(STEPS_PER_LOOK) && self.began.elapsed() >= TURN_TIME_MAX {
            tokio::task::yield_now().await;
            self.began = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use tokio::task::LocalSet;

    use super::*;

    #[test]
    fn a_long_turn_lets_the_others_in() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let served = Rc::new(Cell::new(0));
        let other = Rc::clone(&served);
        LocalSet::new().block_on(&runtime, async move {
            tokio::task::spawn_local(async move { other.set(other.get() + 1) });
            let long_ago = Instant::now().checked_sub(TURN_TIME_MAX).expect("the clock runs");
            let mut turn = Turn::since(long_ago);
            for _ in 1..STEPS_PER_LOOK {
                turn.step().await;
            }
            assert_eq!(served.get(), 0, "not before the clock is read");
            turn.step().await;
            assert_eq!(served.get(), 1);
        });
    }
}
