//! A lock in memory that forked processes of one side share.
//!
//! The word holds the thread that has it. What it guards is changed by single stores, so a thread that dies in the middle
//! leaves nothing half done: the next one takes the lock over.

use crate::{alone, real};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, compiler_fence};

/// Tries before the first offer of the processor to others.
const SPINS: u32 = 64;
/// Such offers between two looks whether the owner lives.
const YIELDS: u32 = 256;

thread_local! {
    static THREAD: Cell<u64> = const { Cell::new(0) };
}

/// The only thread's number, while there is one thread, or 0: this is found sooner than what belongs to a thread.
static ONLY: AtomicU64 = AtomicU64::new(0);

/// Threads or copies of this process were made without libc's knowledge: they may have the memory of the thread that made them,
/// and its number in it.
static IS_UNCERTAIN: AtomicBool = AtomicBool::new(false);

/// Before such a thread or copy is made: from now on the kernel is asked each time who is calling.
pub fn distrust() {
    IS_UNCERTAIN.store(true, Ordering::SeqCst);
}

/// The calling thread's number, asked of the kernel once.
fn thread() -> u64 {
    if IS_UNCERTAIN.load(Ordering::Relaxed) {
        // SAFETY: asks for a number.
        return unsafe { libc::syscall(libc::SYS_gettid) }.unsigned_abs();
    }
    THREAD.with(|cell| {
        if cell.get() == 0 {
            // SAFETY: asks for a number.
            cell.set(unsafe { libc::syscall(libc::SYS_gettid) }.unsigned_abs());
        }
        cell.get()
    })
}

/// In the child of a fork: its only thread has another number than the one it was copied from.
pub fn forget_thread() {
    ONLY.store(0, Ordering::Relaxed);
    THREAD.with(|cell| cell.set(0));
}

/// The lock, held until it is dropped.
pub struct Held<'a> {
    word: &'a AtomicU64,
}

/// Takes the lock. `None`: this very thread has it, so this is a signal handler that interrupted it.
#[inline]
pub fn acquire(word: &AtomicU64) -> Option<Held<'_>> {
    if alone::is_alone() {
        let own = ONLY.load(Ordering::Relaxed);
        // A handler of signals that comes between the two lets go of the lock before it ends.
        if own != 0 && word.load(Ordering::Relaxed) == 0 {
            word.store(own, Ordering::Relaxed);
            compiler_fence(Ordering::SeqCst);
            return Some(Held { word });
        }
    }
    acquire_among_others(word)
}

fn acquire_among_others(word: &AtomicU64) -> Option<Held<'_>> {
    let own = thread();
    if alone::is_alone() {
        ONLY.store(own, Ordering::Relaxed);
    }
    let mut tries: u32 = 0;
    loop {
        match word.compare_exchange(0, own, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => return Some(Held { word }),
            Err(owner) if owner == own => return None,
            Err(owner) => {
                tries = tries.wrapping_add(1);
                if tries < SPINS {
                    std::hint::spin_loop();
                } else {
                    // SAFETY: offers the processor to others.
                    unsafe { libc::sched_yield() };
                    if tries.is_multiple_of(YIELDS) && is_dead(owner) {
                        let _ = word.compare_exchange(owner, 0, Ordering::AcqRel, Ordering::Relaxed);
                    }
                }
            }
        }
    }
}

fn is_dead(owner: u64) -> bool {
    // SAFETY: signal 0 only asks whether the thread exists.
    let answer = unsafe { libc::kill(owner as i32, 0) };
    answer < 0 && real::errno() == libc::ESRCH
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.word.store(0, Ordering::Release);
    }
}
