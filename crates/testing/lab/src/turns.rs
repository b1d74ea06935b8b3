//! Tests of one kind that may not all run at a time.

use std::sync::{Condvar, Mutex, PoisonError};

/// So many at a time; whoever comes meanwhile waits.
#[derive(Debug)]
pub struct Turns {
    free: Mutex<usize>,
    given_back: Condvar,
}

/// Held for as long as a test runs.
#[derive(Debug)]
pub struct Turn(&'static Turns);

impl Turns {
    /// `at_a_time`: 1 or more.
    pub const fn new(at_a_time: usize) -> Self {
        Self { free: Mutex::new(at_a_time), given_back: Condvar::new() }
    }

    /// Waits for a turn. A test that fails gives its own back like any other.
    pub fn take(&'static self) -> Turn {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.given_back.wait_while(free, |free| *free == 0);
        *waited.unwrap_or_else(PoisonError::into_inner) -= 1;
        Turn(self)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.given_back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[test]
    fn as_many_as_may_run_at_a_time_and_all_come_to_their_turn() {
        static TURNS: Turns = Turns::new(2);
        static NOW: AtomicUsize = AtomicUsize::new(0);
        static MOST: AtomicUsize = AtomicUsize::new(0);
        let run = || {
            let _turn = TURNS.take();
            MOST.fetch_max(NOW.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(10));
            NOW.fetch_sub(1, Ordering::SeqCst);
        };
        std::thread::scope(|scope| (0..6).for_each(|_| drop(scope.spawn(run))));
        assert_eq!((MOST.load(Ordering::SeqCst), NOW.load(Ordering::SeqCst)), (2, 0));
    }
}
