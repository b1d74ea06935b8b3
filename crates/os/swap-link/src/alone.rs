//! Whether this process has one thread and shares nothing by `fork`: then a change of what only its threads share needs no
//! locked instruction, of which a small message else takes five.
//!
//! Such a change is one instruction or is undone before it is seen, so a signal handler that makes the same in the middle
//! does no harm. libc says whether there are threads; it never goes back to one. Whoever makes threads or copies of this
//! process by libc's `clone`, `__clone` or `syscall` is seen doing that and ends it for good; by an instruction of its own it is not seen.

use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, Ordering};

/// What `ONLY_THREAD` leads to before libc's own was found, and where several are at work.
static NOT_KNOWN: AtomicU8 = AtomicU8::new(0);
static NEVER_AGAIN: AtomicU8 = AtomicU8::new(0);

/// Not 0 there: this process has one thread.
static ONLY_THREAD: AtomicPtr<AtomicU8> = AtomicPtr::new(std::ptr::addr_of!(NOT_KNOWN).cast_mut());

/// Asks libc where it says so. Before that, and where libc has no such word, there may be several.
pub fn prepare() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    // SAFETY: a look-up by a terminated name.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__libc_single_threaded".as_ptr()) };
    if !found.is_null() {
        let unknown = std::ptr::addr_of!(NOT_KNOWN).cast_mut();
        let _ = ONLY_THREAD.compare_exchange(unknown, found.cast(), Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Other processes share what this one has, or threads were made that libc does not know of.
pub fn never_again() {
    ONLY_THREAD.store(std::ptr::addr_of!(NEVER_AGAIN).cast_mut(), Ordering::SeqCst);
}

/// Whether nobody else can be at work on what this process has.
#[inline]
pub fn is_alone() -> bool {
    // SAFETY: one of the two above, or libc's variable of one byte, which libc changes before it makes a thread.
    unsafe { (*ONLY_THREAD.load(Ordering::Relaxed)).load(Ordering::Relaxed) != 0 }
}

/// Adds one, in an instruction that a signal cannot divide. Only for a process that [`is_alone`].
#[inline]
pub fn raise(count: &AtomicU32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: adds one to a word that lives and that nobody else changes.
    unsafe {
        std::arch::asm!("inc dword ptr [{}]", in(reg) count.as_ptr(), options(nostack));
    }
    #[cfg(not(target_arch = "x86_64"))]
    count.fetch_add(1, Ordering::SeqCst);
}

/// Takes one away, as [`raise`] adds it. Returns whether none is left.
#[inline]
pub fn lower(count: &AtomicU32) -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let none_left: u8;
        // SAFETY: takes one from a word that lives and that nobody else changes.
        unsafe {
            std::arch::asm!("dec dword ptr [{}]", "sete {}", in(reg) count.as_ptr(), out(reg_byte) none_left, options(nostack));
        }
        none_left != 0
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        count.fetch_sub(1, Ordering::SeqCst) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_up_and_down() {
        let count = AtomicU32::new(1);
        raise(&count);
        assert_eq!(count.load(Ordering::Relaxed), 2);
        assert!(!lower(&count));
        assert!(lower(&count));
        assert_eq!(count.load(Ordering::Relaxed), 0);
    }

    /// The tests' own process has threads, and libc says so.
    #[test]
    fn threads_are_noticed() {
        std::thread::spawn(prepare).join().expect("it only looks");
        assert!(!is_alone());
        #[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
        assert!(
            !std::ptr::eq(ONLY_THREAD.load(Ordering::Relaxed), std::ptr::addr_of!(NOT_KNOWN)),
            "libc was not asked"
        );
    }
}
