//! Every interleaving of two threads on one bucket: nothing is let in twice, nothing is lost, and a
//! change of rate tears nothing. `RUSTFLAGS="--cfg loom" cargo test -p control --test loom --release`.
#![cfg(loom)]

use control::gcra::{Bucket, Tolerance};
use control::time::Nanos;
use loom::sync::Arc;
use loom::thread;

const NOW: Nanos = Nanos(1_000_000_000);
/// Room for three events at 10/s: the first two leave 0.2 s, which is less than 0.25 s.
const DEPTH: Tolerance = Tolerance::Nanos(250_000_000);

fn admitted(bucket: &Bucket, times: u32) -> u32 {
    (0..times).filter(|_| bucket.admit(1, DEPTH, NOW).is_ok()).count() as u32
}

#[test]
fn two_threads_share_the_room_exactly() {
    loom::model(|| {
        let bucket = Arc::new(Bucket::new(Some(10.0)));
        let other = Arc::clone(&bucket);
        let thread = thread::spawn(move || admitted(&other, 2));
        let here = admitted(&bucket, 2);
        let there = thread.join().expect("it ends");
        assert_eq!(here + there, 3);
        assert_eq!(bucket.ahead_ns(NOW), 300_000_000);
    });
}

#[test]
fn what_one_gives_back_is_neither_lost_nor_doubled() {
    loom::model(|| {
        let bucket = Arc::new(Bucket::new(Some(10.0)));
        let other = Arc::clone(&bucket);
        let thread = thread::spawn(move || {
            let permit = other.admit(1, DEPTH, NOW).expect("there is room for three");
            other.give_back(permit, 1);
        });
        let here = admitted(&bucket, 2);
        thread.join().expect("it ends");
        assert_eq!(here, 2);
        assert_eq!(bucket.ahead_ns(NOW), 200_000_000);
    });
}

#[test]
fn a_new_rate_charges_the_old_cost_or_the_new_one() {
    loom::model(|| {
        let bucket = Arc::new(Bucket::new(Some(10.0)));
        let other = Arc::clone(&bucket);
        let thread = thread::spawn(move || other.set_rate(Some(100.0)));
        assert_eq!(admitted(&bucket, 1), 1);
        thread.join().expect("it ends");
        let ahead = bucket.ahead_ns(NOW);
        assert!(ahead == 100_000_000 || ahead == 10_000_000, "{ahead}");
    });
}
